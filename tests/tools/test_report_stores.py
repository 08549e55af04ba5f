"""kojuto report on URLs: a web server with and without ranges, the memory of fsspec, breaks."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from kojuto import report
from kojuto.errors import KojutoError, UsageError
from kojuto.tools.report import main, stores
from tests.conftest import run, script, wait_until
from tests.peers import weblogs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def text(count: int, *, first: int = 0) -> bytes:
    return "".join(
        f"time:{1_795_961_200 + n // 10}\tmethod:GET\turi:/{'abc'[n % 3]}x/{n}\tstatus:200\tsize:7"
        f"\treqtime:{n % 100 / 1000:.3f}\tua:{'x' * (n % 90)}\n"
        for n in range(first, first + count)
    ).encode()


@pytest.fixture
def web() -> Iterator[weblogs.Logs]:
    with weblogs.serving() as logs:
        yield logs


@pytest.fixture
def memory() -> Iterator[Any]:
    store = fsspec.filesystem("memory")
    yield store
    store.store.clear()


def answer(*arguments: str | Path) -> dict[str, Any]:
    done = run("kojuto", "report", "--output", "json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def without_names(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "files"}


# -- names ---------------------------------------------------------------------------------------


def test_what_is_a_url() -> None:
    for name in ("s3://b/a", "https://h/a", "simplecache::s3://b/a", "memory://a", "file:///a"):
        assert stores.is_url(name)
    for name in ("a.log", "/var/log/a", "://a", "s3:/b", "a b://c", "-", "C:\\a"):
        assert not stores.is_url(name)


def test_the_url_of_a_file_is_its_path() -> None:
    assert stores.local("file:///var/log/my%20log") == "/var/log/my log"
    assert stores.local("file://localhost/a") == "/a"
    assert stores.local("a%20b") == "a%20b"
    with pytest.raises(UsageError, match="another host"):
        stores.local("file://elsewhere/a")


def test_no_secret_of_a_url_is_shown() -> None:
    assert stores.shown("https://me:secret@h:80/a/b?X-Signature=secret") == "https://h:80/a/b"
    assert stores.shown("s3://bucket/a?b") == "s3://bucket/a?b"
    assert stores.shown("sftp://me@h/a@b") == "sftp://h/a@b"


# -- a web server --------------------------------------------------------------------------------


@pytest.mark.parametrize("ranges", [True, False])
def test_a_log_of_a_web_server_is_that_log(web: weblogs.Logs, tmp_path: Path, ranges: bool) -> None:
    web.ranges = ranges
    plain = text(9000)
    log = tmp_path / "a.log"
    log.write_bytes(plain)
    web.files = {"/a.log": plain, "/a.log.gz": gzip.compress(plain)}
    local = answer(log)
    for name in web.files:
        found = answer(web.url + name)
        assert without_names(found) == without_names(local)
        assert found["files"] == [web.url + name]
    # One request for a small one, whatever the server can.
    assert web.got("/a.log") == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_large_log_is_read_in_parts_where_the_server_gives_them(
    web: weblogs.Logs, tmp_path: Path, ranges: bool
) -> None:
    web.ranges = ranges
    plain = text(20_000) * 16  # 36 MB
    log = tmp_path / "a.log"
    log.write_bytes(plain)
    web.files = {"/a.log": plain}
    assert without_names(answer(web.url + "/a.log")) == without_names(answer(log))
    parts = {part.partition("-")[0] for part in web.got("/a.log") if part}
    assert (len(parts) > 3) is ranges
    assert web.got("/a.log").count(None) == (0 if ranges else 1)


def test_files_and_urls_are_counted_together_and_in_a_window(
    web: weblogs.Logs, tmp_path: Path
) -> None:
    web.files = {"/b.log": text(3000, first=3000)}
    log = tmp_path / "a.log"
    log.write_bytes(text(3000))
    both = tmp_path / "both.log"
    both.write_bytes(text(6000))
    found = answer(log, web.url + "/b.log")
    assert without_names(found) == without_names(answer(both))
    assert found["files"] == [str(log), f"{web.url}/b.log"]
    for since in ("end-1m", "end-7m"):
        window = ("--since", since)
        ours = answer(*window, log, web.url + "/b.log")
        assert without_names(ours) == without_names(answer(*window, both))
    web.files["/b.log"] = text(20_000, first=3000)  # so long that its end is read alone
    both.write_bytes(text(23_000))
    by_file = ("--since", "end-1m", "--group-by", "file")
    (row,) = answer(*by_file, log, web.url + "/b.log")["endpoints"]
    assert (row["file"], row["count"]) == (f"{web.url}/b.log", 610)


def test_no_half_answer_is_silent(web: weblogs.Logs, tmp_path: Path) -> None:
    whole, broken = text(3000), text(50_000)
    log = tmp_path / "a.log"
    log.write_bytes(whole)
    web.files = {"/b.log": broken, "/c.log.gz": gzip.compress(broken), "/d.log": whole}
    web.breaks = {"/b.log": 3_000_000, "/c.log.gz": 100_000}
    for name in ("/b.log", "/c.log.gz"):
        alone = run("kojuto", "report", web.url + name)
        assert (alone.returncode, alone.stdout) == (1, b"")
        assert f"{web.url}{name}: ".encode() in alone.stderr
        assert b"Traceback" not in alone.stderr
        among = run("kojuto", "report", "--output", "json", log, web.url + name, web.url + "/d.log")
        assert among.returncode == 1
        assert b"the others are reported" in among.stderr
        assert json.loads(among.stdout)["lines"] == 6000
    with pytest.raises(OSError, match=r"b\.log"):
        in_another_process(f"report.scan({web.url + '/b.log'!r})")


def in_another_process(code: str) -> None:
    """Run it where the thread of fsspec stays in nobody's way."""
    code = f"from kojuto import report\n{code}"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.splitlines()[-1])


