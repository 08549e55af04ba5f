"""The Rust core. Every call that waits or works long lets go of the GIL."""

import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypedDict, final

from typing_extensions import Buffer, Unpack

_GroupOf: TypeAlias = tuple[str, bytes]
"""What a group of lines is of: ``value``, ``missing`` or ``other``, and the value."""

CORE_VERSION: str
"""Version of the Rust core."""

class _ArrowArray(Protocol):
    """An array by Arrow's PyCapsule protocol."""

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]: ...

class _ArrowStream(Protocol):
    """A stream of arrays by Arrow's PyCapsule protocol."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...

# -- state files --------------------------------------------------------------------------------

def read_state(path: str) -> tuple[bytes | None, str | None]:
    """Read a state file of at most 1 MiB.

    Returns:
        The content and None; (None, None) when there is no file; (None, why) when the file is
        not to be believed: a symbolic link, another user's, too large, unreadable.
    """

def write_state(path: str, content: bytes) -> None:
    """Replace a state file atomically (temporary file 0600, fsync, rename).

    Raises:
        OSError: naming the file; the old content is then untouched.
    """

@final
class StateLock:
    """The exclusive lock beside a state file (``PATH.lock``, flock(2)), taken without waiting.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the lock file cannot be opened.
    """

    def __new__(cls, path: str) -> StateLock: ...
    def release(self) -> None:
        """Let go of the lock; the end of the process does so too."""

# -- following logs -----------------------------------------------------------------------------

class _Log(Protocol):
    """A log and where its position is kept; `kojuto.common.plugin.follow.Log` is one."""

    log: str
    position_file: str
    legacy_position_file: str | None

class _FollowOptions(Protocol):
    """How to follow; `kojuto.common.plugin.follow.FollowOptions` are such."""

    max_read_bytes: int
    max_line_bytes: int
    archive_dirs: list[str]
    threads: int
    now_s: float
    verbose: bool
    once: bool

@final
class FollowReport:
    """What following one log gave, beside what its lines were scanned for."""

    @property
    def duration_s(self) -> float | None:
        """Seconds since the previous run; None on the first one and when the clock stepped back."""

    @property
    def bytes(self) -> int:
        """Bytes of the lines that were scanned."""

    @property
    def skipped_bytes(self) -> int:
        """Bytes passed over because more than the limit was added."""

    @property
    def overlong_lines(self) -> int:
        """Lines over the limit that were skipped."""

    @property
    def overlong_first(self) -> builtins.bytes:
        """The beginning of the first of them."""

    @property
    def notes(self) -> list[tuple[str, str]]:
        """One line each for a person: rotated, truncated, skipped, a position not used.

        Before each is its kind: ``ordinary`` for what rotations do every day, ``lost`` where lines
        are missing, ``unproven`` where some may be missing or counted twice, ``odd`` for what costs
        no line.
        """

    @property
    def files(self) -> int:
        """How many files were read, those without a new line too."""

    @property
    def lines(self) -> int | None:
        """Lines that were scanned; None unless following was ``verbose``."""

    @property
    def position(self) -> PendingPosition:
        """Makes the run count, once its results are delivered."""

@final
class PendingPosition:
    """How far a log was read, not yet kept, and the lock that keeps other runs away.

    While it is not committed, and when it never is, the position file is as the last run left it;
    the lock is held until the commit or until this object is gone. See
    `kojuto.common.plugin.follow.deliver` for the order of things.

    The numbers are one member of the position file, ``carried``. A run keeps at most 2048 of them,
    finite, with names of at most 200 bytes in UTF-8 without control characters. Where a file has
    others, its numbers start afresh; its position does not.
    """

    @property
    def carried(self) -> dict[str, float]:
        """The numbers that the last committed run left; empty when it left none.

        Raises:
            ValueError: it is committed.
        """

    @property
    def sets(self) -> list[tuple[builtins.bytes, float, list[float]]]:
        """The sets that the last committed run left, see `stage`.

        Raises:
            ValueError: it is committed.
        """

    def stage(
        self,
        carry: Mapping[str, float],
        sets: Sequence[tuple[builtins.bytes, float, Sequence[float]]] | None = None,
    ) -> int:
        """Write the position, `carry` and `sets` to a file beside the position file, for `commit`.

        A number of the last run that is not given stays as it is, while there is room.

        Args:
            carry: numbers by name.
            sets: numbers of groups of lines: the name of each (at most 201 bytes of any kind), when
                it was last seen (seconds since the epoch), and its numbers. At most 10,002 sets and
                100,000 numbers are kept. They take the place of those of the last run; None keeps
                those.

        Returns:
            How many of `carry` and `sets` could not be kept, see above; of too many those that come
            last.

        Raises:
            OSError: naming the position file, which is untouched.
            ValueError: it is committed.
        """

    def commit(self, carry: Mapping[str, float] | None = None) -> None:
        """Put the position and the numbers in place together, by one rename(2), and unlock.

        Args:
            carry: as for `stage`; None when they are staged, or when none is to change.

        Raises:
            OSError: naming the position file, which is untouched.
            ValueError: it is committed.
        """

@final
class AccessTally:
    """The figures of some lines of access logs."""

    @property
    def total(self) -> int:
        """Lines that were counted."""

    @property
    def classes(self) -> list[int]:
        """Lines by status: 1xx, 2xx, 3xx, 4xx but 499, 499, 5xx, any other."""

    @property
    def latency_count(self) -> int:
        """Lines that have a time taken."""

    @property
    def latency_mean(self) -> float:
        """The mean of their times, seconds, from exact sums; 0 when there are none."""

    def quantiles(self, fractions: list[float]) -> list[float]:
        """Exact quantiles of the times, seconds; empty when there are none.

        Args:
            fractions: each from 0 to 1; the index is round_half_away(n * fraction) - 1.
        """

    def histogram(self, edges: list[float]) -> list[int]:
        """How many times lie between ascending edges, seconds.

        Returns:
            One more than `edges`: below the first, from each edge to below the next, from the
            last on.
        """

    def merge(self, other: AccessTally) -> None:
        """Add the figures of `other`, which is empty afterwards."""

@final
class AccessScan:
    """What one access log gave since the previous run."""

    @property
    def report(self) -> FollowReport: ...
    @property
    def lines(self) -> int:
        """Lines seen, those that do not count included."""

    @property
    def refused_lists(self) -> int:
        """Lines that were counted without their time, since that is a list."""

    @property
    def format(self) -> str:
        """The format it was read as; the detected one for ``auto``."""

    @property
    def found(self) -> tuple[str | None, str, str, str] | None:
        """What ``auto`` has found: the envelope, the keys of status and time, its unit."""

    @property
    def bad_lines(self) -> list[tuple[str, int]]:
        """Why lines could not be counted, and how many."""

    @property
    def bad_example(self) -> tuple[str, builtins.bytes] | None:
        """The first of them: why, and its beginning."""

    @property
    def tally(self) -> AccessTally:
        """The figures of all lines."""

    @property
    def groups(self) -> list[tuple[_GroupOf, AccessTally]]:
        """The figures of each group, the largest first and the pool last."""

@final
class AccessLine:
    """What was made of one line of an access log."""

    @property
    def envelope(self) -> str | None:
        """What stood around it."""

    @property
    def line(self) -> builtins.bytes:
        """The line itself."""

    @property
    def format(self) -> str:
        """The format it was read in."""

    @property
    def keys(self) -> list[builtins.bytes]:
        """The keys that were looked for: of the time, then those of the status."""

    @property
    def fields(self) -> list[tuple[builtins.bytes, builtins.bytes, str | None]]:
        """(name, text, what it was taken as: ``time``, ``status``, ``group`` or None)."""

    @property
    def unit(self) -> str:
        """The unit of its time; ``its own``, ``a list``, or empty where it is none."""

    @property
    def status(self) -> int | None:
        """As what it counts; None where it does not."""

    @property
    def seconds(self) -> float | None:
        """The time that it counts with, if it has one."""

    @property
    def reason(self) -> str | None:
        """Why it cannot be read; without one and without a status the filter leaves it out."""

class _AccessOptions(Protocol):
    """What to read from each line; `kojuto.tools.axslog.AccessOptions` are such."""

    format: str
    envelope: str | None
    regex: str | None
    log_format: str | None
    time_field: str | None
    finds_keys: bool
    ptime_key: str
    status_keys: list[str]
    by: str | None
    max_groups: int
    filter: str | None
    invert_filter: bool
    skip_until_json: bool
    time_scale: float
    time_list: str

def explain_access_lines(lines: bytes, options: _AccessOptions) -> list[AccessLine]:
    """Explain each of some lines, ended by newlines, as the beginning of a log.

    Raises:
        ValueError: an option that has no meaning.
    """

def follow_access_logs(
    logs: Sequence[_Log], follow: _FollowOptions, options: _AccessOptions
) -> list[AccessScan | OSError]:
    """Read what was added to access logs since the previous run.

    All logs are locked first. What a log gave counts when its position is committed.

    Returns:
        For each log what it gave, or why it could not be read.

    Raises:
        BlockingIOError: another run is at work; nothing was read.
        ValueError: an option is wrong.
    """

def follow_line_counts(
    logs: Sequence[_Log], patterns: list[tuple[str | None, str | None]], follow: _FollowOptions
) -> list[tuple[int, FollowReport] | OSError]:
    """Count the lines that were added to logs, which are read at the same time.

    What a log gave counts when its position is committed.

    Args:
        logs: the logs.
        patterns: for each log the regular expression that a line must match, and the one that it
            must not.
        follow: how to follow them.

    Returns:
        For each log the lines and the report, or why it could not be read.

    Raises:
        BlockingIOError: another run is at work; nothing was read.
        ValueError: an expression is none.
    """

# -- reports of access logs ---------------------------------------------------------------------

class _ReportOptions(TypedDict, total=False):
    """What to read from logs, and what to make of it; None is as if it were not there."""

    jobs: int
    """Threads; 0 for as many as there are processors."""
    progress: ReportProgress | None
    """Shows another thread how far the scan is."""
    format: str | None
    """`auto` (the default), `ltsv`, `json` or `combined`."""
    regex: str | None
    """The format as a regular expression, whose named groups are the fields."""
    log_format: str | None
    """The format in nginx's or Apache's words."""
    envelope: str | None
    """`auto` (the default), `none`, `docker`, `cri`, `journald` or `syslog`."""
    time_field: str | None
    """Which field is the time taken where fields have no keys: `last`, `none`, a number, a name."""
    keys: Mapping[str, str] | None
    """Keys that are given instead of found, by what they are for: `request_time`, `status`,
    `request`, `uri`, `method`, `bytes`, `time` (when), `host`."""
    time_unit: str | None
    """`s`, `ms`, `us` or `ns`, for times without a unit of their own."""
    fold: bool | None
    fold_above: int | None
    query: str | None
    """`drop` (the default), `keys` or `keep`."""
    query_values: Sequence[str] | None
    """Parameters that stay with their values."""
    matches: Sequence[str] | None
    """Regular expressions that name endpoints, `REGEX` or `REGEX=>NAME`."""
    routes: Sequence[str] | None
    """Lines with templates of paths, as frameworks print them."""
    group_by: Sequence[str] | None
    """Fields whose values name the rows: names of `keys`, `path` (alone or behind `method`), or
    fields of the log."""
    where: str | None
    """`status >= 500 and uri ~ ^/api`: only such lines."""
    since_s: float | None
    """Only lines from this moment on, seconds since the epoch."""
    until_s: float | None
    """Only lines before this moment."""
    zone_s: int | None
    """How far the clock of moments without a zone is ahead of UTC, seconds."""
    slowest: int | None
    """How many of the slowest lines are kept (10)."""
    capacity: int | None
    """How many keys a thread keeps apart at most (120,000); several share half as many again."""

@final
class ReportProgress:
    """How far a scan is, for another thread to look at."""

    def __new__(cls) -> ReportProgress: ...
    @property
    def bytes(self) -> int:
        """Bytes of the files that were read, of compressed ones as they are."""

    @property
    def total_bytes(self) -> int:
        """How many there are; pipes are not counted, and what is added later is not."""

    @property
    def lines(self) -> int:
        """Lines that were read."""

    def add(self, read: int, total_bytes: int) -> None:
        """Add bytes that are read elsewhere."""

@final
class ReportData:
    """What was counted of some logs. Parts are put together in any order.

    Columns are `count`, `timed` (lines with a time), `1xx`, `2xx`, `3xx`, `4xx` (without 499),
    `499`, `5xx`, `other_status`, `sum`, `min`, `max`, `avg`, `stddev` (seconds; None without
    times), `bytes`, and one for each percentile, `p99.9`.
    """

    def facts(self) -> dict[str, Any]:
        """What the logs were, and what was read of them.

        Returns:
            `lines` (all that were read), `left_out` (by `where` and the window of time), `bad`
            (reason to count), `first_bad` (bytes or None), `from_s` and `to_s` (seconds since the
            epoch or None), `zone_s` (of the log, or None), `format`, `envelope` (or None), `keys`
            (what for to (key, unit)), `files` (that were read), `twice` (named more than once),
            `failed` ((name, why)), `hosts` (up to 16), `other` (`count`, `sum`, `off_by`: what was
            dropped, and how far a count can be off), `resolution_s` (of the times, or None),
            `group_by`.
        """

    def columns(self, percentiles: Sequence[float]) -> dict[str, list[Any]]:
        """Lists with an entry for each endpoint: those with most time first, then most lines.

        Returns:
            `endpoint` (bytes), with `group_by` the fields by their names too (bytes), the columns,
            and `example` (the target of the slowest line, bytes).
        """

    def total(self, percentiles: Sequence[float]) -> dict[str, Any]:
        """The columns of all lines."""

    def timeline(self) -> list[dict[str, Any]]:
        """What came when, of all lines: up to 64 slices of one width, empty ones left out.

        Returns:
            Of each `start_s`, `width_s`, `count`, the classes of statuses, and `steps`: how many
            times are from 1.25^step microseconds to below 1.25^(step + 1); -1 is below a
            microsecond.
        """

    def map(self, endpoint: builtins.bytes | str) -> list[dict[str, Any]] | None:
        """The same of one of the 300 costliest endpoints, in up to 32 slices; None for others."""

    def slowest(self) -> list[dict[str, Any]]:
        """The slowest lines, the slowest first.

        Returns:
            Of each `time_s`, `at_s` (or None), `method`, `target`, `status` and `endpoint`.
        """

    def fail(self, name: str, why: str) -> None:
        """Take note of a log that could not be read."""

    def merge(self, other: ReportData) -> None:
        """Add what another has counted.

        Raises:
            ValueError: the endpoints of the other are named by other options; nothing was added.
        """

    def to_bytes(self) -> builtins.bytes:
        """The report as a file: the same bytes for the same lines, however they came together."""

    @staticmethod
    def from_bytes(data: builtins.bytes, files: Sequence[str] = ...) -> ReportData:
        """Read a file, or several behind each other.

        Args:
            data: the content.
            files: the names of the logs that it is of, for `facts()`.

        Raises:
            ValueError: it is none, or damaged, or its parts cannot be put together.
        """

@final
class ReportLive:
    """Logs that are followed, and the lines of the last so much time.

    A file is followed by its name through every rotation, and need not be there yet; of one that is
    there, the lines that the window still covers are read first. A pipe is read to its end.

    Args:
        paths: the logs; ``-`` is standard input.
        window_s: lines of so many seconds are kept, and up to a thirtieth more.
        options: those of `report_scan` but for `since_s`, `until_s`, `jobs` and `progress`.

    Raises:
        ValueError: an option cannot be so.
        OSError: a pipe cannot be opened.
    """

    def __new__(cls, paths: Sequence[str], window_s: float, **options: Any) -> ReportLive: ...
    def read(self, now_s: float) -> bool:
        """Take in what has come by now, without waiting for more.

        Args:
            now_s: seconds since the epoch.

        Returns:
            Whether `data` is different since.
        """

    def data(self) -> ReportData:
        """All that is in the window."""

    def states(self) -> list[tuple[str, str | None, str | None, bool]]:
        """How each log fares.

        Returns:
            Its name, why nothing can be read of it now, what was last to be told of it (that lines
            were lost, say), and whether nothing more can come.
        """

    def descriptors(self) -> list[int]:
        """What is readable when there is something to read: the pipes that have not ended."""

@final
class LineScan:
    """Logs whose lines can be read as columns, each time from their beginning.

    Args:
        paths: files, `-` for standard input.
        columns: `time`, `method`, `path`, `uri`, `request`, `host`, `status`, `bytes`,
            `request_time`, or keys of the log.
        batch_rows: so many rows a batch has at most.
        options: those of `report_scan`.

    Raises:
        ValueError: an option is wrong.
        TypeError: there is no such option.
    """

    def __new__(
        cls,
        paths: Sequence[str],
        columns: Sequence[str],
        batch_rows: int,
        **options: Unpack[_ReportOptions],
    ) -> LineScan: ...
    def stream(self) -> Any:
        """The lines as what `__arrow_c_stream__` returns."""

    @property
    def bad(self) -> dict[str, int]:
        """Lines of the last stream that was read to its end which could not be read, by reason."""

def report_compare(
    old: Sequence[ReportData],
    new: Sequence[ReportData],
    percentiles: Sequence[float],
    fail_above: float | None = None,
) -> dict[str, Any]:
    """Tell which endpoints have changed by more than noise.

    Mann-Whitney's statistic, its variance from slices of time, Student's t, Holm over endpoints.

    Args:
        old: the runs before.
        new: the runs after, counted in the same way.
        percentiles: those of the columns.
        fail_above: by how much an endpoint may be slower; 0.1 is 10 %.

    Returns:
        `old` and `new` (`from_s`, `to_s`, `length_s` of all runs, `files`), `all` and `endpoints`:
        of each its `endpoint` (bytes; not in `all`), `old` and `new` (the columns, or None),
        `verdict` (failing, slower, faster, same, unknown, new, gone), `moved` (median, tail or
        None) and `above`; `unknown_share` of the old time.

    Raises:
        ValueError: the keys of the runs are not made in one way.
    """

REPORT_HEAD_BYTES: int
"""How much of the beginning of a log is looked at before it is read."""

def report_envelope(head: builtins.bytes, **options: Unpack[_ReportOptions]) -> str | None:
    """What stands around the lines of a log that begins so; one that has such cannot be cut.

    Args:
        head: its first `REPORT_HEAD_BYTES`.

    Raises:
        ValueError: an option is wrong.
        TypeError: there is no such option.
    """

def report_scan(
    logs: Sequence[str | tuple[str, str, int, int | None] | tuple[int, str, builtins.bytes]],
    **options: Unpack[_ReportOptions],
) -> ReportData:
    """Count the lines of logs.

    Args:
        logs: files, `-` for standard input; gzip, Zstandard, xz, bzip2 and lz4 are unpacked. What
            cannot be read is told by `facts()["failed"]`. Or a plain file, its name in messages and
            two places: the lines that begin from one on and before the other (None: before its
            end). Or a descriptor, the name of the log in messages, and its first
            `REPORT_HEAD_BYTES`: all of a packed log, or whole lines of any part.

    Raises:
        ValueError: an option is wrong.
        TypeError: there is no such option.
    """

# -- Arrow ------------------------------------------------------------------------------------

def arrow_stream(columns: Sequence[tuple[str, str, Sequence[Any]]]) -> Any:
    """A table as what `__arrow_c_stream__` returns, in one batch.

    Args:
        columns: of each its name, what it holds (``text``, ``whole`` or ``real``), and its values,
            None for null.

    Raises:
        ValueError: the columns have different lengths.
        TypeError: a value is not what its column holds.
    """

def arrow_file(columns: Sequence[tuple[str, str, Sequence[Any]]]) -> builtins.bytes:
    """The same table as an IPC stream: schema, batch, end."""

# -- numbers ------------------------------------------------------------------------------------

MAX_SKETCH_BYTES: int
"""No sketch file is larger."""

def packed_by(head: builtins.bytes) -> tuple[str | None, bool]:
    """What a file is that begins so.

    Args:
        head: its first ten bytes, or fewer.

    Returns:
        The program that packed it (``gzip``, ``xz``, ``zstd``, ``bzip2``, ``lz4``), None when it is
        not compressed; and whether more bytes may tell.
    """

@final
class Sketch:
    """Numbers of which every quantile is known within an accuracy, in a few KiB.

    It is `kojuto.Sketch`. Count, sum, smallest and largest number are exact, and a quantile is no
    farther than `accuracy`, relatively, from the number at its place (Masson, Rim, Lee, "DDSketch",
    2019). Numbers may be negative; what is not finite is refused, as a line of ``percentile`` is
    that holds no number.

    Sketches of parts merge, in any order, into the sketch of the whole. `bytes(sketch)` are the
    file that ``percentile --sketch`` writes. It pickles, and threads may share it.

    Args:
        accuracy: the relative error of a quantile, 0.001 to 0.2; 0.01 is 1 %.

    Raises:
        ValueError: `accuracy` is out of these bounds.

    Example:
        >>> from kojuto import Sketch
        >>> sketch = Sketch()
        >>> sketch.extend(range(1, 1001))
        >>> sketch.count, sketch.sum, sketch.min, sketch.max
        (1000, 500500.0, 1.0, 1000.0)
        >>> abs(sketch.quantile(0.99) / 990 - 1) < 0.01
        True
    """

    def __new__(cls, accuracy: float = 0.01) -> Sketch: ...
    @property
    def accuracy(self) -> float:
        """The relative error of a quantile, at most; 0.01 is 1 %."""

    @property
    def count(self) -> int:
        """How many numbers were added."""

    @property
    def sum(self) -> float:
        """Their sum, exact until it is rounded once to a double."""

    @property
    def min(self) -> float | None:
        """The smallest, None when there are none."""

    @property
    def max(self) -> float | None:
        """The largest, None when there are none."""

    def add(self, x: float) -> None:
        """Add a number.

        Raises:
            ValueError: it is infinite or not a number.
            TypeError: it is no number at all.
        """

    def extend(self, values: Iterable[float] | Buffer | _ArrowArray | _ArrowStream) -> None:
        """Add numbers, all of them or, when one is refused, none.

        Args:
            values: any iterable; a buffer of one dimension (``array.array``, NumPy); or an array
                or column of Arrow's (pyarrow, Polars, pandas) by the PyCapsule protocol, whose
                nulls are left out. A buffer and Arrow's arrays are read without a Python object
                for each number.

        Raises:
            ValueError: one is infinite or not a number.
            TypeError: one is no number at all.
        """

    def quantile(self, q: float) -> float | None:
        """The number at place round(n * q) of the n sorted ones, as ``percentile`` counts places.

        Args:
            q: 0 (the smallest) to 1 (the largest); 0.5 is the median.

        Returns:
            None when there are no numbers.

        Raises:
            ValueError: `q` is below 0 or above 1.
        """

    def merge(self, other: Sketch) -> None:
        """Add all that another sketch has counted.

        Raises:
            kojuto.errors.AccuracyError: it is of another accuracy (a ValueError); nothing is added.
        """

    def __add__(self, other: Sketch, /) -> Sketch: ...
    def __radd__(self, other: Sketch, /) -> Sketch: ...
    def __bytes__(self) -> builtins.bytes: ...
    @classmethod
    def from_bytes(cls, content: builtins.bytes) -> Sketch:
        """A sketch as `bytes(sketch)` or ``percentile --sketch`` gave it.

        Args:
            content: one, or several behind each other, which are merged.

        Raises:
            kojuto.errors.GroupsError: they are of groups (``--by``; a ValueError).
            ValueError: it is none, or damaged, or they are of different accuracies.
        """

    def __reduce__(self) -> tuple[Callable[[builtins.bytes], Sketch], tuple[builtins.bytes]]: ...

@final
class Numbers:
    """Numbers read from descriptors or out of sketches, by group, kept whole or in sketches.

    Args:
        key: read this field of LTSV or JSON lines; None reads one number a line.
        by: group by this field.
        form: ``ltsv`` or ``json``; None goes by each file's first line.
        max_groups: what more groups there are is pooled.
        accuracy: keep sketches of this relative accuracy (0.001 to 0.2), not the numbers.
        strict: stop reading soon after the first bad line.

    Raises:
        ValueError: an empty key, or an accuracy out of bounds.
    """

    def __new__(
        cls,
        *,
        key: builtins.bytes | None = None,
        by: builtins.bytes | None = None,
        form: str | None = None,
        max_groups: int = 1000,
        accuracy: float | None = None,
        strict: bool = False,
    ) -> Numbers: ...
    @property
    def accuracy(self) -> float | None:
        """The relative accuracy of the sketches, when there are any."""

    @property
    def by(self) -> builtins.bytes | None:
        """The key that parts the groups of what was read or merged; None without groups."""

    @property
    def bytes(self) -> int:
        """How many bytes were read."""

    def read(self, fd: int, name: str, for_s: float | None = None) -> bool:
        """Read a descriptor to its end, or for some seconds.

        Returns:
            False when the time is over and there may be more.

        Raises:
            OSError: with `name` as the file's name.
        """

    def unpack(self, fd: int, name: str, head: builtins.bytes, taken: builtins.bytes) -> bool:
        """Read what gzip, xz or zstd packed to its end, or to the first bad line with `strict`.

        Args:
            fd: a descriptor.
            name: its name for errors.
            head: how the file begins, see `packed_by`.
            taken: what of it was read from the descriptor already.

        Returns:
            False when none of them packed it: nothing was read.

        Raises:
            OSError: with `name` as the file's name; without a number and a name for a file that is
                damaged, with what is wrong.
        """

    def feed(self, data: builtins.bytes) -> bool:
        """Take bytes that were read elsewhere; False when no more are wanted."""

    def finish(self) -> tuple[int, int, int, builtins.bytes]:
        """End a file: lines, bad lines, the number of the first bad one and its beginning."""

    def summaries(
        self, fractions: Sequence[float]
    ) -> list[tuple[_GroupOf | None, int, float, float, float, list[float]]]:
        """Group (None without groups), count, max, mean, min and quantiles, largest group first.

        Args:
            fractions: 0 to 1, the quantiles to find.
        """

    def histogram(self, group: int, edges: Sequence[float]) -> list[int]:
        """How many numbers of a group lie between each two edges, the last edge included.

        Args:
            group: its place in the list of `summaries`.
            edges: ascending.
        """

    def sketch(self) -> builtins.bytes | None:
        """The bytes of the file: a sketch, or one for each group; None without an accuracy."""

    def merge(self, data: builtins.bytes, last: bool) -> int:
        """Add the sketches of a file; the first one sets the accuracy when none was given.

        Args:
            data: the file, or a piece of it that begins with a sketch.
            last: whether the file ends with it.

        Returns:
            How many bytes of `data` were sketches that stand in it whole: all of the last piece.

        Raises:
            kojuto.errors.AccuracyError: one is of another accuracy.
            kojuto.errors.GroupsError: one is of a group of another key, or of none.
            ValueError: one is damaged, or no sketch.
        """

# -- Postfix logs -------------------------------------------------------------------------------

class _ScanOptions(Protocol):
    """What to count; `kojuto.tools.postfix_log.ScanOptions` are such."""

    programs: list[str]
    syslog_name: str | None
    by_relay: bool
    by_dsn: bool
    max_groups: int
    edges: list[float]

@final
class PostfixFigures:
    """The figures of a group of deliveries."""

    @property
    def total(self) -> int:
        """All deliveries, whatever their class."""

    @property
    def classes(self) -> list[int]:
        """Those of the DSN classes 2, 4 and 5."""

    @property
    def delays(self) -> list[tuple[float, float, float, float]] | None:
        """Average, 99th, 95th and 90th percentile of each delay, seconds; None without deliveries.

        The five are: total, before the queue manager, in it, connection, transmission.
        """

    @property
    def histograms(self) -> list[list[int]] | None:
        """How many of each delay lie between the edges of the options, as `AccessTally.histogram`.

        None without edges, and for a relay.
        """

@final
class PostfixScan:
    """What one run over a mail log has found."""

    @property
    def report(self) -> FollowReport:
        """What following the log gave."""

    @property
    def deliveries(self) -> PostfixFigures | None:
        """All deliveries; None when no program asked for makes any."""

    @property
    def relays(self) -> list[tuple[_GroupOf, PostfixFigures]]:
        """(host in small letters, figures), most deliveries first, the pool last."""

    @property
    def dsns(self) -> list[tuple[str, int]]:
        """(DSN, count), most frequent first, the pool ``other`` last."""

    @property
    def activity(self) -> list[tuple[str, int]] | None:
        """(event, count); None when no program asked for is counted so."""

    @property
    def others(self) -> list[tuple[str, int]]:
        """(name, deliveries) of the same daemons under syslog names that are not asked for."""

    @property
    def bad_lines(self) -> list[tuple[str, int]]:
        """(reason, count) of deliveries that could not be read."""

    @property
    def bad_example(self) -> tuple[str, builtins.bytes] | None:
        """The first of them: (reason, the line's beginning)."""

def check_syslog_name(text: str) -> None:
    """Refuse what is no regular expression for a syslog name.

    Raises:
        ValueError: with what is wrong.
    """

def follow_postfix_log(log: _Log, follow: _FollowOptions, options: _ScanOptions) -> PostfixScan:
    """Count what was added to a mail log since the last run.

    It counts when the position is committed.

    Args:
        log: the log.
        follow: how to follow it.
        options: what to count.

    Raises:
        BlockingIOError: another run holds the position file.
        OSError: the log or the position file; nothing was counted then.
        ValueError: syslog_name is no regular expression.
    """

# -- ping ---------------------------------------------------------------------------------------

def ping_hosts(
    names: Sequence[str],
    *,
    count: int,
    timeout_ms: float,
    interval_ms: float,
    pace_ms: float,
    deadline_ms: float,
    payload_bytes: int,
    family: int = 0,
    linger: bool = False,
    source: str | None = None,
    interface: str | None = None,
    dont_fragment: bool = False,
    tos: int | None = None,
) -> list[PingOutcome]:
    """Find and ping all hosts side by side, one packet at a time to each.

    Names are asked for while the others are pinged already, both families at once.

    Args:
        names: host names or literal addresses.
        count: counted round trips for each, after one that warms up.
        timeout_ms: how long to wait for each reply.
        interval_ms: the pause after a reply or its time-out.
        pace_ms: the least time between any two requests.
        deadline_ms: when all ends, counted from the call.
        payload_bytes: size of a request's payload.
        family: 4, 6, or 0 for IPv4 when the name has one (and `source` is none of IPv6), else IPv6.
        linger: wait a little for late and repeated replies to the last request.
        source: the address that the packets come from.
        interface: the interface that they leave by.
        dont_fragment: whether no router may cut them.
        tos: their type of service or traffic class.

    Returns:
        What came of each host, in their order.

    Raises:
        PermissionError: neither an unprivileged ICMP socket nor a raw one is allowed.
        OSError: `source` or `interface` (its filename) is none of this machine, or other causes.
        ValueError: a time, the family or the source is none.
    """

@final
class PingOutcome:
    """What came of one host."""

    @property
    def address(self) -> str | None:
        """The address that was pinged."""
    @property
    def addresses(self) -> int:
        """How many addresses of that family the name has."""
    @property
    def unresolved(self) -> str | None:
        """Why there is no address; then nothing was sent."""
    @property
    def rtts_ms(self) -> list[float | None]:
        """Milliseconds of each counted request in the order sent, None where it was lost."""
    @property
    def queues_ms(self) -> list[float]:
        """Milliseconds that counted requests stood in this machine's own queue."""
    @property
    def duplicates(self) -> int:
        """Replies that came again."""
    @property
    def late(self) -> int:
        """Replies that came after their time-out; they stay lost."""
    @property
    def stamped(self) -> int:
        """Round trips that the kernel stamped at both ends."""
    @property
    def undecided(self) -> int:
        """Requests that waited for their reply at the deadline."""
    @property
    def unsent(self) -> int:
        """Requests that were never sent before it."""
    @property
    def held_back(self) -> int:
        """How often this machine had no room to send one."""
    @property
    def reasons(self) -> dict[str, int]:
        """Why requests were lost, and how often."""
    @property
    def strangers(self) -> dict[str, int]:
        """Addresses that replies came from though others were asked; these do not count."""
    def quantiles(self, fractions: list[float]) -> list[float]:
        """The quantiles (0 to 1) of the round trips; empty when all were lost."""

# -- sabo ---------------------------------------------------------------------------------------

def set_budget(work_dir: str, max_bandwidth: int, rate: int) -> tuple[int, int]:
    """Set the rate of the running members of a budget; it holds until the last of them ends.

    Args:
        work_dir: the directory of the lock files.
        max_bandwidth: what the members were started with, in bytes a second.
        rate: bytes a second of all of them together from now on.

    Returns:
        How many members follow it within a second (nothing is set for none), and how many are of
        another program and go on as they were.

    Raises:
        OSError: the directory is missing or cannot be written.
    """

@final
class Budget:
    """One member's part of a budget of bytes a second, shared by lock files in a directory.

    Args:
        max_bandwidth: bytes a second of all members together.
        work_dir: the directory of the lock files; None for a budget that nobody shares.
        weight: how many shares this member takes.
        min_share: bytes a second below which this member does not go.
        burst: bytes that may be saved while nothing passes (at least 40 ms of the share are).

    Raises:
        OSError: the directory is missing, read-only or full.
    """

    def __new__(
        cls,
        max_bandwidth: int,
        work_dir: str | None = None,
        *,
        weight: int = 1,
        min_share: int = 0,
        burst: int = 0,
    ) -> Budget: ...
    @property
    def share(self) -> int:
        """Bytes a second that this member may pass now; 0 while `pump` runs and after `close`."""

    @property
    def members(self) -> int:
        """Live members, this one included; 0 while `pump` runs and after `close`."""

    @property
    def last(self) -> tuple[int, float, int, int] | None:
        """How far the last `pump` came: bytes, seconds, share, members."""

    def warnings(self) -> list[str]:
        """What should be told since the last call (the directory vanished, for one)."""

    def take(self, want: int) -> int:
        """Wait until bytes may pass and take them: at least 1, at most `want`."""

    def give_back(self, count: int) -> None:
        """Give back bytes that were taken and then did not pass."""

    def close(self) -> None:
        """Leave the budget."""

    def pump(
        self,
        input_fd: int,
        output_fd: int,
        on_event: Callable[..., object],
        report_every_s: float | None = None,
    ) -> int:
        """Move bytes from one descriptor to the other until the input ends or a signal comes.

        Args:
            input_fd: read from; a pipe is spliced where the other end allows.
            output_fd: written to.
            on_event: called with "warning" and a text, or with "tick" (the interval is over) or
                "asked" (SIGUSR1) and (bytes, seconds, share, members).
            report_every_s: the interval of "tick"; None for never.

        Returns:
            0 at the end of the input, else the signal (SIGTERM, SIGINT) that ended it; everything
            that was read is then written.

        Raises:
            OSError: with "standard input" or "standard output" as its file name.
        """

# -- relaxlogs ----------------------------------------------------------------------------------

def check_log_pattern(text: str) -> None:
    """Check a file name pattern.

    Raises:
        ValueError: it is none; the text says why.
    """

class _RotateOptions(Protocol):
    """Where the lines go and what stays; `kojuto.common.rotate.RotateOptions` are such."""

    directory: str | None
    pattern: str
    mode: int
    link: str | None
    utc: bool
    rotation_minutes: int
    max_file_bytes: int | None
    max_age_s: float | None
    max_files: int | None
    max_total_bytes: int | None
    compress: str | None
    on_rotate: str | None
    hook_timeout_s: float
    with_time: bool
    buffer_bytes: int
    on_full: str
    fsync_s: float | None
    stop_timeout_s: float
    hand_over: bool

def rotate_lines(
    options: _RotateOptions,
    on_event: Callable[[str], object],
    *,
    signals: bool = True,
    ignored: list[int] = ...,
    input_fd: int = 0,
    output_fd: int = 1,
) -> tuple[int, int, int]:
    """Write the lines of a descriptor to dated files until it ends or a signal asks for the end.

    Args:
        options: the files, and what happens when they cannot be written.
        on_event: called with a text that the user should see.
        signals: whether signals mean anything; without them only the end of the input ends it.
        ignored: signals (SIGINT, SIGTERM) that are left alone.
        input_fd: read from.
        output_fd: written to without a directory.

    Returns:
        The signal that ended it (0 at the end of the input), lines dropped that no event told of,
        bytes not written.

    Raises:
        BlockingIOError: another process writes to the directory.
        OSError: naming the file or stream.
    """

# -- servers ------------------------------------------------------------------------------------

@final
class LogWriter:
    """Log lines on standard error, written by a thread of its own.

    Nobody who logs ever waits: up to 8 MiB of lines wait for a slow reader of standard error,
    lines beyond that are dropped and their number is logged.

    Args:
        verbose: connections that say LOCAL in their PROXY header are logged too.
        quiet: connections are logged when they fail only.
    """

    def __new__(cls, *, verbose: bool = False, quiet: bool = False) -> LogWriter: ...
    def write(self, line: bytes) -> None:
        """Queue a line, its line feed included."""

    def write_accesses(self, lines: bytes) -> None:
        """Queue whole lines that tell of accesses; they take half of the room at most."""

    def close(self) -> None:
        """Write what is queued and end the thread."""

@final
class Dump:
    """A dump of what passes through a relay, in the log or in a capture file.

    The relay never waits for it: up to 32 MiB of bytes wait to be dumped, what comes beyond that
    is dropped, counted and logged.

    Args:
        log: where its lines go.
        tcp: hexadecimal lines: 0 none, 1 client to upstream, 2 both directions.
        pings: MySQL pings are shown too.
        mysql: a line for each MySQL command with its answer.
        pcap: a capture file, created with mode 0600 or replaced; ``FILE.1``, ``FILE.2`` … while it
            is in use, ``-`` for standard output.
        pcap_snaplen: so many bytes of a packet, its headers included.
        pcap_max_bytes: a file that has so many is followed by the next; 0 for none.
        pcap_files: so many files are kept.
        pcap_replaces: what is there and in use by nobody may be replaced; else no file is.
        redact: a regular expression over bytes; what matches is shown as asterisks.

    Raises:
        OSError: naming the capture file.
        ValueError: the expression is wrong.
    """

    def __new__(
        cls,
        log: LogWriter,
        *,
        tcp: int = 0,
        pings: bool = False,
        mysql: bool = False,
        pcap: str | None = None,
        pcap_snaplen: int = 262144,
        pcap_max_bytes: int = 0,
        pcap_files: int = 10,
        pcap_replaces: bool = True,
        redact: str | None = None,
    ) -> Dump: ...
    def close(self) -> None:
        """Write what is queued and end the thread."""

@final
class TlsStream:
    """The client's side of a TLS connection (1.2 or 1.3, ALPN ``http/1.1``), after its handshake.

    Neither the handshake nor a call holds the GIL. Certificates are checked for the name, the
    time and the way to a trusted one.

    Args:
        fd: a connected socket; a copy of the descriptor is used and the socket is left
            non-blocking.
        server_name: the host name or IP address that the server's certificate must be for.
        ca_pem: the certificates to trust; the system's when it is None (``SSL_CERT_FILE`` and
            ``SSL_CERT_DIR`` name others).
        insecure: trust anybody.
        identity: our certificates and the private key of the first, in PEM, for servers that ask.
        timeout_s: for the handshake, and for each call.

    Raises:
        TimeoutError: the peer does not answer in time.
        OSError: no TLS, or a certificate that is refused; the text says why.
        ValueError: `server_name` is no host name.
    """

    def __new__(
        cls,
        fd: int,
        server_name: str,
        *,
        ca_pem: bytes | None = None,
        insecure: bool = False,
        identity: tuple[bytes, bytes] | None = None,
        timeout_s: float = 60.0,
    ) -> TlsStream: ...
    def recv(self, limit: int) -> bytes:
        """Take what is there, at most `limit` bytes; empty at the end.

        Raises:
            TimeoutError, OSError: as above.
            ValueError: the connection was handed to a relay.
        """

    def sendall(self, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            TimeoutError, OSError: as above.
            ValueError: the connection was handed to a relay.
        """

@final
class Relay:
    """A running TCP relay; all its methods may be called from any thread.

    Args:
        log: where connections are logged.
        connect_timeout_s: for each attempt to reach an upstream; 0 leaves it to the kernel.
        idle_timeout_s: how long a connection may be silent; 0 for ever.
        half_close_timeout_s: the same once one direction has ended.
        header_timeout_s: how long a PROXY header may take.
        trusted: address ranges whose headers are believed; empty for all.
        allow: ranges of the addresses that may connect, a PROXY header's where there is one; empty
            for all.
        deny: ranges of those that may not, whatever is allowed.
        probe_upstream: connect a client whose header says LOCAL although it says nothing more.
        header_out: ``off``, ``v1`` or ``v2``: the PROXY header that upstreams are sent.
        max_connections: the most at a time; 0 for no limit.
        max_attempts: the most upstreams that are tried for one connection; 0 for all.
        threads: 0 for one for each core, at most 4.
        busy_poll_s: while connections say something that often, a thread polls for as long
            instead of sleeping and being woken, on a quarter of the cores at most (one at least,
            never the only one); 0 for never.
        leaving_timeout_s: once the relay is told to stop, how long a connection that has lost one
            direction may be silent, if that is less than the other limits.
        dump: sees all bytes; without one, large transfers are spliced.

    Raises:
        kojuto.errors.ThreadError: the system gives no thread.
        OSError: it gives no descriptor.
        ValueError: an argument is none of its values.
    """

    def __new__(
        cls,
        log: LogWriter,
        *,
        connect_timeout_s: float = 60.0,
        idle_timeout_s: float = 0.0,
        half_close_timeout_s: float = 3600.0,
        header_timeout_s: float = 5.0,
        trusted: Sequence[str] = ...,
        allow: Sequence[str] = ...,
        deny: Sequence[str] = ...,
        probe_upstream: bool = False,
        header_out: str = "off",
        max_connections: int = 0,
        max_attempts: int = 3,
        threads: int = 0,
        busy_poll_s: float = 0.00008,
        leaving_timeout_s: float = 60.0,
        dump: Dump | None = None,
    ) -> Relay: ...
    def add_pool(
        self, balancing: str, *, max_fails: int = 1, fail_timeout_s: float = 10.0, host: str = ""
    ) -> int:
        """Add an empty list of upstreams and return its number.

        Args:
            balancing: ``leastconn``, ``iphash``, ``remotehash``, ``fixed`` or ``first``.
            max_fails: failed attempts in a row after which an address rests, whether it stays in
                the list or comes back to it; 0 for never.
            fail_timeout_s: how long it rests, twice as long each time that it fails again, up to a
                minute; then one connection tries it.
            host: what ``fixed`` hashes.
        """

    def set_upstreams(
        self, pool: int, addresses: Sequence[tuple[str, int]], containers: Sequence[str] = ...
    ) -> None:
        """Replace the list of (IP address, port); open connections go on.

        Args:
            pool: its number.
            addresses: one of one link has the link's number: ``fe80::1%2``; ``unix:/PATH`` and any
                port is a UNIX socket.
            containers: what logs call the container at the address of the same position, if any;
                counts and failures of an address are those of one container.
        """

    def set_settling(self, pool: int, *, settle_s: float, wait_for_upstream: bool) -> None:
        """Set how the new connections of a pool settle.

        Args:
            pool: its number.
            settle_s: how long a connection to an upstream must have stayed open, unless it says
                something, before it is given its first byte; one that is closed earlier counts as
                refused, and the next upstream is tried. 0 for no wait.
            wait_for_upstream: let a client for which there is no upstream wait for one, up to the
                connect time-out.
        """

    def cut(self, pool: int, upstream: tuple[str, int]) -> None:
        """End the connections to one upstream (IP address, port) of a pool with resets."""

    def listen(self, fd: int, name: str, pool: int, *, header_in: str = "off") -> None:
        """Accept on a copy of the listening socket `fd`.

        Args:
            fd: stays the caller's.
            name: how logs call it.
            pool: where its connections go.
            header_in: ``off``, ``optional``, ``lazy`` or ``require``: whether clients send a PROXY
                header; lazy connects to the upstream meanwhile.
        """

    def unlisten(self, pool: int) -> None:
        """Close the listening sockets of a pool; its open connections go on.

        Whoever has a copy of one of them keeps it open.
        """

    def adopt(
        self,
        client: int,
        upstream: int | TlsStream,
        *,
        websocket: str,
        masked: bool,
        remote: str,
        listener: str,
        upstream_name: str,
        client_data: bytes = ...,
        upstream_data: bytes = ...,
        fields: Sequence[tuple[str, str | int]] = ...,
        ping_interval_s: float = 30.0,
        lenient: bool = False,
        grant: str | None = None,
    ) -> None:
        """Take over a connected pair, one side of which speaks WebSocket and has shaken hands.

        Copies of the descriptors are used; the caller closes its own, and leaves the sockets
        non-blocking. The connection is logged, counted, timed and stopped as those that were
        accepted, whatever `max_connections` says. A direction ends by a Close frame with 1000 or
        no code; whatever else ends it is a failure and is shown to the other side as one.

        Args:
            client: the client's connected socket.
            upstream: the upstream's, or TLS with an upstream that speaks WebSocket, which cannot be
                used from Python afterwards.
            websocket: ``client`` or ``upstream``: the side that speaks WebSocket.
            masked: true where we are its client (RFC 6455, section 5.3).
            remote: the client as logs name it: an address with its port, or any text.
            listener: the listener as logs name it.
            upstream_name: the upstream as logs name it.
            client_data: what was read from the client past the handshake.
            upstream_data: the same from the upstream.
            fields: more for the log lines: key, and text or a number that is not negative.
            ping_interval_s: silence of the WebSocket peer before it is sent a ping; when it
                has answered neither of two, the tunnel ends; 0 for never.
            lenient: a WebSocket peer that ends its stream between two frames without a Close frame
                has ended it, not lost it.
            grant: by what right it is open, if that may be taken away: see `grants`.

        Raises:
            OSError: no open descriptor, none left, or the relay was stopped.
            ValueError: an argument is none of its values.
        """

    def grants(self) -> list[tuple[int, str]]:
        """The rights of the open tunnels that were handed over with one, each with a number."""

    def revoke(self, numbers: Sequence[int]) -> None:
        """End the tunnels with these of the `grants`; their WebSocket is closed with 1008."""

    def stop(self) -> None:
        """Stop accepting everywhere; the relay ends with its last connection."""

    def abort(self) -> None:
        """Stop, and end all connections now with resets."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of a relay that was stopped; whether it has ended."""

    def connections(self) -> bytes:
        """The open connections as a JSON document, the oldest first.

        ``connections``: each with ``state`` (``header``, ``connecting``, ``settling``, ``open``,
        ``half-closed`` or ``closing``), ``id``, ``listener``, ``client``, ``upstream`` (once one is
        chosen), ``since`` (seconds since 1970), ``age_s``, ``idle_s``, ``read_bytes`` (from the
        client), ``write_bytes``, and where MySQL is dumped ``user`` and ``db``. The threads of the
        relay tell of some hundreds at a time between their other work; one that does not answer
        within 3 s is left out.
        """

    def stats(self) -> dict[str, Any]:
        """The counters.

        ``open``, ``accepted``, ``succeeded``, ``failed``, ``read_bytes``, ``write_bytes``,
        ``connect_failures``, ``header_failures``, ``refused``, ``probes``, ``pauses``,
        ``connect_us`` with ``connect_times`` and ``connect_bounds_us`` (a histogram),
        ``round_trip_us`` with ``round_trips`` and ``round_trip_bounds_us`` (pings of tunnels), and
        ``upstreams``: each with ``pool``, ``name``, ``container``, ``open``, ``connected``,
        ``failed``, ``up``.
        """

# -- HTTP ---------------------------------------------------------------------------------------

@final
class HttpRequest:
    """A whole request, as `HttpServer` hands it to Python."""

    @property
    def method(self) -> str:
        """``GET`` and so on, as the client wrote it."""

    @property
    def target(self) -> str:
        """The request target with its query, not decoded: ``/has/web/10.0.0.1?dc=tokyo``."""

    @property
    def remote(self) -> str:
        """The client's IP address, IPv4 as such; ``unix:`` on a UNIX socket."""

    @property
    def body(self) -> bytes:
        """The body, within ``max_body_bytes``."""

    def header(self, name: str) -> list[str]:
        """The values of a header, one for each time it was sent; bytes as Latin-1."""

@final
class TokenKeys:
    """Keys any of which may have signed a token, each as `kojuto.common.jwt.for_native` has it."""

    def __new__(cls, keys: Sequence[tuple[str, str | None, bytes | None]]) -> TokenKeys: ...
    def signed_by(self, token: str) -> tuple[int, bytes] | None:
        """The place of the first key that has signed a token, and the payload.

        The claims are not looked at. None says nothing of a token: Python finds out what is wrong
        with it, or that its key is one that is not checked here.
        """

@final
class TokenGate:
    """What a token gate decides without Python, under one state of its configuration.

    At hand of an `HttpServer` it answers ``/``, ``/live`` and the endpoint and checks tokens; only
    a request whose new token is signed or written in a way that it does not read is left to
    Python, which checks the token, tells `admit` or `remember_bad`, and returns `answer` or
    `refuse`. A new configuration is a new gate: what an old one learns late goes to the old one.

    Args:
        log: requests that are refused are logged there, at most 100 in a second, and those that
            are allowed.
        endpoint: the path of the requests, ``/auth``.
        services: of each ``id``; ``rules``: a path (with all below it) and the methods that may
            reach it, none for all; ``keys``: see `kojuto.common.jwt.for_native`; ``freshness_s``:
            how long ago a token may have been issued; ``late_s`` and ``early_s``: allowed
            difference of clocks for exp and the age, and for iat and nbf; ``kinds``: values of
            typ; ``require``: claims with their values; ``shown``: headers with their claims;
            ``renewed``: a token that no key fits is left to Python, which may know a newer one.
        cache_size: good tokens that are kept, and as many bad ones; 0 for none.
        prune_size: how many are dropped when it is full.
        log_allowed: whether requests that are allowed are logged.
        after: the gate whose counters go on.

    Raises:
        ValueError: naming the service and its path.
    """

    def __new__(
        cls,
        log: LogWriter,
        endpoint: str,
        services: Sequence[dict[str, Any]],
        *,
        cache_size: int = 10000,
        prune_size: int = 100,
        log_allowed: bool = True,
        after: TokenGate | None = None,
    ) -> TokenGate: ...
    @staticmethod
    def readings(uri: str) -> list[str]:
        """All that somebody could take the path of a request URI for, the first as it stands.

        Raises:
            ValueError: it is no URI that a client sends; the text says why.
        """

    def judge(self, token: str, now_s: float) -> tuple[str, str, tuple[int, float, float] | None]:
        """What comes of a token: ``good``, ``bad`` for ever, ``refused`` now, ``unsure``.

        With it the reason, and for a good one the service, and from and until when it is good.
        """

    def admit(
        self,
        token: str,
        service: int,
        life: tuple[float, float],
        now_s: float,
        shown: Sequence[str | None],
    ) -> None:
        """Keep a good token from and until a moment, in seconds since 1970.

        `service` counts from 0; `shown` are the texts of the claims that its headers show.
        """

    def remember_bad(self, token: str) -> None:
        """Keep a token that is bad for ever."""

    def answer(
        self, service: int, shown: Sequence[str | None], request: HttpRequest
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """The answer to a request with a good token of this service: 200 or 403."""

    def refuse(self, why: str, request: HttpRequest) -> tuple[int, list[tuple[str, str]], bytes]:
        """The answer to a request whose token was refused: 401."""

    def decide(self, service: int, uri: str, method: str) -> str | None:
        """Why the service may not make this request; None when it may."""

    def stats(self) -> dict[str, int]:
        """The counters.

        Since the first gate: requests ``allowed``, ``forbidden``, ``unauthorized``; tokens found
        (``hits``); refusals not logged (``unlogged``). Now: ``good`` and ``bad`` tokens kept.
        """

@final
class HttpServer:
    """A running HTTP/1.1 server on a few threads, a `Servable`.

    A request is answered from what is at hand without Python; else `answer` is called with it on
    one of `threads` threads and returns (status, headers, body). When it raises, the client gets
    500 and the log a line. Requests over the limits are answered 400, 413 or 431 by themselves,
    503 when too many wait for `answer`.

    Args:
        log: what happens to the server (accepting pauses and goes on) is written there.
        sockets: descriptors of listening stream sockets (TCP or UNIX); copied, so the caller may
            close them.
        answer: called from several threads at a time.
        at_hand: answers without Python.
        header_timeout_s: from a connection's opening, or the first byte of a later request, to
            the end of the headers; as long again for the body; 0 for none, as below.
        idle_timeout_s: silence between two requests of a connection.
        write_timeout_s: how long a client may refuse to take more of an answer.
        max_header_bytes: request line and headers; at least 8192; it is looked at after each
            read, so that up to as much again may pass.
        max_body_bytes: the body.
        pass_over_bodies: bodies are neither judged nor waited for, and where one is announced the
            connection ends with the answer.
        max_connections: at a time; more wait in the queue of the socket; 0 for no limit.
        workers: threads that serve connections; 0 for one for each core, at most 4.
        threads: threads that call `answer`.
        queue: requests that may wait for one of them.
        access_log: called on a thread of its own with batches of whole LTSV lines: ``time``,
            ``host``, ``method``, ``uri`` (without the query), ``protocol``, ``status``, ``size``,
            ``reqtime`` (seconds), ``forwardedfor``, ``vhost``, ``referer``, ``ua``. While it is
            slow, up to 8 MiB wait; what comes then is dropped and counted.
        access_log_json: the lines are JSON instead: ``time``, ``remote_addr``, ``method``,
            ``uri``, ``status`` (0 for 200), ``size``, ``ua``, ``ptime`` (seconds), ``host``,
            ``chocon_req`` (empty).

    Raises:
        kojuto.errors.ThreadError: the system gives no thread.
        OSError: a descriptor is not open.
    """

    def __new__(
        cls,
        log: LogWriter,
        sockets: Sequence[int],
        answer: Callable[[HttpRequest], tuple[int, Sequence[tuple[str, str]], str | bytes]],
        *,
        at_hand: TokenGate | Membership | None = None,
        header_timeout_s: float = 10.0,
        idle_timeout_s: float = 75.0,
        write_timeout_s: float = 30.0,
        max_header_bytes: int = 32768,
        max_body_bytes: int = 0,
        pass_over_bodies: bool = False,
        max_connections: int = 0,
        workers: int = 0,
        threads: int = 2,
        queue: int = 1024,
        access_log: Callable[[bytes], object] | None = None,
        access_log_json: bool = False,
    ) -> HttpServer: ...
    def set_at_hand(self, at_hand: TokenGate | Membership | None) -> None:
        """Put other answers at hand; each request sees the old ones or the new ones."""

    def stop(self) -> None:
        """Stop accepting; connections end with the request that is under way."""

    def abort(self) -> None:
        """End all connections now."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of a server that was stopped; whether it has ended."""

    def stats(self) -> dict[str, int]:
        """The counters.

        ``open`` connections and, since the start, ``accepted`` ones; requests by status (``2xx``
        to ``5xx``), those answered without Python (``quick``) and those ``refused`` with 503;
        connections cut by a time-out (``timeouts``) or ended by an error or a request that is
        none (``errors``); ``pauses`` in accepting; ``log_dropped`` lines.
        """

@final
class Membership:
    """The addresses of watched Consul services, and the answers that follow from them.

    A key is what Consul is asked: ``/v1/health/service/web?passing&dc=tokyo``. An instance is its
    addresses and its tags. May be used from any thread, also as what a `HttpServer` has at hand.

    Args:
        allowed: address ranges that may ask, besides UNIX sockets; none for anybody.
        trusted: address ranges of proxies that are believed; UNIX sockets always are.
        header: ``X-Real-IP`` or ``X-Forwarded-For``, where they name their client.
        stale_limit_s: how long a set may be used once Consul is away.

    Raises:
        ValueError: an argument is none of its values.
    """

    def __new__(
        cls,
        *,
        trusted: Sequence[str],
        header: str,
        allowed: Sequence[str],
        stale_limit_s: float = 0.0,
    ) -> Membership: ...
    @staticmethod
    def key(service: str, query: str) -> str:
        """The key of a service with the parameters of a query (``dc=tokyo``).

        Raises:
            ValueError: the name or a parameter is none, or there is a filter.
        """

    @staticmethod
    def problem(status: int, message: str) -> tuple[int, list[tuple[str, str]], bytes]:
        """An answer that says what is wrong, as (status, headers, body)."""

    def watch(self, key: str) -> None:
        """Make a place for a key."""

    def unwatch(self, key: str) -> None:
        """Forget a key."""

    def put(self, key: str, instances: Sequence[tuple[Sequence[str], Sequence[str]]]) -> bool:
        """Put the instances that Consul has told; whether they are others than before."""

    def put_empty(self, key: str) -> None:
        """A key without a watch has no instance: believed for 5 seconds."""

    def away(self, key: str) -> None:
        """Consul is away from now on, if it was not already."""

    def refuse(self, key: str) -> None:
        """Consul refuses to tell: what was known is not used any more."""

    def idle_s(self, key: str) -> float | None:
        """How long nobody has asked about a key; None when it is not watched."""

    def state(self, key: str) -> tuple[int | None, float | None] | None:
        """How many addresses are known, and how long Consul has been away (None: it is there)."""

    def ask(
        self, request: HttpRequest
    ) -> tuple[str | None, bool, tuple[int, list[tuple[str, str]], bytes] | None]:
        """The answer to a request (None, False and it), or the key to ask Consul.

        With the key comes whether it is to be asked each time, since nothing may watch it.
        """

    def ask_of(
        self, request: HttpRequest, instances: Sequence[tuple[Sequence[str], Sequence[str]]]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """The answer to a request if these are the service's instances."""

    def counts(self) -> dict[str, int]:
        """Answers given: ``yes``, ``no``, of these ``stale``; ``refused`` requests."""

def parse_proxy_header(data: bytes) -> tuple[str, dict[str, Any] | None]:
    """Read the PROXY protocol header (version 1 or 2) at the front of a stream.

    Returns:
        ``("more", None)`` when `data` may be the beginning of one, ``("none", None)`` when it is
        not, else ``("done", header)`` with ``version``, ``length`` (what follows is payload),
        ``local``, ``datagram``, ``checked`` (a CRC32c was there and right), ``tlvs`` (type and
        value) and, unless they are unknown, ``source`` and ``destination``: (address, port), or
        the path of a UNIX socket as bytes.

    Raises:
        ValueError: it begins like a header and is wrong; the text says why.
    """
