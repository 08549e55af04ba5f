"""Where the plugins keep what they must remember until the next run, and when they let it go."""

from __future__ import annotations

import os
import sys

from kojuto.common.cli import describe
from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


MOST_NAME_BYTES = 250
"""Of the 255 that a name may have five are for the lock beside it (.lock)."""


def work_directory() -> str:
    """``MACKEREL_PLUGIN_WORKDIR``, else ``TMPDIR``, else ``/tmp``; empty values count as unset."""
    return os.environ.get("MACKEREL_PLUGIN_WORKDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108


def state_path(name: str) -> str:
    """The path of a state file; a slash in `name` cannot lead out of the work directory.

    Two names have two files: where a character had to be replaced, or a name that none could have
    was cut, a short hash follows.
    """
    from kojuto.common.plugin.metrics import unique

    raw = os.fsencode(name.replace("/", "_").replace("\0", "_"))
    fits = os.fsdecode(raw if len(raw) <= MOST_NAME_BYTES else raw[: MOST_NAME_BYTES - 10])
    return os.path.join(work_directory(), unique(name, fits))


def originals_path(name: str) -> str | None:
    """Where the original left the state file of that name, if it is one of this user's.

    Some originals keep theirs in ``TMPDIR`` or ``/tmp`` even where the work directory is set. What
    lies there may be anybody's, so that another user's, or a link, is none.
    """
    for directory in (work_directory(), os.environ.get("TMPDIR") or "/tmp"):  # noqa: S108
        path = os.path.join(directory, name.replace("/", "_").replace("\0", "_"))
        try:
            found = os.lstat(path)
        except (OSError, ValueError):
            continue
        if found.st_uid == os.getuid() and found.st_mode & 0o170000 == 0o100000:
            return path
    return None


def way_out() -> str:
    """The hint for state that cannot be kept."""
    return (
        f"what a run must remember is kept in {work_directory()}; set MACKEREL_PLUGIN_WORKDIR to a "
        "directory that can be written and locked"
    )


def output_first(write: Callable[[], None], otherwise: str) -> None:
    """Write results, and flush them, before anything is remembered that tells them as delivered.

    Args:
        write: writes them to standard output, or to a file of the user's.
        otherwise: what it means that they could not be written; the end of the message.

    Raises:
        KojutoError: they could not be written. A reader who is gone is no quiet end here.
    """
    try:
        write()
        sys.stdout.flush()
    except OSError as error:
        where = "" if error.filename is not None else "standard output: "
        raise KojutoError(f"{where}{describe(error)}; {otherwise}") from None
