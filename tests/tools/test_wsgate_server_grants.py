"""wsgate-server: open tunnels end when their key, their rule or their name is taken away."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import websockets.exceptions

from tests.conftest import wait_until
from tests.keys import private_key, private_pem, public_pem, token
from tests.peers.gates import UPGRADE, Server, client, round_trip, server
from tests.peers.servers import LOOPBACK, echo, read_exactly
from tests.peers.tunnels import read_frame
from tests.tools.test_wsgate_server_iap import AUDIENCE, KeyServer, assertion, jwk_set

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

    from tests.peers.servers import Stage


class Guarded:
    """A gate with two keys and a file of users."""

    def __init__(self, stage: Stage, port: int, *options: str) -> None:
        self.keys = stage.folder / "keys.pem"
        self.users = stage.folder / "users.toml"
        self.port = port
        self.write_keys("ec", "ed25519")
        self.write_users("alice", "zoe")
        files = ["--public-key", str(self.keys), "--users", str(self.users)]
        self.gate: Server = server(stage, {"db": port, "web": port}, *files, *options)
        self._reloads = 0

    def write_keys(self, *kinds: str) -> None:
        self.keys.write_bytes(b"".join(public_pem(private_key(kind)) for kind in kinds))

    def write_users(self, *subs: str) -> None:
        self.users.write_text(f"['*']\nsub = {list(subs)}\n")

    def reload(self) -> None:
        self._reloads += 1
        self.gate.kill(signal.SIGHUP)
        self.gate.wait_for_lines(self._reloads, msg="Reloaded")

    @contextlib.contextmanager
    def tunnel(
        self, sub: str, kind: str = "ec", name: str = "db", **how: Any
    ) -> Iterator[ClientConnection]:
        bearer = f"Bearer {token(private_key(kind), sub=sub, **how.pop('claims', {}))}"
        headers = {"Authorization": bearer}
        with self.gate.connect(name, additional_headers=headers, **how) as opened:
            works(opened)
            yield opened


def works(tunnel: ClientConnection) -> None:
    tunnel.send(b"hello")
    assert tunnel.recv(timeout=20) == b"hello"


def is_closed_as_not_allowed(tunnel: ClientConnection) -> None:
    with pytest.raises(websockets.exceptions.ConnectionClosed):
        tunnel.recv(timeout=20)
    assert tunnel.close_code == 1008


def test_a_tunnel_ends_when_its_rule_is_taken_away_and_no_other(stage: Stage) -> None:
    guarded = Guarded(stage, stage.peer(echo).port)
    with guarded.tunnel("alice") as stays, guarded.tunnel("zoe") as goes:
        guarded.reload()
        works(goes)
        guarded.write_users("alice")
        guarded.reload()
        is_closed_as_not_allowed(goes)
        works(stays)
    told = guarded.gate.wait_for_line(msg="A tunnel is no longer allowed")
    assert (told["seq"], told["destination"], told["sub"]) == (2, "db", "zoe")
    assert told["error"] == "neither the sub nor the email nor a group is in [*]"
    ended = guarded.gate.wait_for_line(status="Failed")
    assert (ended["seq"], ended["error"]) == (2, "it is no longer allowed")
    assert guarded.gate.wait_for_line(status="Suceeded")["seq"] == 1
    assert len(guarded.gate.lines(msg="A tunnel is no longer allowed")) == 1


def test_a_tunnel_ends_when_the_key_of_its_token_is_taken_away(stage: Stage) -> None:
    guarded = Guarded(stage, stage.peer(echo).port)
    with guarded.tunnel("alice") as stays, guarded.tunnel("alice", "ed25519") as goes:
        guarded.write_keys("rsa", "ec")
        guarded.reload()
        is_closed_as_not_allowed(goes)
        works(stays)
    told = guarded.gate.wait_for_line(msg="A tunnel is no longer allowed")
    assert told["error"] == "the key that signed its token was taken away"


def test_a_tunnel_ends_when_the_map_has_its_name_no_more(stage: Stage) -> None:
    guarded = Guarded(stage, stage.peer(echo).port)
    with guarded.tunnel("alice") as stays, guarded.tunnel("alice", name="web") as goes:
        guarded.gate.write_map({"db": 1})
        guarded.reload()
        is_closed_as_not_allowed(goes)
        works(stays)
    told = guarded.gate.wait_for_line(msg="A tunnel is no longer allowed")
    assert told["error"] == "the map does not have its name any more"


def test_a_bad_file_and_the_age_of_a_token_end_no_tunnel(stage: Stage) -> None:
    guarded = Guarded(stage, stage.peer(echo).port, "--jwt-freshness", "3s")
    expires = int(time.time()) + 3
    with guarded.tunnel("zoe", claims={"exp": expires}) as tunnel:
        wait_until(lambda: time.time() > expires + 1)
        guarded.reload()
        works(tunnel)
        guarded.users.write_text("[db]\nsub = ['alice']\nx = 1\n")
        guarded.gate.kill(signal.SIGHUP)
        guarded.gate.wait_for("the last ones are kept")
        works(tunnel)
    assert not guarded.gate.lines(msg="A tunnel is no longer allowed")


def test_without_tokens_nothing_can_be_taken_away(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port})
    with gate.connect("a") as tunnel:
        works(tunnel)
        gate.write_map({"b": 1})
        gate.kill(signal.SIGHUP)
        gate.wait_for("Reloaded")
        works(tunnel)


def test_a_compressed_tunnel_is_told_the_same(stage: Stage) -> None:
    guarded = Guarded(stage, stage.peer(echo).port, "--enable-compression")
    with guarded.tunnel("zoe", compression="deflate") as goes:
        guarded.write_users("alice")
        guarded.reload()
        is_closed_as_not_allowed(goes)


def test_our_client_shows_its_own_client_a_cut_stream(stage: Stage) -> None:
    guarded = Guarded(stage, stage.peer(echo).port)
    (stage.folder / "private").write_bytes(private_pem(private_key("ec")))
    options = ["--private-key", str(stage.folder / "private"), "--private-key-user", "zoe"]
    local = client(stage, guarded.gate.url("db"), *options)
    with local.connect() as conn:
        round_trip(conn, b"hello")
        guarded.write_users("alice")
        guarded.reload()
        with pytest.raises(ConnectionResetError):
            conn.recv(1)
    assert "closed with code 1008" in local.wait_for_line(status="Failed")["error"]


def test_a_tunnel_that_opens_while_its_rule_is_taken_away_ends(stage: Stage) -> None:
    """It was judged by the old rules, and is judged again once it is open."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        where = listener.getsockname()
        filler = stack.enter_context(socket.create_connection(where))
        guarded = Guarded(stage, where[1], "--dial-timeout", "60s")
        conn = stack.enter_context(socket.create_connection((LOOPBACK, guarded.gate.port)))
        conn.settimeout(60)
        lines = [f"{name}: {value}" for name, value in UPGRADE.items()]
        lines.append(f"Authorization: Bearer {token(private_key('ec'), sub='zoe')}")
        request = "GET /proxy/db HTTP/1.1\r\nHost: x\r\n" + "\r\n".join(lines) + "\r\n\r\n"
        conn.sendall(request.encode())
        wait_until(lambda: _is_dialled(where[1]))
        guarded.write_users("alice")
        guarded.reload()
        assert not guarded.gate.lines(msg="A tunnel is no longer allowed")
        accepted: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += read_exactly(conn, 1)
        assert head.startswith(b"HTTP/1.1 101")
        assert read_frame(conn) == (0x88, b"\x03\xf0")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for one in [*accepted, filler]:
            one.close()
    assert guarded.gate.wait_for_line(msg="A tunnel is no longer allowed")["sub"] == "zoe"


