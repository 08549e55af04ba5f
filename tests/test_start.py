"""Signals that a command has handlers for, sent before these are there; at the end of a server."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from kojuto.start import HELD
from tests.conftest import run, script
from tests.jobs import SERVERS
from tests.test_supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.jobs import Jobs

SENDER = """
import atexit, os, sys

def send(name="SENT"):
    for number in os.environ.get(name, "").split():
        os.kill(os.getpid(), int(number))

def note(event, args):
    global note_sent
    if event == "import" and args[0] in ("kojuto.tools", "kojuto.__main__") and not note_sent:
        note_sent = True
        send()

note_sent = False
sys.addaudithook(note)
atexit.register(send, "SENT_LAST")
"""
"""Sends when the module of a command is about to be imported, and at the interpreter's end."""


@pytest.fixture
def sent(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """The environment in which a command is sent signals so."""
    folder = tmp_path / "sender"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SENDER)

    def environment(*numbers: int) -> dict[str, str]:
        return {"PYTHONPATH": str(folder), "SENT": " ".join(str(int(n)) for n in numbers)}

    return environment


by_both_names = pytest.mark.parametrize("before", [[], ["kojuto"]], ids=["itself", "kojuto"])


@by_both_names
def test_relaxlogs_begins_the_file_that_was_asked_for_while_it_started(
    before: list[str], sent: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    command = [*before, "relaxlogs", "--log-dir", str(logs), "--rotation-time", "5256000"]
    for number, lines in enumerate((signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM), start=1):
        done = run(*command, stdin=b"line %d\n" % number, env=sent(lines))
        assert (done.returncode, done.stderr) == (0, b"")
        written = sorted(path.read_bytes() for path in logs.glob("log.*"))
        # SIGHUP opens the file again, the others begin one.
        assert written == [b"line %d\n" % each for each in range(1, number + 1)]


def test_relaxlogs_writes_what_the_pipe_holds_when_it_is_ended_while_it_starts(
    sent: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"one\ntwo\n")
    done = subprocess.run(
        [script("relaxlogs"), "--log-dir", tmp_path / "logs"], stdin=reader, capture_output=True,
        env={**os.environ, **sent(signal.SIGTERM)}, timeout=60, check=False,
    )  # fmt: skip
    for end in (reader, writer):
        os.close(end)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "logs/current").read_bytes() == b"one\ntwo\n"


@by_both_names
def test_sabo_reports_as_it_was_asked_to_while_it_started(
    before: list[str], sent: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    command = [*before, "sabo", "--max-bandwidth", "1M", "--work-dir", str(tmp_path)]
    done = run(*command, stdin=b"abc", env=sent(signal.SIGUSR1))
    assert (done.returncode, done.stdout) == (0, b"abc")
    assert done.stderr.startswith(b"sabo: 0 B in ")


@pytest.mark.parametrize("name", [*SERVERS, "motarei"])
def test_a_server_reads_again_as_it_was_asked_to_while_it_started(
    name: str, sent: Callable[..., dict[str, str]], jobs: Jobs, tmp_path: Path
) -> None:
    last = {"SENT_LAST": str(int(signal.SIGHUP))}
    with Supervisor(name, jobs.make(name), tmp_path, **sent(signal.SIGHUP), **last) as server:
        assert server.hear(but=("WATCHDOG",)).get("RELOADING") == "1"
        assert server.hear(but=("WATCHDOG",)) == {"READY": "1"}
        server.process.terminate()
        assert server.process.wait(timeout=30) == 0


def test_what_has_no_handler_is_ended_as_any_program(
    sent: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    for number, command in (
        (signal.SIGHUP, ["deteco", "keygen", "--help"]),
        (signal.SIGHUP, ["kojuto", "motarei", "status"]),
        (signal.SIGUSR1, ["sabo", "set", "--help"]),
        (signal.SIGUSR1, ["kojuto", "percentile"]),
    ):
        assert run(*command, env=sent(number)).returncode == -number, command


def test_every_server_holds_the_signal_that_it_handles() -> None:
    assert HELD.keys() == {*SERVERS, "motarei", "relaxlogs", "sabo"}
