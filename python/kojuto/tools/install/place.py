"""Files put where they belong, each as a whole, and none in the place of somebody else's."""

from __future__ import annotations

import os

from kojuto import __version__
from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "kojuto install "


class File:
    """A file, or a link, below the folder that is installed to.

    Args:
        path: below that folder.
        content: its text; of a link the name of the file beside it that it leads to.
        comment: what begins a comment in such a file; empty for a link.
    """

    def __init__(self, path: str, content: str, comment: str = "") -> None:
        self.path = path
        self.comment = comment
        self.is_link = not comment
        self.content = content if self.is_link else sign(content, comment)


def link(path: str, to: str) -> File:
    """A link to a file beside it."""
    return File(path, to)


def sign(text: str, comment: str) -> str:
    """`text` with a last line that says who wrote it, and shows whether it was changed since."""
    return f"{text}{comment} {MARK}{__version__} sha256={_digest(text)}\n"


def _digest(text: str) -> str:
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()


def is_ours(path: str) -> bool:
    """Whether what is there is as this program, of any version, wrote it."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            *lines, last = file.read().splitlines(keepends=True) or [""]
    except (FileNotFoundError, UnicodeDecodeError, IsADirectoryError):
        return False
    return MARK in last and last.rstrip("\n").endswith(f" sha256={_digest(''.join(lines))}")


def put(files: list[File], folder: str, *, force: bool, dry_run: bool) -> Iterator[str]:
    """Write the files.

    Args:
        files: what is to be there.
        folder: below which.
        force: replace what is not ours, too.
        dry_run: only look.

    Yields:
        The path of each file once it is there.

    Raises:
        KojutoError: files of others are in the way; nothing was written.
        OSError: one cannot be written.
    """
    places = [(os.path.join(folder, file.path), file) for file in files]
    foreign = [
        path for path, file in places if os.path.lexists(path) and not _may_replace(path, file)
    ]
    if foreign and not force:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise KojutoError(
            f"{foreign[0]}{more}: not written by kojuto install, or changed since",
            "--force replaces such files; nothing was written",
        )
    for path, file in places:
        if not dry_run:
            _put(path, file)
        yield path


def _may_replace(path: str, file: File) -> bool:
    if os.path.islink(path) and file.is_link and _leads_to_ours(path, file.content):
        return True
    return is_ours(path)


def _leads_to_ours(path: str, to: str) -> bool:
    """Whether a link leads there, or to that name beside another kojuto, or to one that is gone."""
    old = os.readlink(path)
    if old == to:
        return True
    if os.path.basename(old) != os.path.basename(to):
        return False
    real = os.path.join(os.path.dirname(path), old)
    return not os.path.exists(real) or os.path.exists(f"{os.path.dirname(real)}/kojuto")


def _put(path: str, file: File) -> None:
    from kojuto._native import write_state

    _make_folder(os.path.dirname(path))
    if not file.is_link:
        write_state(path, file.content.encode())
        os.chmod(path, 0o644)
        return
    beside = f"{path}.{os.getpid()}.new"
    os.symlink(file.content, beside)
    try:
        os.replace(beside, path)
    except OSError:
        os.unlink(beside)
        raise


def _make_folder(path: str) -> None:
    """A folder and those above it, open to all whatever the umask; what is there stays as it is."""
    if os.path.exists(path):
        return
    _make_folder(os.path.dirname(path))
    try:
        os.mkdir(path)
    except FileExistsError:
        return  # by another one meanwhile
    os.chmod(path, 0o755)  # noqa: S103
