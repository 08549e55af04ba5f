"""Limits of the small shared parts: units, log fields, options, words of errors."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.common import failures, streams
from kojuto.common.server import service
from kojuto.common.units import format_size
from kojuto.errors import UsageError
from kojuto.tools import percentile, pinging, sabo
from kojuto.tools.consul_service_has_ip import consul

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 KB"),
        (999_499, "999 KB"),
        (999_500, "1 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1 GB"),
        (-999_499, "-999 KB"),
        (-999_500, "-1 MB"),
        (1_234_567, "1.23 MB"),
        (999_500_000_000_000, "1e+03 TB"),
    ],
)
def test_a_size_changes_its_unit_where_it_would_be_rounded_to_1000(count: float, text: str) -> None:
    assert format_size(count) == text


def test_the_fields_of_a_log_line_are_spelled_with_dashes() -> None:
    code = (
        "from kojuto.common.server.logs import Logger\n"
        "log = Logger()\n"
        "log.info('said', user_name='a_b', class_=1, plain=2)\n"
        "log.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    line = json.loads(done.stderr)
    assert list(line) == ["level", "ts", "msg", "user-name", "class", "plain"]
    assert line["user-name"] == "a_b"


@pytest.mark.parametrize(
    ("read", "inside", "outside", "message"),
    [
        (percentile._percentiles, "50," * 999 + "50", "50," * 1000 + "50", "more than 1000 perc"),
        (sabo.bandwidth, "1000", "999", "below the minimum of 1K bytes a second"),
        (
            sabo.bandwidth,
            "1000T",
            "1000000000000001",
            "above the maximum of 1P bytes",
        ),
    ],
)
def test_an_options_value_has_its_bounds(
    read: Callable[[str], object], inside: str, outside: str, message: str
) -> None:
    read(inside)
    with pytest.raises(ValueError, match=message):
        read(outside)


def test_a_thousand_hosts_are_pinged_and_no_more() -> None:
    def keys(count: int) -> list[tuple[str, str, str]]:
        values: Any = SimpleNamespace(
            host=[(f"h{n}", f"k{n}") for n in range(count)], key_prefix=None
        )
        return pinging._keys(values)

    with pytest.raises(UsageError, match="1001 hosts: above the maximum of 1000"):
        keys(1001)
    assert len(keys(1000)) == 1000


def test_what_consul_says_is_taken_within_bounds() -> None:
    asked = ["0", "59", "60", "61", "9" * 30, "-1", "1.5", "", None]
    assert [consul._retry_after(text) for text in asked] == [0, 59, 60, 60, 60, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("line", "columns", "shown"),
    [
        ("plain", 3, "pla"),
        ("plain", 9, "plain"),
        ("漢字x", 5, "漢字x"),
        ("漢字x", 4, "漢字"),
        ("漢字x", 3, "漢"),
        ("漢字x", 1, ""),
        ("Ｗide", 3, "Ｗi"),
        ("ｶﾅ", 2, "ｶﾅ"),  # halfwidth katakana, one each
        ("e\u0301a\u0300!", 2, "e\u0301a\u0300"),
        ("é" * 5, 4, "é" * 4),
    ],
)
def test_a_line_of_progress_is_cut_by_the_columns_that_it_takes(
    line: str, columns: int, shown: str
) -> None:
    assert streams._cut(line, columns) == shown


@pytest.mark.parametrize(
    ("error", "text", "hint"),
    [
        (
            ImportError("no _ssl", name="ssl"),
            "this Python has no ssl: no _ssl",
            "take a Python that was built with it",
        ),
        (
            ImportError("cannot import name 'x'", name="kojuto.common.x"),
            "the installation is broken: cannot import name 'x'",
            "pip install --force-reinstall kojuto",
        ),
        (
            ImportError("gone", name="google.auth.transport"),
            "the package google-auth is missing or broken: gone",
            "pip install google-auth",
        ),
        (
            ImportError("gone", name="pymysql"),
            "the package pymysql is missing or broken: gone",
            "pip install pymysql",
        ),
        (
            ImportError("what"),
            "the installation is broken: what",
            "pip install --force-reinstall kojuto",
        ),
    ],
    ids=["standard", "own", "renamed", "other", "nameless"],
)
def test_a_module_that_cannot_be_imported_is_named_with_what_brings_it(
    error: ImportError, text: str, hint: str
) -> None:
    assert failures.explain(error, None) == (1, text, hint)


def test_a_server_may_open_as_many_files_as_the_hard_limit_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard))
        service.raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
