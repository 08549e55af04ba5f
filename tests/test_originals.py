"""The log family beside the recorded answers of the programs that it takes the place of."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import DATA, SHARED_CORPORA, corpus, script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Case = dict[str, Any]

FILES = ("01-axslog", "02-percentile", "03-postfix-log", "04-host", "13-options")
PROGRAMS = (
    "mackerel-plugin-axslog",
    "mackerel-plugin-log-incr-rate",
    "mackerel-plugin-postfix-log",
    "percentile",
)
PARTS = 8
UID = str(os.getuid())


def refused(seen: list[Case]) -> bool:
    return any(each.get("exit") == 2 and not each.get("stdout") for each in seen)


def failed(seen: list[Case]) -> bool:
    return any(each.get("exit") == 1 and not each.get("stdout") for each in seen)


def failed_or_refused(seen: list[Case]) -> bool:
    return failed(seen) or refused(seen)


def done(seen: list[Case]) -> bool:
    return all(each.get("exit", 0) == 0 for each in seen)


def done_or_failed(seen: list[Case]) -> bool:
    return done(seen) or failed(seen)


def done_or_refused(seen: list[Case]) -> bool:
    return done(seen) or refused(seen)


# Where ours is to differ: the reason that the case gives, and what ours does instead.
INTENDED: dict[str, Callable[[list[Case]], bool]] = {
    "exit 2 for wrong use": refused,
    "exit 2 for a wrong value": refused,
    "-h and -v: exit 0, on stdout; wrong use: exit 2": done_or_refused,
    "a percentile that is no number between 0 and 100 is refused, exit 2": refused,
    "a log that is missing or no file is an error, exit 1": failed_or_refused,
    "inf, nan, hexadecimal and underscored numbers are no numbers": done,
    "inf and nan, hexadecimal and underscored numbers are bad lines": done,
    "ours accepts a form that go-flags refuses (one dash, a value beginning with a dash, =true for "
    "a flag)": done_or_refused,
    "the same log named twice is counted once, and said so": done,
    "the original crashes on a small P (index below 0); ours takes the first": done_or_refused,
    "arguments are files": failed,
    "blanks around a number are taken off": done,
    "state lives in MACKEREL_PLUGIN_WORKDIR, which the original did not read; the original's place "
    "is looked at once": done_or_failed,
    "the prefix is part of the name, state in MACKEREL_PLUGIN_WORKDIR; the original's files are "
    "read once, as a start": done,
    "a last line without newline is left for the next run": done,
}

# Where ours differs although the case does not say so. A case that is as the original again has to
# leave this table.
UNLIKE = {
    "blanks and the CR of a line end are no part of a number": "ltsv-ptime-14 ltsv-ptime-15 "
    "ltsv-ptime-23 ltsv-line-18 ltsv-line-19 json-line-009 json-skip-009 json-line-010 "
    "json-line-041",
    "blanks in a list or after a size are passed over": "set-16 max-read-size-18",
    "the first field of a name that has a value wins": "ltsv-line-00 json-line-053 json-line-054 "
    "json-skip-054 json-line-055 json-skip-055",
    "numbers as .5 and +5 count, as in LTSV": "json-line-011 json-skip-011 json-line-013 "
    "json-skip-013",
    "escapes in a text that is a number are decoded": "json-skip-019 json-line-020 json-skip-049",
    "an object in an array is the first object of the line": "json-line-060",
    "a line that is no JSON is told as a bad line": "json-line-063 json-skip-063",
    "the bytes that were passed over are a metric too": "ltsv-opt-20 ltsv-opt-22 json-opt-20 "
    "json-opt-22 max-read-size-growth max-read-size-06 max-read-size-18 max-read-size-20",
    "an empty value is refused, with the way out": "prefix-06",
    "zero has no sign, a byte order mark is no part of a number": "percentile:line-14 "
    "percentile:line-29",
    "sums are exact, and do not overflow": "percentile:line-18 random-086",
    "delays that are no numbers, or more than four, make a bad line": "postfix-log:line-010 "
    "postfix-log:line-014",
    "a program stands in its place and has a message behind a blank": "postfix-log:line-041 "
    "postfix-log:line-056",
    "a slash in a prefix leads to no other folder": "prefix-4",
}
UNLIKE_IDS = {name for names in UNLIKE.values() for name in names.split()}


def is_unlike(case: Case) -> bool:
    return not UNLIKE_IDS.isdisjoint((case["id"], f"{case['group']}:{case['id']}"))


def cases(name: str) -> list[Case]:
    """The cases of a file in which none but the programs of the log family run."""
    path = corpus(f"originals/{name}.json")
    found: list[Case] = json.loads(path.read_text())
    return [
        case
        for case in found
        if {step["program"] for step in case["steps"] if "program" in step} <= set(PROGRAMS)
    ]


class Runner:
    """Does the steps of one case in a folder of its own."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.folder = folder
        for name in ("state", "tmp", "home"):
            (folder / name).mkdir(parents=True)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": f"{folder}/home",
            "TMPDIR": f"{folder}/tmp",
            "MACKEREL_PLUGIN_WORKDIR": f"{folder}/state",
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
        }
        for name, value in case.get("env", {}).items():
            if value is None:
                self.env.pop(name, None)
            else:
                self.env[name] = self.fill(value)
        self.seen: list[Case] = []

    def fill(self, text: str) -> str:
        text = text.replace("{D}", str(self.folder)).replace("{UID}", UID)
        return re.sub(r"\{MD5 of (.*?)\}", lambda m: hashlib.md5(m[1].encode()).hexdigest(), text)

    def path(self, text: str) -> Path:
        return self.folder / self.fill(text)

    def state_files(self) -> list[Path]:
        found = [*(self.folder / "state").iterdir(), *(self.folder / "tmp").iterdir()]
        return sorted(path for path in found if path.is_file() and path.suffix != ".lock")

    def do(self, step: Case) -> None:
        getattr(self, f"do_{step['do']}")(step)

    def do_file(self, step: Case) -> None:
        path = self.path(step["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab" if step.get("append") else "wb") as file:
            file.write(content(step))

    def do_rename(self, step: Case) -> None:
        self.path(step["from"]).rename(self.path(step["to"]))

    def do_mkdir(self, step: Case) -> None:
        self.path(step["path"]).mkdir()

    def do_position(self, step: Case) -> None:
        found = self.path(step["log"]).stat()
        position = {
            "pos": step.get("pos", 0),
            "time": int(time.time()) - step.get("age", 60),
            "inode": found.st_ino,
            "dev": found.st_dev,
        }
        self.path(step["path"]).write_text(json.dumps(position))

    def do_older(self, step: Case) -> None:
        for path in self.state_files():
            if fnmatch(str(path.relative_to(self.folder)), self.fill(step["path"])):
                position = json.loads(path.read_text())
                position["time"] -= step.get("seconds", 60)
                path.write_text(json.dumps(position))

    def do_state(self, _: Case) -> None:
        state = {}
        for path in self.state_files():
            position = json.loads(path.read_text())
            keys = sorted(position)
            state[str(path.relative_to(self.folder))] = {"keys": keys, "pos": position["pos"]}
        self.seen.append({"state": state})

    def do_run(self, step: Case) -> None:
        want = step.get("want", ["stdout"])
        result = subprocess.run(
            [script(step["program"]), *map(self.fill, step["argv"])],
            input=content(step["stdin"]) if "stdin" in step else b"",
            env=self.env, cwd=self.folder, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        text = re.sub(r"(?m)^([^\t\n]+\t\S+\t)\d+$", r"\1EPOCH", result.stdout.decode())
        seen: Case = {"exit": result.returncode}
        if "stdout" in want:
            seen["stdout"] = text
        if "keys" in want:
            seen["keys"] = [line.split("\t")[0] for line in text.splitlines()]
        if {"options", "only_options"} & set(want):
            seen["options"] = text
        if "only_options" in want:
            del seen["exit"]
        self.seen.append(seen)


def content(step: Case) -> bytes:
    if "repeat" in step:
        text, times = step["repeat"]
        return str(text).encode() * int(times)
    if "base64" in step:
        return base64.b64decode(step["base64"])
    return str(step["text"]).encode()


def options_are_there(wanted: list[Any], text: str) -> bool:
    """Whether a help text has every option of the original, with its default where it has one."""
    listed = [part.strip() for part in re.split(r"\n(?=  +-)", text)]
    for names, default in wanted:
        mine = [
            part
            for part in listed
            if any(
                re.search(rf"(^|[\s,])--?{name}(?![\w-])", part.split("   ")[0]) for name in names
            )
        ]
        if not mine or (default is not None and not any(default in part for part in mine)):
            return False
    return True


def equal(wanted: Case, seen: Case, fill: Callable[[str], str]) -> bool:
    """As the original: a position file may have more keys, a help more options."""
    if "state" in wanted:
        state = {fill(name): about for name, about in wanted["state"].items()}
        return state.keys() == seen["state"].keys() and all(
            set(about["keys"]) <= set(seen["state"][name]["keys"])
            and about["pos"] == seen["state"][name]["pos"]
            for name, about in state.items()
        )
    wanted, seen = dict(wanted), dict(seen)
    options, text = wanted.pop("options", None), seen.pop("options", "")
    return wanted == seen and (options is None or options_are_there(options, text))


def perform(case: Case, folder: Path) -> Runner:
    """Do the steps of a case within one second of the clock.

    The originals' figures are per whole second since the last run, so that one which goes over
    the end of a second has no recorded answer: it is not looked at, and the case begins afresh.
    """
    deadline = time.monotonic() + 60
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        runner = Runner(case, folder)
        timed = any("position" in step["do"] or step["do"] == "older" for step in case["steps"])
        begun = int(time.time())
        for step in case["steps"]:
            runner.do(step)
        if not timed or int(time.time()) == begun:
            return runner
        assert time.monotonic() < deadline, f"{case['id']} takes longer than a second"


def as_recorded(case: Case, runner: Runner) -> bool:
    return len(runner.seen) == len(case["expect"]) and all(
        equal(wanted, seen, runner.fill)
        for wanted, seen in zip(case["expect"], runner.seen, strict=True)
    )


def differs(case: Case, folder: Path) -> str:
    """In what ours differs from the recorded answer, or from what is meant; or nothing."""
    runner = perform(case, folder)
    if "intended" in case:
        fine = INTENDED[case["intended"]["why"]](runner.seen)
    else:
        fine = as_recorded(case, runner) is not is_unlike(case)
    if fine:
        return ""
    return f"{case['id']}: {case['expect']} is to be, {runner.seen} is"


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", FILES)
def test_what_the_originals_answered_is_answered(name: str, part: int, tmp_path: Path) -> None:
    different = [differs(case, tmp_path / "case") for case in cases(name)[part::PARTS]]
    assert [each for each in different if each] == []


def test_the_copied_answers_have_cases_of_every_command() -> None:
    found = [
        step["program"]
        for name in FILES
        for case in json.loads((DATA / f"originals/{name}.json").read_text())
        for step in case["steps"]
        if "program" in step
    ]
    assert set(found) == set(PROGRAMS)
    assert len(found) > 60


def test_every_reason_to_differ_has_a_case() -> None:
    reasons = {c["intended"]["why"] for name in FILES for c in cases(name) if "intended" in c}
    assert reasons <= set(INTENDED)
    if (SHARED_CORPORA / "originals").exists():
        names = {case["id"] for name in FILES for case in cases(name)}
        assert reasons == set(INTENDED)
        assert {each.split(":")[-1] for each in UNLIKE_IDS} <= names
