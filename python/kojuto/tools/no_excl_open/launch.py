"""Running the command: what the shim tells of it, its signals and its end."""

from __future__ import annotations

import contextlib
import os
import signal

LOADED, OPENED = b"L", b"O"
"""The marks of preload.h."""
MAX_PATH_BYTES = 511
"""What the shim has room for."""
OWN = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
    signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS,
}  # fmt: skip
"""Signals that cannot be blocked, or tell of a fault of this process."""
JOB_CONTROL = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class Report:
    """A file to which the shim adds a mark when it is loaded and for each file that it opens.

    A program that runs as another user can write to it, and nobody else knows its name: its folder
    cannot be listed.

    Attributes:
        path: the file, None when there is no place for one.
    """

    def __init__(self) -> None:
        self.path: str | None = None
        name = os.urandom(16).hex()
        for place in (os.environ.get("TMPDIR") or "/tmp", "/tmp", "/dev/shm", "/run"):  # noqa: S108
            folder = os.path.join(os.path.abspath(place), f"no-excl-open-{os.urandom(8).hex()}")
            path = os.path.join(folder, name)
            if len(os.fsencode(path)) > MAX_PATH_BYTES:
                continue
            try:
                os.mkdir(folder, 0o700)
            except OSError:
                continue
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC)
                os.fchmod(descriptor, 0o622)
                os.close(descriptor)
                os.chmod(folder, 0o711)  # noqa: S103
            except OSError:
                self._remove(path)
                continue
            self.path = path
            return

    def close(self) -> tuple[int, int]:
        """Remove the file; how often the shim was loaded, and how many files it opened."""
        if self.path is None:
            return 0, 0
        try:
            with open(self.path, "rb") as file:
                marks = file.read()
        except OSError:
            marks = b""
        self._remove(self.path)
        return marks.count(LOADED), marks.count(OPENED)

    @staticmethod
    def _remove(path: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(path))


def run(program: str, arguments: list[str], environment: dict[str, str]) -> int:
    """Run a program to its end and pass signals on to it.

    Returns:
        Its status as `os.waitpid` has it.

    Raises:
        OSError: it cannot be run.
    """
    every = signal.valid_signals() - OWN
    before = signal.pthread_sigmask(signal.SIG_BLOCK, every)
    # Where it is ignored, nobody is told of the end of a child.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        # What the interpreter ignores for itself must not be ignored in the command.
        child = os.posix_spawn(
            program,
            arguments,
            environment,
            setsigmask=before,
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )
        return _until_its_end(child, every)
    finally:
        _unblock(before)


def _until_its_end(child: int, every: set[signal.Signals]) -> int:
    while True:
        told = signal.sigwaitinfo(every)
        if told.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                continue
            if not os.WIFSTOPPED(status):
                return status
            if os.WSTOPSIG(status) in JOB_CONTROL:  # ^Z: the shell waits for this process
                os.kill(os.getpid(), signal.SIGSTOP)
        elif told.si_code <= 0:
            # From a process. What comes of the terminal (SI_KERNEL) the child gets itself.
            os.kill(child, told.si_signo)


def _unblock(before: set[int | signal.Signals]) -> None:
    """As it was, without what is pending for the command that has ended."""
    while signal.sigpending() and signal.sigtimedwait(signal.sigpending(), 0) is not None:
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_as(status: int) -> int:
    """The exit status of a wait status; when it is of a signal, end by that signal."""
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    import resource

    number = os.WTERMSIG(status)
    # The core, if there is one, is the command's.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number
