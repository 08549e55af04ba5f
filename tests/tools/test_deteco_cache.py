"""``deteco`` answers known tokens without Python, within bounds."""

from __future__ import annotations

import base64
import socket
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

from tests.keys import b64
from tests.peers.deteco import ED, OTHER, RSA, ask_on, service, start
from tests.peers.servers import LOOPBACK, free_port

if TYPE_CHECKING:
    from tests.peers.servers import Stage


def metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in pairs}


def test_a_known_token_is_answered_without_python_until_it_expires(stage: Stage) -> None:
    port = free_port()
    deteco = start(
        stage, service("echo", [ED]), "--metrics-listen", f"{LOOPBACK}:{port}",
        "--jwt-freshness", "5s",
    )  # fmt: skip
    now = time.time()
    short = ED.token(exp=int(now) + 3, iat=int(now))
    stale = ED.token(exp=int(now) + 300, iat=int(now) - 2)
    assert deteco.status(short) == deteco.status(stale) == 200
    quick = metrics(port)["kojuto_http_quick_total"]
    for _ in range(10):
        assert deteco.status(short) == 200
    found = metrics(port)
    assert found["kojuto_http_quick_total"] >= quick + 10
    assert found["kojuto_deteco_token_hits_total"] >= 10
    assert found['kojuto_deteco_tokens{kind="good"}'] == 2
    for token, end in ((short, int(now) + 3), (stale, int(now) + 3)):
        while time.time() < end + 0.05:
            before = time.time()
            if deteco.status(token) != 200:
                assert time.time() >= end
            assert before < end + 1
            time.sleep(0.05)
        assert deteco.status(token) == 401


def test_the_cache_is_bounded_and_bad_tokens_drive_no_good_one_out(stage: Stage) -> None:
    port = free_port()
    deteco = start(
        stage, service("echo", [ED]), "--metrics-listen", f"{LOOPBACK}:{port}",
        "--cache-size", "20", "--prune-size", "5",
    )  # fmt: skip
    mine = ED.token()
    assert deteco.status(mine) == 200
    for at in range(60):
        assert deteco.status(OTHER.token(jti=str(at))) == 401
    hits = metrics(port)["kojuto_deteco_token_hits_total"]
    assert deteco.status(mine) == 200
    found = metrics(port)
    assert found["kojuto_deteco_token_hits_total"] == hits + 1
    assert found['kojuto_deteco_tokens{kind="bad"}'] <= 20
    for at in range(60):
        assert deteco.status(ED.token(jti=str(at))) == 200
    assert metrics(port)['kojuto_deteco_tokens{kind="good"}'] <= 20


def test_without_a_cache_every_token_is_checked(stage: Stage) -> None:
    deteco = start(stage, service("echo", [ED]), "--cache-size=0")
    token = ED.token()
    assert [deteco.status(token) for _ in range(3)] == [200] * 3
    assert deteco.status(OTHER.token()) == 401


def test_a_flood_of_bad_tokens_does_not_starve_good_ones(stage: Stage) -> None:
    deteco = start(stage, service("echo", [RSA]))
    known = RSA.token()
    assert deteco.status(known) == 200
    stop = threading.Event()
    flooded = [0]

    def flood(number: int) -> None:
        conn = deteco.connect()
        head, body, signature = RSA.token(jti=str(number)).split(".")
        at = 0
        while not stop.is_set():
            at += 1
            wrong = b64(at.to_bytes(4, "big") + base64.urlsafe_b64decode(signature + "==")[4:])
            assert ask_on(conn, f"{head}.{body}.{wrong}").status == 401
            flooded[0] += 1
        conn.close()

    threads = [threading.Thread(target=flood, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    try:
        conn = deteco.connect()
        times = []
        for _ in range(100):
            began = time.monotonic()
            assert ask_on(conn, known).status == 200
            times.append(time.monotonic() - began)
        conn.close()
        assert sorted(times)[90] < 0.2
        for at in range(5):  # not known yet
            assert deteco.status(RSA.token(jti=f"new{at}")) == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert flooded[0] > 50


def test_nobody_is_told_to_come_back_for_a_token_never_seen(stage: Stage) -> None:
    """More at a time than any queue has room for."""
    deteco = start(stage, service("echo", [ED]), "--header-timeout=0")
    count = 1300
    tokens = [ED.token(jti=str(number)) for number in range(count)]
    conns = []
    try:
        for token in tokens:
            conns.append(socket.create_connection((LOOPBACK, deteco.port), timeout=60))
            head = "GET /auth HTTP/1.1\r\nHost: h\r\nX-Original-URI: /api/echo\r\n"
            conns[-1].sendall(f"{head}Authorization: Bearer {token}".encode())
        for conn in conns:  # all at once
            conn.sendall(b"\r\n\r\n")
        found = {conn.recv(4096).split()[1] for conn in conns}
    finally:
        for conn in conns:
            conn.close()
    assert found == {b"200"}
