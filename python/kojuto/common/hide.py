"""Secrets that came by the command line."""

from __future__ import annotations

import os


def hide_argument(secret: str | None) -> bool:
    """Overwrite `secret` in this process's command line, so that ``ps`` does not show it.

    Returns:
        False when it can still be seen.
    """
    if not secret:
        return True
    wanted = os.fsencode(secret)
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, proc(5)
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            line = memory.read(min(end - start, 1 << 20)) or b""
            at = line.find(wanted)
            while at >= 0:
                memory.seek(start + at)
                memory.write(b"x" * len(wanted))
                at = line.find(wanted, at + len(wanted))
    except (OSError, ValueError, IndexError):
        return False
    return True
