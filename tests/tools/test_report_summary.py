"""What stands above a report's table, and the heat map below it."""

from __future__ import annotations

import re
from datetime import timezone
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from kojuto.tools.report import columns, plot, slices
from kojuto.tools.report.figures import width_of
from kojuto.tools.report.summary import sparkline, summary
from kojuto.tools.report.times import zone_of
from tests.report.fake import START_S, FakeReport, Request, made, rank, step

if TYPE_CHECKING:
    import pytest

DATA = FakeReport(made(lines=3000), bad={"no status": 2})


def shown(data: FakeReport, *, unicode: bool = True, room: int | None = None) -> list[str]:
    total = columns.total_of(data, [50, 99])
    return summary(data, total, zone_of(9 * 3600), unicode=unicode, room=room)


def test_it_tells_lines_span_rate_classes_and_times() -> None:
    lines, span, classes, times, traffic, p99 = shown(DATA)
    assert lines == "3,021 lines of access.log, 2 bad ones beside"
    assert span == "2025-11-29 09:00:00 to 09:59:58 +09:00 (59m59s), 0.839 requests/s"
    assert re.fullmatch(r"2xx \d\d\.\d% \(\S+\)  3xx .* 4xx .* 499 .* 5xx .*", classes)
    counts = [int(n.replace(",", "")) for n in re.findall(r"\(([\d,]+)\)", classes)]
    assert sum(counts) == 3021
    assert re.fullmatch(r"time taken: sum \S+, avg \S+, p50 \S+, p99 \S+, max \S+", times)
    assert re.fullmatch(r"traffic  [▁▂▃▄▅▆▇█]{29}  up to 0\.\d+ requests/s", traffic)
    assert re.fullmatch(r"p99      [▁▂▃▄▅▆▇█]{29}  about \S+ to \S+", p99)


def test_the_outage_is_seen_in_the_sparkline() -> None:
    line = shown(DATA)[-1][9:]
    assert 12 <= line.index("█") <= 15


def test_an_empty_and_an_untimed_report_have_less_to_tell() -> None:
    assert shown(FakeReport([])) == ["0 lines of access.log"]
    untimed = shown(FakeReport(made(lines=500, timed=False)))
    assert not [line for line in untimed if line.startswith(("p99", "time taken"))]
    (request,) = made(lines=1, endpoints=1)[:1]
    assert shown(FakeReport([request]))[1] == "2025-11-29 09:00:00 to 09:00:00 +09:00"


def test_days_are_told() -> None:
    lines = shown(FakeReport(made(lines=500, span_s=10 * 86_400)))
    assert lines[1].startswith("2025-11-29 09:00:00 to 2025-12-09 08:31:12 +09:00 (10d00h), ")


def test_it_is_cut_to_the_terminal_and_plain_where_blocks_cannot_be_shown() -> None:
    assert max(map(width_of, shown(DATA, room=40))) == 40
    plain = shown(DATA, unicode=False)
    assert "".join(plain).isascii()
    assert "#" in plain[-1][9:38]


def test_several_hosts_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {**DATA.facts(), "hosts": [b"a", "b", b"c\x1b", "d", "e", "f"]}
    monkeypatch.setattr(DATA, "facts", lambda: facts)
    assert "several hosts share these paths: a, b, c\\x1b, d, e and 1 more" in shown(DATA)


@given(st.lists(st.one_of(st.none(), st.floats(min_value=0, max_value=1e9)), max_size=40))
def test_a_sparkline_has_a_character_for_each_value(values: list[float | None]) -> None:
    line = sparkline(values, unicode=True)
    assert len(line) == len(values)
    assert all((value is None) == (bar == " ") for value, bar in zip(values, line, strict=True))
    largest = max((value for value in values if value is not None), default=0)
    assert not largest or line[values.index(largest)] == "█"


@given(st.lists(st.floats(min_value=1e-6, max_value=1e3), min_size=1), st.sampled_from([1, 50, 99]))
def test_a_percentile_of_steps_is_near_the_exact_one(times: list[float], percent: float) -> None:
    counts: dict[int, int] = {}
    for time_s in times:
        counts[step(time_s)] = counts.get(step(time_s), 0) + 1
    found, exact = slices.step_percentile_s(counts, percent), rank(sorted(times), percent)
    assert found is not None
    assert exact is not None
    assert exact / 1.13 < found < exact * 1.13
    assert slices.step_percentile_s({}, percent) is None
    assert slices.step_percentile_s({-1: 3}, percent) == 0


def test_missing_slices_are_filled_in_and_the_ends_have_their_own_length() -> None:
    requests = [Request(START_S + at, b"GET /", b"/", 200, None) for at in (3.0, 3.5, 100.0, 101.0)]
    data = FakeReport(requests)
    found = slices.filled(data.timeline())
    width_s = found[0]["width_s"]
    assert [each["start_s"] for each in found] == [
        found[0]["start_s"] + width_s * at for at in range(len(found))
    ]
    assert sum(each["count"] for each in found) == 4
    rates = slices.rates(found, START_S + 3.0, START_S + 101.0)
    assert rates[0] == 2 / 1.0  # the slice of 4 seconds began with the log, three quarters in
    assert rates[-1] == 2 / 1.0
    assert set(rates[1:-1]) == {0.0}
    assert slices.filled([]) == []


def test_the_heat_map_has_all_times_and_fits() -> None:
    for room in (40, 80, 200):
        head, *rows, axis = plot.heat_map(
            DATA.timeline(), room, timezone.utc, colour=False, unicode=True
        )
        assert "up to the next row" in head
        assert max(map(len, [*rows, axis])) <= max(room, 40)
        assert axis.split() == ["00:00:00", "01:01:52"] or axis.split()[0] == "00:00:00"
        assert "█" in "".join(rows)
        assert len(rows) <= plot.MOST_ROWS
    assert plot.heat_map([], 80, None, colour=False, unicode=True) == []


def test_the_heat_map_has_the_slowest_on_top_and_its_cells_where_they_belong() -> None:
    requests = [
        *(Request(START_S + at, b"GET /", b"/", 200, 0.001) for at in range(8)),
        Request(START_S + 7, b"GET /", b"/", 200, 1.0),
    ]
    timeline = FakeReport(requests).timeline()
    _, *rows, _ = plot.heat_map(timeline, 30, timezone.utc, colour=False, unicode=False)
    first, last = rows[0].rstrip(), rows[-1]
    assert first.endswith("|" + " " * 14 + "##")  # eight slices, two columns each
    assert last.endswith("|" + "##" * 8)
    assert [row for row in rows[1:-1] if "#" in row] == []


def test_the_heat_map_is_coloured_for_who_wants_it() -> None:
    plain = plot.heat_map(DATA.timeline(), 80, None, colour=False, unicode=True)
    coloured = plot.heat_map(DATA.timeline(), 80, None, colour=True, unicode=True)
    bare = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in coloured]
    assert [re.sub("[░▒▓█]", "x", line) for line in bare] == [
        re.sub("[░▒▓█]", "x", line) for line in plain
    ]
    assert "\x1b[38;5;226m" in "".join(coloured)
