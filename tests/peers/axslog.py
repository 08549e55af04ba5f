"""Access logs, and axslog run on them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.conftest import DATA, SHARED_CORPORA, read_metrics, run

if TYPE_CHECKING:
    from pathlib import Path

PROG = "mackerel-plugin-axslog"
CORPUS = SHARED_CORPORA / "accesslog"
if not CORPUS.exists():
    CORPUS = DATA / "accesslog"
MANIFEST = json.loads((CORPUS / "manifest.json").read_text())
EXPECTED = json.loads((CORPUS / "expected.json").read_text())


def follow(log: Path, *options: str) -> dict[str, str]:
    done = run(PROG, "--logfile", log, "--key-prefix", "t", *options)
    assert done.returncode == 0, done.stderr
    return read_metrics(done.stdout)


def age(workdir: Path, seconds: int) -> None:
    """Make the previous run `seconds` older than it is."""
    for path in workdir.iterdir():
        if not path.name.endswith(".lock"):
            text = path.read_text()
            path.write_text(
                re.sub(r'"time":(\d+)', lambda m: f'"time":{int(m[1]) - seconds}', text)
            )


def write(path: Path, *lines: str) -> Path:
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
    return path
