"""The real shells, interactive on a terminal of their own: what each offers behind a line."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
from typing import TYPE_CHECKING

from tests.conftest import need_program, wait_until

if TYPE_CHECKING:
    from pathlib import Path

# M-* puts all completions into the line.
BASH = r"""
PS1= PS2= HISTFILE= PROMPT_COMMAND='echo end >>"$OFFERED"; PROMPT_COMMAND='
bind 'set enable-bracketed-paste off'
bind -x '"\C-xr": printf "%s\n" "$READLINE_LINE" >>"$OFFERED"; echo end >>"$OFFERED"'
"""
# Whatever is added to the completions is written down too.
ZSH = r"""
PROMPT= RPROMPT= HISTFILE=
unsetopt zle_bracketed_paste 2>/dev/null; unset zle_bracketed_paste
autoload -Uz compinit; compinit -u -D
zstyle ':completion:*' menu no
compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
        builtin compadd "$@"
        return
    fi
    local -a added
    builtin compadd -A added "$@"
    print -rl -- "${added[@]}" >>$OFFERED
    builtin compadd "$@"
}
written() { print end >>$OFFERED; zle kill-buffer }
zle -N written
zle-line-init() { print end >>$OFFERED; zle -D zle-line-init }
zle -N zle-line-init
bindkey '^Xr' written
"""


class Shell:
    """A shell that is asked again and again what may follow."""

    def __init__(self, command: list[str], own: Path, folder: Path, keys: str) -> None:
        self._offered, self._keys = own / "offered", keys
        self._offered.write_text("")
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, start_new_session=True,
            env={**os.environ, "OFFERED": str(self._offered), "TERM": "dumb", "HOME": str(own),
                 "ZDOTDIR": str(own)},
        )  # fmt: skip
        os.close(theirs)
        self._wait()

    def offers(self, line: str) -> list[str]:
        """The words that the shell offers behind `line`, each once, in its order."""
        self._offered.write_text("")
        os.write(self._ours, f"{line}{self._keys}\x18r\x15".encode())
        self._wait()
        return self._offered.read_text().splitlines()[:-1]

    def _wait(self) -> None:
        wait_until(
            lambda: self._offered.read_text().endswith("end\n"),
            what=lambda: os.read(self._ours, 100_000).decode(errors="replace"),
        )

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._ours)


class Bash(Shell):
    """bash with its completion file, and nothing else."""

    def __init__(self, own: Path, folder: Path, prefix: Path) -> None:
        start = own / "bashrc"
        script = prefix / "share/bash-completion/completions/kojuto"
        start.write_text(f"{BASH}\nPATH={shlex.quote(os.environ['PATH'])}\n. '{script}'\n")
        command = [need_program("bash"), "--noprofile", "--rcfile", str(start), "-i"]
        super().__init__(command, own, folder, "\x1b*")

    def offers(self, line: str) -> list[str]:
        (shown,) = super().offers(line)
        kept = line[: max(line.rfind(" "), line.rfind("=")) + 1]
        assert shown.startswith(kept)
        # Where nothing is offered the line stays as it was, without a blank at its end.
        return shlex.split(shown.removeprefix(kept)) if shown != line or shown == kept else []


class Zsh(Shell):
    """zsh with its completions and its own."""

    def __init__(self, own: Path, folder: Path, prefix: Path) -> None:
        (own / ".zshrc").write_text(f"fpath=('{prefix}/share/zsh/site-functions' $fpath)\n{ZSH}")
        super().__init__([need_program("zsh"), "-d", "-i"], own, folder, "\t")

    def offers(self, line: str) -> list[str]:
        typed = line[max(line.rfind(" "), line.rfind("=")) + 1 :]
        words = [word for words in super().offers(line) for word in shlex.split(words)]
        return [word for word in dict.fromkeys(words) if word.startswith(typed)]


class Fish:
    """fish with the completions of a folder; it answers without a terminal."""

    def __init__(self, own: Path, folder: Path, prefix: Path) -> None:
        self._own, self._folder, self._program = own, folder, need_program("fish")
        self._data = f"{prefix}/share"

    def offers(self, line: str) -> list[str]:
        env = {"HOME": str(self._own), "PATH": os.environ["PATH"], "XDG_DATA_DIRS": self._data}
        done = subprocess.run(
            [self._program, "-c", 'complete -C "$argv[1]"', line],
            capture_output=True, text=True, check=True, env=env, cwd=self._folder,
        )  # fmt: skip
        assert done.stderr == ""
        typed = line[line.rfind(" ") + 1 :]
        kept = typed[: typed.find("=") + 1]
        # Short options are offered too, and a folder ends in a slash.
        rows = [row.partition("\t")[0].removeprefix(kept) for row in done.stdout.splitlines()]
        return [row.rstrip("/") for row in rows if len(row) > 2 or not row.startswith("-")]

    def close(self) -> None:
        pass
