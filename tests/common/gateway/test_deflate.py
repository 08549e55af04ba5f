"""Compressed tunnels: their frames, and their end."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from kojuto.common.gateway import deflate

LOOP = deflate.Loop("test")
"""Its work ends with it, as a gateway's would: it has to outlive the tunnels."""


def compressing(masked: bool) -> Any:
    """Their extension of a WebSocket and a stream that stands between it and the engine."""
    from websockets.extensions.permessage_deflate import PerMessageDeflate

    theirs, ours = (PerMessageDeflate(False, False, 15, 15) for _ in range(2))
    peer, far = socket.socketpair()
    near = deflate.between(LOOP, far, [ours], b"", masked=masked, lenient=False)
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
