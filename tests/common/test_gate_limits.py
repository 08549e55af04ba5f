"""Limits of what the gateways share, each just inside and just outside."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.common.gateway import deflate, jwks, mapfile
from kojuto.common.gateway.jwks import KeySource
from kojuto.common.server import service
from kojuto.errors import KojutoError, UsageError
from kojuto.tools import relaxlogs
from kojuto.tools.deteco import keys, services
from kojuto.tools.myps.show import escape
from kojuto.tools.no_excl_open import elf
from kojuto.tools.process_status import procfs
from kojuto.tools.wsgate_client import MAX_HEADER_FILE_BYTES, gateways, read_headers, tokens
from kojuto.tools.wsgate_server.dial import Dialer
from tests.conftest import wait_until
from tests.keys import private_key, private_pem

if TYPE_CHECKING:
    from pathlib import Path


# -- files --------------------------------------------------------------------------------------


def test_a_map_file_of_16_mib_is_read(tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_bytes(b"a,b\n" + b"#" * (mapfile.MAX_BYTES - 4))
    assert mapfile.read(str(path), str, str, "shape") == {"a": "b"}


def test_a_configuration_has_an_upper_bound(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_bytes(b"#" * services.MAX_FILE_BYTES)
    with pytest.raises(KojutoError, match="there is no service in it"):
        services.load(str(path))
    path.write_bytes(b"#" * (services.MAX_FILE_BYTES + 1))
    with pytest.raises(KojutoError, match="over the limit of 16777216 bytes"):
        services.load(str(path))
    for length, message in ((1024, "public_keys must be"), (1025, "id must be a printable text")):
        with pytest.raises(KojutoError, match=message):
            services._service({"id": "x" * length}, 1)


def test_a_file_of_headers_is_taken_whole_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    line = b"X: y\n"
    path.write_bytes(line + b"#" * (MAX_HEADER_FILE_BYTES - len(line)))
    assert read_headers([f"@{path}"]) == [("X", "y")]
    path.write_bytes(line + b"#" * (MAX_HEADER_FILE_BYTES - len(line)) + b"\nY: z\n")
    with pytest.raises(KojutoError) as refused:
        read_headers([f"@{path}"])
    assert str(refused.value) == f"--headers @{path}: 65542 bytes, above the limit of 65536"


@pytest.mark.parametrize(
    "name", ["Connection", "Upgrade", "Content-Length", "Transfer-Encoding", "Sec-WebSocket-Key"]
)
def test_headers_of_the_upgrade_itself_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} belongs to the upgrade itself"):
        read_headers([f"{name}: x"])


def test_a_key_file_replaces_nothing(tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_bytes(b"old")
    link.symlink_to(tmp_path / "elsewhere")
    for path in (there, link):
        with pytest.raises(FileExistsError):
            keys._write(str(path), b"new", 0o600)
    assert there.read_bytes() == b"old"
    assert not (tmp_path / "elsewhere").exists()


def test_a_mode_has_nine_bits() -> None:
    assert relaxlogs._mode("777") == 0o777
    for text in ("1777", "1000", "0", "-1", "8"):
        with pytest.raises(ValueError, match="no file mode"):
            relaxlogs._mode(text)


def test_a_backslash_is_told_from_an_escape() -> None:
    assert escape(r"a\nb") == r"a\\nb"
    assert escape("a\nb") == r"a\nb"


# -- sets of keys -------------------------------------------------------------------------------


def key_set(**more: Any) -> bytes:
    numbers = private_key("ec").public_key().public_numbers()
    from tests.keys import b64

    x, y = (b64(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
    return json.dumps(
        {"keys": [{"kty": "EC", "crv": "P-256", "kid": "one", "x": x, "y": y, **more}]}
    ).encode()


def test_a_private_key_is_not_taken_for_a_public_one() -> None:
    assert jwks.load(key_set(), "set")[0].kid == "one"
    with pytest.raises(KojutoError, match="a secret key in a set of public ones"):
        jwks.load(key_set(d="AQ"), "set")


def test_a_set_of_keys_has_an_upper_bound(tmp_path: Path) -> None:
    path = tmp_path / "set"
    path.write_bytes(key_set().ljust(jwks.MAX_BYTES))
    source = KeySource(str(path))
    assert source.renew()
    path.write_bytes(key_set().ljust(jwks.MAX_BYTES + 1))
    with pytest.raises(KojutoError, match="over 1048576 bytes"):
        source.renew()
    assert source.keys, "the old one stays"


def test_an_address_of_keys_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        source = KeySource(f"http://127.0.0.1:{sock.getsockname()[1]}/")
        with pytest.raises(KojutoError, match="timed out"):
            source.renew()


# -- tokens of the client -----------------------------------------------------------------------


def test_a_token_is_sent_up_to_five_seconds_before_its_end(tmp_path: Path) -> None:
    import jwt as pyjwt

    path = tmp_path / "key"
    path.write_bytes(private_pem(private_key("ec")))
    log: Any = None
    token, expires, renews = tokens.from_key(str(path), "alice", log)._fetch()
    claims = pyjwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 60
    assert claims["exp"] - expires == 5
    assert 9 <= renews - claims["iat"] <= 11


def test_a_token_that_cannot_be_had_is_asked_for_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, asked = [100.0], []

    def fetch() -> tuple[str, float, float]:
        asked.append(now[0])
        raise KojutoError("it is down")

    log: Any = None
    renewed = tokens.Renewed(fetch, log)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for at in (100.0, 100.9, 101.0, 101.9):
        now[0] = at
        with pytest.raises(KojutoError, match="it is down"):
            renewed.get()
    assert asked == [100.0, 101.0]


# -- tunnels ------------------------------------------------------------------------------------


def test_so_many_tunnels_are_opened_at_a_time_so_many_wait_and_one_more_is_refused() -> None:
    opener: Any = None
    gate, begun = threading.Event(), []

    def work(_: gateways.Line, conn: socket.socket, __: str) -> None:
        begun.append(conn)
        gate.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as sock:
        line = gateways.Line(sock, opener)
        try:
            for _ in range(gateways.MAX_OPENING):
                assert line.submit(sock, "", work)
            wait_until(lambda: len(begun) == 256)
            for _ in range(gateways.MAX_WAITING):
                assert line.submit(sock, "", work)
            assert not line.submit(sock, "", work)
            assert len(begun) == 256
            assert len(line._waiting) == 4096
        finally:
            gate.set()
        wait_until(lambda: len(begun) == 256 + 4096 and line._workers == 0)


def compressing(masked: bool) -> Any:
    """Their extension of a WebSocket and a stream that stands between it and the engine."""
    from websockets.extensions.permessage_deflate import PerMessageDeflate

    theirs, ours = (PerMessageDeflate(False, False, 15, 15) for _ in range(2))
    peer, far = socket.socketpair()
    near = deflate.between(deflate.Loop("test"), far, [ours], b"", masked=masked, lenient=False)
    for sock in (peer, near):
        sock.settimeout(20)
    return theirs, peer, near


def received(sock: socket.socket) -> int:
    count = 0
    while piece := sock.recv(1 << 20):
        count += len(piece)
    return count


@pytest.mark.parametrize("over", [0, 1])
def test_a_frame_has_an_upper_bound(over: int) -> None:
    from websockets.frames import Frame, Opcode

    theirs, peer, near = compressing(masked=False)
    frame = Frame(Opcode.BINARY, bytes(deflate.MAX_FRAME_BYTES + over))
    with peer, near:
        sender = threading.Thread(
            target=peer.sendall, args=(frame.serialize(mask=True, extensions=[theirs]),)
        )
        sender.start()
        if over:
            assert received(near) == 0
            assert peer.recv(100) == b"\x88\x02\x03\xf1", "a Close frame with 1009"
        else:
            whole = 10 + 4 + (16 << 20)  # header, mask
            while whole:
                piece = near.recv(min(whole, 1 << 20))
                assert piece
                whole -= len(piece)
        sender.join()


def test_one_direction_alone_does_not_go_on_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflate, "LINGER_S", 0.2)
    _, peer, near = compressing(masked=False)
    with peer, near:
        near.shutdown(socket.SHUT_WR)
        assert near.recv(1) == b""


def test_each_address_of_a_name_has_its_share_of_the_time() -> None:
    async def dial() -> socket.socket:
        loop = asyncio.get_running_loop()
        dialer = Dialer(loop, 0.6)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        silent, answers = ("127.0.0.1", 1), ("127.0.0.1", 2)
        connected = []

        async def resolve(_: object) -> list[Any]:
            return [(*kind, silent), (*kind, answers)]

        async def connect(sock: socket.socket, address: object) -> None:
            if address == silent:
                await asyncio.sleep(60)
            connected.append(sock)

        dialer._resolve = resolve  # type: ignore[method-assign, assignment]
        loop.sock_connect = connect  # type: ignore[method-assign]
        return await dialer.dial(("name", 1))

    with closing(asyncio.run(dial())) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "nothing waits for an ACK"


# -- programs -----------------------------------------------------------------------------------


class Told:
    """A signal that came, as sigtimedwait(2) tells it."""

    def __init__(self, number: int, pid: int) -> None:
        self.si_signo, self.si_pid = number, pid


@pytest.mark.parametrize(
    ("generation", "sender", "goes_on"),
    [("2", "supervisor", True), ("2", "another", False), (None, "supervisor", False)],
)
def test_only_a_supervisors_second_sigterm_ends_no_patience(
    monkeypatch: pytest.MonkeyPatch, generation: str | None, sender: str, goes_on: bool
) -> None:
    if generation is None:
        monkeypatch.delenv("SERVER_STARTER_GENERATION", raising=False)
    else:
        monkeypatch.setenv("SERVER_STARTER_GENERATION", generation)
    pid = os.getppid() if sender == "supervisor" else os.getpid()
    told = [Told(signal.SIGTERM, pid)]
    monkeypatch.setattr(signal, "sigtimedwait", lambda *_: told.pop() if told else None)

    class Server:
        waits = 0

        def wait(self, _: float) -> bool:
            self.waits += 1
            return self.waits == 3

    server: Any = Server()
    assert service._drain(server, 60) is goes_on


def header(headers: int, at: int, path: bytes, wide: bool) -> bytes:
    """An ELF file of nothing but program headers, the one at `at` naming the loader."""
    begin, size, first = (64, 56, 8) if wide else (52, 32, 4)
    table = bytearray(headers * size)
    start = begin + len(table)
    if wide:
        entry = (3).to_bytes(8, "little") + start.to_bytes(8, "little") + bytes(16)
        entry += len(path).to_bytes(8, "little")
    else:
        entry = (3).to_bytes(4, "little") + start.to_bytes(4, "little") + bytes(8)
        entry += len(path).to_bytes(4, "little")
    table[at * size : at * size + len(entry)] = entry
    head = bytearray(begin)
    head[:6] = b"\x7fELF" + (b"\x02" if wide else b"\x01") + b"\x01"
    place, sizes = (32, 54) if wide else (28, 42)
    head[place : place + first] = begin.to_bytes(first, "little")
    head[sizes : sizes + 4] = size.to_bytes(2, "little") + headers.to_bytes(2, "little")
    return bytes(head + table + path)


@pytest.mark.parametrize("wide", [True, False])
def test_where_a_loader_is_looked_for(wide: bool) -> None:
    def found(headers: int, at: int, length: int) -> int:
        return len(elf._interpreter(header(headers, at, b"x" * length, wide)) or "")

    assert found(300, elf.MAX_HEADERS - 1, 9) == 9
    assert found(300, elf.MAX_HEADERS, 9) == 0
    assert found(1, 0, elf.MAX_INTERPRETER_BYTES) == 4096
    assert found(1, 0, elf.MAX_INTERPRETER_BYTES + 1) == 0


def test_how_far_a_go_program_is_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "program"
    end = elf.MAX_SCAN_BYTES - len(elf.GO_MARK)
    for place, go in ((end, True), (end + 1, False)):
        with open("/bin/true", "rb") as true, open(path, "wb") as file:
            file.write(true.read())
            file.seek(place)
            file.write(elf.GO_MARK)
        assert (elf.why_not_preloadable(str(path)) is not None) is go


def test_how_many_scripts_may_lead_to_a_program(tmp_path: Path) -> None:
    inner = "/bin/true"
    for number in range(6):
        path = tmp_path / str(number)
        path.write_text(f"#!{inner}\n")
        inner = str(path)
        why = elf.why_not_preloadable(inner)
        assert (why is None) is (number < 5), (number, why)


def test_no_limit_of_files_and_a_family_that_is_its_own_ancestor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = "Max open files            {}                 1048576              files     \n"
    for word, limit in (("unlimited", (1 << 63) - 1), ("1024", 1024)):
        monkeypatch.setattr(procfs, "read", lambda _, word=word: line.format(word))
        assert procfs.fd_limit(1) == limit

    def stat(pid: int, parent: int) -> procfs.Stat:
        return procfs.Stat(f"{pid} (x) S {parent}" + " 0" * 20)

    # Read at different moments, a pid that came again can seem to be its own grandparent.
    everything = [stat(1, 3), stat(2, 1), stat(3, 2)]
    tree = procfs.with_descendants(everything[0], everything)
    assert [each.pid for each in tree] == [1, 2, 3]
