"""Logs counted by a Dask cluster: parts of them by its workers, put together in a tree."""

from __future__ import annotations

import os
import sys
from functools import partial

from kojuto.common.streams import one_line
from kojuto.errors import KojutoError, UsageError, words
from kojuto.tools.report import parts
from kojuto.tools.report.reading import title
from kojuto.tools.report.stores import is_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from distributed import Client, Future

    from kojuto._native import ReportData, ReportProgress
    from kojuto.tools.report.parts import Part

INSTALL = "pip install 'kojuto[dask]'"
CONNECT_S = 10
TOGETHER = 16
"""So many reports are put together at a time."""


def count(
    address: str,
    names: Sequence[str],
    options: Mapping[str, Any],
    progress: ReportProgress | None = None,
) -> ReportData:
    """Count the lines of logs that every worker can read.

    The parts do not depend on how many workers there are, and what they found is put together in
    one order: the same logs give the same report.

    Args:
        address: the scheduler.
        names: paths and URLs.
        options: those of the scan.
        progress: is told what there is, and what was read.

    Raises:
        KojutoError: there is no cluster, or a worker cannot read a log to its end.
    """
    client = _client(address)
    try:
        with client.as_current():
            return _count_by(client, address, names, {**options, "jobs": 1}, progress)
    finally:
        client.close()


def _count_by(
    client: Client,
    address: str,
    names: Sequence[str],
    each: Mapping[str, Any],
    progress: ReportProgress | None,
) -> ReportData:
    from kojuto._native import ReportData

    _check_workers(client, address)
    logs = [(name if is_url(name) else os.path.abspath(name), title(name)) for name in names]
    looks = client.map(partial(_look, options=each), logs, pure=False)
    jobs: list[tuple[int, Part]] = []
    for size, of_log in _results(looks, [name for _, name in logs]):
        if progress:
            progress.add(0, size)
        # What is read of a log is told once one of its parts is done.
        jobs += [(size // len(of_log), part) for part in of_log]
    found = [part for _, part in jobs]
    counted = client.map(partial(_count, options=each), found, pure=False)
    whole = _put_together(client, counted)
    _wait(counted, jobs, progress)
    (content,) = _results([whole], [title(names[0])])
    return ReportData.from_bytes(content, [name for _, name in logs])


def _client(address: str) -> Client:
    is_ours = "distributed" not in sys.modules
    try:
        from distributed import Client
        from distributed.comm.addressing import parse_address, parse_host_port
        from distributed.comm.registry import get_backend
    except ImportError as error:
        raise KojutoError(f"--dask: distributed is missing ({error})", INSTALL) from None
    if is_ours:
        _be_quiet()
    try:
        scheme, place = parse_address(address)
        get_backend(scheme)
        host, _ = parse_host_port(place)
        if not host:
            raise ValueError("no host")
    except ValueError as error:
        raise UsageError(f"--dask {address}: {error}", "write tcp://HOST:8786") from None
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, RuntimeError) as error:
        why = one_line(words(error))
        hint = "dask scheduler starts one, and tells its address"
        raise KojutoError(f"--dask {address}: no scheduler answers ({why})", hint) from None


def _be_quiet() -> None:
    """Have the results tell what fails, and not the log of the library."""
    import logging

    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _check_workers(client: Client, address: str) -> None:
    """Refuse workers that have another version of this package, or none.

    Raises:
        KojutoError: there is such a worker.
    """
    from importlib.metadata import PackageNotFoundError, version

    from kojuto.common import cli
    from kojuto.tools.report.options import PROG

    mine = version("kojuto")
    found = client.run(version, "kojuto", on_error="return")
    if not found:
        cli.complain(PROG, f"--dask {address}: no worker yet; waiting for one")
    for worker, theirs in found.items():
        if theirs == mine:
            continue
        if isinstance(theirs, PackageNotFoundError):
            why = "has no kojuto"
        elif isinstance(theirs, str):
            why = f"has kojuto {theirs}, and this is {mine}"
        else:  # it is lost, or busy: what it would do others do
            continue
        raise KojutoError(f"worker {worker} {why}", f"pip install kojuto=={mine} on every worker")


def _put_together(client: Client, reports: list[Future]) -> Future:
    """The report of all, as it comes of a tree."""
    while len(reports) > 1:
        groups = [reports[at : at + TOGETHER] for at in range(0, len(reports), TOGETHER)]
        reports = [client.submit(_together, group, pure=False) for group in groups]
    return reports[0]


def _wait(
    counted: list[Future], jobs: list[tuple[int, Part]], progress: ReportProgress | None
) -> None:
    """Wait until all parts are counted.

    Raises:
        KojutoError: one cannot be.
    """
    from distributed import as_completed

    of = dict(zip(counted, jobs, strict=True))
    for future in as_completed(counted):
        size, (_, name, _, _) = of[future]
        if future.status != "finished":
            raise _explained(future, name)
        if progress:
            progress.add(size, 0)


def _results(futures: list[Future], names: list[str]) -> list[Any]:
    """What was found of each log.

    Raises:
        KojutoError: nothing was, of one of them.
    """
    from distributed import wait

    wait(futures)
    for future, name in zip(futures, names, strict=True):
        if future.status != "finished":
            raise _explained(future, name)
    return [future.result() for future in futures]


def _explained(future: Future, name: str) -> KojutoError:
    """Why there is no result."""
    from distributed import KilledWorker

    error = future.exception() if future.status == "error" else None
    if isinstance(error, KojutoError):
        return error
    if error is None:
        why = "the scheduler is gone, or gave it up"
        return KojutoError(f"{name}: {why}", "look at the log of the scheduler")
    if isinstance(error, KilledWorker):
        return KojutoError(
            f"{name}: {error.allowed_failures + 1} workers died while they counted it",
            f"look at the log of {error.last_worker.address}",
        )
    why = one_line(words(error))
    return KojutoError(
        f"{name}: {type(error).__name__}: {why}",
        "have the scheduler and every worker use the same packages",
    )


# -- what workers do -----------------------------------------------------------------------------


def _look(log: tuple[str, str], options: Mapping[str, Any]) -> tuple[int, list[Part]]:
    name, shown = log
    try:
        return parts.cut(name, shown, options)
    except OSError as error:
        raise _of_worker(f"{shown}: {words(error)}") from None
    except KojutoError as error:
        raise _of_worker(f"{error}") from None


def _count(part: Part, options: Mapping[str, Any]) -> bytes:
    """The report of a part as a file: what two workers make of it are the same bytes."""
    try:
        data = parts.count(part, options)
    except OSError as error:
        raise _of_worker(f"{part[1]}: {words(error)}") from None
    except KojutoError as error:
        raise _of_worker(f"{error}") from None
    for name, why in data.facts()["failed"]:  # it is damaged
        raise _of_worker(f"{name}: {why}")
    return data.to_bytes()


def _together(reports: list[bytes]) -> bytes:
    from kojuto._native import ReportData

    return ReportData.from_bytes(b"".join(reports)).to_bytes()


def _of_worker(what: str) -> KojutoError:
    """An error with the worker that had it."""
    from distributed import get_worker

    hint = "every worker must be able to read it"
    return KojutoError(f"{what} (worker {get_worker().address})", hint)
