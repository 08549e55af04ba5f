"""The wheels in ``dist``: what they say of themselves is so, by the tools that indexes trust, and
what is linked into each is named in it with its terms.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from release.linked import parts
from release.targets import TARGETS, Target, version
from tests.release.dist import LIBRARIES, wheel_of

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.platform)
BIN = Path(sys.executable).parent


def tool(name: str, *arguments: str | Path) -> str:
    """What a tool prints that finds nothing wrong."""
    done = subprocess.run(
        [BIN / name, *arguments], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@each_target
def test_an_index_takes_it(target: Target) -> None:
    shown = tool("twine", "check", "--strict", wheel_of(target))
    assert "PASSED" in shown


@each_target
def test_it_runs_where_its_tag_says(target: Target) -> None:
    """auditwheel reads which symbols of which version the libraries need."""
    assert target.platform in wheel_of(target).name
    # Not in this machine's folders: a libc.so there is a script for glibc's linker.
    paths = ["--ldpaths", "/none"] if target.libc == "musl" else []
    shown = json.loads(tool("auditwheel", "show", "--json", *paths, wheel_of(target)))
    assert shown["sym_tag"] == target.platform
    if target.libc == "musl":
        # auditwheel wants the name that Alpine gives to it; musl's loader takes all that begin so
        # for itself (ldso/dynlink.c, load_library).
        assert set(shown["external_libs"]) == {"libc.so"}
    else:
        assert shown["overall_tag"] == target.platform


@each_target
def test_it_keeps_to_the_stable_abi(target: Target) -> None:
    shown = json.loads(tool("abi3audit", "--strict", "--report", wheel_of(target)))
    (spec,) = shown["specs"].values()
    native = {row["name"]: row["result"] for row in spec["wheel"]}["_native.abi3.so"]
    assert native["is_abi3"]
    assert (native["baseline"], native["is_abi3_baseline_compatible"]) == ("3.10", True)


@each_target
def test_its_contents_are_those_of_a_wheel(target: Target) -> None:
    tool("check-wheel-contents", wheel_of(target))


@each_target
def test_its_record_is_whole_and_no_entry_has_a_date(target: Target) -> None:
    with zipfile.ZipFile(wheel_of(target)) as archive:
        names = archive.namelist()
        assert len(set(names)) == len(names)
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        record = f"kojuto-{version()}.dist-info/RECORD"
        rows = {row[0]: row for row in csv.reader(archive.read(record).decode().splitlines())}
        assert set(rows) == set(names)
        for name in set(names) - {record}:
            data = archive.read(name)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert rows[name][1:] == [f"sha256={digest}", str(len(data))]


@each_target
def test_the_shim_is_in_it_but_for_musl(target: Target) -> None:
    with zipfile.ZipFile(wheel_of(target)) as archive:
        assert ("kojuto/no_excl_open.so" in archive.namelist()) == (target.libc == "gnu")


@each_target
def test_no_folder_of_the_machine_is_in_it(target: Target) -> None:
    with zipfile.ZipFile(wheel_of(target)) as archive:
        extension = archive.read("kojuto/_native.abi3.so")
    for path in (Path.home(), Path.cwd(), *LIBRARIES):
        assert bytes(path) not in extension
    assert b"/cargo/registry/src/" in extension  # what stands there instead


@each_target
def test_it_tells_who_made_it_and_where(target: Target) -> None:
    with zipfile.ZipFile(wheel_of(target)) as archive:
        text = archive.read(f"kojuto-{version()}.dist-info/METADATA").decode()
    assert "\nAuthor: kojuto contributors\n" in text
    assert "\nLicense-Expression: MIT\n" in text
    for name in ("LICENSE", "LICENSE-THIRD-PARTY.txt"):
        assert f"\nLicense-File: {name}\n" in text
    assert len(re.findall(r"^Project-URL: \w+, https://", text, re.MULTILINE)) >= 4


@each_target
def test_all_that_is_linked_is_in_its_bill_and_its_notices(target: Target) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    home = f"kojuto-{version()}.dist-info"
    with zipfile.ZipFile(wheel_of(target)) as archive:
        bill = archive.read(f"{home}/sboms/kojuto.cdx.json").decode()
        notices = archive.read(f"{home}/licenses/LICENSE-THIRD-PARTY.txt").decode()
        extension = archive.read("kojuto/_native.abi3.so").decode("latin-1")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    listed = {(part["name"], part["version"]) for part in json.loads(bill)["components"]}
    linked = parts(target)
    assert listed == {(part.name, part.version) for part in linked}
    for part in linked:
        assert f"\n  {part.name} {part.version}: {part.licence}\n" in notices
    # What the code itself says: the paths of the sources in its messages.
    told = set(
        re.findall(
            r"/(?:registry/src/[^/]+|rust/deps)/([a-z0-9_-]+?)-(\d+\.\d+\.\d+[\w.+-]*)/", extension
        )
    )
    assert len(told) > 20
    assert told <= listed
