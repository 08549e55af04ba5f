"""How lines are written to dated files, for relaxlogs and for the access log of a server."""

from __future__ import annotations


class RotateOptions:
    """Options of `kojuto._native.rotate_lines`; what is not set has its default.

    Args:
        directory: of the files; None writes to standard output.
    """

    pattern = "log.%Y%m%d%H%M"
    """File name with fields of strftime(3)."""
    mode = 0o644
    """Permission bits of new files."""
    link: str | None = "current"
    """The name of the symbolic link to the newest file."""
    utc = False
    """Whether names and stamps are of UTC."""
    rotation_minutes = 60
    """Minutes of a period, counted in the time of the names."""
    max_file_bytes: int | None = None
    """Bytes at which a file is closed at the end of the line."""
    max_age_s: float | None = None
    """Closed files that were last changed longer ago are removed."""
    max_files: int | None = None
    """How many files stay, the one that is written included."""
    max_total_bytes: int | None = None
    """How many bytes stay, the file that is written included."""
    compress: str | None = None
    """``gz`` or ``zst``."""
    on_rotate: str | None = None
    """A command for the shell, run for each closed file, which is its `$1`."""
    hook_timeout_s = 600.0
    """After this long the command is killed."""
    with_time = False
    """Put the time before each line."""
    buffer_bytes = 64_000_000
    """Bytes that wait at most while the disk refuses."""
    on_full = "block"
    """``block``, ``drop-oldest`` or ``drop-new``."""
    fsync_s: float | None = None
    """How often lines are made durable."""
    stop_timeout_s = 10.0
    """How long a disk that refuses is tried after SIGTERM."""
    hand_over = False
    """SIGTERM is no end: the directory is left to a successor, the input read to its end."""

    def __init__(self, directory: str | None) -> None:
        self.directory = directory
