"""`kojuto.common.server.forever`: what servers do beside serving goes on after a failure."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from kojuto.common.server import forever
from tests.conftest import wait_until

if TYPE_CHECKING:
    import pytest


class Lines:
    """Keeps what is logged as errors."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, dict[str, Any]]] = []

    def error(self, message: str, **fields: Any) -> None:
        self.errors.append((message, fields))


def begin(monkeypatch: pytest.MonkeyPatch, failures: int, *, pause_s: float = 0.01) -> Lines:
    """Work that fails so often and then ends; what was logged until then."""
    monkeypatch.setattr(forever, "FIRST_PAUSE_S", pause_s)
    done = threading.Event()
    left = [failures]

    def work() -> None:
        if left[0]:
            left[0] -= 1
            raise ZeroDivisionError("by hand")
        done.set()

    log = Lines()
    forever.begin("refresh", work, log)  # type: ignore[arg-type]
    assert done.wait(30)
    return log


def test_a_failure_that_nobody_expected_is_told_and_the_work_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ((message, fields),) = begin(monkeypatch, 1).errors
    assert message == "Failed unexpectedly, beginning anew"
    assert (fields["thread"], fields["error"]) == ("refresh", "ZeroDivisionError: by hand")
    assert fields["where"].startswith("test_forever.py:")


def test_the_pause_doubles_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forever, "LONGEST_PAUSE_S", 0.04)
    log = begin(monkeypatch, 5)
    assert [fields["pause"] for _, fields in log.errors] == [0.01, 0.02, 0.04, 0.04, 0.04]


def test_work_that_ends_is_not_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert begin(monkeypatch, 0).errors == []
    wait_until(lambda: all(thread.name != "refresh" for thread in threading.enumerate()))