def test_a_part_that_breaks_leaves_its_whole_log_out(web: weblogs.Logs) -> None:
    web.files = {"/a.log": text(20_000) * 16, "/b.log": text(10)}
    web.breaks = {"/a.log": 1_000_000}
    done = run("kojuto", "report", "--output", "json", web.url + "/a.log", web.url + "/b.log")
    assert done.returncode == 1
    assert json.loads(done.stdout)["lines"] == 10
    assert done.stderr.count(b"error: ") == 1


@pytest.mark.parametrize(
    ("path", "why"), [("/no.log", b"404"), ("/a.log?denied", b"403"), ("", b"connect")]
)
def test_what_is_wrong_with_a_url_is_told(web: weblogs.Logs, path: str, why: bytes) -> None:
    web.files = {"/a.log": b""}
    url = web.url + path if path else "http://127.0.0.1:1/a.log"
    done = run("kojuto", "report", url)
    assert done.returncode == 1
    (first, *_) = done.stderr.splitlines()
    assert first.startswith(f"kojuto report: error: {stores.shown(url)}: ".encode())
    assert why in first.lower()
    assert b"denied" not in done.stderr


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.parametrize("ranges", [True, False])
def test_a_log_is_never_in_memory_as_a_whole(web: weblogs.Logs, ranges: bool) -> None:
    web.ranges = ranges
    web.files = {"/a.log": text(20_000) * 100}  # 240 MB
    command = [script("kojuto"), "report", "--jobs", "2", web.url + "/a.log"]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *command], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 160 << 10


def test_a_server_that_is_silent_is_not_waited_for_when_the_user_has_enough(
    web: weblogs.Logs,
) -> None:
    web.files = {"/a.log": text(10)}
    web.pause_s = 20
    running = subprocess.Popen([script("kojuto"), "report", web.url + "/a.log"])
    wait_until(lambda: web.asked)
    running.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert running.wait(60) == 130
    assert time.monotonic() - began < web.pause_s / 2


# -- the memory of fsspec ------------------------------------------------------------------------


def scan(*urls: str, **options: Any) -> report.Report:
    return report.scan(urls, **options)


