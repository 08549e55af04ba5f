"""consul-service-has-ip: its access log."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from kojuto import _native
from kojuto.common.server import forever
from kojuto.tools.consul_service_has_ip import accesslog
from tests.conftest import wait_until
from tests.peers.consul import Consul, instance
from tests.peers.consul_checker import checker, consul
from tests.peers.servers import LOOPBACK, READ_BY_CAT, accepts, unread

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.servers import Stage

__all__ = ["consul"]


def test_the_access_log_is_ltsv_in_dated_files(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    folder = stage.folder / "made" / "logs"
    folder.mkdir(parents=True)
    old = folder / "access_log.202001010000"
    old.write_text("old\n")
    os.utime(old, (0, 0))
    other = folder / "access_log"
    other.write_text("not one of its files\n")
    os.utime(other, (0, 0))
    server = checker(
        stage, consul, "--access-log-dir", folder, "--access-log-rotate", "2",
        "--access-log-format", "ltsv",
    )  # fmt: skip
    server.get("/has/web/10.0.0.1?dc=dc1", User_Agent="a\tb\\", Referer="http://r/")
    server.get("/has/web/10.0.0.2", X_Forwarded_For="192.0.2.9")
    assert server.end() == 0
    assert not old.exists()
    assert other.exists()
    name = time.strftime("access_log.%Y%m%d0000")
    assert os.readlink(folder / "current") == name
    lines = (folder / name).read_text().splitlines()
    first, second = (dict(f.split(":", 1) for f in line.split("\t")) for line in lines)
    assert (first["method"], first["uri"]) == ("GET", "/has/web/10.0.0.1")
    assert (first["status"], first["size"], first["host"]) == ("200", "12", LOOPBACK)
    assert (first["ua"], first["referer"]) == ("a\\x09b\\x5c", "http://r/")
    assert first["vhost"] == f"{LOOPBACK}:{server.port}"
    assert (
        abs(time.time() - time.mktime(time.strptime(first["time"][:19], "%Y-%m-%dT%H:%M:%S"))) < 60
    )
    assert all(0 < float(line["reqtime"]) < 10 for line in (first, second))
    assert (second["status"], second["forwardedfor"]) == ("404", "192.0.2.9")


def test_a_new_day_begins_a_new_access_log(stage: Stage, consul: Consul) -> None:
    folder, ahead_s = stage.folder / "logs", 4
    # A zone in which it is midnight in a few seconds (tzset(3): west is positive).
    now = time.time()
    east = int(86400 - ahead_s - now % 86400 + 43200) % 86400 - 43200
    zone = f"XXX{'-' if east >= 0 else '+'}" + time.strftime("%H:%M:%S", time.gmtime(abs(east)))
    server = checker(stage, consul, "--access-log-dir", folder, env={"TZ": zone})

    def days() -> list[str]:
        stamps = (time.gmtime(now + east + day * 86400) for day in (0, 1))
        return [time.strftime("access_log.%Y%m%d0000", stamp) for stamp in stamps]

    sent = 0
    while not (folder / days()[1]).exists():
        assert server.status(f"/has/web/{sent}") == 404
        sent += 1
        time.sleep(0.02)
        assert time.time() - now < 30
    assert server.end() == 0
    texts = [(folder / day).read_text() for day in days()]
    lines = [json.loads(line) for line in "".join(texts).splitlines()]
    found = [line["uri"].removeprefix("/has/web/") for line in lines]
    assert found == [str(number) for number in range(sent)]
    assert all(text.count("\n") >= 1 for text in texts)
    assert os.readlink(folder / "current") == days()[1]


def test_the_access_log_on_standard_output(stage: Stage, consul: Consul) -> None:
    server = checker(stage, consul, "--access-log-dir", "stdout", "--access-log-format", "ltsv")
    server.get("/live")
    wait_until(lambda: "uri:/live\t" in server.text())


@pytest.mark.parametrize("options", [(), ("--access-log-dir", ""), ("--access-log-dir", "stdout")])
def test_the_access_log_is_json_as_the_original_has_it(
    stage: Stage, consul: Consul, options: tuple[str, ...]
) -> None:
    consul.set("web", instance("10.0.0.1"))
    server = checker(stage, consul, *options)
    server.get("/has/web/10.0.0.1?token=secret", User_Agent='a"b', Host="h.example")
    server.get("/has/web/10.0.0.2", method="POST")
    (yes,) = server.wait_for_lines(1, uri="/has/web/10.0.0.1")
    (no,) = server.wait_for_lines(1, uri="/has/web/10.0.0.2")
    assert set(yes) == {
        "time", "remote_addr", "method", "uri", "status", "size", "ua", "ptime", "host",
        "chocon_req",
    }  # fmt: skip
    assert (yes["method"], yes["status"], yes["size"]) == ("GET", 0, 12)
    assert (yes["ua"], yes["host"], yes["remote_addr"]) == ('a"b', "h.example", LOOPBACK)
    assert 0 <= yes["ptime"] < 30
    assert (no["method"], no["status"]) == ("POST", 404)
    assert "secret" not in server.text()


def test_a_flood_of_accesses_leaves_room_in_the_log(stage: Stage, consul: Consul) -> None:
    """While nobody reads the log; that the server was told to end is said all the same."""
    server = checker(stage, consul, prefix=READ_BY_CAT)
    conn = http.client.HTTPConnection(LOOPBACK, server.port, timeout=30)
    long = "x" * 2000
    with unread(server):
        for _ in range(2000):  # 12 MB, of which 8 MiB may wait
            conn.request("GET", f"/{long}", headers={"User-Agent": long, "Host": long})
            conn.getresponse().read()
        conn.close()
        server.kill()
        wait_until(lambda: not accepts(server.port))
    assert server.process.wait(20) == 0
    server.wait_for("log lines dropped")
    assert server.lines(msg="Signal received")
    assert server.lines(ua=long)


def test_none_is_no_access_log_and_no_directory(stage: Stage, consul: Consul) -> None:
    folder = stage.folder
    server = checker(stage, consul, "--access-log-dir", "none", preexec=lambda: os.chdir(folder))
    server.get("/live")
    assert server.end() == 0
    assert "/live" not in server.text()
    assert not (folder / "none").exists()


def test_standard_output_that_does_not_wait_loses_no_line() -> None:
    log: Any = None
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    access_log = accesslog.AccessLog(accesslog.STDOUT, 0, log)
    access_log._writer = writer
    lines = b"".join(b"line %d\n" % number for number in range(20_000))

    def take() -> None:
        access_log.take(lines)
        os.close(writer)

    thread = threading.Thread(target=take)
    thread.start()
    with open(reader, "rb") as file:
        assert file.read() == lines
    thread.join()


def test_a_failure_that_nobody_expected_ends_no_access_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pipe would be full one day, and every answer wait."""
    errors: list[str] = []
    log: Any = SimpleNamespace(error=lambda message, **_: errors.append(message))
    calls = itertools.count()
    write = _native.rotate_lines

    def fail_once(*args: Any, **fields: Any) -> object:
        if not next(calls):
            raise ZeroDivisionError
        return write(*args, **fields)

    monkeypatch.setattr(_native, "rotate_lines", fail_once)
    monkeypatch.setattr(forever, "FIRST_PAUSE_S", 0.01)
    access_log = accesslog.AccessLog(str(tmp_path), 0, log)
    access_log.take(b"line\n")
    access_log.close()
    assert (tmp_path / "current").read_bytes() == b"line\n"
    assert errors == ["Failed unexpectedly, beginning anew"]


def test_a_full_disk_costs_the_access_log_and_no_answer(
    stage: Stage, consul: Consul, tiny_disk: Path
) -> None:
    consul.set("web", instance("10.0.0.1"))
    server = checker(stage, consul, "--access-log-dir", tiny_disk)

    def answered(**headers: str) -> None:
        reply = server.get("/has/web/10.0.0.1", **headers)
        assert reply.status == 200, reply.body

    while not server.lines(msg="Access log", level="warn"):
        answered(User_Agent="x" * 2000)
    assert "No space left on device" in server.wait_for_lines(1, msg="Access log")[0]["note"]
    for _ in range(50):
        answered()
    assert server.end(within_s=30) == 0
