"""mackerel-plugin-axslog: random logs of each format beside the plainest reading in Python."""

from __future__ import annotations

import json
import math
import os
import random
import re
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from kojuto import _native
from kojuto.common import parser
from kojuto.common.plugin.follow import FollowOptions, Log
from kojuto.tools import axslog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kojuto._native import AccessScan

    Row = tuple[str | None, str | None, str | None]
    """The texts of the time taken, the status and the group of a line."""

LOGS = int(os.environ.get("KOJUTO_DIFFERENTIAL_LOGS", "12"))
MICRO = Fraction(1, 10**6)
UNITS = {"ns": MICRO / 1000, "us": MICRO, "µs": MICRO, "ms": MICRO * 1000, "s": Fraction(1),
         "m": Fraction(60), "h": Fraction(3600)}  # fmt: skip
PATHS = ["/", "/a", "/a?b=[1]", "/x y", "/é", "/{", "/a\\b", 'q"q', "other", "/long" * 60]
WORDS = ["", "-", "x", "a b", "[::1]:9000", "{}", "é\u3042", 'say "x"', "back\\slash", "1.5", "|"]


def seconds(text: str) -> Fraction | None:
    """A time as it may stand in a log: a decimal number, or one with units."""
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.A):
        return Fraction(float(text)) if math.isfinite(float(text)) else None
    if re.fullmatch(r"((\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h))+", text, re.A):
        parts = re.findall(r"([\d.]+)(ns|us|µs|ms|s|m|h)", text)
        return sum((Fraction(number) * UNITS[unit] for number, unit in parts), Fraction(0))
    return None


def time_of(text: str, how: str) -> Fraction | None:
    """A time, or what --time-list makes of several."""
    found = seconds(text)
    if found is not None or how == "refuse":
        return found
    if re.search(r"(?<![^, :])\d+,\d[^., :]*(?![^, :])", text, re.A):
        return None  # a decimal comma
    parts = [part.strip() for part in re.split("[,:]", text)]
    times = [seconds(part) for part in parts if part not in ("", "-")]
    known = [time for time in times if time is not None]
    if not times or len(known) < len(times):
        return None
    return {"sum": sum(known, Fraction(0)), "max": max(known), "last": known[-1]}[how]


def a_time(rng: random.Random) -> str:
    return rng.choice(
        [
            f"{rng.random():.3f}", f"{rng.randrange(90)}", f"{rng.random() * 9:.6f}", "0.000",
            f"{rng.randrange(999)}ms", f"{rng.random():.3f}s", f"{rng.randrange(10**6)}us",
            "1m2.5s", f"{rng.random() * 99:.2f}µs", "1e-3", "-", "x", "12 parsecs",
        ]
    )  # fmt: skip


def a_status(rng: random.Random) -> str:
    return rng.choice(["200", "200", "204", "301", "404", "499", "502", "100", "999", "-", "2x"])


def ltsv(rng: random.Random) -> tuple[str, Row]:
    fields = [("host", rng.choice(["h", "-", ""])), ("ua", "a:b c")]
    values = {"ptime": a_time(rng), "status": a_status(rng), "uri": f"/{rng.randrange(6)}"}
    fields += [pair for pair in values.items() if rng.random() < 0.95]
    rng.shuffle(fields)
    line = "\t".join(f"{label}:{value}" for label, value in fields)
    read: dict[str, str] = {}
    for label, value in (field.split(":", 1) for field in line.split("\t")):
        if value not in ("", "-"):
            read.setdefault(label, value)
    return line, (read.get("ptime"), read.get("status"), read.get("uri"))


