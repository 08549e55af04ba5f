"""What an exception says to the user: a status, one line, and the way out."""

from __future__ import annotations

import errno
import os
import sys

from kojuto.common import streams
from kojuto.errors import FAILED, KojutoError, ThreadError, describe

MORE_MEMORY = "raise the limit of memory (ulimit -v, MemoryMax=, --memory) or give it less at once"
MORE_THREADS = (
    "raise the limit of processes (ulimit -u, TasksMax=, --pids-limit), or the limit of memory"
)
MORE_FILES = "raise the limit of open files (ulimit -n, LimitNOFILE=, --ulimit nofile=)"
DISTRIBUTIONS = {
    "_cffi_backend": "cffi", "google": "google-auth", "jwt": "pyjwt",
    "markdown_it": "markdown-it-py",
}  # fmt: skip
"""Packages that are not installed under the name they are imported by."""


def explain(error: BaseException, memory_hint: str | None) -> tuple[int, str, str | None]:
    """The exit status, the message and the hint for an error that ends a command.

    Args:
        error: what was raised.
        memory_hint: the command's own way out when its memory runs out.
    """
    if isinstance(error, KojutoError):
        return error.exit_status, str(error), error.hint
    kind = _kind(error)
    if issubclass(kind, MemoryError):
        return FAILED, "out of memory", memory_hint or MORE_MEMORY
    if isinstance(error, OSError):
        return FAILED, *_system(error)
    if kind is ThreadError:
        return FAILED, "no thread can be started", MORE_THREADS
    if isinstance(error, ImportError):
        return FAILED, *_missing(error)
    if isinstance(error, ValueError):
        return FAILED, str(error), None
    hint = "run again with KOJUTO_DEBUG=1 and report what it shows"
    return FAILED, f"unexpected {type(error).__name__}: {error}", hint


def _kind(error: BaseException) -> type[BaseException]:
    """What it is treated as: some errors of Python and dlopen(3) say what ran out only in words."""
    if isinstance(error, OSError):
        return MemoryError if error.errno == errno.ENOMEM else type(error)
    text = str(error)
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return ThreadError
    if isinstance(error, LookupError) and text.startswith("unknown encoding"):
        return MemoryError  # all are in the standard library: the module could not be loaded
    unmapped = "failed to map segment" in text or "annot allocate memory" in text
    return MemoryError if isinstance(error, ImportError) and unmapped else type(error)


def _system(error: OSError) -> tuple[str, str | None]:
    if isinstance(error, FileNotFoundError) and error.filename is None and _folder_is_gone():
        return "the current directory has been removed", "cd to one that is there"
    if error.filename is None and _is_output(error.errno):
        text = f"standard output: {describe(error)}"
        return text, "it must be open" if error.errno == errno.EBADF else None
    if error.errno == errno.EMFILE:
        return describe(error), MORE_FILES
    return describe(error), MORE_THREADS if isinstance(error, ThreadError) else None


def _folder_is_gone() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _is_output(number: int | None) -> bool:
    """Whether it was standard output; unbuffered (PYTHONUNBUFFERED) it forgets what it held."""
    if number == errno.EPIPE:
        return streams.reader_is_gone()
    if number == errno.EBADF:
        return 1 in streams.closed
    return number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or streams.output_fails()


def _missing(error: ImportError) -> tuple[str, str]:
    package = _package(error)
    if package in ("", "kojuto"):
        archive = _archive()
        if archive is not None:
            return (
                f"no module in machine code can be loaded out of an archive, which {archive} is",
                "unpack it, or take pip, or pex or shiv, which unpack what they start",
            )
        return f"the installation is broken: {error}", "pip install --force-reinstall kojuto"
    if package in sys.stdlib_module_names:
        return f"this Python has no {package}: {error}", "take a Python that was built with it"
    package = DISTRIBUTIONS.get(package, package)
    return f"the package {package} is missing or broken: {error}", _install(package)


def _package(error: ImportError) -> str:
    """What is imported by the name that has failed, or has its module in machine code.

    The error of one that dlopen(3) does not take has the last part of its name only: ``_rust`` of
    cryptography, ``_native`` of kojuto. Somebody else may have a package of that name.
    """
    path = error.path or ""
    above = max((f"{each}/" for each in sys.path if path.startswith(f"{each}/")), default="")
    if path.endswith(".so") and above:  # folders of the path may lie in each other
        return path.removeprefix(above).replace("/", ".").partition(".")[0]
    return (error.name or "").partition(".")[0]


def _archive() -> str | None:
    """The archive (zipapp, a wheel in the path) that kojuto is in; None where it is in a folder."""
    above = os.path.dirname(__file__)
    if os.path.isdir(above):
        return None
    while not os.path.exists(above):
        above = os.path.dirname(above)
    return None if os.path.isdir(above) else above


def _install(package: str) -> str:
    """How to get a package, in the versions that kojuto takes of it."""
    import importlib.metadata
    import re

    try:
        needs = importlib.metadata.requires("kojuto") or ()
    except importlib.metadata.PackageNotFoundError:
        needs = ()
    for need in needs:
        found = re.match(r"([\w.-]+)\s*([^;\s]+)?", need)
        if found and found[1] == package and found[2] and "extra ==" not in need:
            return f"pip install '{package}{found[2]}'"
    return f"pip install {package}"
