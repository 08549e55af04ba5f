"""The writer of Prometheus text: what is escaped, left out and refused."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kojuto.common import prometheus
from kojuto.common.plugin import metrics
from kojuto.common.plugin.metrics import Group, Metrics
from kojuto.common.prometheus import Family
from tests import exposition
from tests.exposition import strict

__all__ = ["strict"]


def test_labels_and_help_are_escaped_and_read_back() -> None:
    family = Family("x_total", "counter", 'a\\b\n"c"')
    family.add(1, labels={"a": '"\\\n', "b": "\u65e5", "empty": ""})
    text = exposition.parse(prometheus.document([family]))["x_total"]
    assert text.samples[0].labels == (("a", '"\\\n'), ("b", "\u65e5"))
    assert text.help == 'a\\\\b\\n"c"'
    document = prometheus.document([family], openmetrics=True)
    assert exposition.parse(document, openmetrics=True)["x"].samples[0].name == "x_total"


def test_what_is_no_number_is_left_out() -> None:
    kinds = {"x": ("gauge", "X.", 1)}
    found = Metrics(kinds)
    for name, value in (("a", float("nan")), ("b", float("inf")), ("c", -float("inf")), ("d", 2.0)):
        found.add(name, value, "x", kind=name)
    assert found.document("prometheus").splitlines()[-1] == b'x{kind="d"} 2.0'
    assert prometheus.document([Family("y", "gauge", "Y.").add(float("nan"))]) == b""


def test_a_series_twice_is_refused_in_tests_and_dropped_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def twice() -> bytes:
        family = Family("x", "gauge", "X.").add(1, a="1").add(2, a="1")
        return prometheus.document([family, Family("x", "gauge", "X.").add(3, a="1")])

    with pytest.raises(ValueError, match="given twice"):
        twice()
    monkeypatch.delenv("KOJUTO_STRICT")
    assert exposition.parse(twice())["x"].samples == [exposition.Sample("x", (("a", "1"),), 1.0)]
    with pytest.raises(ValueError, match="no name or type"):
        Family("x", "counter", "A counter ends in _total.")


def test_a_histogram_grows_to_its_count() -> None:
    family = Family("x_seconds", "histogram", "X.")
    family.add_histogram([0.1, 1.0], [1, 2, 3], 9.5, {"a": "b"})
    (found,) = exposition.parse(prometheus.document([family])).values()
    assert [s.value for s in found.samples] == [1, 3, 6, 9.5, 6]
    assert [dict(s.labels).get("le") for s in found.samples[:3]] == ["0.1", "1.0", "+Inf"]


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("text/plain", False),
        ("*/*", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=1.0.0; q=0.5, text/plain;q=0.4", True),
        ("application/openmetrics-text;q=0.3,text/plain;version=0.0.4;q=0.4", False),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x,,;", False),
    ],
)
def test_who_gets_openmetrics(accept: str, wanted: bool) -> None:
    assert prometheus.wants_openmetrics(accept) is wanted


def test_group_names() -> None:
    reserved = {"missing": "none", "other": "other"}
    assert Group("k", "value", b"plain-1_a", reserved).part == "plain-1_a"
    assert Group("k", "other", b"", reserved).part == "other"
    bad = Group("k", "value", b"\xff", reserved)
    assert (bad.special, bad.text) == ("bytes", "\\xff")
    parts = {Group("k", "value", raw, reserved).part for raw in (b"\xff", b"\xfe", b"\\xff")}
    assert len(parts) == 3
    assert metrics.name_part("a/b") == "a_b"


@given(st.text(), st.sampled_from(["-_", "-_."]))
@example("\ud800\u00e9 .?-", "-_")
def test_a_part_of_a_name_is_as_long_as_its_text(text: str, more: str) -> None:
    kept = string.ascii_letters + string.digits + more
    plainly = "".join(c if c in kept else "_" for c in text)
    assert metrics.name_part(text, more) == (plainly or "_")


def test_of_a_name_that_comes_twice_the_first_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics({})
    metrics.add("a.b", 1, None)
    monkeypatch.delenv("KOJUTO_STRICT", raising=False)
    metrics.add("a.b", 2, None)
    assert metrics._values == {"a.b": 1}
    monkeypatch.setenv("KOJUTO_STRICT", "1")
    with pytest.raises(ValueError, match=r"given twice: a\.b"):
        metrics.add("a.b", 2, None)
