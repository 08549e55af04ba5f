"""Limits of the small shared parts: units, log fields, options."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

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
