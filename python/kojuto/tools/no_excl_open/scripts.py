"""Does a script start the program that the shim is for, and in its own environment?

`what_clears` is the same question for a command line.
"""

from __future__ import annotations

import os
from contextlib import suppress

MAX_BYTES = 1 << 20
MAX_DEPTH = 4
CLEARING = (
    "sudo", "doas", "pkexec", "systemd-run", "env -i", "env -", "env -u LD_PRELOAD", "su -",
    "su -l", "su --login", "runuser -", "runuser -l",
)  # fmt: skip
"""What starts a program in another environment, without LD_PRELOAD."""
BLANKS = str.maketrans(dict.fromkeys("\"'$)", " ") | dict.fromkeys(";&|(`", " ; "))
"""Quotes fall away, and what begins another command is one word."""
LOOKING = ("-x", "-e", "-f", "-r", "-t", "-v", "which", "type")
"""What a word stands behind that is not run."""


def is_script(path: str) -> bool:
    """Whether it begins with ``#!``.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


def follow(path: str, target: str, depth: int = 0) -> tuple[str, str | None] | None:
    """Look for the program in a script, and in the scripts that it starts.

    Returns:
        Where it is started, and what takes LD_PRELOAD away there; None when it is not found.

    Raises:
        OSError: the script cannot be read.
    """
    with open(path, "rb") as file:
        text = os.fsdecode(file.read(MAX_BYTES))
    inner = []
    for number, line in enumerate(text.splitlines()[1:], start=2):
        words = line.split("#", 1)[0].translate(BLANKS).split()
        for place, word in enumerate(words):
            scripted = word.startswith("/") and os.path.isfile(word) and is_script(word)
            if os.path.basename(word) == target and not scripted and not _is_tested(words, place):
                command = words[:place]
                while ";" in command:
                    del command[: command.index(";") + 1]
                return f"{path}, line {number}", what_clears(command)
            if scripted and word != path:
                inner.append(word)
    for word in inner if depth < MAX_DEPTH else []:
        found = follow(word, target, depth + 1)
        if found is not None:
            return found
    return None


def what_clears(command: list[str]) -> str | None:
    """What in a command takes LD_PRELOAD away from what stands behind it; None when nothing does.

    That is what changes the environment, and what runs in secure mode: for anybody but root, `su`.
    """
    from shutil import which

    from kojuto.tools.no_excl_open.elf import why_secure

    before = " ".join(["", *map(os.path.basename, command), ""])
    for each in CLEARING:
        # A scope is only put around what is started as ever.
        if f" {each} " in before and not (each == "systemd-run" and " --scope " in before):
            return each
    for word in command:
        path = which(word)
        with suppress(OSError):
            if path is not None and why_secure(path) is not None:
                return word
    return None


def _is_tested(words: list[str], place: int) -> bool:
    """Whether the word is looked at and not run: by ``[ -x … ]``, as the tag of logger."""
    return place > 0 and words[place - 1] in LOOKING
