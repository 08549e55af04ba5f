"""``percentile``: count, extremes, average and percentiles of numbers."""

from __future__ import annotations

import os
import sys
from time import monotonic

from kojuto.common import cli, streams
from kojuto.common.cli import Command, Option, Values
from kojuto.common.plugin import metrics
from kojuto.common.units import format_size, integer
from kojuto.errors import KojutoError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kojuto._native import Numbers, _GroupOf
    from kojuto.common.prometheus import Family

PROG = "percentile"
MAX_PERCENTILES = 1000
PROGRESS_EVERY_S = 0.5
FEED_BYTES = 1 << 20
SPECIAL = {"other": "pooled", "missing": "no value", "bytes": "no UTF-8"}
"""What the head of a group says of it in the text, when it is not a value as it stands."""
MEMORY_HINT = "--sketch FILE keeps a sketch of a few MiB instead of every number"


def _percentiles(text: str) -> list[tuple[str, float]]:
    """Each percentile as it was written, and as a fraction."""
    found = []
    for part in map(str.strip, text.split(",")):
        try:
            value = float(part)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 100 or not part.isascii() or "_" in part:
            which = f"'{part}' is" if part != text else "this is"
            raise ValueError(f"{which} no percentile (write numbers from 0 to 100: 99.9,99,50)")
        found.append((part, value / 100))
    if len(found) > MAX_PERCENTILES:
        raise ValueError(f"more than {MAX_PERCENTILES} percentiles")
    return found


def _accuracy(text: str) -> float:
    """``1%`` or ``0.01``."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= 0.2:
        raise ValueError("no accuracy (write 1% or 0.01; 0.1% to 20% are possible)")
    return value


COMMAND = Command(
    PROG,
    "Count, largest, average, smallest and percentiles of numbers, one a line, from the files or "
    "from standard input ('-'). Lines that are no number are skipped and counted on standard "
    "error. Files compressed with gzip are read as they are.",
    [
        Option("--percentile-set", metavar="LIST", default="99,95,90,75", read=_percentiles,
               help="the percentiles to show, 0 to 100, fractions such as 99.9 too"),
        Option("--output", metavar="FORM", default="text",
               choices=("text", "json", "prometheus", "openmetrics"),
               help="how to print: text, json, prometheus or openmetrics"),
        metrics.TEXTFILE,
        Option("--plot", help="draw a histogram below the figures"),
        Option("--strict", help="fail at the first line that is no number and name it"),
        Option("--key", metavar="KEY", group="Fields",
               help="read this field of LTSV or JSON lines instead of whole lines"),
        Option("--by", metavar="KEY", group="Fields",
               help="one result for each value of this field, the most frequent first"),
        Option("--format", metavar="FORM", default="auto", choices=("auto", "ltsv", "json"),
               group="Fields", help="how the lines of --key are written: ltsv, json, or auto, by "
               "each file's first line"),
        Option("--max-groups", metavar="N", default="1000", read=integer(1, 1_000_000),
               group="Fields", help="keep so many groups apart; the rest is pooled as 'other'"),
        Option("--sketch", metavar="FILE", group="Many hosts",
               help="keep a small sketch instead of all numbers and write it to FILE ('-': to "
               "standard output, without figures)"),
        Option("--merge", group="Many hosts",
               help="the FILEs are sketches: show the percentiles of all of them together"),
        Option("--accuracy", metavar="PART", default="1%", read=_accuracy, group="Many hosts",
               help="relative error of a sketch's percentiles, 0.1% to 20%; count, "
               "max, avg and min are always exact"),
    ],
    positional="[FILE …]",
    epilog="""
A percentile P of n numbers is the one at place round(n * P / 100) when they are sorted. All
numbers are kept, in 8 bytes each, unless --sketch is given.

Examples:
  cut -f 3 access.tsv | percentile
  percentile --key ptime --by status access.log
  percentile --key ptime --sketch web1.sketch access.log     # on each host
  percentile --merge web1.sketch web2.sketch                 # of all hosts
