"""Long streams are read much at a time, and yet each last byte of them arrives at once."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

from tests.conftest import wait_until
from tests.peers.tunnels import pair
from tests.streams import pattern

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.servers import Stage

BLOCK = 1 << 20
LONG = 24 * BLOCK  # enough for any reader to wait for much


class Sink:
    """An upstream that notes when how much has come."""

    def __init__(self) -> None:
        self.count = 0
        self.last = 0.0
        self.data = bytearray()

    def __call__(self, conn: socket.socket) -> None:
        while piece := conn.recv(BLOCK):
            self.last = time.monotonic()
            self.data += piece
            self.count += len(piece)


def pour(conn: socket.socket, data: bytes, sink: Sink) -> float:
    """Send and wait until all has come, without another byte; how late the last one was, in s."""
    total = sink.count + len(data)
    conn.sendall(data)
    sent = time.monotonic()
    wait_until(lambda: sink.count >= total, what=f"{sink.count} of {total} bytes")
    return sink.last - sent


def rests(conn: socket.socket, sink: Sink) -> None:
    """A long stream that stops anywhere, again and again: nothing of it is held back."""
    data = pattern(LONG, 3)
    late, whole = [], b""
    for tail in (1, 1000, 70_000, 127_000, 131_072):
        piece = data[: LONG - BLOCK + tail]
        late.append(pour(conn, piece, sink))
        whole += piece
        for number in range(3):  # and then it is one of small messages
            late.append(pour(conn, bytes([number]) * 3, sink))
            whole += bytes([number]) * 3
    assert sink.data == whole
    assert sorted(late)[len(late) // 2] < 0.1, late


def test_a_long_stream_may_rest_anywhere(stage: Stage) -> None:
    sink = Sink()
    ppdp = stage.ppdp(stage.peer(sink).port)
    with ppdp.connect() as conn:
        rests(conn, sink)


def test_without_polling_too(stage: Stage) -> None:
    sink = Sink()
    ppdp = stage.ppdp(stage.peer(sink).port, "--busy-poll", "0")
    with ppdp.connect() as conn:
        rests(conn, sink)


def test_the_same_through_two_gateways(stage: Stage) -> None:
    sink = Sink()
    client, _ = pair(stage, stage.peer(sink).port)
    with client.connect() as conn:
        rests(conn, sink)


def test_the_upstream_may_rest_as_well(stage: Stage) -> None:
    pieces = [pattern(LONG + tail, tail) for tail in (1, 1000, 12_345, 127_000)]
    heard = threading.Semaphore(0)

    def speak_and_rest(conn: socket.socket) -> None:
        for piece in pieces:
            conn.sendall(piece)
            heard.acquire(timeout=20)

    for port in (stage.ppdp(stage.peer(speak_and_rest).port).port,
                 pair(stage, stage.peer(speak_and_rest).port)[0].port):  # fmt: skip
        sink, whole = Sink(), b""
        with socket.create_connection(("127.0.0.1", port), timeout=20) as conn:
            thread = threading.Thread(target=sink, args=(conn,))
            thread.start()
            for piece in pieces:
                whole += piece
                wait_until(lambda: sink.data == whole, what=f"{sink.count} of {len(whole)}")  # noqa: B023
                heard.release()
            thread.join(20)


def test_a_stream_rests_while_others_of_the_same_thread_run(stage: Stage) -> None:
    sinks: list[Sink] = []

    def sink(conn: socket.socket) -> None:
        own = Sink()
        sinks.append(own)
        own(conn)

    client, _ = pair(stage, stage.peer(sink).port, threads=1)
    stop = threading.Event()

    def run(conn: socket.socket) -> None:
        block = bytes(BLOCK)
        while not stop.is_set():
            conn.sendall(block)

    with client.connect() as busy, client.connect() as resting:
        wait_until(lambda: len(sinks) == 2)
        thread = threading.Thread(target=run, args=(busy,))
        thread.start()
        try:
            whole = b""
            for tail in (77, 1000, 50_000, 127_000):
                piece = pattern(LONG + tail, tail)
                # In blocks that are taken one by one, so that the reader waits for much.
                for at in range(0, len(piece), BLOCK // 4):
                    resting.sendall(piece[at : at + BLOCK // 4])
                    time.sleep(0.0003)
                whole += piece
                wait_until(
                    lambda: any(sink.data == whole for sink in sinks),  # noqa: B023
                    what="the last bytes beside a stream that never rests",
                )
        finally:
            stop.set()
            thread.join(20)


def small_reads(make: Callable[[], socket.socket], sink: Sink) -> None:
    """A source that gives a little at a time for long is served as it speaks."""
    with make() as conn:
        pour(conn, pattern(LONG), sink)
        for number in range(200):
            assert pour(conn, bytes([number]), sink) < 1


def test_small_messages_follow_a_long_stream(stage: Stage) -> None:
    sink = Sink()
    ppdp = stage.ppdp(stage.peer(sink).port)
    small_reads(ppdp.connect, sink)
