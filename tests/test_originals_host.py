"""pinging, process-status and myps beside the recorded answers of the programs they replace."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import DATA
from tests.test_originals import Runner, as_recorded, done_or_failed, done_or_refused, refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Case = dict[str, Any]

PROGRAMS = {"mackerel-plugin-pinging", "mackerel-plugin-linux-process-status", "myps"}
PARTS = 4


def counted_as_lost(seen: list[Case]) -> bool:
    (only,) = seen
    return only["exit"] == 1 and bool(only["stdout"].count("\n") == 2)


# Where ours is to differ: the reason that the case gives, and what ours does instead.
INTENDED: dict[str, Callable[[list[Case]], bool]] = {
    "exit 2 for wrong use": refused,
    "-h and -v: exit 0, on stdout; wrong use: exit 2": done_or_refused,
    "ours accepts one dash": done_or_failed,
    "the prefix is part of the name, state in MACKEREL_PLUGIN_WORKDIR; the original's files are "
    "read once, as a start": done_or_failed,
    "a name that does not resolve: success 0, error = count, exit 1": counted_as_lost,
}
# Where ours differs although the case does not say so. A case that is as the original again has to
# leave this table.
UNLIKE = {
    "a prefix that Mackerel takes in no name becomes one of its own": "status-prefix-03 "
    "status-prefix-04 status-prefix-10 pinging-prefix-03 pinging-prefix-05 pinging-prefix-06 "
    "pinging-prefix-10",
    "a number out of range is wrong use": "status-argv-07 status-argv-08 pinging-argv-2",
    "an empty value is refused, with the way out": "pinging-argv-7",
}
UNLIKE_IDS = {name for names in UNLIKE.values() for name in names.split()}


class HostRunner(Runner):
    """Knows the runner's own process, and state that is no position."""

    def fill(self, text: str) -> str:
        return super().fill(text).replace("{PID}", str(os.getpid()))

    def do_state(self, _: Case) -> None:
        state = {}
        for path in self.state_files():
            keys = sorted(json.loads(path.read_text()))
            state[str(path.relative_to(self.folder))] = {"keys": keys, "pos": None}
        self.seen.append({"state": state})


def cases() -> list[Case]:
    found: list[Case] = json.loads((DATA / "originals/host.json").read_text())
    for case in found:
        for expected in case["expect"]:
            for about in expected.get("state", {}).values():
                about.setdefault("pos", None)
    return found


def differs(case: Case, folder: Path) -> str:
    """In what ours differs from the recorded answer, or from what is meant; or nothing."""
    runner = HostRunner(case, folder)
    for step in case["steps"]:
        runner.do(step)
    if "intended" in case:
        fine = INTENDED[case["intended"]["why"]](runner.seen)
    else:
        fine = as_recorded(case, runner) is not (case["id"] in UNLIKE_IDS)
    return "" if fine else f"{case['id']}: {case['expect']} is to be, {runner.seen} is"


@pytest.mark.parametrize("part", range(PARTS))
def test_what_the_originals_answered_is_answered(part: int, tmp_path: Path) -> None:
    different = [differs(case, tmp_path / str(n)) for n, case in enumerate(cases()[part::PARTS])]
    assert [each for each in different if each] == []


def test_there_are_cases_of_each_program_and_for_each_reason() -> None:
    found = cases()
    programs = {step["program"] for case in found for step in case["steps"] if "program" in step}
    assert programs == PROGRAMS
    assert {case["intended"]["why"] for case in found if "intended" in case} == set(INTENDED)
    assert {case["id"] for case in found} >= UNLIKE_IDS