""",
)  # fmt: skip


def _check(values: Values) -> None:
    """Refuse combinations that have no meaning."""

    def clash(name: str, why: str, hint: str) -> None:
        raise UsageError(f"{name} {why}", hint)

    if values.key is None:
        for name in ("by", "format", "max_groups"):
            if name in values.given:
                title = "--" + name.replace("_", "-")
                clash(title, "needs --key", f"--key FIELD {title} … reads LTSV or JSON lines")
    elif values.by is None and "max_groups" in values.given:
        clash("--max-groups", "needs --by", "--by FIELD makes the groups")
    sketchy = values.merge or values.sketch is not None
    if "accuracy" in values.given and not sketchy:
        clash("--accuracy", "needs --sketch", "without a sketch all figures are exact")
    if values.by is not None and sketchy:
        clash("--by", "cannot go with --sketch or --merge", "a sketch holds one group of numbers")
    if values.merge:
        for name in ("key", "strict"):
            if name in values.given:
                clash(f"--{name}", "cannot go with --merge", "a sketch has no lines to read")
    metrics.check(values)
    if values.plot and values.textfile is not None:
        clash("--plot", "cannot go with --textfile", "a plot is text")
    if values.plot and values.output != "text":
        clash("--plot", f"cannot go with --output {values.output}", "a plot is text")
    if values.sketch == "-":
        if values.plot or values.output != "text":
            clash("--sketch -", "prints the sketch and nothing else", "give it a FILE instead")
        if sys.stdout.isatty():
            clash("--sketch -", "would fill the terminal with bytes", "redirect it: > FILE")


# -- reading ----------------------------------------------------------------------------------


class _Skipped:
    """The lines that were no numbers, over all files."""

    def __init__(self) -> None:
        self.lines = self.bad = 0
        self.first = ""

    def add(self, name: str, report: tuple[int, int, int, bytes], *, strict: bool) -> None:
        lines, bad, line, raw = report
        text = raw.decode(errors="backslashreplace")
        if bad and strict:
            raise KojutoError(
                f"{name}: line {line} is no number: '{text}'",
                "without --strict such lines are skipped and counted",
            )
        if bad and not self.bad:
            self.first = f"line {line} of {name}: '{text}'"
        self.lines += lines
        self.bad += bad

    def tell(self) -> None:
        if self.bad:
            what = "is no number and was" if self.bad == 1 else "are no numbers and were"
            text = f"{self.bad} of {self.lines} lines {what} skipped; the first: {self.first}"
            cli.complain(PROG, text)


def _open(name: str) -> int:
    return 0 if name == "-" else os.open(name, os.O_RDONLY | os.O_CLOEXEC)


def _title(name: str) -> str:
    """The name for messages; a file name need not be text."""
    return "standard input" if name == "-" else os.fsencode(name).decode(errors="replace")


def _read_numbers(numbers: Numbers, names: list[str], *, strict: bool) -> _Skipped:
    skipped = _Skipped()
    for name in names:
        fd = _open(name)
        try:
            head = b"" if name == "-" else _head(fd)
            if head.startswith(b"\x1f\x8b"):
                _read_gzip(numbers, fd, _title(name))
            elif head == b"\x28\xb5\x2f\xfd":
                raise KojutoError(
                    f"{_title(name)}: compressed with zstd",
                    f"zstd -dc {_title(name)} | {PROG} … reads it",
                )
            else:
                _read_plain(numbers, fd, _title(name))
            skipped.add(_title(name), numbers.finish(), strict=strict)
        finally:
            if name != "-":
                os.close(fd)
    return skipped


def _head(fd: int) -> bytes:
    """The first bytes of a regular file; nothing of a pipe, which cannot be read twice."""
    try:
        return os.pread(fd, 4, 0)
    except OSError:
        return b""


def _read_plain(numbers: Numbers, fd: int, title: str) -> None:
    if not _stderr_is_terminal() or os.isatty(fd):
        numbers.read(fd, title)
        return
    from stat import S_ISREG

    about = os.fstat(fd)
    size = about.st_size if S_ISREG(about.st_mode) else 0
    start, before = monotonic(), numbers.bytes
    shown = False
    try:
        while not numbers.read(fd, title, PROGRESS_EVERY_S):
            done = numbers.bytes - before
            line = f"{PROG}: {format_size(done)}"
            if size:
                line += f" of {format_size(size)}, {min(100, 100 * done // size)} %"
            # The name comes last: it may be longer than the terminal is wide.
            streams.progress(f"{line}, {monotonic() - start:.0f} s: {cli.one_line(title)}")
            shown = True
    finally:
        if shown:
            streams.progress("")


def _stderr_is_terminal() -> bool:
    return sys.stderr.isatty()


def _read_gzip(numbers: Numbers, fd: int, name: str) -> None:
    import gzip
    from zlib import error as zlib_error

    try:
        with os.fdopen(os.dup(fd), "rb") as raw, gzip.GzipFile(fileobj=raw) as file:
            while data := file.read(FEED_BYTES):
                if not numbers.feed(data):
                    return
    except (EOFError, zlib_error, gzip.BadGzipFile) as error:
        raise KojutoError(
            f"{name}: damaged gzip file: {error}", f"gzip -t {name} checks it"
        ) from None


def _merge(numbers: Numbers, names: list[str]) -> None:
    from kojuto._native import MAX_SKETCH_BYTES

    for name in names:
        with os.fdopen(_open(name), "rb", closefd=name != "-") as file:
            try:
                data = file.read(MAX_SKETCH_BYTES + 1)
            except OSError as error:
                raise OSError(error.errno, error.strerror, _title(name)) from None
        try:
            numbers.merge(data)
        except ValueError as error:
            hint = "sketches are written by --sketch"
            if "accuracy" in str(error):
                hint = "write all sketches with the same --accuracy"
            raise KojutoError(f"{_title(name)}: {error}", hint) from None


# -- printing ---------------------------------------------------------------------------------


class _Result:
    """The figures of one group."""

    __slots__ = ("avg", "count", "group", "index", "max", "min", "values")

    def __init__(
        self,
        index: int,
        row: tuple[_GroupOf | None, int, float, float, float, list[float]],
        by: str | None,
    ) -> None:
        name, self.count, self.max, self.avg, self.min, self.values = row
        self.index = index
        self.group: metrics.Group | None = None
        if name is not None:
            self.group = metrics.Group(by or "", *name, {"missing": "-", "other": "other"})


def _text(
    results: list[_Result], wanted: list[tuple[str, float]], values: Values, numbers: Numbers
) -> Iterator[str]:
    for result in results:
        if result.group is not None:
            # The pool and a value that is called as it is have heads of their own.
            special = result.group.special
            by = cli.one_line(values.by) + (f" ({SPECIAL[special]})" if special else "")
            yield ("\n" if result.index else "") + f"{by}: {cli.one_line(result.group.text)}\n"
        yield f"count: {result.count}\n"
        yield f"max: {result.max:.4f}\navg: {result.avg:.4f}\nmin: {result.min:.4f}\n"
        for (name, _), value in zip(wanted, result.values, strict=True):
            yield f"{name}pt: {value:.4f}\n"
        if values.plot:
            yield from _plot(result, numbers)


def _plot(result: _Result, numbers: Numbers) -> Iterator[str]:
    from shutil import get_terminal_size

    from kojuto.common import histogram

    def count(edges: Sequence[float]) -> list[int]:
        return numbers.histogram(result.index, edges)

    edges = histogram.edges_for(result.min, result.max, count)
    terminal = sys.stdout.isatty()
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    yield "\n"
    for line in histogram.draw(
        edges,
        count(edges),
        get_terminal_size().columns,
        colour=terminal and not plain,
        unicode=(sys.stdout.encoding or "").lower().replace("-", "") == "utf8",
    ):
        yield line + "\n"


def _group(group: metrics.Group) -> dict[str, str]:
    """A group in the JSON document; `special` marks what is no value of the lines."""
    return {"group": group.text, **({"special": group.special} if group.special else {})}


def _json(
    results: list[_Result],
    wanted: list[tuple[str, float]],
    values: Values,
    skipped: int,
    accuracy: float | None,
) -> str:
    from json import dumps

    def figures(result: _Result) -> dict[str, object]:
        return {
            **({} if result.group is None else _group(result.group)),
            "count": result.count,
            "max": result.max,
            "avg": result.avg,
            "min": result.min,
            "percentiles": {
                name: value for (name, _), value in zip(wanted, result.values, strict=True)
            },
        }

    document: dict[str, object] = (
        figures(results[0])
        if values.by is None
        else {"by": cli.one_line(values.by), "groups": [figures(result) for result in results]}
    )
    if not values.merge:
        document["skipped"] = skipped
    if accuracy is not None:
        document["accuracy"] = accuracy
    return dumps(document, ensure_ascii=False) + "\n"


def _families(
    results: list[_Result], wanted: list[tuple[str, float]], values: Values, source: str
) -> list[Family]:
    """The figures for Prometheus; labels say what the numbers are, so that two runs stay apart."""
    from kojuto.common.prometheus import Family, label_name, number

    value = Family("percentile_value", "summary", "The numbers of this run and their quantiles.")
    most = Family("percentile_max", "gauge", "The largest number.")
    mean = Family("percentile_avg", "gauge", "The average.")
    least = Family("percentile_min", "gauge", "The smallest number.")
    # OpenMetrics has no count of the quantiles once a number is negative.
    many = Family("percentile_numbers", "gauge", "How many numbers there were.")
    about = {"source": source, "key": _shown(values.key or "")}
    group_label = label_name(values.by or "")
    if group_label in ("source", "key", "quantile", "special", "le"):
        group_label = f"by_{group_label}"
    for result in results:
        labels = {**about, **(result.group.labels(group_label) if result.group else {})}
        # 99 and 99.0 are one quantile.
        found = dict(zip((number(part) for _, part in wanted), result.values, strict=True))
        for quantile, figure in found.items():
            value.add(figure, "", {**labels, "quantile": quantile})
        value.add(result.avg * result.count, "_sum", labels)
        value.add(result.count, "_count", labels)
        most.add(result.max, "", labels)
        mean.add(result.avg, "", labels)
        least.add(result.min, "", labels)
        value.negative |= result.min < 0
        many.add(result.count, "", labels)
    return [value, most, mean, least, many]


def _source(names: list[str], textfile: str | None) -> str:
    """The files that were read; of a pipe the name of the textfile tells more."""
    if names == ["-"]:
        return "" if textfile is None else os.path.basename(textfile).removesuffix(".prom")
    return ",".join(map(_shown, names))


def _shown(name: str) -> str:
    """A name for a label: what is no UTF-8 in it is escaped."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _work(values: Values, names: list[str]) -> int:
    wanted = values.percentile_set
    _check(values)
    if not names and os.isatty(0):
        from kojuto.common.helptext import help_text

        streams.say(help_text(COMMAND) + "\n")
        return cli.FAILED
    names = names or ["-"]
    from kojuto._native import Numbers

    # Sketches that are merged bring theirs, unless one is asked for.
    writes = values.sketch is not None and not values.merge
    accuracy = values.accuracy if writes or "accuracy" in values.given else None
    numbers = Numbers(
        key=None if values.key is None else os.fsencode(values.key),
        by=None if values.by is None else os.fsencode(values.by),
        form=None if values.format == "auto" else values.format,
        max_groups=values.max_groups,
        accuracy=accuracy,
        strict=values.strict,
    )
    skipped = _Skipped()
    if values.merge:
        _merge(numbers, names)
    else:
        skipped = _read_numbers(numbers, names, strict=values.strict)
    results = [
        _Result(index, row, values.by)
        for index, row in enumerate(numbers.summaries([fraction for _, fraction in wanted]))
    ]
    skipped.tell()
    _write(values, numbers, results, skipped.bad, names)
    return cli.DONE


