"""Connections within this machine: no pacing.

BBR paces by a kernel timer for each segment of up to 64 KiB. Within a machine there is nothing to
pace for, and on a virtual one the timers cost more than the bytes. A socket that has once been
under BBR is paced for good, so this is for sockets before they are connected; what a listener
accepts begins with the listener's choice.

Source: tcp(7), ``TCP_CONGESTION``.
"""

from __future__ import annotations

import socket

PACED, PLAIN = b"bbr", b"reno"
"""Everybody may choose Reno, and every kernel has it."""


def unpace(sock: socket.socket, host: object) -> None:
    """Take the pacing from a TCP socket that is about to connect to `host`, or listens there.

    Args:
        sock: not connected yet.
        host: an address; only a loopback one makes a difference.
    """
    if not isinstance(host, str) or not (host == "::1" or host.startswith("127.")):
        return
    try:
        name = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        if name.rstrip(b"\0") == PACED:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, PLAIN)
    except OSError:
        pass  # it is only slower