def test_patterns_of_a_store_are_its_objects(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/logs/2026-11-29/a.gz", gzip.compress(text(300)))
    memory.pipe("/logs/2026-11-30/a.gz", gzip.compress(text(500, first=300)))
    memory.pipe("/logs/2026-12-01/a.gz", gzip.compress(text(9)))
    memory.pipe("/logs/2026-11-30/b.txt", b"no log\n")
    log = tmp_path / "all.log"
    log.write_bytes(text(800))
    found = scan("memory://logs/2026-11-*/*.gz")
    assert found.rows() == report.scan(log).rows()
    with pytest.raises(ValueError, match=r"memory://logs/x\*: nothing matches"):
        scan("memory://logs/x*")
    with pytest.raises(FileNotFoundError, match="memory://logs/x"):
        scan("memory://logs/x")
    memory.pipe("/logs/odd[1].log", text(3))
    assert scan("memory://logs/odd[1].log").lines == 3


def test_what_packs_a_log_is_found(memory: Any) -> None:
    for program in ("gzip", "zstd", "xz"):
        packed = subprocess.run([program, "-c"], input=text(700), capture_output=True, check=True)
        memory.pipe("/packed", packed.stdout)
        assert scan("memory://packed").lines == 700
    memory.pipe("/packed", gzip.compress(text(5000))[:-4000])
    with pytest.raises(OSError, match=r"packed.*damaged"):
        scan("memory://packed")


def test_an_object_that_is_named_twice_is_read_once_and_told(
    memory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/logs/a", text(30))
    names = ["memory://logs/a", "memory:///logs/a", "memory://logs/*"]
    assert main(["--output", "csv", *names]) == 0
    told = capsys.readouterr().err
    assert told.count("is named twice, as memory://logs/a, and read once") == 1
    assert told.count("memory://logs/a is named twice and read once") == 1
    assert scan(*names).lines == 30
    log = tmp_path / "a.log"
    log.write_bytes(text(20))
    (tmp_path / "link").symlink_to("a.log")
    (tmp_path / "hard").hardlink_to(log)
    monkeypatch.chdir(tmp_path)
    names = ["a.log", "./a.log", str(log), "link", "hard", f"file://{log}", "./a*.log"]
    assert scan(*names).lines == 20
    assert main(["--output", "csv", *names]) == 0
    assert capsys.readouterr().err.count("is named twice, as a.log, and read once") == 6


def test_saved_reports_are_read_from_a_store(
    memory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(text(100))
    memory.pipe("/kept/a.kjr", bytes(report.scan(log)))
    memory.pipe("/kept/b.kjr", bytes(report.scan(log)))
    assert main(["--merge", "--output", "json", "memory://kept/*.kjr", "memory://kept/a.kjr"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["lines"] == 200
    assert "memory://kept/a.kjr is named twice and read once" in shown.err
    assert main(["--compare", "memory://kept/a.kjr", str(log)]) == 0
    memory.pipe("/kept/a.kjr", b"no report")
    assert main(["--merge", "memory://kept/a.kjr"]) == 1
    assert "memory://kept/a.kjr: " in capsys.readouterr().err


def test_lines_may_be_of_the_log_that_they_are_in(memory: Any, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(text(30))
    memory.pipe("/b", text(20))
    rows = report.scan([log, "memory://b"], group_by=["file"]).rows()
    assert {row["file"]: row["count"] for row in rows} == {str(log): 30, "memory://b": 20}


# -- parts ---------------------------------------------------------------------------------------


def test_every_cut_gives_each_line_to_one_part() -> None:
    content = b"one\n\ntwo two\nthree\nfour"
    for width in (1, 2, 3, 7, 100):
        for cut in range(1, len(content) + 1):
            parts = [
                b"".join(stores.lines_between(pieces(content, at, width), at, start, end))
                for start, end in ((0, cut), (cut, None))
                for at in (max(start - 1, 0),)
            ]
            assert b"".join(parts) == content, (width, cut)
            begins = [0, *(at + 1 for at, byte in enumerate(content) if byte == 10)]
            mine = [at for at in begins if at < cut]
            assert parts[0].count(b"\n") in (len(mine), len(mine) - 1)
            assert (parts[0] + b"\n").startswith(content[: mine[-1]])


def pieces(content: bytes, at: int, width: int) -> Iterator[bytes]:
    return iter([content[n : n + width] for n in range(at, len(content), width)])


# -- what is not installed -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hidden", "url", "hint"),
    [
        ("fsspec", "s3://logs/a", "pip install 'kojuto[url]'"),
        ("aiohttp", "https://h/a", "pip install 'kojuto[url]'"),
        ("s3fs", "s3://logs/a", "pip install s3fs"),
    ],
)
def test_what_is_missing_is_named_with_its_way_to_install(hidden: str, url: str, hint: str) -> None:
    code = (
        f"import sys; sys.modules[{hidden!r}] = None; from kojuto.tools.report import main;"
        f" sys.exit(main([{url!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    error, told = done.stderr.splitlines()
    assert error.startswith(f"kojuto report: error: {url}: ")
    assert told == f"hint: {hint}"


def test_no_store_is_called_so() -> None:
    done = run("kojuto", "report", "gopher9://a")
    assert (done.returncode, b"gopher9" in done.stderr) == (2, True)
    with pytest.raises((KojutoError, ValueError)):
        scan("gopher9://a")
