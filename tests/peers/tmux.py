"""A terminal for programs that draw: a tmux of its own."""

from __future__ import annotations

import shlex
import subprocess
import time
from typing import TYPE_CHECKING

from tests.conftest import need_program

if TYPE_CHECKING:
    from pathlib import Path


class Terminal:
    """A tmux of its own."""

    def __init__(
        self, socket: Path, command: list[str], width: int = 120, height: int = 20
    ) -> None:
        self.program = need_program("tmux")
        self.socket = str(socket)
        line = (
            "env -u NO_COLOR TERM=screen-256color "
            + shlex.join(command)
            + "; echo status=$?; stty -a; sleep 60"
        )
        line = f"LINES=7 COLUMNS=33 {line}"  # what a shell may export; the terminal knows better
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), line)

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            [self.program, "-S", self.socket, *words], capture_output=True, text=True, check=True
        )
        return done.stdout

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def shown(self, *, colours: bool = False) -> str:
        return self.tmux("capture-pane", "-p", *(["-e"] if colours else []))

    def shows(self, text: str, within_s: float = 15) -> str:
        deadline = time.monotonic() + within_s
        while text not in (shown := self.shown()):
            assert time.monotonic() < deadline, f"{text} is not in:\n{shown}"
            time.sleep(0.05)
        return shown

    def close(self) -> None:
        subprocess.run([self.program, "-S", self.socket, "kill-server"], check=False)
