"""Logs in stores: URLs, by fsspec."""

from __future__ import annotations

import errno

from kojuto.common.streams import one_line
from kojuto.errors import KojutoError, UsageError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

CHUNK_BYTES = 4 << 20
"""What is read at a time."""
MORE_BYTES = 1 << 16
"""What is read at a time of the line that ends a part."""
WEB = ("http", "https")
CONNECT_S, SILENCE_S = 30, 60
"""So long a web server may take to be reached, and to send something."""
INSTALL = "pip install 'kojuto[url]'"


def is_url(name: str) -> bool:
    """Whether a name is a URL; a chain of those as fsspec has it (``simplecache::s3://``) too."""
    scheme, found, _ = name.partition("://")
    is_scheme = scheme.isascii() and all(c.isalnum() or c in "+-.:" for c in scheme)
    return bool(found and scheme) and is_scheme


def local(name: str) -> str:
    """The path of a ``file://`` URL (RFC 8089); any other name as it is.

    Raises:
        UsageError: the URL is of another host.
    """
    if not name.startswith("file://"):
        return name
    from urllib.parse import unquote

    host, slash, path = name.removeprefix("file://").partition("/")
    if host not in ("", "localhost"):
        raise UsageError(f"{name}: is on another host", "write file:///path")
    return unquote(slash + path, errors="surrogateescape")


def shown(url: str) -> str:
    """A URL for messages and reports: without a user, a password, and what signs it."""
    scheme, sign, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if scheme in WEB:
        path = path.partition("?")[0]
    return f"{scheme}{sign}{host.rpartition('@')[2]}{slash}{path}"


