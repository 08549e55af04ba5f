"""The table of docs/trust.md: each test that it names is run, each command has its rows."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from kojuto.commands import COMMANDS
from tests.conftest import ROOT

TEXT = (ROOT / "docs/trust.md").read_text()
PLUGINS_OF_LOGS = (
    "mackerel-plugin-axslog", "mackerel-plugin-log-incr-rate", "mackerel-plugin-postfix-log",
)  # fmt: skip
STATUS, PINGING = "mackerel-plugin-linux-process-status", "mackerel-plugin-pinging"
CHECKERS = ("deteco", "consul-service-has-ip")
GATEWAYS = ("wsgate-server", "wsgate-client")
RELAYS = ("ppdp", "motarei")
SERVERS = (*RELAYS, *CHECKERS, *GATEWAYS)
WRITERS = (*PLUGINS_OF_LOGS, STATUS, "percentile", "sabo", "relaxlogs", "kojuto report")
MEETS = {
    "killed": {*WRITERS, *SERVERS},
    "full disk": {*WRITERS, *SERVERS, "myps"},
    "read-only directory": {*WRITERS, *SERVERS} - {"percentile", "kojuto report", "motarei"},
    "interrupted calls": {*WRITERS, *SERVERS, PINGING} - {STATUS},
    "no descriptors left": {*SERVERS},
    "closed output": {*COMMANDS, "kojuto report"} - {"motarei"},
    "clock set back": {*PLUGINS_OF_LOGS, "relaxlogs", "deteco"},
    "endless lines": {
        *PLUGINS_OF_LOGS, "percentile", "relaxlogs", "kojuto report", *CHECKERS, "wsgate-server",
    },
    "random bytes": {*COMMANDS, "kojuto report"} - {"motarei", "relaxlogs"},
    "rotated and cut logs": {*PLUGINS_OF_LOGS, "relaxlogs", "no-excl-open", "kojuto report"},
    "slow and stalled peers": {
        *SERVERS, PINGING, "percentile", "sabo", "relaxlogs", "myps", "kojuto report",
    },
    "reset": {*RELAYS, *GATEWAYS, "myps", "kojuto report"},
    "half-closed": {*SERVERS},
    "upstream gone and back": {*SERVERS, "myps"},
    "DNS change": {"ppdp", "wsgate-server", PINGING},
    "Docker restarts": {"motarei"},
    "MariaDB restarts": {"myps"},
    "expired keys": {*CHECKERS, *GATEWAYS},
    "reload with a broken file": {*CHECKERS, *GATEWAYS},
}  # fmt: skip
"""Which commands a fault can meet: those that read, write, listen or ask what it is about."""


def rows(text: str) -> list[list[str]]:
    """The cells of the tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return [row for row in cells if row[0] not in ("fault", "---")]


SECTIONS = {
    name: rows(section)
    for name, section in re.findall(r"^### (.+)\n((?:(?!^##).*\n?)*)", TEXT, re.MULTILINE)
    if name in {*COMMANDS, "kojuto report"}
}
TESTS = sorted(
    {test for found in SECTIONS.values() for row in found for test in re.findall("`(.*?)`", row[2])}
)


def test_each_command_has_a_row_for_each_fault_that_it_can_meet() -> None:
    told = {(row[0], name) for name, found in SECTIONS.items() for row in found}
    assert told == {(fault, name) for fault, names in MEETS.items() for name in names}
    assert set(SECTIONS) == {*COMMANDS, "kojuto report"}


def test_each_fault_is_explained() -> None:
    _, _, section = TEXT.partition("\n## The faults\n")
    assert [row[0] for row in rows(section.partition("\n## ")[0])] == list(MEETS)


def test_each_row_says_what_happens_and_names_a_test() -> None:
    for name, found in SECTIONS.items():
        for row in found:
            assert len(row) == 3, (name, row)
            assert row[1], (name, row)
            assert all(re.fullmatch(r"`\S+`", part) for part in row[2].split("<br>")), (name, row)


@pytest.mark.timeout(300)
def test_each_test_of_pytests_that_is_named_is_one_that_make_test_runs() -> None:
    named = {test for test in TESTS if not test.startswith("rust/")}
    files = sorted({test.partition("::")[0] for test in named})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    collected = {line.partition("[")[0] for line in done.stdout.splitlines()}
    assert len(named) > 100
    assert named - collected == set()


@pytest.mark.parametrize("test", [test for test in TESTS if test.startswith("rust/")])
def test_each_test_of_cargos_that_is_named_is_there(test: str) -> None:
    path, _, name = test.partition("::")
    assert re.search(rf"#\[test\]\n(?:\s*#\[.*\]\n)*\s*fn {name}\(", (ROOT / path).read_text())
