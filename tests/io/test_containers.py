"""What is read from the Docker API: families, duplicates, UDP, health."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from threading import Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from requests import exceptions

from kojuto.errors import KojutoError
from kojuto.tools.motarei import finder as finding
from kojuto.tools.motarei.containers import Container, Details, fraction_ns, signal_number
from kojuto.tools.motarei.finder import Finder
from kojuto.tools.motarei.ports import Port, Ports
from tests.machine import free_port
from tests.peers.certificates import authority, signed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def row(*ports: tuple[str, int, int, str], status: str = "Up 1 second", **more: Any) -> Any:
    keys = ("IP", "PrivatePort", "PublicPort", "Type")
    rows = [dict(zip(keys, port, strict=True)) for port in ports]
    return {"Id": "f" * 64, "Created": 1, "Ports": rows, "Status": status, **more}


@pytest.mark.parametrize(
    ("ports", "connect_ip", "expected"),
    [
        ([("0.0.0.0", 80, 1, "tcp"), ("::", 80, 2, "tcp")], "127.0.0.1", ("127.0.0.1", 1)),
        ([("::", 80, 2, "tcp"), ("0.0.0.0", 80, 1, "tcp")], "127.0.0.1", ("127.0.0.1", 1)),
        ([("0.0.0.0", 80, 1, "tcp"), ("::", 80, 2, "tcp")], "::1", ("::1", 2)),
        ([("::", 80, 2, "tcp")], "127.0.0.1", ("::1", 2)),
        ([("10.1.2.3", 80, 1, "tcp")], "127.0.0.1", ("10.1.2.3", 1)),
        ([("0.0.0.0", 80, 1, "tcp")], "10.9.9.9", ("10.9.9.9", 1)),
        ([("0.0.0.0", 80, 1, "tcp")], "::1", ("127.0.0.1", 1)),
        ([("0.0.0.0", 80, 5, "udp"), ("0.0.0.0", 80, 1, "tcp")], "127.0.0.1", ("127.0.0.1", 1)),
        ([("0.0.0.0", 80, 1, "tcp"), ("0.0.0.0", 80, 2, "tcp")], "127.0.0.1", ("127.0.0.1", 1)),
    ],
)
def test_the_address_of_a_port(ports: Any, connect_ip: str, expected: tuple[str, int]) -> None:
    assert Container(row(*ports), connect_ip).ports == {80: expected}


def test_a_port_that_is_not_published_does_not_count() -> None:
    found = row(("0.0.0.0", 80, 5, "udp"))
    found["Ports"].append({"PrivatePort": 81, "Type": "tcp"})
    assert Container(found, "127.0.0.1").ports == {}
    found["Ports"] = None
    assert Container(found, "127.0.0.1").ports == {}


@pytest.mark.parametrize(
    ("more", "health"),
    [
        ({"status": "Up 2 seconds"}, "none"),
        ({"status": "Up 2 seconds (healthy)"}, "healthy"),
        ({"status": "Up 2 seconds (unhealthy)"}, "unhealthy"),
        ({"status": "Up 2 seconds (health: starting)"}, "starting"),
        ({"Health": {"Status": "healthy"}}, "healthy"),
        ({"Health": {"Status": "none"}}, "none"),
    ],
)
def test_health(more: Any, health: str) -> None:
    assert Container(row(**more), "127.0.0.1").health == health


def test_two_of_the_same_second_are_told_apart() -> None:
    """The list has whole seconds; a deploy's two generations can be created within one."""
    first, second = (
        Container({**row(), "Id": name * 64}, "127.0.0.1", Details({"Created": created}))
        for name, created in (("f", "2026-11-23T02:27:06.9Z"), ("0", "2026-11-23T02:27:06.901Z"))
    )
    assert first.created == second.created
    assert second.age > first.age


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2026-11-23T02:27:06Z", 0),
        ("2026-11-23T02:27:06.5Z", 500_000_000),
        ("2026-11-23T02:27:06.123456789Z", 123_456_789),
        ("2026-11-23T02:27:06.123+09:00", 123_000_000),
        ("", 0),
    ],
)
def test_the_fraction_of_a_time(text: str, nanoseconds: int) -> None:
    assert fraction_ns(text) == nanoseconds