def _save(path: str, content: bytes) -> None:
    """Replace a file as a whole; what is no file (/dev/null, a named pipe) is written to."""
    from stat import S_ISREG

    from kojuto._native import write_state

    try:
        is_file = S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        is_file = True
    if is_file:
        # A link stays one: its target is replaced.
        write_state(os.path.realpath(path) if os.path.islink(path) else path, content)
        return
    with open(path, "wb", buffering=0) as file:
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None


def _write(
    values: Values,
    numbers: Numbers,
    results: list[_Result],
    skipped: int,
    names: list[str],
) -> None:
    if values.sketch is None:
        _print(values, numbers, results, skipped, names)
        return
    content = numbers.sketch() or b""
    if values.sketch == "-":
        sys.stdout.buffer.write(content)
        return
    try:
        _print(values, numbers, results, skipped, names)
        sys.stdout.flush()
    finally:  # both are results: neither is lost with the other
        _save(values.sketch, content)


def _print(
    values: Values,
    numbers: Numbers,
    results: list[_Result],
    skipped: int,
    names: list[str],
) -> None:
    wanted: list[tuple[str, float]] = values.percentile_set
    if not results:
        return
    if values.textfile is not None:
        from kojuto.common.plugin.textfile import replace
        from kojuto.common.prometheus import document

        families = _families(results, wanted, values, _source(names, values.textfile))
        replace(values.textfile, document(families))
    elif values.output == "json":
        sketchy = values.merge or values.sketch is not None
        accuracy = numbers.accuracy if sketchy else None
        sys.stdout.write(_json(results, wanted, values, skipped, accuracy))
    elif values.output in ("prometheus", "openmetrics"):
        from kojuto.common.prometheus import document

        families = _families(results, wanted, values, _source(names, None))
        metrics.write_document(document(families, openmetrics=values.output == "openmetrics"))
    else:
        for piece in _text(results, wanted, values, numbers):
            sys.stdout.write(piece)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``percentile`` and return its exit status."""
    return cli.run(COMMAND, _work, argv, memory_hint=MEMORY_HINT)


if __name__ == "__main__":
    sys.exit(main())
