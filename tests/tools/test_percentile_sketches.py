"""percentile: sketches written, merged, damaged, in the way of others."""

from __future__ import annotations

import json
import math
import os
import random
import resource
import signal
import subprocess
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
        (huge, "it is larger than a sketch can be"),
        (tmp_path / "none", "No such file"),
    ):
        done = run("percentile", "--merge", fine, other)
        assert (done.returncode, done.stdout) == (1, b"")
        assert f"{other}: {words}" in done.stderr.decode()
        assert ("with the same --accuracy" in done.stderr.decode()) is (other == coarse)


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
        assert b"\\xe9" in done.stdout
        assert b"1 of 2 lines" in done.stderr
        assert b"caf" in done.stderr
