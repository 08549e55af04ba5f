"""The reader of the tests is strict: what Prometheus would not take fails."""

from __future__ import annotations

import pytest

from tests import exposition

GOOD = '# HELP x X.\n# TYPE x gauge\nx{a="b"} 1\nx 2\n'
HEAD = "# TYPE h histogram\n"


def bucket(bound: str, count: int) -> str:
    return f'h_bucket{{le="{bound}"}} {count}\n'


@pytest.mark.parametrize(
    "wrong",
    [
        GOOD[:-1],
        GOOD + "x 3\n",
        GOOD + 'x{a="b"} 3\n',
        GOOD + "# TYPE y gauge\ny 1\nx 3\n",
        GOOD + GOOD,
        GOOD + "y 1\n",
        GOOD.replace("gauge", "counter") + "x -1\n",
        GOOD.replace("gauge", "thing"),
        GOOD.replace('"b"', '"b'),
        GOOD.replace('"b"', '"\\t"'),
        GOOD.replace('"b"', '"b",'),
        GOOD.replace('a="b"', 'a="b",a="c"'),
        GOOD.replace(" 2", " two"),
        GOOD.replace("X.", "X\\."),
        GOOD.replace('a="b"', 'quantile="0.5"'),
        GOOD + "\n",
        GOOD + "# a comment\n",
        "# TYPE x gauge\n",
        "x 1\n",
        HEAD + bucket("1", 2) + "h_sum 1\nh_count 2\n",
        HEAD + bucket("1", 3) + bucket("+Inf", 2) + "h_sum 1\nh_count 2\n",
        HEAD + bucket("2", 1) + bucket("1", 2) + bucket("+Inf", 2) + "h_sum 1\nh_count 2\n",
        HEAD + bucket("+Inf", 2) + "h_sum 1\nh_count 3\n",
        HEAD + bucket("+Inf", 2) + "h_sum 1\n",
    ],
)
def test_the_reader_is_strict(wrong: str) -> None:
    exposition.parse(GOOD.encode())
    with pytest.raises(ValueError, match=r"."):
        exposition.parse(wrong.encode())


def test_the_reader_is_strict_with_openmetrics() -> None:
    good = "# TYPE x counter\nx_total 1\n# EOF\n"
    exposition.parse(good.encode(), openmetrics=True)
    for wrong in (
        good.replace("# EOF\n", ""), good.replace("x_total", "x"), good + "y 1\n",
        good.replace("x counter", "x_total counter"),
        "# TYPE x summary\nx{quantile=\"0.5\"} -1\n# EOF\n",
        "# TYPE x summary\nx_sum -1\n# EOF\n",
        HEAD + bucket("+Inf", 1) + "h_sum -1\nh_count 1\n# EOF\n",
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"."):
            exposition.parse(wrong.encode(), openmetrics=True)
