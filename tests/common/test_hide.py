"""Secrets on the command line are not to be read by others."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOOK = """
import sys
from kojuto.common.hide import hide_argument
hidden = hide_argument(sys.argv[1])
with open("/proc/self/cmdline", "rb") as line:
    shown = line.read().split(b"\\0")[3:-1]
sys.stdout.buffer.write(repr((hidden, shown)).encode())
"""


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["s3cret"], [b"xxxxxx"]),
        (["s3cret", "--password=s3cret", "b"], [b"xxxxxx", b"--password=xxxxxx", b"b"]),
        (["秘密"], [b"xxxxxx"]),
        (["", "a"], [b"", b"a"]),
    ],
)
def test_every_place_of_a_secret_is_overwritten_and_nothing_else(
    arguments: list[str], shown: list[bytes]
) -> None:
    done = subprocess.run([sys.executable, "-c", LOOK, *arguments], capture_output=True, check=True)
    assert done.stdout.decode() == repr((True, shown))
