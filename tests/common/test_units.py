"""Sizes as they are shown."""

from __future__ import annotations

import pytest

from kojuto.common.units import format_size


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