def _is_dialled(port: int) -> bool:
    """Whether somebody waits for the answer to his SYN (proc(5), /proc/net/tcp, state 02)."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return any(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows)


@pytest.mark.parametrize("by", ["file", "address"])
def test_a_key_of_iap_is_taken_away_only_from_a_file(stage: Stage, by: str) -> None:
    """Those that are fetched come and go by themselves."""
    one, two = private_key("ec"), private_key("ec", 1)
    keys = KeyServer()
    stage.later(keys.close)
    keys.keys = {"one": one}
    path = stage.folder / "jwk"
    path.write_bytes(jwk_set({"one": one}))
    where = str(path) if by == "file" else keys.url
    gate = server(
        stage, {"a": stage.peer(echo).port}, "--iap-audience", AUDIENCE, "--iap-keys", where
    )
    headers = {"X-Goog-IAP-JWT-Assertion": assertion(one, "one")}
    wait_until(lambda: gate.status("/proxy/a", **{**UPGRADE, **headers}) == 101)
    with gate.connect("a", additional_headers=headers) as tunnel:
        works(tunnel)
        keys.keys = {"two": two}
        path.write_bytes(jwk_set({"two": two}))
        gate.kill(signal.SIGHUP)
        gate.wait_for("Reloaded")
        if by == "file":
            is_closed_as_not_allowed(tunnel)
        else:
            works(tunnel)


@pytest.mark.parametrize("which", ["bearer", "assertion"])
def test_where_two_tokens_are_asked_for_the_key_of_either_may_be_taken_away(
    stage: Stage, which: str
) -> None:
    one, two = private_key("ec"), private_key("ec", 1)
    path = stage.folder / "jwk"
    path.write_bytes(jwk_set({"one": one, "two": two}))
    guarded = Guarded(
        stage, stage.peer(echo).port, "--iap-audience", AUDIENCE, "--iap-keys", str(path)
    )
    headers = {
        "Authorization": f"Bearer {token(private_key('ed25519'), sub='zoe')}",
        "X-Goog-IAP-JWT-Assertion": assertion(one, "one"),
    }
    with guarded.gate.connect("db", additional_headers=headers) as tunnel:
        works(tunnel)
        guarded.reload()
        works(tunnel)
        if which == "bearer":
            guarded.write_keys("ec")
        else:
            path.write_bytes(jwk_set({"two": two}))
        guarded.reload()
        is_closed_as_not_allowed(tunnel)
