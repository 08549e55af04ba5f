"""How many connections there are descriptors for."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

from kojuto.common.gateway import descriptors

if TYPE_CHECKING:
    import pytest


def test_what_is_opening_and_all_else_is_left_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def free() -> int:
        asked.append(1)
        return 16 + 4 * 10

    monkeypatch.setattr(descriptors, "free", free)
    some = descriptors.Descriptors()
    assert [some.take(0) for _ in range(5)] == [True] * 5
    assert len(asked) == 1
    assert descriptors.Descriptors().take(12)
    assert not descriptors.Descriptors().take(13)  # there are 39 and 1 for those, and it has 4


def test_those_that_are_open_are_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    before, opened = descriptors.free(), [os.open("/dev/null", os.O_RDONLY) for _ in range(7)]
    try:
        assert descriptors.free() == before - 7
    finally:
        for number in opened:
            os.close(number)
    forever = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: forever)
    assert descriptors.free() > 1 << 20