def test_a_container_says_which_signals_stop_it() -> None:
    assert Details({"Config": {"StopSignal": "SIGQUIT"}}).stop_signals == {3, 9, 15}
    assert Details({"Config": {"StopSignal": "28"}}).stop_signals == {9, 15, 28}
    assert Details({"Config": None}).stop_signals == {9, 15}


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGRTMIN+3", 37),  # systemd in a container
        ("rtmin+15", 49),
        ("RTMAX-14", 50),
        ("SIGRTMIN", 34),
        ("sigquit", 3),
        ("Quit", 3),
        ("SIGRTMIN+", 0),
        ("RTMIN3", 0),
        ("SIG", 0),
        ("", 0),
    ],
)
def test_names_of_signals_are_read_as_docker_reads_them(name: str, number: int) -> None:
    """An event has the number, whatever the container's StopSignal is written as."""
    assert signal_number(name) == number


def test_a_container_says_how_long_its_end_may_take() -> None:
    assert Details({}).stop_timeout_s == 10
    assert Details({"Config": {"StopTimeout": 0}}).stop_timeout_s == 0
    assert Details({"Config": {"StopTimeout": 90}}).stop_timeout_s == 90


class Engine:
    """A client of an engine with these containers; notes whose details were asked for.

    What was before it does not tell.
    """

    base_url = "http://engine"

    def __init__(self, *rows: Any) -> None:
        self.rows = list(rows)
        self.asked: list[str] = []

    def containers(self, **_: object) -> list[Any]:
        return self.rows

    def get(self, url: str, **_: object) -> Any:
        raise exceptions.ConnectionError(url)

    def inspect_container(self, name: str) -> dict[str, Any]:
        self.asked.append(name)
        return {}

    def looking(self) -> tuple[Finder, Callable[[], Port]]:
        """A finder, and what is made of what it finds for port 80."""
        finder, ports = self.finder(), Ports()
        return finder, lambda: ports.look(finder.running(), finder.expected).port(80)

    def finder(self) -> Finder:
        finder = Finder([], "127.0.0.1")
        finder._client = self  # type: ignore[assignment]
        return finder


def up(name: str, created: int, status: str, port: int = 1) -> Any:
    return {
        **row(("0.0.0.0", 80, port, "tcp"), status=status),
        "Id": name,
        "Created": created,
        "State": "running",
    }


def told(finder: Finder, action: str, name: str, number: str = "15") -> None:
    finder._note({"Action": action, "Actor": {"ID": name, "Attributes": {"signal": number}}})


def test_the_details_of_a_container_are_asked_for_once() -> None:
    engine = Engine(up("a", 1, "Up"), up("b", 2, "Up"))
    finder = engine.finder()
    for _ in range(2):
        assert [container.id for container in finder.running()] == ["b", "a"]
    assert engine.asked == ["a", "b"]


@pytest.mark.parametrize(
    ("older", "newer", "found", "pending"),
    [
        ("healthy", "health: starting", ["old"], True),
        ("health: starting", "healthy", ["new"], False),
        ("healthy", "unhealthy", ["old"], False),
        ("unhealthy", "health: starting", [], True),
    ],
)
def test_only_a_newer_one_that_starts_is_waited_for(
    older: str, newer: str, found: list[str], pending: bool
) -> None:
    _, look = Engine(up("old", 1, f"Up ({older})"), up("new", 2, f"Up ({newer})")).looking()
    port = look()
    assert ([container.id for container in port.ready], port.pending) == (found, pending)
    assert [(one.id, why) for one, why in port.awaited] == (
        [("new", "its health check says starting")] if pending else []
    )


def test_who_was_told_to_stop_comes_last_until_it_is_started_again() -> None:
    engine = Engine(up("old", 1, "Up (healthy)"), up("new", 2, "Up (healthy)"))
    finder, look = engine.looking()

    def order() -> list[str]:
        return [container.id for container in look().ready]

    assert order() == ["new", "old"]
    told(finder, "kill", "new", "1")  # a reload, say
    assert order() == ["new", "old"]
    told(finder, "kill", "new")
    assert order() == ["old", "new"]
    told(finder, "start", "new")
    assert order() == ["new", "old"]
    told(finder, "kill", "new")
    new, engine.rows = engine.rows[1], engine.rows[:1]
    assert order() == ["old"]
    engine.rows.append(new)
    assert order() == ["new", "old"], "what ended is forgotten"


