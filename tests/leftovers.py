"""A test that leaves something behind fails, and one that stands still ends.

Left behind are processes (also those of a process that is gone), threads that are not daemons,
listening sockets, mounts and network namespaces. They are removed, so that the next test does not
suffer. A run that is cut off is cleared by its guard (`tests.machine`).

A test has the time of ``timeout`` in pyproject.toml or of its mark; then pytest-timeout raises in
it, with the stacks of the other threads. One that cannot even be interrupted, or stands still
again while it is taken down, ends the run `GRACE_S` later with the stack of every thread.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from tests import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GRACE_S = 60
EXIT_TIMEOUT_S = 10  # for a process or thread that is on its way out

_abandoned: list[threading.Thread] = []


class Holdings:
    """What this process has: compared before and after a test.

    Args:
        folder: under which mounts are the run's own.
        spared: processes that may be left.
    """

    def __init__(self, folder: str, spared: set[int]) -> None:
        self.folder = folder
        self.spared = spared
        self.processes = {(one.pid, one.started) for one in machine.children()}
        self.threads = set(threading.enumerate())
        self.listening = set(_listening())
        self.mounts = machine.mounts(folder)
        self.namespaces = machine.namespaces(os.getpid())

    def new_processes(self) -> list[machine.Process]:
        """Living ones; what has ended is reaped."""
        found = []
        for one in machine.children():
            if (one.pid, one.started) in self.processes or one.pid in self.spared:
                continue
            if one.zombie:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(one.pid, os.WNOHANG)
            else:
                found.append(one)
        return found

    def new_threads(self) -> list[threading.Thread]:
        return [
            thread
            for thread in threading.enumerate()
            if not thread.daemon and thread not in self.threads and thread not in _abandoned
        ]

    def left(self) -> list[str]:
        """What is new and does not go away by itself, in words; it is removed."""
        told = [
            f"process {one.pid}: {machine.command_of(one.pid)}"
            for one in _those_that_stay(self.new_processes)
        ]
        self._kill()
        for thread in _those_that_stay(self.new_threads):
            stack = sys._current_frames().get(thread.ident or 0)
            told.append(f"thread {thread.name}:\n{''.join(traceback.format_stack(stack))}")
            _abandoned.append(thread)
        for listener in _those_that_stay(lambda: set(_listening()) - self.listening):
            descriptor, name = listener
            told.append(f"listening socket {descriptor}: {name}")
            with socket.socket(fileno=os.dup(descriptor)) as sock:
                sock.shutdown(socket.SHUT_RDWR)
        for point in reversed(machine.mounts(self.folder)):
            if point not in self.mounts:
                told.append(f"mount {point}")
                machine.unmount(point)
        for name in machine.namespaces(os.getpid()):
            if name not in self.namespaces:
                told.append(f"network namespace {name}")
                machine.remove_namespace(name)
        return told

    def _kill(self) -> None:
        deadline = time.monotonic() + EXIT_TIMEOUT_S
        while time.monotonic() < deadline and (left := self.new_processes()):
            for one in left:  # their children become ours, and are next
                with contextlib.suppress(OSError):
                    os.kill(one.pid, signal.SIGKILL)
            time.sleep(0.01)


def _listening() -> Iterator[tuple[int, str]]:
    """The descriptors of this process that are listening sockets, and where."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as sock:
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    yield int(name), str(sock.getsockname())
        except OSError:  # closed meanwhile
            continue


def _those_that_stay(look: Callable[[], Any]) -> list[Any]:
    deadline = time.monotonic() + EXIT_TIMEOUT_S
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return list(found)


def _check(folder: str, spared: set[int]) -> Iterator[None]:
    before = Holdings(folder, spared)
    yield
    if told := before.left():
        pytest.fail("left behind:\n" + "\n".join(told), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def _guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The folder under which this run mounts."""
    os.environ[machine.MARK] = str(os.getpid())
    folder = tmp_path_factory.getbasetemp()
    guard = machine.start_guard(folder)
    machine.adopt_orphans()
    yield str(folder)
    os.kill(guard, signal.SIGTERM)


@pytest.fixture(scope="module", autouse=True)
def _module_leaves_nothing(_guard: str) -> Iterator[None]:
    yield from _check(_guard, set())


@pytest.fixture(autouse=True)
def _test_leaves_nothing(_module_leaves_nothing: None, _guard: str) -> Iterator[None]:
    yield from _check(_guard, machine.of_the_module)


# -- a test that stands still ----------------------------------------------------------------------


_stderr = 2


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr: the tests run with theirs captured."""
    global _stderr  # noqa: PLW0603
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        _stderr = os.dup(2)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    mark = item.get_closest_marker("timeout")
    limit_s = float(mark.args[0] if mark else item.config.getini("timeout"))
    faulthandler.dump_traceback_later(limit_s + GRACE_S, exit=True, file=_stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """A thread that a test left would keep the interpreter for ever."""
    if any(thread.is_alive() for thread in _abandoned):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