class Stored:
    """An object of a store, or a pattern of them.

    Args:
        url: where it is.

    Raises:
        KojutoError: what reads such a URL is not installed.
        UsageError: there is no such kind of URL.
    """

    __slots__ = ("_is_web", "fs", "path", "title", "url")

    def __init__(self, url: str) -> None:
        self.url = url
        self.title = shown(url)
        self._is_web = url.partition("://")[0] in WEB
        try:
            from fsspec.core import url_to_fs

            self.fs, self.path = url_to_fs(url, **(_web_options() if self._is_web else {}))
        except ImportError as error:
            missing = getattr(error.__cause__, "name", None) or error.name or ""
            package = missing.partition(".")[0]
            if package in ("fsspec", "aiohttp", ""):
                raise KojutoError(f"{self.title}: fsspec is missing ({error})", INSTALL) from None
            raise KojutoError(f"{self.title}: {error}", f"pip install {package}") from None
        except ValueError as error:
            raise UsageError(f"{self.title}: {error}") from None

    def matching(self) -> list[str]:
        """The URLs that it stands for: its own, or those that match it as a pattern, in order.

        Raises:
            UsageError: it is a pattern, and nothing matches.
            OSError: it is not there, or the store cannot be asked.
        """
        _, _, rest = self.url.partition("://")
        # A question mark begins the query there, and an IPv6 address has brackets.
        is_pattern = any(sign in rest for sign in ("*" if self._is_web else "*?["))
        try:
            if not is_pattern or (not self._is_web and self.fs.exists(self.path)):
                self.fs.info(self.path)
                return [self.url]
            found = self.fs.glob(self.path, detail=True)
        except Exception as error:
            raise failure(self.title, error) from error
        names = sorted(path for path, about in found.items() if about.get("type") != "directory")
        if not names:
            raise UsageError(f"{self.title}: nothing matches")
        before = self.url.removesuffix(self.path)
        if before == self.url:  # the store writes it in another way
            return [str(self.fs.unstrip_protocol(name)) for name in names]
        return [before + name for name in names]

    def size(self) -> int | None:
        """Its bytes, as far as the store knows.

        Raises:
            OSError: the store cannot tell.
        """
        try:
            size = self.fs.info(self.path).get("size")
        except Exception as error:
            raise failure(self.title, error) from error
        return None if size is None else int(size)

    def part(self, start: int, end: int, size: int) -> bytes:
        """Some bytes of the middle.

        Args:
            start: where they begin, more than 0.
            end: where they end.
            size: that of the object.

        Raises:
            ValueError: the store gives no parts.
            OSError: they cannot be read.
        """
        with self._opened(size) as file:
            try:
                file.seek(start)
                return bytes(file.read(end - start))
            except ValueError:
                raise
            except Exception as error:
                raise failure(self.title, error) from error

    def chunks(self, size: int | None) -> Iterator[bytes]:
        """All of it, from the beginning.

        Raises:
            OSError: it cannot be read, or ends before its size.
        """
        with self._opened(size, stream=True) as file:
            yield from self._read(file, size)

    def lines(self, start: int, end: int | None, size: int) -> Iterator[memoryview]:
        """The lines that begin from one byte on and before another, or before the end.

        Raises:
            OSError: they cannot be read, or the object ends before its size.
        """
        with self._opened(size) as file:
            at = max(start - 1, 0)
            if at > 0:
                file.seek(at)
            yield from lines_between(self._read(file, size, at, end), at, start, end)

    def _opened(self, size: int | None, *, stream: bool = False) -> Any:
        options: dict[str, Any] = {"block_size": CHUNK_BYTES, "cache_type": "none"}
        if self._is_web:
            # One request for all, and not one for each chunk; the size need not be asked again.
            options |= {"size": size} | ({"block_size": 0} if stream else {})
        try:
            return self.fs.open(self.path, "rb", **options)
        except Exception as error:
            raise failure(self.title, error) from error

    def _read(
        self, file: Any, size: int | None, at: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        """What follows, up to the end of the line in which `end` is or farther."""
        while True:
            wanted = CHUNK_BYTES if end is None else min(max(end - at, MORE_BYTES), CHUNK_BYTES)
            try:
                chunk = file.read(wanted)
            except Exception as error:
                raise failure(self.title, error) from error
            if not chunk:
                break
            at += len(chunk)
            yield chunk
        if size is not None and at < size:
            why = f"ended after {at:,} of {size:,} bytes"
            raise OSError(errno.EIO, why, self.title)


def lines_between(
    chunks: Iterator[bytes], at: int, start: int, end: int | None
) -> Iterator[memoryview]:
    """Of chunks that begin at a byte, the lines that begin from `start` on and before `end`.

    Args:
        chunks: what is read, from the byte before `start` on.
        at: where they begin.
        start: where the first line may begin.
        end: no line begins from there on; None for all.
    """
    is_inside = start == 0
    for chunk in chunks:
        first, last = 0, len(chunk)
        if not is_inside:
            newline = chunk.find(b"\n")
            is_inside = newline >= 0
            first = newline + 1 if is_inside else last
        newline = -1
        if end is not None and at + last >= end:
            newline = chunk.find(b"\n", max(end - 1 - at, 0))
            last = newline + 1 if newline >= 0 else last
        if first < last:
            yield memoryview(chunk)[first:last]
        if newline >= 0:
            return
        at += len(chunk)


def failure(title: str, error: BaseException) -> OSError:
    """What a store or its library raised, as the error of a file."""
    # That a name is not there is said of all that went wrong, and the cause tells more.
    while isinstance(error, FileNotFoundError) and error.errno is None and error.__cause__:
        error = error.__cause__
    if isinstance(error, FileNotFoundError):
        return OSError(errno.ENOENT, "No such file or directory", title)
    status, message = getattr(error, "status", None), getattr(error, "message", None)
    if isinstance(status, int) and status:
        number = errno.ENOENT if status in (404, 410) else errno.EIO
        return OSError(number, f"{status} {message or ''}".rstrip(), title)
    number = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
    return OSError(number, one_line(words(error)), title)


def _web_options() -> dict[str, Any]:
    """How web servers are asked: for the bytes as they are, for as long as they send any."""
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
    return {
        "headers": {"Accept-Encoding": "identity"},
        "client_kwargs": {"timeout": timeout, "trust_env": True},
    }