def json_line(rng: random.Random) -> tuple[str, Row]:
    def value(depth: int) -> object:
        kind = rng.randrange(9 if depth < 3 else 6)
        if kind < 4:
            return rng.choice(WORDS)
        if kind < 6:
            return rng.choice([None, True, 1, 0.5, -3])
        if kind == 6:
            return [value(depth + 1) for _ in range(rng.randrange(4))]
        return {rng.choice(["status", "ptime", "uri", "a"]): value(depth + 1) for _ in range(2)}

    members: list[tuple[str, object]] = [(rng.choice(["a", "b[", "x"]), value(0)) for _ in range(4)]
    time, status = a_time(rng), a_status(rng)
    members += [
        ("ptime", float(time) if re.fullmatch(r"[\d.]+", time) else time),
        ("status", int(status) if status.isdigit() else status),
        ("uri", rng.choice(PATHS)),
    ]
    rng.shuffle(members)
    ascii_only = rng.random() < 0.5
    parts = (
        f"{json.dumps(name)}{gap}:{gap}{json.dumps(value, ensure_ascii=ascii_only)}"
        for (name, value), gap in ((member, rng.choice(["", "", " "])) for member in members)
    )
    line = rng.choice(["", "", "", "2026-01-01T00:00:00Z stdout F "]) + "{" + ",".join(parts) + "}"
    read: dict[str, str] = {}
    pairs = json.loads(
        line[line.index("{") :], parse_int=str, parse_float=str, object_pairs_hook=list
    )
    for name, found in pairs:
        if isinstance(found, str) and found not in ("", "-"):
            read.setdefault(name, found)
    return line, (read.get("ptime"), read.get("status"), read.get("uri"))


def combined(rng: random.Random) -> tuple[str, Row]:
    gap = rng.choice([" ", " ", "  "])
    uri, status = f"/{rng.randrange(6)}", a_status(rng).replace("-", "200").replace("2x", "204")
    time = rng.choice([a_time(rng), ""])
    parts = [
        *rng.choice([["10.0.0.1"], ["www.example.com:80", "10.0.0.1"]]), "-",
        rng.choice(["-", "joe"]), "[10/Oct/2000:13:55:36 -0700]", f'"GET {uri} HTTP/1.1"',
        status, rng.choice(["12", "-"]),
        '"-"', rng.choice(['"ua"', r'"say \"x\" [y]"']),
        *rng.choice([[], [], ["412", '"fwd"']]), *([time] if time else []),
    ]  # fmt: skip
    # A bare integer may be anything; so may a number with an exponent and no point.
    telling = time and " " not in time and ("." in time or not re.fullmatch(r"[\de+-]+", time))
    return gap.join(parts), (time if telling else None, status, uri)


def text(rng: random.Random) -> tuple[str, Row]:
    time, status, uri = a_time(rng).replace(" ", ""), a_status(rng), f"/{rng.randrange(6)}"
    line = f'10.0.0.1 "GET {uri} HTTP/1.1" {status}  rt={time} "{rng.choice(["a b", "-", ""])}"'
    return line, (time, None if status == "-" else status, uri)


def lists(rng: random.Random) -> tuple[str, Row]:
    """LTSV with times as nginx writes them after it has asked several upstreams."""
    time = rng.choice([", ", " : ", ","]).join(a_time(rng) for _ in range(rng.randrange(1, 4)))
    status = a_status(rng)
    line = f"status:{status}\tptime:{time}\turi:/"
    time_text = None if time == "-" else time
    return line, (time_text, None if status == "-" else status, "/")


LOG_FORMAT = '$remote_addr "$request" $status rt=$request_time "$http_user_agent"'
APACHE = '%h %l %u %t "%r" %>s %b %D "%{User-Agent}i"'


def apache(rng: random.Random) -> tuple[str, Row]:
    """Apache's words; %D is microseconds."""
    micros, uri = rng.choice(["-", str(rng.randrange(10**7))]), f"/{rng.randrange(6)}"
    status = a_status(rng).replace("2x", "204")
    line = (
        f"10.0.0.1 - {rng.choice(['-', 'joe'])} [10/Oct/2000:13:55:36 -0700] "
        f'"GET {uri} HTTP/1.1" {status} {rng.choice(["12", "-"])} {micros} "a \\"b\\""'
    )
    return line, (None if micros == "-" else f"{micros}us", None if status == "-" else status, uri)


PATTERN = r"took=(?P<ptime>\S*) code=(?P<status>\S*) for (?P<uri>\S*)"


def regex(rng: random.Random) -> tuple[str, Row]:
    time, status, uri = a_time(rng).replace(" ", ""), a_status(rng), f"/{rng.randrange(6)}"
    line = f"took={time} code={status} for {uri}"
    return line, (None if time == "-" else time, None if status == "-" else status, uri)


