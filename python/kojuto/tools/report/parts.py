"""Parts of logs that are counted apart, by threads or by a cluster, and put together."""

from __future__ import annotations

import os
from itertools import chain, groupby
from threading import Thread

from kojuto._native import REPORT_HEAD_BYTES, packed_by, report_envelope, report_scan
from kojuto.errors import words
from kojuto.tools.report.stores import Stored, is_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from kojuto._native import ReportData, ReportProgress

    Part = tuple[str, str, int, int | None]
    """A path or a URL, its name in messages, and the bytes between which its lines begin."""

PART_BYTES = 32 << 20
"""No log that is smaller is cut."""
PIPE_BYTES = 1 << 20


def cut(name: str, title: str, options: Mapping[str, Any]) -> tuple[int, list[Part]]:
    """The size of a log, as far as it is known, and its parts.

    It is cut when it is large and plain, what stands around its lines does not keep several of them
    together, and its store gives parts.

    Args:
        name: a path or a URL.
        title: its name in messages.
        options: those of the scan.

    Raises:
        OSError: it cannot be read.
    """
    whole: list[Part] = [(name, title, 0, None)]
    stored = Stored(name) if is_url(name) else None
    size = stored.size() if stored else os.stat(name).st_size
    if size is None or size <= PART_BYTES:
        return size or 0, whole
    try:
        head = _head(stored, size) if stored else _head_of_file(name)
    except ValueError:  # it gives no parts
        return size, whole
    if packed_by(head[:10])[0] is not None or report_envelope(head, **options) is not None:
        return size, whole
    count = -(-size // PART_BYTES)
    bounds: list[int | None] = [size * at // count for at in range(count)]
    ends = [*bounds[1:], None]  # what is added meanwhile belongs to the last one
    return size, [(name, title, start or 0, end) for start, end in zip(bounds, ends, strict=True)]


def _head(stored: Stored, size: int) -> bytes:
    """The beginning of an object whose store gives parts.

    Raises:
        ValueError: it does not.
    """
    stored.part(size - 1, size, size)
    return stored.part(0, REPORT_HEAD_BYTES, size)


def _head_of_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(REPORT_HEAD_BYTES)


def count(
    part: Part, options: Mapping[str, Any], progress: ReportProgress | None = None
) -> ReportData:
    """Count the lines of a part.

    Args:
        part: one that `cut` gave.
        options: those of the scan.
        progress: is told what was read.

    Raises:
        OSError: it cannot be read to its end. What is before damage of a compressed log counts,
            and `facts()["failed"]` tells of it.
    """
    name, title, start, end = part
    is_whole = start == 0 and end is None
    if is_url(name):
        stored = Stored(name)
        size = stored.size()
        chunks: Iterator[bytes | memoryview]
        if is_whole:
            head, chunks = begun(stored.chunks(size))
        else:
            head = stored.part(0, REPORT_HEAD_BYTES, size or 0)
            chunks = stored.lines(start, end, size or 0)
        return _fed(chunks, title, head, options, progress)
    if not is_whole:
        return report_scan([(name, title, start, end)], **options)
    with open(name, "rb", buffering=0) as file:
        head = file.read(REPORT_HEAD_BYTES)
        file.seek(0)
        return report_scan([(file.fileno(), title, head)], **options)


def begun(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes | memoryview]]:
    """How what is read in chunks begins, and all chunks."""
    head, taken = b"", []
    for chunk in chunks:
        taken.append(chunk)
        head += chunk[:REPORT_HEAD_BYTES]
        if len(head) >= REPORT_HEAD_BYTES:
            break
    return head[:REPORT_HEAD_BYTES], chain(taken, chunks)


def _fed(
    chunks: Iterable[bytes | memoryview],
    title: str,
    head: bytes,
    options: Mapping[str, Any],
    progress: ReportProgress | None,
) -> ReportData:
    """Count what a thread reads; no more of it is in memory than fits a pipe.

    Raises:
        OSError: it cannot be read to its end.
    """
    from contextlib import suppress
    from fcntl import F_SETPIPE_SZ, fcntl

    failed: list[BaseException] = []

    def feed() -> None:
        try:
            for chunk in chunks:
                rest = memoryview(chunk)
                if progress:
                    progress.add(len(rest), 0)
                while rest:
                    rest = rest[os.write(writer, rest) :]
        except BrokenPipeError:  # no more is wanted
            pass
        except BaseException as error:
            failed.append(error)
        finally:
            os.close(writer)

    reader, writer = os.pipe()
    try:
        with suppress(OSError):  # the user has too many already
            fcntl(reader, F_SETPIPE_SZ, PIPE_BYTES)
        # It may wait for a store that does not answer: nobody waits for it then.
        thread = Thread(target=feed, daemon=True)
        try:
            thread.start()
        except BaseException:
            os.close(writer)
            raise
        data = report_scan([(reader, title, head)], **options)
    finally:
        os.close(reader)
    thread.join()
    if failed:
        raise failed[0]
    return data


def count_stored(
    urls: Sequence[str], options: Mapping[str, Any], progress: ReportProgress | None
) -> ReportData:
    """Count the lines of logs in stores by threads.

    A log that cannot be read to its end is left out as a whole: `facts()["failed"]` tells of it.

    Args:
        urls: the logs.
        options: those of the scan, `jobs` among them: so many parts are read at a time.
        progress: is told what there is, and what was read.
    """
    from multiprocessing.pool import ThreadPool

    each = {**options, "jobs": 1}

    def looked(url: str) -> list[tuple[str, str, Part | None, str]]:
        stored = Stored(url)
        try:
            size, parts = cut(url, stored.title, each)
        except OSError as error:
            return [(url, stored.title, None, words(error))]
        if progress:
            progress.add(0, size)
        return [(url, stored.title, part, "") for part in parts]

    def counted(
        job: tuple[str, str, Part | None, str],
    ) -> tuple[str, str, ReportData | None, str]:
        url, title, part, why = job
        if part is None:
            return url, title, None, why
        try:
            return url, title, count(part, each, progress), ""
        except OSError as error:
            return url, title, None, words(error)

    whole = report_scan([], **each)
    with ThreadPool(options.get("jobs") or len(os.sched_getaffinity(0))) as pool:
        jobs = chain.from_iterable(pool.map(looked, urls, chunksize=1))
        for _, outcomes in groupby(pool.imap(counted, jobs), key=lambda outcome: outcome[0]):
            _add_log(whole, outcomes)
        pool.close()
        pool.join()
    return whole


def _add_log(
    whole: ReportData, outcomes: Iterable[tuple[str, str, ReportData | None, str]]
) -> None:
    """Add all parts of a log, or none."""
    log: ReportData | None = None
    failed: tuple[str, str] | None = None
    for _, title, data, why in outcomes:
        if data is None:
            failed = failed or (title, why)
        elif log is None:
            log = data
        else:
            log.merge(data)
    if failed:
        whole.fail(*failed)
    elif log is not None:
        whole.merge(log)


def content(url: str) -> bytes:
    """All of an object.

    Raises:
        OSError: it cannot be read to its end.
    """
    stored = Stored(url)
    return b"".join(stored.chunks(stored.size()))
