"""``kojuto report --compare``: two runs of a site, as somebody who tunes it compares them."""

from __future__ import annotations

import json
from csv import DictReader
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

START = 1_790_000_000
LINES = 4000


def report(*arguments: str | Path) -> CompletedProcess[bytes]:
    return run("kojuto", "report", *arguments)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the log of a run of 400 s: how much slower /users is, and how much of it fails."""
    folder = tmp_path_factory.mktemp("sides")

    def write(seed: int, slower: float = 1.0, failing: float = 0.0) -> Path:
        dice = Random(seed)
        path = folder / f"{seed}-{slower}-{failing}.log"
        with path.open("w") as out:
            for at in range(LINES):
                uri, factor = (f"/users/{at}", slower) if at % 2 else ("/top", 1.0)
                status = 503 if at % 2 and dice.random() < failing else 200
                time_s = 0.05 * dice.lognormvariate(0, 0.5) * factor
                out.write(
                    f"time:{START + at // 10}\tmethod:GET\turi:{uri}\tstatus:{status}"
                    f"\treqtime:{time_s:.3f}\n"
                )
        return path

    return write


def verdicts(*arguments: str | Path) -> tuple[dict[str, str], int, str]:
    done = report("--compare", "--output", "json", *arguments)
    found = json.loads(done.stdout)
    told = {each["endpoint"]: each["verdict"] for each in found["endpoints"]}
    return told, done.returncode, done.stderr.decode()


def test_a_slower_endpoint_is_told_and_fails_the_bound(log: Callable[..., Path]) -> None:
    old, new = log(1), log(2, slower=1.3)
    told, status, words = verdicts("--fail-above", "10%", old, new)
    assert told == {"GET /users/{n}": "slower", "GET /top": "same"}
    assert status == 1
    assert "over --fail-above: 1 endpoint (GET /users/{n})" in words
    told, status, _ = verdicts(old, new)
    assert (told["GET /users/{n}"], status) == ("slower", 0)
    told, status, _ = verdicts("--fail-above", "10", new, old)
    assert (told["GET /users/{n}"], status) == ("faster", 0)


def test_equal_runs_have_no_mark(log: Callable[..., Path]) -> None:
    told, status, words = verdicts("--fail-above", "10%", log(3), log(4))
    assert set(told.values()) == {"same"}
    assert status == 0
    assert "fail-above" not in words


def test_failures_are_told_first(log: Callable[..., Path]) -> None:
    done = report("--compare", log(5), log(6, slower=1.5, failing=0.1))
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0
    row = next(line for line in lines if "/users/{n}" in line)
    assert row.startswith("failing")
    assert lines.index(row) < next(at for at, line in enumerate(lines) if "/top" in line)


def test_saved_reports_say_what_their_logs_say(log: Callable[..., Path], tmp_path: Path) -> None:
    logs = log(1), log(2, slower=1.3)
    saved = [tmp_path / f"{at}.kjr" for at in range(2)]
    for path, file in zip(logs, saved, strict=True):
        assert report("--save", file, "--output", "csv", path).returncode == 0
    of_logs = json.loads(report("--compare", "--output", "json", *logs).stdout)
    of_saved = json.loads(report("--compare", "--output", "json", *saved).stdout)
    mixed = json.loads(report("--compare", "--output", "json", logs[0], saved[1]).stdout)
    for each in (of_logs, of_saved, mixed):
        for side in ("old", "new"):
            each[side].pop("files")
    assert of_logs == of_saved == mixed


def test_runs_with_commas_between_them_are_one_side(log: Callable[..., Path]) -> None:
    old = ",".join(str(log(seed)) for seed in range(10, 19))
    new = ",".join(str(log(seed, slower=1.3)) for seed in range(20, 29))
    found = json.loads(report("--compare", "--output", "json", old, new).stdout)
    assert (found["old"]["lines"], len(found["old"]["files"])) == (9 * LINES, 9)
    assert {e["endpoint"]: e["verdict"] for e in found["endpoints"]}["GET /users/{n}"] == "slower"


def test_a_run_that_is_named_twice_is_one(log: Callable[..., Path], tmp_path: Path) -> None:
    old, new, link = log(10), log(20), tmp_path / "link"
    link.symlink_to(old)
    saved = tmp_path / "saved"
    report("--save", saved, new)
    done = report("--compare", "--output", "json", f"{old},{link}", f"{saved},{saved}")
    found = json.loads(done.stdout)
    assert (found["old"]["lines"], found["new"]["lines"]) == (LINES, LINES)
    told = done.stderr.decode()
    assert f"{link} is named twice, as {old}, and read once\n" in told
    assert f"{saved} is named twice and read once\n" in told
    # The two sides may well be one file.
    assert verdicts(old, link)[0] == {"GET /users/{n}": "same", "GET /top": "same"}


def test_markdown_has_both_sides(log: Callable[..., Path]) -> None:
    done = report("--compare", "--output", "markdown", log(1), log(2, slower=1.3))
    assert b"| **slower** | `GET /users/{n}` |" in done.stdout


def test_csv_has_what_json_has_and_both_keep_the_limit(log: Callable[..., Path]) -> None:
    sides = log(1), log(2, slower=1.3)
    words = ("--compare", "--percentiles", "50,99.9", "--fail-above", "10%")
    arguments: list[str | Path] = [*words, *sides]
    found = json.loads(report("--output", "json", *arguments).stdout)["endpoints"]
    for form, separator in (("csv", ","), ("tsv", "\t")):
        done = report("--output", form, *arguments)
        rows = list(DictReader(done.stdout.decode().splitlines(), delimiter=separator))
        assert done.returncode == 1
        assert [row["endpoint"] for row in rows] == [each["endpoint"] for each in found]
        for row, each in zip(rows, found, strict=True):
            assert (row["verdict"], row["moved"]) == (each["verdict"], each["moved"] or "")
            assert row["above"] == json.dumps(each["above"])
            for side in ("old", "new"):
                figures = {name: float(row[f"{side}_{name}"]) for name in each[side]}
                assert figures == each[side]
    # What has a mark is always there.
    for output in ("csv", "json"):
        shown = report("--output", output, "--limit", "1", *arguments).stdout
        assert b"/users/{n}" in shown
        assert b"/top" not in shown


def test_every_error_is_2(log: Callable[..., Path], tmp_path: Path) -> None:
    old, new = log(1), log(2, slower=1.3)
    saved = tmp_path / "a.kjr"
    assert report("--save", saved, "--output", "csv", old).returncode == 0
    damaged = tmp_path / "b.kjr"
    damaged.write_bytes(saved.read_bytes()[:-3])
    folded = tmp_path / "c.kjr"
    assert report("--no-fold", "--save", folded, "--output", "csv", old).returncode == 0
    for arguments, words in (
        ((old,), "needs two sides, and 1 are named"),
        ((old, new, new), "needs two sides, and 3 are named"),
        ((old, tmp_path / "none"), "none: No such file or directory"),
        ((old, f"{new},"), "a run has no name"),
        ((old, damaged), "b.kjr: "),
        ((saved, folded), "make both sides with the same options"),
        (("--merge", old, new), "--merge cannot go with --compare"),
        (("--output", "arrow", old, new), "--output arrow cannot go with --compare"),
        (("--since", "-1h", saved, new), "--since cannot go with a saved report"),
        (("--fail-above", "0", old, new), "not a percentage above 0"),
    ):
        done = report("--compare", *arguments)
        assert done.returncode == 2, (arguments, done)
        assert words in done.stderr.decode(), (arguments, done.stderr)
        assert not done.stdout
    done = report("--fail-above", "10%", old)
    assert (done.returncode, b"--fail-above needs --compare" in done.stderr) == (2, True)


def test_an_output_that_fails_is_no_slower_endpoint(log: Callable[..., Path]) -> None:
    import subprocess

    from tests.conftest import script

    command = [script("kojuto"), "report", "--compare", str(log(1)), str(log(3))]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2, done.stderr
    assert b"No space left on device" in done.stderr


def test_too_few_lines_are_told(log: Callable[..., Path], tmp_path: Path) -> None:
    few = [tmp_path / name for name in ("a.log", "b.log")]
    for path in few:
        path.write_text("".join(log(1).read_text().splitlines(keepends=True)[:60]))
    told, status, words = verdicts("--fail-above", "10%", *few)
    assert set(told.values()) == {"unknown"}
    assert status == 3
    assert "more lines are needed" in words
