"""The Python side of ``sabo``: throttle any file-like reader or iterable of bytes.

Example:
    >>> import io
    >>> from kojuto.sabo import throttled
    >>> with throttled(io.BytesIO(b"a dump"), max_bandwidth="100M") as reader:
    ...     reader.read()
    b'a dump'
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Protocol

from kojuto._native import Budget

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from typing_extensions import Buffer

CHUNK_BYTES = 64 << 10


class Reader(Protocol):
    """Anything with ``read(size)`` that returns bytes, b"" at the end."""

    def read(self, size: int, /) -> bytes | None:
        """Return at most `size` bytes."""


class _Source(io.RawIOBase):
    """Hands on another's bytes as the budget allows."""

    def __init__(self, source: Reader | Iterable[bytes], budget: Budget) -> None:
        super().__init__()
        self.budget = budget
        self._read: Callable[[int], bytes | None] | None = getattr(source, "read", None)
        self._chunks: Iterator[bytes] = iter(()) if self._read else iter(source)  # type: ignore[arg-type]
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Buffer, /) -> int | None:
        """Fill the beginning of `buffer`; return how many bytes that were, 0 at the end."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        target = memoryview(buffer).cast("B")
        if not len(target):
            return 0
        if not self._rest:
            granted = self.budget.take(min(len(target), CHUNK_BYTES))
            for warning in self.budget.warnings():
                warnings.warn(warning, RuntimeWarning, stacklevel=2)
            try:
                data = self._next(granted)
            except BaseException:
                self.budget.give_back(granted)
                raise
            if data is None:
                self.budget.give_back(granted)
                return None
            self._rest = memoryview(data)
            # An iterable's pieces come as they are: they are paid for as they are handed out.
            count = min(len(target), len(data), granted)
            self.budget.give_back(granted - count)
        else:
            count = self.budget.take(min(len(target), len(self._rest), CHUNK_BYTES))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _next(self, size: int) -> bytes | None:
        """The next bytes of the source, b"" at its end, None when it has none at present."""
        if self._read is not None:
            data = self._read(size)
            return data if data is None or isinstance(data, bytes) else bytes(data)
        for chunk in self._chunks:
            if len(chunk):
                return chunk if isinstance(chunk, bytes) else bytes(chunk)
        return b""

    def close(self) -> None:
        """Leave the budget."""
        if not self.closed:
            self.budget.close()
        super().close()


class Throttled(io.BufferedReader):
    """What `throttled` returns: a buffered binary stream and a context manager.

    `read1` and `readinto1` return as soon as some bytes may pass, `read(n)` when all `n` are
    there. Closing it leaves the budget; the source stays open.
    """

    def __init__(self, source: Reader | Iterable[bytes], budget: Budget) -> None:
        self._budget = budget
        super().__init__(_Source(source, budget), CHUNK_BYTES)

    @property
    def share(self) -> int:
        """Bytes a second that may pass now."""
        return self._budget.share

    @property
    def members(self) -> int:
        """Live members of the budget, this one included."""
        return self._budget.members


def throttled(
    source: Reader | Iterable[bytes],
    *,
    max_bandwidth: int | str,
    work_dir: str | os.PathLike[str] | None = None,
    weight: int = 1,
    min_share: int | str = 0,
    burst: int | str = 0,
) -> Throttled:
    """Throttle a reader or an iterable of bytes, together with every ``sabo`` of the same budget.

    Args:
        source: an object with ``read(size)``, or an iterable of bytes.
        max_bandwidth: bytes a second of all members together, a number or "100M"; at least 1000.
        work_dir: the directory of the lock files (as ``sabo --work-dir``); None shares with nobody.
        weight: how many shares this reader takes, 1 to 100.
        min_share: bytes a second below which it does not go.
        burst: bytes that may be saved up while nobody reads.

    Returns:
        A buffered binary stream whose reads wait until the budget allows.

    Raises:
        ValueError: a rate or weight cannot be read or is out of range.
        OSError: the work directory is missing, read-only or full.
    """
    from os import fspath

    from kojuto.common.units import sized
    from kojuto.tools.sabo import MAX_WEIGHT, bandwidth

    if not 1 <= weight <= MAX_WEIGHT:
        raise ValueError(f"weight {weight}: not between 1 and {MAX_WEIGHT}")
    budget = Budget(
        bandwidth(str(max_bandwidth)),
        None if work_dir is None else fspath(work_dir),
        weight=weight,
        min_share=sized()(str(min_share)),
        burst=sized()(str(burst)),
    )
    return Throttled(source, budget)
