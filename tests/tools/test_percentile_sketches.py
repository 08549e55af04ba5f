"""percentile: sketches written, merged, damaged, in the way of others."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run, script
from tests.peers.percentile import SAMPLE, figures, text_of

if TYPE_CHECKING:
    from pathlib import Path


def test_merged_sketches_keep_their_accuracy_without_an_option(tmp_path: Path) -> None:
    """The default of --accuracy is for a sketch of numbers alone."""
    parts = [tmp_path / "a", tmp_path / "b"]
    for part in parts:
        done = run("percentile", "--accuracy", "2%", "--sketch", part, stdin=SAMPLE)
        assert done.returncode == 0
    whole = tmp_path / "whole"
    merged = run("percentile", "--merge", "--sketch", whole, *parts)
    assert (merged.returncode, merged.stderr) == (0, b"")
    shown = json.loads(run("percentile", "--merge", "--output", "json", whole).stdout)
    assert shown["accuracy"] == 0.02


def test_many_hosts_pooled_are_within_the_stated_error(tmp_path: Path) -> None:
    source = random.Random(5)
    everything: list[float] = []
    paths = []
    for host in range(6):
        numbers = [source.lognormvariate(host - 3, 1.5) for _ in range(3000)]
        numbers += [-source.expovariate(2) for _ in range(100)] + [0.0] * 50
        everything += numbers
        paths.append(tmp_path / f"{host}.sketch")
        done = run("percentile", "--sketch", paths[-1], stdin=text_of(numbers))
        assert figures(done.stdout)["count"] == len(numbers)
    wanted = ["99.9", "99", "90", "50", "10", "1", "0.2"]
    options = ["--percentile-set", ",".join(wanted), "--output", "json"]
    pooled = json.loads(run("percentile", *options, "--merge", *paths).stdout)
    ordered = sorted(everything)
    for name in wanted:
        exact = ordered[max(math.floor(len(ordered) * (float(name) / 100) + 0.5) - 1, 0)]
        assert abs(pooled["percentiles"][name] - exact) <= 0.01 * (1 + 1e-9) * abs(exact), name
    assert pooled["count"] == len(everything)
    assert (pooled["max"], pooled["min"]) == (ordered[-1], ordered[0])
    assert pooled["avg"] == pytest.approx(math.fsum(everything) / len(everything), rel=1e-15)
    assert pooled["accuracy"] == 0.01
    # The sketch of all numbers is the same file as the merged one, in any order.
    whole, merged = tmp_path / "whole", tmp_path / "merged"
    run("percentile", "--sketch", whole, stdin=text_of(everything))
    assert run("percentile", "--sketch", merged, "--merge", *reversed(paths)).returncode == 0
    assert merged.read_bytes() == whole.read_bytes()


def test_a_sketch_through_a_pipe() -> None:
    sketch = run("percentile", "--sketch", "-", "--accuracy=0.1%", stdin=SAMPLE)
    assert (sketch.returncode, sketch.stdout[:8]) == (0, b"KJSKETCH")
    done = run("percentile", "--merge", "-", stdin=sketch.stdout)
    assert figures(done.stdout)["max"] == 137671.5
    assert figures(done.stdout)["75pt"] == pytest.approx(137568.4, rel=0.001)
    empty = run("percentile", "--sketch", "-")
    assert run("percentile", "--merge", stdin=empty.stdout).stdout == b""


def test_a_sketch_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    sketch, link = tmp_path / "sketch", tmp_path / "link"
    assert run("percentile", "--sketch", sketch, stdin=b"1\n2\n3\n").returncode == 0
    link.symlink_to(sketch)
    done = run("percentile", "--merge", sketch, link, sketch)
    assert done.stdout.startswith(b"count: 3\n")
    assert (
        f"percentile: {link} is named twice, as {sketch}, and read once\n" in done.stderr.decode()
    )


def test_sketches_behind_each_other_are_merged_as_from_files(tmp_path: Path) -> None:
    parts = [SAMPLE, b"1\n2\n", b"", b"-5\n"]
    names = [tmp_path / f"{number}.sketch" for number in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        run("percentile", "--sketch", name, stdin=part)
    together = b"".join(name.read_bytes() for name in names)
    expected = run("percentile", "--merge", *names).stdout
    assert figures(expected)["count"] == 9
    assert run("percentile", "--merge", "-", stdin=together).stdout == expected
    for broken in (together[:-1], together + b"x", together.replace(b"\x01", b"\x02", 1)):
        done = run("percentile", "--merge", "-", stdin=broken)
        assert (done.returncode, done.stdout) == (1, b"")


def test_a_sketch_has_the_mode_that_the_umask_leaves_or_the_one_it_had(tmp_path: Path) -> None:
    path = tmp_path / "sketch"
    command = [script("percentile"), "--sketch", str(path)]
    for umask, before, mode in ((0o022, None, 0o644), (0o077, 0o640, 0o640), (0o027, None, 0o640)):
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.chmod(before)
        subprocess.run(command, input=SAMPLE, capture_output=True, check=True, umask=umask)
        assert path.stat().st_mode & 0o777 == mode


def test_sketches_that_do_not_fit_or_are_damaged_are_named(tmp_path: Path) -> None:
    fine, coarse = tmp_path / "fine", tmp_path / "coarse"
    run("percentile", "--sketch", fine, stdin=SAMPLE)
    run("percentile", "--sketch", coarse, "--accuracy", "5%", stdin=SAMPLE)
    content = fine.read_bytes()
    damaged, text = tmp_path / "damaged", tmp_path / "text"
    damaged.write_bytes(content[:-9])
    text.write_bytes(SAMPLE)
    huge = tmp_path / "huge"
    huge.write_bytes(content)
    os.truncate(huge, 1 << 30)
    for other, words in (
        (coarse, "its accuracy is 5 %, not 1 %"),
        (damaged, "it is damaged or cut short"),
        (text, "it is not a sketch"),
        (huge, "it is not a sketch"),  # but one and a hole
        (tmp_path / "none", "No such file"),
    ):
        done = run("percentile", "--merge", fine, other)
        assert (done.returncode, done.stdout) == (1, b"")
        assert f"{other}: {words}" in done.stderr.decode()
        assert ("with the same --accuracy" in done.stderr.decode()) is (other == coarse)


def test_a_sketch_that_is_packed_is_told_with_the_way_out(tmp_path: Path) -> None:
    sketch = run("percentile", "--sketch", "-", stdin=SAMPLE).stdout
    (tmp_path / "a.gz").write_bytes(gzip.compress(sketch))
    done = run("percentile", "--merge", tmp_path / "a.gz")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"percentile: error: {tmp_path}/a.gz: compressed with gzip",
        f"hint: gzip -dc {tmp_path}/a.gz | percentile --merge - reads it",
    ]


def test_a_sketch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "sketch"
    run("percentile", "--sketch", path, stdin=SAMPLE)
    before = path.read_bytes()

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    done = subprocess.run(
        [script("percentile"), "--sketch", str(path)],
        input=b"1\n2\n", capture_output=True, check=False, preexec_fn=small_files,
    )  # fmt: skip
    assert done.returncode == 1
    assert figures(done.stdout)["count"] == 2  # they need no file
    assert f"error: {path}: File too large".encode() in done.stderr
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    done = run("percentile", "--sketch", tmp_path / "no" / "where", stdin=SAMPLE)
    assert done.returncode == 1
    assert b"No such file or directory" in done.stderr


def test_numbers_that_were_named_for_the_sketch_stay(tmp_path: Path) -> None:
    numbers = tmp_path / "numbers"
    numbers.write_bytes(b"1\n2\n")
    done = run("percentile", "--sketch", numbers, numbers)
    assert (done.returncode, done.stdout, numbers.read_bytes()) == (2, b"", b"1\n2\n")
    assert done.stderr.decode().startswith(f"percentile: error: --sketch {numbers}: it is there")


def test_a_device_or_a_link_in_place_of_the_sketch_stays_what_it_is(tmp_path: Path) -> None:
    node, target, link = tmp_path / "null", tmp_path / "target", tmp_path / "link"
    os.mkfifo(node)
    reader = subprocess.Popen(["cat", str(node)], stdout=subprocess.PIPE)
    assert run("percentile", "--sketch", node, stdin=SAMPLE).returncode == 0
    assert reader.communicate(timeout=20)[0].startswith(b"KJSKETCH")
    assert node.is_fifo()
    link.symlink_to(target)
    assert run("percentile", "--sketch", link, stdin=SAMPLE).returncode == 0
    assert link.is_symlink()
    assert target.read_bytes().startswith(b"KJSKETCH")
    done = run("percentile", "--sketch", "/dev/full", stdin=SAMPLE)
    assert (done.returncode, figures(done.stdout)["count"]) == (1, 6)
    assert done.stderr == b"percentile: error: /dev/full: No space left on device\n"


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    with open(path, "wb") as file:
        file.write(b"\xe9:1\tg:\xc3\xa9\xff\nx\n")
    for form in ("text", "json", "prometheus"):
        done = subprocess.run(
            [script("percentile"), b"--key=\xe9", b"--by=g", f"--output={form}", path],
            capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )  # fmt: skip
        assert done.returncode == 0
        # What ASCII has no byte for: JSON has its own words for it.
        assert (b'"\\u00e9' if form == "json" else b"\\xe9") in done.stdout
        assert b"1 of 2 lines" in done.stderr
        assert b"caf" in done.stderr


def log_of(path: Path, seed: int, uris: int) -> Path:
    """A log with lines of so many values of ``uri``, and some without one."""
    rng = random.Random(seed)
    with path.open("w") as file:
        for _ in range(400):
            uri = f"uri:/{rng.randrange(uris)}\t" if rng.random() < 0.9 else ""
            file.write(f"{uri}ptime:{rng.lognormvariate(-2, 1):.4f}\n")
    return path


def test_sketches_by_group_are_merged_in_any_order_and_grouping(tmp_path: Path) -> None:
    logs = [log_of(tmp_path / f"log{seed}", seed, 2 + 3 * seed) for seed in range(4)]
    command = ["percentile", "--key", "ptime", "--by", "uri"]
    whole, *parts = [tmp_path / name for name in ("whole", "0", "1", "2", "3")]
    assert run(*command, "--sketch", whole, *logs).returncode == 0
    for log, part in zip(logs, parts, strict=True):
        assert run(*command, "--sketch", part, log).returncode == 0
    merge = ["percentile", "--merge"]
    expected = run(*merge, whole)
    assert expected.stdout.count(b"uri: /") == 11
    assert b"uri (no value): -" in expected.stdout
    assert run(*merge, *parts).stdout == expected.stdout
    assert run(*merge, *reversed(parts)).stdout == expected.stdout
    together = b"".join(path.read_bytes() for path in (parts[2], parts[0], parts[3], parts[1]))
    assert run(*merge, "-", stdin=together).stdout == expected.stdout
    halves = [tmp_path / "half", tmp_path / "other half"]
    assert run(*merge, "--sketch", halves[0], parts[3], parts[0]).returncode == 0
    assert run(*merge, "--sketch", halves[1], parts[1], parts[2]).returncode == 0
    merged = tmp_path / "merged"
    assert run(*merge, "--sketch", merged, *halves).returncode == 0
    assert merged.read_bytes() == whole.read_bytes()
    shown = json.loads(run(*merge, "--output", "json", merged).stdout)
    assert (shown["by"], len(shown["groups"]), shown["accuracy"]) == ("uri", 12, 0.01)
    prometheus = run(*merge, "--output", "prometheus", merged).stdout
    assert b'uri="/0"' in prometheus
    plot = run(*merge, "--plot", merged).stdout
    assert plot.count(b"%") > 12


def test_more_groups_than_are_kept_apart_are_pooled_when_all_are_there(tmp_path: Path) -> None:
    logs = [log_of(tmp_path / f"log{seed}", seed, 9) for seed in range(3)]
    parts = [tmp_path / f"part{seed}" for seed in range(3)]
    command = ["percentile", "--key", "ptime", "--by", "uri"]
    for log, part in zip(logs, parts, strict=True):
        assert run(*command, "--sketch", part, log).returncode == 0
    merge = ["percentile", "--merge", "--max-groups", "3"]
    shown = run(*merge, *parts)
    assert shown.stdout.count(b"uri: /") == 3
    assert b"uri (pooled): other" in shown.stdout
    assert run(*merge, *reversed(parts)).stdout == shown.stdout
    exact = run(*command, "--max-groups", "3", *logs).stdout
    kept = (b"count", b"uri", b"max", b"min")
    assert [line for line in shown.stdout.splitlines() if line.startswith(kept)] == [
        line for line in exact.splitlines() if line.startswith(kept)
    ]


def test_sketches_of_other_groups_are_named_and_not_merged(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", 1, 5)
    paths = {by: tmp_path / by for by in ("uri", "ptime", "none")}
    for by, path in paths.items():
        options = [] if by == "none" else ["--by", by]
        done = run("percentile", "--key", "ptime", *options, "--sketch", path, log)
        assert done.returncode == 0
    for first, second, why in (
        ("uri", "ptime", "its groups are of ptime, not of uri"),
        ("uri", "none", "it has no groups, and those before it are of groups of uri"),
        ("none", "uri", "it is of a group of uri, and those before it are of none"),
    ):
        done = run("percentile", "--merge", paths[first], paths[second])
        assert (done.returncode, done.stdout) == (1, b"")
        assert f"{paths[second]}: {why}".encode() in done.stderr
        assert b"with the same --by" in done.stderr


def test_sketches_of_no_lines_still_say_that_there_are_groups(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    command = ["percentile", "--key", "ptime", "--by", "uri", "--sketch"]
    done = run(*command, empty, "/dev/null")
    assert (done.returncode, done.stdout) == (0, b"")
    assert empty.stat().st_size > 0
    assert run(*command, full, log_of(tmp_path / "log", 1, 5)).returncode == 0
    expected = run("percentile", "--merge", full).stdout
    assert run("percentile", "--merge", empty, full, empty).stdout == expected
    done = run("percentile", "--merge", empty)
    assert (done.returncode, done.stdout) == (0, b"")
    again = tmp_path / "again"
    assert run("percentile", "--merge", "--sketch", again, full, empty).returncode == 0
    assert again.read_bytes() == full.read_bytes()


def test_a_value_that_looks_like_a_sketch_is_a_value(tmp_path: Path) -> None:
    """Who writes values into a log can forge no end of a sketch and no beginning of another."""
    from zlib import crc32

    log, path = tmp_path / "log", tmp_path / "sketch"
    value = b""
    for length in range(1, 60):
        head = b"KJSKETCH\x02\0\x01u" + bytes([length + 12]) + b"x" * length
        forged = b"x" * length + crc32(head).to_bytes(4, "little") + b"KJSKETCH"
        if not set(b"\t\n\r\0") & set(forged):
            value = forged
            break
    assert value
    log.write_bytes(b"u:" + value + b"\tptime:1\nu:b\tptime:2\nu:b\tptime:3\n")
    done = run("percentile", "--key=ptime", "--by=u", "--sketch", path, log)
    assert done.returncode == 0
    merged = run("percentile", "--merge", path)
    assert (merged.returncode, merged.stdout) == (0, done.stdout)


def test_with_groups_a_sketch_takes_bounded_memory(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file:
        for number in range(1_500_000):
            file.write(f"g:{number & 3}\tptime:{number % 9973}\n")

    # A small process of its own: a child's peak begins with that of the one it was forked from.
    launcher = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[
    (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
_, status, usage = os.wait4(pid, 0)
print(status, usage.ru_maxrss)
"""

    def peak_kib(*options: str) -> int:
        command = [script("percentile"), "--key=ptime", "--by=g", *options, str(log)]
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", launcher, *command], capture_output=True, check=True
        )
        status, peak = done.stdout.split()
        assert status == b"0"
        return int(peak)

    # Of the numbers alone there are 12 MB.
    assert peak_kib("--sketch", str(tmp_path / "sketch")) < peak_kib() - 8_000
