"""The table of endpoints that the report's folding is judged by: what holds without the folding."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT, run
from tests.endpoints import kinds, rules, table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.endpoints.table import Log

LOGS = table.logs()
each_log = pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)


# -- the table ----------------------------------------------------------------------------------


def test_there_are_300_endpoints_each_called_60_times() -> None:
    rows = table.rows()
    assert len(rows) >= 300
    assert [row for row in rows if row.lines < 60] == []
    counted = Counter(line.endpoint.row.number for log in LOGS for line in table.lines(log.name))
    ends = Counter(end.row.number for log in LOGS for end in table.endpoints(log.name))
    assert counted == {row.number: row.lines * ends[row.number] for row in rows}


def test_each_row_says_what_folds_it() -> None:
    found = Counter(row.kind for row in table.rows())
    assert set(found) == {"shape", "tree", "stays", "opinion"}
    assert min(found["shape"], found["tree"], found["stays"]) >= 100
    assert found["opinion"] < len(table.rows()) / 15
    for row in table.rows():
        assert {"stays": not re.search(r"\{(?!each)|\*", row.wanted)}.get(row.how, True) or (
            row.method in ("OPTIONS", "GET") and row.wanted.endswith("*")
        ), row
        assert row.how != "shape" or re.search(r"\{(?!each)", row.wanted), row


def test_each_service_has_a_source_and_rows() -> None:
    used = Counter(row.service for row in table.rows())
    assert sorted(used) == sorted(table.services())
    assert len(used) > 100
    assert {log for log, _ in table.services().values()} == {log.name for log in LOGS}
    assert all(len(source) > 10 for _, source in table.services().values())
    assert all(row.source for row in table.rows())


def test_each_kind_of_value_is_used() -> None:
    named = {
        slot[0]
        for row in table.rows()
        for template in row.templates
        for slot in table.SLOT.findall(template)
        if slot[0]
    }
    assert named == set(kinds.KINDS)


@each_log
def test_no_endpoint_is_wanted_twice(log: Log) -> None:
    names = Counter(endpoint.name for endpoint in table.endpoints(log.name))
    assert [name for name, count in names.items() if count > 1] == []


WAYS = {
    "a name that only a number begins": "GET /help/100-customers",
    "a version": "GET /v2/users",
    "a version that is a month": "GET /admin/api/{date}/products/{n}.json",
    "a hot name by its place": "GET /user/settings",
    "a hot name beside folded first segments": "GET /login",
    "two places under each other": "GET /*/*",
    "a sign": "GET /@*",
    "a tilde": "GET /~*",
    "scanners": "POST /*",
    "no request": "(no request)",
    "a tunnel": "CONNECT",
    "all of a server": "OPTIONS *",
    "an escaped slash": "GET /proxy/a%2Fb/status",
    "capitals": "GET /caf%C3%A9/men%C3%BC",
    "a blank": "GET /files/annual report 2024.pdf",
    "too deep": "GET /system/media_attachments/files/{n}/{n}/{n}/{n}/{n}/**",
    "a session in the path": "POST /servlet/cart",
    "a hashed asset": "GET /build/app.{hash}.js",
    "a digest": "GET /digests/{hash}",
    "a query that is kept": "POST /graphql?operationName=GetUser",
}


@pytest.mark.parametrize("way", WAYS)
def test_it_has(way: str) -> None:
    assert WAYS[way] in {end.name for log in LOGS for end in table.endpoints(log.name)}


# -- its values ---------------------------------------------------------------------------------


def test_values_are_as_different_as_the_world_is() -> None:
    lengths = {len(value) for value in kinds.pool("test", "n", 500)}
    assert lengths == set(range(1, 20))
    lengths = {len(value) for value in kinds.pool("test", "hash", 500)}
    assert (min(lengths), max(lengths)) == (6, 128)
    assert len(lengths) > 8
    for kind in ("uuid", "hex"):
        values = kinds.pool("test", kind, 300)
        assert {value == value.lower() for value in values} == {True, False}, kind
    shorts = kinds.pool("test", "hex8", 200)
    assert sum(value.isdigit() for value in shorts) > 10
    slugs = kinds.pool("test", "slug", 400)
    assert {slug.count("-") for slug in slugs} >= set(range(8))
    assert sum(bool(re.search(r"\d", slug)) for slug in slugs) > 50
    assert {len(ip.split(":")) > 1 for ip in kinds.pool("test", "ip", 100)} == {True, False}
    titles = kinds.pool("test", "title", 400)
    assert sum("%E" in title for title in titles) > 30
    assert sum(title[:4].isdigit() for title in titles) > 5


def test_most_rows_with_variables_have_more_than_50_values() -> None:
    variable = [
        end
        for log in LOGS
        for end in table.endpoints(log.name)
        if re.search(r"\{|\*", end.path) and end.path.startswith("/")
    ]
    few = [end for end in variable if len(set(table.targets(end))) <= rules.FOLD_ABOVE]
    assert len(few) < 0.4 * len(variable)
    for end in few:
        slots = any(table.SLOT.search(template) for template in end.templates)
        assert end.row.how != "tree" or not slots, f"{end.name}: the tree needs more names"
    assert sum(end.row.kind == "shape" for end in few) >= 30, "where nothing but the shape folds"


# -- the spec's rules ---------------------------------------------------------------------------


@each_log
def test_each_line_may_be_what_its_row_wants(log: Log) -> None:
    assert rules.wrong_lines(log.name) == []


@each_log
def test_each_place_folds_or_stays_by_the_thresholds(log: Log) -> None:
    assert rules.wrong_places(log.name) == []


@each_log
def test_each_name_is_a_name(log: Log) -> None:
    assert rules.wrong_names(log.name) == []


def test_each_rule_that_keeps_a_name_decides_alone_somewhere() -> None:
    alone: Counter[str] = Counter()
    for log in LOGS:
        total = rules.totals(log.name)
        for names in rules.places(log.name).values():
            if any(n.folds and not n.refused for n in names.values()):
                lines = sum(n.lines for n in names.values())
                for name, n in names.items():
                    by = rules.stays_by(n, lines, total, 1) if n.wanted == {name} else set()
                    alone.update(by if len(by) == 1 else ())
    assert set(alone) == {"place", "lines", "time"}


def test_a_place_of_50_and_a_first_segment_of_200_do_not_fold() -> None:
    tree = rules.places("pages")
    assert len(tree["help",]) == rules.FOLD_ABOVE
    assert rules.FOLD_ABOVE < len(tree[()]) < rules.FIRST_FOLD_ABOVE


def test_halves_of_a_log_have_too_few_names_where_the_whole_has_enough() -> None:
    """What decides before the parts are merged is wrong."""
    only_together = 0
    for log in LOGS:
        halves: list[dict[tuple[str, ...], set[str]]] = [{}, {}]
        every = rules.paths(log.name)
        for number, (_, names, wanted) in enumerate(every):
            half = halves[2 * number // len(every)]
            for depth, want in enumerate(wanted):
                if "*" in want and want != "**":
                    half.setdefault(tuple(wanted[:depth]), set()).add(names[depth])
        for where in halves[0]:
            counts = [len(half.get(where, ())) for half in halves]
            only_together += max(counts) <= rules.above(where)
    assert only_together >= 10


# -- the rules themselves -----------------------------------------------------------------------


FORMS = {
    "http://example.com/a": "/a",
    "HTTPS://example.com:8443/a?b": "/a",
    "http://example.com": "/",
    "http://example.com?a/b": "/",
    "//a//b/": "/a/b",
    "/a/./b/../c": "/a/c",
    "/../a": "/a",
    "/a;v=1/b;c/;d": "/a/b",
    "/%7Ea%2d%2Fb%c3%a9%25": "/~a-%2Fb%C3%A9%25",
    "/a/%2e%2E/b": "/b",
    "/A/50%x": "/A/50%x",
}


@pytest.mark.parametrize("target", FORMS)
def test_a_path_has_one_form(target: str) -> None:
    assert "/" + "/".join(rules.canonical(target)) == FORMS[target]


SHAPES = {
    "7": "{n}",
    "-7": "{n}",
    "1.1": "{n}",
    "1,2,3": "{n}",
    "20240131": "{n}",
    "2024-01": "{date}",
    "2024-01-31T10:00:00Z": "{date}",
    "deadbee1": "{hex}",
    "deadbeef": "",
    "dead1": "",
    "01HV5K3Z8Q9X7T6R5P4N3M2K1J": "{ulid}",
    "4iV5W9uYEdYUVa79Axb7Rh": "{token}",
    "cus_NffrFeUfNV2Hib": "",
    "10.0.0.1": "{ip}",
    "2001:db8::1": "{ip}",
    "a.b@example.com": "{email}",
    "app.3f2a9c1d.js": rules.MIDDLE,
    "main-ab12cd.css": rules.MIDDLE,
    "100-customers": "",
    "v2": "",
    "3.7.1": "",
    "1984_novel": "",
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_certain_shape_is_seen(name: str) -> None:
    assert rules.certain(name) == SHAPES[name]


@pytest.mark.parametrize(
    ("wanted", "name", "fits"),
    [
        ("/a/{n}.jpg", "/a/7.jpg", True),
        ("/a/{n}.jpg", "/a/x.jpg", False),
        ("/a/*.js", "/a/b/c.js", False),
        ("/a/**", "/a/b/c", True),
        ("/a/{hash}", "/a/abcdef", False),
        ("/a/{hash}", "/a/abcde1", True),
        ("/a/{hex}", "/a/abcdef12", True),
        ("/a/{hex}", "/a/abcdef1", False),
        ("/a/{uuid}", "/a/018f0000-0000-7000-8000-00000000000A", True),
    ],
)
def test_what_is_wanted_stands_for(wanted: str, name: str, fits: bool) -> None:
    assert bool(rules.pattern(wanted).fullmatch(name)) is fits


# -- the logs -----------------------------------------------------------------------------------


@each_log
def test_a_log_is_the_same_on_every_machine(log: Log) -> None:
    assert table.digest(log) == log.digest, "when the table changed on purpose: its new digest"


def test_a_log_does_not_depend_on_the_order_of_sets() -> None:
    code = "from tests.endpoints import table; print(table.digest(table.logs()[-1]))"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert digests == {LOGS[-1].digest + "\n"}


@pytest.mark.parametrize(
    ("form", "options"), [("ltsv", ["--ptime-key", "reqtime"]), ("combined", [])]
)
def test_each_line_is_read(form: str, options: list[str], tmp_path: Path) -> None:
    for log in LOGS:
        (tmp_path / log.name).write_bytes(table.log_bytes(log, form))
    files = ",".join(str(tmp_path / log.name) for log in LOGS)
    command = ["mackerel-plugin-axslog", "--once", "--logfile", files, "--key-prefix", "t"]
    done = run(*command, "--format", form, *options, "--output", "json")
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)["logs"]
    lengths = [len(table.lines(log.name)) for log in LOGS]
    assert [about["lines"] for about in read] == lengths
    assert [about["counted_lines"] for about in read] == lengths
    assert [sum(about["bad_lines"].values()) for about in read] == [0] * len(LOGS)


# -- the judge ----------------------------------------------------------------------------------


def test_a_report_of_what_is_wanted_has_every_row() -> None:
    score = table.judge({log.name: table.wanted(log.name) for log in LOGS})
    assert score.missed == []
    assert score.right == score.rows == Counter(row.kind for row in table.rows())
    assert score.share("tree") == 1


def test_one_line_of_another_row_costs_both() -> None:
    found = {log.name: dict(table.wanted(log.name)) for log in LOGS}
    found["code"]["GET /gists/{hex}"] -= 1
    found["code"]["GET /repos/*/*"] += 1
    score = table.judge(found)
    assert {kind: score.rows[kind] - score.right[kind] for kind in score.rows} == {
        "shape": 1,
        "tree": 1,
        "stays": 0,
        "opinion": 0,
    }
    assert [line.partition(": ")[2] for line in score.missed] == [
        "GET /repos/*/*: 421 of 420 lines",
        "GET /gists/{hex}: 79 of 80 lines",
    ]


def test_a_report_that_folds_nothing_has_only_what_stays() -> None:
    found: dict[str, Counter[str]] = {log.name: Counter() for log in LOGS}
    for log in LOGS:
        for line, names, _ in rules.paths(log.name):
            found[log.name][f"{line.endpoint.method} /{'/'.join(names)}"] += 1
    score = table.judge(found)
    assert score.right["shape"] == 0
    assert score.share("tree") < 0.2
    assert score.share("stays") > 0.9
