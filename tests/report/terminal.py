"""The picture of README: what a terminal shows of `kojuto report`, as SVG.

make pictures
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from rich.console import CONSOLE_SVG_FORMAT, Console  # type: ignore[attr-defined]
from rich.text import Text

from tests.conftest import ROOT, script
from tests.report.pictures import site

PICTURE = ROOT / "docs/pictures/terminal-report.svg"
COLUMNS = 104
COMMAND = ("kojuto", "report", "--limit", "10", "access.log")
FRAME = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""That of rich, without what it would have a browser fetch from elsewhere."""


def write_log(path: Path) -> None:
    """A day of a made site as nginx would log it in LTSV."""
    with open(path, "w", encoding="utf-8") as out:
        for request in sorted(site(), key=lambda request: request.at_s):
            at = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(request.at_s))
            out.write(
                f"time:{at}\tmethod:{request.method.decode()}\turi:{request.target.decode()}\t"
                f"status:{request.status}\tsize:{request.size}\treqtime:{request.time_s:.3f}\n"
            )


def shown() -> str:
    """What the program prints on a terminal, with its colours."""
    with tempfile.TemporaryDirectory() as folder:
        write_log(Path(folder, "access.log"))
        reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("4H", 50, COLUMNS, 0, 0))
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
        env |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        command = [script(COMMAND[0]), *COMMAND[1:]]
        with subprocess.Popen(
            command, stdout=writer, stderr=subprocess.DEVNULL, stdin=writer, cwd=folder, env=env
        ):
            os.close(writer)
            text = b""
            try:
                while piece := os.read(reader, 1 << 16):
                    text += piece
            except OSError:  # EIO: the terminal has no other end any more
                pass
        os.close(reader)
    return text.decode().replace("\r\n", "\n")


def picture(text: str) -> str:
    """The picture of what a terminal shows."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text), soft_wrap=True)
    title = " ".join(COMMAND)
    return console.export_svg(title=title, code_format=FRAME, unique_id="kojuto-report")


if __name__ == "__main__":
    PICTURE.write_text(picture(shown()), encoding="utf-8")
    sys.exit(0)
