"""JSON on standard output is JSON whatever the locale."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT, run

if TYPE_CHECKING:
    from pathlib import Path

NAME = "é日本😀"
LINE = f"time:22/Nov/2026:21:00:00 +0000\thost:{NAME}\tstatus:200\turi:/{NAME}\tt:0.5\n"
COMMANDS = {
    "percentile": ["percentile", "--format=ltsv", "--key=t", "--by=host", "--output=json"],
    "axslog": [
        "mackerel-plugin-axslog", "--once", "--key-prefix=x", "--ptime-key=t", "--by=host",
        "--output=json", "--logfile",
    ],
    "report": ["kojuto", "report", "--time-key=t", "--group-by=host", "--output=json"],
    "compare": [
        "kojuto", "report", "--time-key=t", "--group-by=host", "--output=json", "--compare",
    ],
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "euc_jp"])
@pytest.mark.parametrize("name", COMMANDS)
def test_programs_read_it_as_utf_8_and_find_the_names(
    name: str, encoding: str, tmp_path: Path, workdir: Path
) -> None:
    log = tmp_path / "log"
    log.write_text(LINE * 3, encoding="utf-8")
    files = [log, log] if name == "compare" else [log]
    done = run(*COMMANDS[name], *files, env={"PYTHONIOENCODING": encoding})
    found = json.loads(done.stdout.decode("utf-8"))
    assert NAME in json.dumps(found, ensure_ascii=False)
    assert (NAME.encode() in done.stdout) is (encoding == "utf-8")


def test_no_command_prints_it_in_another_way() -> None:
    """`terminal.json_text`, or the report's own, knows what standard output takes."""
    printed = re.compile(r"(?:print|stdout\.write)\((?:json\.)?dumps\((?!.*only_ascii)")
    found = [
        path for path in (ROOT / "python").rglob("*.py") if printed.search(path.read_text("utf-8"))
    ]
    assert found == []
