"""wsgate-client stdio: standard streams of kinds that its parents hand down."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.conftest import script, wait_until
from tests.peers.gates import server
from tests.peers.servers import echo

if TYPE_CHECKING:
    from tests.peers.servers import Stage


@pytest.mark.parametrize("which", ["input", "output"])
def test_streams_that_do_not_wait_carry_everything(stage: Stage, which: str) -> None:
    """O_NONBLOCK belongs to what is open, not to who uses it: a neighbour has set it."""
    gate = server(stage, {"a": stage.peer(echo).port})
    reader, theirs = os.pipe()
    ours, writer = os.pipe()
    os.set_blocking(ours if which == "input" else theirs, False)
    with subprocess.Popen(
        [script("wsgate-client"), "-q", "stdio", gate.url("a")], stdin=ours, stdout=theirs,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        os.close(ours)
        os.close(theirs)
        data = os.urandom(1 << 20)

        def send() -> None:
            gate.wait_for("Connected")  # it has looked at its input, and found nothing
            with open(writer, "wb") as file:
                file.write(data)

        thread = threading.Thread(target=send)
        thread.start()
        with open(reader, "rb") as file:
            got = file.read()
        thread.join()
        assert process.stderr is not None
        assert (process.wait(20), process.stderr.read()) == (0, b"")
    assert got == data


def test_a_hang_up_ends_it_whether_its_input_ends_or_not(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port})
    for number, closes in enumerate((True, False), start=1):
        with subprocess.Popen(
            [script("wsgate-client"), "-q", "stdio", gate.url("a")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"hello")
            process.stdin.flush()
            assert process.stdout.read(5) == b"hello"
            process.send_signal(signal.SIGHUP)
            if closes:
                process.stdin.close()
            assert process.wait(20) == (0 if closes else -signal.SIGHUP)
        assert len(gate.wait_for_lines(1, status="Suceeded")) == 1
        wait_until(lambda: len(gate.lines(status="Failed")) == number - 1)  # noqa: B023
