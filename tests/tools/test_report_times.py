"""Times as people write them, and as a report shows them."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kojuto.tools.report import times
from kojuto.tools.report.times import Bound
from tests.conftest import run

NOON = datetime(2026, 11, 29, 12, 48, tzinfo=timezone.utc).timestamp()
TOKYO_S = 9 * 3600


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("2026-11-29T12:48:00Z", Bound("at", NOON)),
        ("2026-11-29T21:48:00+09:00", Bound("at", NOON)),
        ("2026-11-29 21:48:00 +0900", Bound("at", NOON)),
        ("2026-11-29t12:48:00.25z", Bound("at", NOON + 0.25)),
        ("2026-11-29T12:48:00.123456789Z", Bound("at", NOON + 0.123456)),
        ("2026-11-29T12:48", Bound("local", NOON)),
        ("2026-11-29T12:48:00", Bound("local", NOON)),
        ("2026-11-29", Bound("local", NOON - 12.8 * 3600)),
        ("29/Nov/2026:12:48:00 +0000", Bound("at", NOON)),
        ("[29/Nov/2026:21:48:00 +0900]", Bound("at", NOON)),
        ("29/Nov/2026:12:48:00", Bound("local", NOON)),
        ("12:48", Bound("clock", 12.8 * 3600)),
        ("23:59:59", Bound("clock", 86399)),
        ("-15m", Bound("now", 900)),
        ("now-1h30m", Bound("now", 5400)),
        ("now", Bound("now", 0)),
        ("end-15m", Bound("end", 900)),
        ("end", Bound("end", 0)),
    ],
)
def test_a_bound_is_read(text: str, bound: Bound) -> None:
    found = times.read_bound(text)
    assert found.kind == bound.kind
    assert found.value == pytest.approx(bound.value, abs=1e-5)


@pytest.mark.parametrize(
    "text",
    ["", "x", "25:00", "12:60", "1:2", "12:48:60", "2026-13-01", "2026-11-29X", "15m", "-", "-x",
     "end-", "end+5m", "29/Foo/2026:12:48:00", "0000-00-00", "2026-11-29T12:48:00+99:00", "١٢:٤٨",
     "2026-11-29T12:48:00.x", "29/Nov/2026", "9999-99-99T99:99:99Z"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    if text == "29/Nov/2026":
        assert times.read_bound(text).kind == "local"
        return
    with pytest.raises(ValueError, match="not a"):
        times.read_bound(text)


@given(st.text(max_size=40))
def test_anything_is_read_or_refused(text: str) -> None:
    try:
        found = times.read_bound(text)
    except ValueError:
        return
    assert isinstance(found.resolve(now_s=NOON, end_s=None, zone_s=0), float)


def test_a_bound_becomes_a_moment() -> None:

    def moment(bound: Bound, end_s: float | None = NOON - 100) -> float:
        return bound.resolve(now_s=NOON, end_s=end_s, zone_s=TOKYO_S)

    assert moment(Bound("at", 5.0)) == 5
    assert moment(Bound("now", 900)) == NOON - 900
    assert moment(Bound("end", 900)) == NOON - 1000
    assert moment(Bound("end", 900), None) == NOON - 900
    assert moment(Bound("local", NOON)) == NOON - TOKYO_S


def test_a_clock_means_the_last_one_before_the_end_of_the_log() -> None:
    # The log ends at 21:46:20 in Tokyo.
    for clock_s, before_s in ((21.5 * 3600, 18 * 60), (21.8 * 3600, 86_400), (0, 21.8 * 3600)):
        found = Bound("clock", clock_s).resolve(now_s=NOON + 1e6, end_s=NOON - 100, zone_s=TOKYO_S)
        assert found == NOON - before_s


@pytest.mark.parametrize(
    ("text", "hours"),
    [("UTC", 0), ("utc", 0), ("Z", 0), ("+09:00", 9), ("-0330", -3.5), ("+09", 9)],
)
def test_a_zone_is_read(text: str, hours: float) -> None:
    zone = times.read_zone(text)
    assert datetime(2026, 1, 1, tzinfo=zone).utcoffset() == timedelta(hours=hours)


def test_a_zone_has_a_name_or_is_the_local_one() -> None:
    zone = times.read_zone("Asia/Tokyo")
    assert times.rfc3339(NOON, zone) == "2026-11-29T21:48:00+09:00"
    assert times.read_zone("local") is None
    for wrong in ("", "No/Such", "+9", "+99:00", "/etc/passwd", "../x", "a\0b", "+", "\udcff"):
        with pytest.raises(ValueError, match="not a"):
            times.read_zone(wrong)


def test_a_time_is_shown_with_its_offset() -> None:
    assert times.rfc3339(None, None) is None
    assert times.rfc3339(NOON, timezone.utc) == "2026-11-29T12:48:00+00:00"
    assert times.rfc3339(NOON + 0.25, times.zone_of(TOKYO_S)) == "2026-11-29T21:48:00.250+09:00"
    local = times.rfc3339(NOON, None)
    assert local is not None
    assert datetime.fromisoformat(local).timestamp() == NOON


@pytest.mark.parametrize(
    "name", ["UTC", "Asia/Tokyo", "Europe/Berlin", "America/Sao_Paulo", "Africa/Casablanca",
             "Australia/Lord_Howe", "Asia/Pyongyang"],
)  # fmt: skip
def test_the_changes_of_the_clock_are_those_of_the_zone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", name)
    time.tzset()
    try:
        changes = times.clock_changes(NOON)
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    zone = ZoneInfo(name)
    for at in (*range(times.FIRST_CHANGE_S, int(NOON), 7919 * 60), *(at for at, _ in changes)):
        offset = next(offset for since, offset in reversed(changes) if since <= at)
        assert timedelta(seconds=offset) == datetime.fromtimestamp(at, zone).utcoffset(), at


@pytest.mark.parametrize(("day", "utc"), [("2026-07-01", "10:00"), ("2026-12-01", "11:00")])
def test_a_log_without_a_zone_is_of_the_clock_as_it_was_then(day: str, utc: str) -> None:
    line = f"time:{day}T12:00:00\tstatus:200\tmethod:GET\turi:/\treqtime:0.1\n".encode()
    options = ("--format", "ltsv", "--output", "json", "--tz", "UTC")
    done = run("kojuto", "report", *options, stdin=line, env={"TZ": "Europe/Berlin"})
    assert json.loads(done.stdout)["from"] == f"{day}T{utc}:00+00:00"