def scan_of(log: Path, *options: str) -> AccessScan:
    arguments = ["--logfile", str(log), "--key-prefix", "t", "--by", "uri", *options]
    values, _ = parser.parse(axslog.COMMAND, arguments)
    axslog.settle_format(values)
    where = Log(str(log), "t")
    where.position_file = str(log) + ".position"
    (scan,) = _native.follow_access_logs(
        [where], FollowOptions(values, 10**9), axslog.AccessOptions(values)
    )
    assert not isinstance(scan, OSError)
    return scan


def class_of(status: int) -> int:
    return 4 if status == 499 else {1: 0, 2: 1, 3: 2, 4: 3, 5: 5}.get(status // 100, 6)


def group_of(uri: str | None) -> tuple[str, bytes]:
    if uri is None:
        return "missing", b""
    raw = uri.encode()
    return "value", raw if len(raw) <= 200 else raw[:10]


def check(
    scan: AccessScan, rows: list[Row], *, time_needed: bool, time_list: str = "refuse"
) -> None:
    """Compare with what the rows give."""
    times: list[Fraction] = []
    classes = [0] * 7
    groups: dict[tuple[str, bytes], int] = {}
    for time, status, uri in rows:
        taken = None if time is None else time_of(time, time_list)
        if (taken is None and time_needed) or not re.fullmatch(r"[+-]?\d+", status or "", re.A):
            continue
        if taken is not None:
            times.append(taken)
        classes[class_of(int(status or ""))] += 1
        groups[group_of(uri)] = groups.get(group_of(uri), 0) + 1
    assert scan.lines == len(rows)
    assert list(scan.tally.classes) == classes
    assert scan.tally.latency_count == len(times)
    found = {
        (kind, name if len(name) < 200 else name[:10]): n.total for (kind, name), n in scan.groups
    }
    assert found == groups
    if times:
        mean = float(sum(times) / len(times))
        assert scan.tally.latency_mean == pytest.approx(mean, rel=1e-12)
        ordered = sorted(times)
        for fraction in (0.01, 0.5, 0.9, 0.99, 1.0):
            rank = max(math.floor(len(ordered) * fraction + 0.5) - 1, 0)
            (quantile,) = scan.tally.quantiles([fraction])
            assert quantile == pytest.approx(float(ordered[rank]), rel=1e-12)


@pytest.mark.timeout(120 + LOGS)
@pytest.mark.parametrize(
    ("make", "options", "time_needed"),
    [
        (ltsv, [], True),
        (json_line, ["--format", "json"], True),
        (combined, ["--format", "combined"], False),
        (text, ["--log-format", LOG_FORMAT], False),
        (apache, ["--log-format", APACHE], False),
        (regex, ["--regex", PATTERN], True),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_random_logs_are_read_as_plain_python_reads_them(
    make: Callable[[random.Random], tuple[str, Row]],
    options: list[str],
    time_needed: bool,
    tmp_path: Path,
) -> None:
    seed = random.randrange(10**9)
    for number in range(LOGS):
        rng = random.Random(f"{seed} {number}")
        print(f"the random numbers are those of '{seed} {number}'")
        rows = [make(rng) for _ in range(rng.choice([1, 5, 50, 400]))]
        end = rng.choice(["\n", "\n", "\r\n"])
        log = tmp_path / str(number)
        log.write_text("".join(line + end for line, _ in rows), newline="")
        scan = scan_of(log, *options, "--threads", rng.choice(["1", "3"]))
        check(scan, [row for _, row in rows], time_needed=time_needed)


def cut(rng: random.Random, line: str) -> list[str]:
    """A line in one piece or in several."""
    places = sorted(rng.randrange(len(line) + 1) for _ in range(rng.choice([0, 0, 1, 3])))
    parts = [line[a:b] for a, b in zip([0, *places], [*places, len(line)], strict=True)]
    return [part for part in parts[:-1] if part] + parts[-1:]


def docker(rng: random.Random, line: str, stream: str) -> list[str]:
    """The entries of a line as docker's json-file driver has them."""
    *parts, last = cut(rng, line)
    texts = [*parts, last + "\n"]
    encoded = [json.dumps(text, ensure_ascii=rng.random() < 0.5) for text in texts]
    return [
        f'{{"log":{text},"stream":"{stream}","time":"2026-11-29T14:06:41.1Z"}}' for text in encoded
    ]


def cri(rng: random.Random, line: str, stream: str) -> list[str]:
    *parts, last = cut(rng, line)
    tagged = [*(("P", part) for part in parts), ("F", last)]
    return [f"2026-11-29T14:06:41.1Z {stream} {tag} {part}" for tag, part in tagged]


def journald(rng: random.Random, line: str, _: str) -> list[str]:
    message: object = list(line.encode()) if rng.random() < 0.3 else line
    members = {"__REALTIME_TIMESTAMP": "1", "MESSAGE": message, "_PID": "7"}
    return [json.dumps(members, ensure_ascii=rng.random() < 0.5)]


def syslog(rng: random.Random, line: str, _: str) -> list[str]:
    heads = [
        "Nov 29 14:06:41 web1 nginx[7]: ",
        "<190>Nov  9 14:06:41 web1 nginx: ",
        "2026-11-29T14:06:41.1+00:00 web1 nginx: ",
        '<165>1 2003-10-11T22:14:15.003Z h app - ID47 [a@1 x="]"] ',
    ]
    return [rng.choice(heads) + line]


@pytest.mark.timeout(120 + LOGS)
@pytest.mark.parametrize("form", ["ltsv", "json", "auto"])
@pytest.mark.parametrize("wrap", [docker, cri, journald, syslog], ids=lambda wrap: wrap.__name__)
def test_random_logs_in_envelopes_are_read_as_without(
    wrap: Callable[[random.Random, str, str], list[str]], form: str, tmp_path: Path
) -> None:
    seed = random.randrange(10**9)
    for number in range(LOGS):
        rng = random.Random(f"{seed} {number}")
        print(f"the random numbers are those of '{seed} {number}'")
        make = {"ltsv": ltsv, "json": json_line}.get(form) or rng.choice([ltsv, json_line])
        rows = [make(rng) for _ in range(rng.choice([1, 5, 50, 400]))]
        # Two streams at once: the entries of each stay in order.
        streams: list[list[str]] = [[], []]
        for line, _ in rows:
            stream = rng.randrange(2)
            streams[stream] += wrap(rng, line, ("stdout", "stderr")[stream])
        entries = []
        while any(streams):
            entries.append(rng.choice([stream for stream in streams if stream]).pop(0))
        log = tmp_path / str(number)
        log.write_text("".join(f"{entry}\n" for entry in entries))
        envelope = [] if form == "auto" else ["--envelope", wrap.__name__]
        scan = scan_of(log, "--format", form, *envelope, "--threads", rng.choice(["1", "3"]))
        check(scan, [row for _, row in rows], time_needed=True)


@pytest.mark.timeout(120 + LOGS)
@pytest.mark.parametrize("make", [ltsv, json_line], ids=lambda make: make.__name__)
def test_random_logs_are_read_the_same_by_auto(
    make: Callable[[random.Random], tuple[str, Row]], tmp_path: Path
) -> None:
    seed = random.randrange(10**9)
    for number in range(LOGS):
        rng = random.Random(f"{seed} {number}")
        print(f"the random numbers are those of '{seed} {number}'")
        rows = [make(rng) for _ in range(rng.choice([1, 5, 50, 400]))]
        log = tmp_path / str(number)
        log.write_text("".join(f"{line}\n" for line, _ in rows))
        check(scan_of(log, "--format", "auto"), [row for _, row in rows], time_needed=True)


@pytest.mark.timeout(120 + LOGS)
@pytest.mark.parametrize("how", ["refuse", "sum", "last", "max"])
def test_random_lists_of_times_are_read_as_plain_python_reads_them(
    how: str, tmp_path: Path
) -> None:
    seed = random.randrange(10**9)
    for number in range(LOGS):
        rng = random.Random(f"{seed} {number}")
        print(f"the random numbers are those of '{seed} {number}'")
        rows = [lists(rng) for _ in range(rng.choice([1, 5, 50, 400]))]
        log = tmp_path / str(number)
        log.write_text("".join(f"{line}\n" for line, _ in rows))
        scan = scan_of(log, "--time-list", how)
        check(scan, [row for _, row in rows], time_needed=True, time_list=how)