def test_one_that_is_paused_is_the_last_resort_and_waits_for_none_that_follows() -> None:
    """Its system accepts for it, so that who connects is served when it goes on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        paused = {**up("new", 2, "Up (Paused)", port), "State": "paused"}
        engine = Engine(up("old", 1, "Up (healthy)"), paused)
        finder, look = engine.looking()
        assert [one.id for one in look().ready] == ["old", "new"]
        told(finder, "kill", "old")
        assert [one.id for one in look().ready] == ["old", "new"]
        del engine.rows[0]
        assert [one.id for one in look().ready] == ["new"]
        engine.rows.append(up("newer", 3, "Up (health: starting)"))
        assert look().ready == []
        paused["State"] = "running"
        assert [one.id for one in look().ready] == ["new"]


def test_one_that_ignores_its_end_counts_again_while_its_port_accepts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within the time-out it is the last resort, and none while another is about to follow."""
    now = time.monotonic()
    monkeypatch.setattr(finding, "time", SimpleNamespace(monotonic=lambda: now, time=time.time))
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        engine = Engine(up("old", 1, "Up (healthy)", listener.getsockname()[1]))
        finder, look = engine.looking()
        assert [one.ending for one in look().ready] == [False]
        told(finder, "kill", "old")
        now += 9.9
        told(finder, "kill", "old")  # told again, the time-out is the first one's
        assert [one.ending for one in look().ready] == [True]
        engine.rows.append(up("new", 2, "Up (health: starting)"))
        assert look().ready == []
        now += 0.1
        assert [(one.id, one.stopping, one.ending) for one in look().ready] == [
            ("old", True, False)
        ]
    engine.rows.pop()
    finder, look = engine.looking()
    assert len(look().ready) == 1
    told(finder, "kill", "old")
    now += 10
    assert look().ready == [], "healthy or not: it has closed its port"


def test_a_container_that_came_back_is_probed_again() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        engine = Engine(up("a", 1, "Up", listener.getsockname()[1]))
        _, look = engine.looking()
        assert len(look().ready) == 1
    assert len(look().ready) == 1, "it has accepted once"
    rows, engine.rows = engine.rows, []
    assert (look().ready, look().pending) == ([], False)
    engine.rows = rows
    assert (look().ready, look().pending) == ([], True)


def refused(monkeypatch: pytest.MonkeyPatch, host: str) -> KojutoError:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(KojutoError, match="Docker does not answer") as caught:
        Finder([], "127.0.0.1").running()
    return caught.value


def test_certificates_are_looked_at_only_when_tls_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not because an address has the letters; nor for an engine that speaks no TLS at all."""
    monkeypatch.delenv("DOCKER_CERT_PATH", raising=False)
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    engine, certificates = "is the engine running, and is DOCKER_HOST right?", "DOCKER_CERT_PATH"
    assert refused(monkeypatch, f"tcp://127.0.0.1:{free_port()}/tls").hint == engine
    authority(tmp_path)
    signed(tmp_path, "cert", by=tmp_path / "ca")
    (tmp_path / "cert-key.pem").rename(tmp_path / "key.pem")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    for answer, hint in (b"HTTP/1.1 400 Bad Request\r\n\r\n", engine), (b"", certificates):
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            port = listener.getsockname()[1]
            thread = Thread(target=_answer_once, args=(listener, answer))
            thread.start()
            error = refused(monkeypatch, f"tcp://127.0.0.1:{port}")
            thread.join()
        assert hint in str(error.hint), error
    (tmp_path / "key.pem").unlink()
    assert certificates in str(refused(monkeypatch, "tcp://127.0.0.1:1").hint)


def _answer_once(listener: socket.socket, answer: bytes) -> None:
    """Read what a client begins with, answer, close."""
    conn, _ = listener.accept()
    with conn:
        record = conn.recv(5, socket.MSG_WAITALL)
        conn.recv(int.from_bytes(record[3:5], "big"), socket.MSG_WAITALL)
        conn.sendall(answer)
