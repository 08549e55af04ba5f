"""The list of open connections: GET /connections on the metrics port and `ppdp connections`."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.tools.ppdp import connections
from tests.conftest import run, wait_until
from tests.peers.servers import allow_descriptors, echo, free_port, read_all, read_exactly

if TYPE_CHECKING:
    from tests.peers.servers import Ppdp, Stage


def listed(metrics: int) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{metrics}/connections"
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        found: list[dict[str, Any]] = json.loads(answer.read())["connections"]
        return found


def asked(metrics: int, *options: str) -> str:
    done = run("ppdp", "connections", "--metrics-listen", f"127.0.0.1:{metrics}", *options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def start(stage: Stage, upstream: int | str, *options: str) -> tuple[Ppdp, int]:
    metrics = free_port()
    return stage.ppdp(upstream, "--metrics-listen", f"127.0.0.1:{metrics}", *options), metrics


def name_of(conn: socket.socket) -> str:
    host, port = conn.getsockname()
    return f"{host}:{port}"


def test_each_connection_is_told_of_the_oldest_first(stage: Stage) -> None:
    upstream = stage.peer(echo)
    began = time.time()
    ppdp, metrics = start(stage, upstream.port)
    assert listed(metrics) == []
    with ppdp.connect() as first, contextlib.ExitStack() as later:
        first.sendall(bytes(5))
        read_exactly(first, 5)  # two that come at once may be accepted in either order
        second = later.enter_context(ppdp.connect())
        second.sendall(bytes(700))
        read_exactly(second, 700)
        one, two = listed(metrics)
        assert (one["client"], two["client"]) == (name_of(first), name_of(second))
        assert one["upstream"] == f"127.0.0.1:{upstream.port}"
        assert one["listener"] == f"127.0.0.1:{ppdp.port}"
        assert one["id"] < two["id"]
        assert one["age_s"] >= two["age_s"] > 0
        assert began - 1 < one["since"] <= time.time() + 1
        assert one["age_s"] + 0.5 > one["idle_s"] >= 0
        assert {one["state"], two["state"]} == {"open"}
        moved = [(row["read_bytes"], row["write_bytes"]) for row in (one, two)]
        assert moved == [(5, 5), (700, 700)]
        assert not {"user", "db"} & {*one, *two}

        head, *rows = asked(metrics).splitlines()
        assert head.split() == [
            "STATE", "AGE", "IDLE", "READ", "WRITE", "CLIENT", "LISTENER", "UPSTREAM"
        ]  # fmt: skip
        assert [row.split()[5] for row in rows] == [name_of(first), name_of(second)]
        assert re.fullmatch(r"open +\S+s +\S+s +700 +700 +.*", rows[1])
        found = json.loads(asked(metrics, "--json"))["connections"]
        assert [row["id"] for row in found] == [one["id"], two["id"]]
    wait_until(lambda: listed(metrics) == [])
    assert asked(metrics).split() == head.split()


def test_what_a_connection_waits_for_is_told(stage: Stage) -> None:
    silent = "{}:{}".format(*stage.full_backlog())
    ppdp, metrics = start(stage, silent, "--proxy-protocol=require")

    def states() -> dict[str, tuple[str, str | None]]:
        return {row["client"]: (row["state"], row.get("upstream")) for row in listed(metrics)}

    with ppdp.connect() as told, ppdp.connect() as mute:
        told.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\nhello")
        # In whichever order: they may be accepted by two workers at once.
        expected = {"192.0.2.7:50000": ("connecting", silent), name_of(mute): ("header", None)}
        wait_until(lambda: states() == expected, what=lambda: str(states()))


def test_a_half_closed_connection_is_told_to_be(stage: Stage) -> None:
    release = threading.Event()

    def answer_late(conn: socket.socket) -> None:
        read_all(conn)
        release.wait(60)
        conn.sendall(b"done")

    ppdp, metrics = start(stage, stage.peer(answer_late).port)
    with ppdp.connect() as conn:
        conn.sendall(b"all")
        conn.shutdown(socket.SHUT_WR)
        wait_until(lambda: [row["state"] for row in listed(metrics)] == ["half-closed"])
        release.set()
        assert read_all(conn) == b"done"


def test_thousands_are_listed_while_others_are_served(stage: Stage) -> None:
    count = min(10_000, (allow_descriptors(21_000) - 600) // 2)
    assert count > 400, "the limit of descriptors is too low for this test"
    held: list[socket.socket] = []
    upstream = socket.create_server(("127.0.0.1", 0), backlog=4096)
    stage.later(upstream.close)

    def answer(conn: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the test is over before the stream is
            echo(conn)

    def serve() -> None:
        while True:
            try:
                conn, _ = upstream.accept()
            except OSError:
                return
            held.append(conn)
            if len(held) == 1:
                threading.Thread(target=answer, args=(conn,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    ppdp, metrics = start(stage, upstream.getsockname()[1])
    mine = [ppdp.connect(60)]
    try:
        wait_until(lambda: len(held) == 1)
        mine += [ppdp.connect(60) for _ in range(count - 1)]
        wait_until(lambda: len(held) == count, within_s=60)
        ended = threading.Event()
        answered = 0

        def talk() -> None:
            nonlocal answered
            while not ended.is_set():
                mine[0].sendall(b"ping")
                read_exactly(mine[0], 4)
                answered += 1

        talker = threading.Thread(target=talk)
        talker.start()
        for _ in range(3):
            before = answered
            rows = listed(metrics)
            assert len({row["id"] for row in rows}) == len(rows) == count
            assert {row["client"] for row in rows} == {name_of(conn) for conn in mine}
            assert answered > before, "nobody was served meanwhile"
        ended.set()
        talker.join()
    finally:
        for conn in [*mine, *held]:
            conn.close()


def test_who_is_asked_in_vain_is_named(stage: Stage) -> None:
    def answer(conn: socket.socket) -> None:
        conn.recv(1000)
        conn.sendall(b"HTTP/1.0 404 Not Found\r\n\r\nnothing")

    stranger = stage.peer(answer).port
    nobody = free_port()
    for options, message in [
        (["--metrics-listen", f"127.0.0.1:{nobody}"], f"127.0.0.1:{nobody} does not answer: "),
        (["--metrics-listen", f"127.0.0.1:{stranger}"], "404, not the state of a ppdp"),
        ([], "--metrics-listen is required"),
        (["--metrics-listen", ":1", "all"], "all: unexpected argument"),
    ]:
        done = run("ppdp", "connections", *options)
        assert done.returncode in (1, 2)
        assert message in done.stderr.decode()
        assert "hint: " in done.stderr.decode()
    done = run("ppdp", "--upstream", "localhost:1", "connection")
    assert done.returncode == 2
    assert "connection: no such command" in done.stderr.decode()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0s"), (59.9, "59.9s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"),
        (86399, "23h59m"), (86400, "1d00h"), (12 * 86400 + 7 * 3600, "12d07h"),
    ],
)  # fmt: skip
def test_times_have_two_units_at_most(seconds: float, text: str) -> None:
    assert connections._time(seconds) == text


def test_a_terminal_is_told_nothing_by_a_name() -> None:
    row = {
        "state": "open", "age_s": 1.0, "idle_s": 1.0, "read_bytes": 1, "write_bytes": 1,
        "client": "192.0.2.1:1", "listener": "0.0.0.0:3306", "user": "\x1b[2Jroot", "db": "a\nb",
    }  # fmt: skip
    head, line = connections._table([row])
    assert head.split()[-2:] == ["USER", "DB"]
    assert line.endswith("-         \\x1b[2Jroot  a\\nb")
