"""A thread as a line of LTSV."""

from __future__ import annotations

from kojuto.tools.myps.show import escape


def test_a_backslash_is_told_from_an_escape() -> None:
    assert escape(r"a\nb") == r"a\\nb"
    assert escape("a\nb") == r"a\nb"
