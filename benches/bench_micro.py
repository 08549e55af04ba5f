"""What small pieces of a run cost, each by itself (pytest-benchmark).

Reading the options, reading a duration, a call into the native module and back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kojuto._native import parse_proxy_header
from kojuto.common import units
from kojuto.common.parser import parse
from kojuto.tools import axslog

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


def test_the_command_line_of_a_plugin(benchmark: BenchmarkFixture) -> None:
    words = ["--logfile", "a.log", "--key-prefix=web", "-format", "json", "--percentiles", "99,95"]
    values, _ = benchmark(parse, axslog.COMMAND, words)
    assert values.format == "json"


def test_a_duration(benchmark: BenchmarkFixture) -> None:
    assert benchmark(units.duration, "1h2m3.5s") == 3723.5


def test_a_call_into_the_native_module(benchmark: BenchmarkFixture) -> None:
    header = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
    state, found = benchmark(parse_proxy_header, header)
    assert state == "done"
    assert found is not None
