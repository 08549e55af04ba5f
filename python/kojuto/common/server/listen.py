"""Listening sockets: from Server::Starter, from systemd, or bound here, in this order.

Sources: p5-Server-Starter, ``SERVER_STARTER_PORT``; sd_listen_fds(3).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from kojuto.common.server import pacing
from kojuto.errors import KojutoError, UsageError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

BACKLOG = 4096
"""As long as the system allows (net.core.somaxconn cuts it)."""

FIRST_SYSTEMD_FD = 3


ANY = ("", "0.0.0.0", "::")  # noqa: S104
"""All addresses of both families, as Go's listeners have it."""


class BindError(KojutoError):
    """An address cannot be listened on.

    Args:
        address: as the user writes it.
        error: what the system said.
        hint: as of a `KojutoError`.
    """

    def __init__(self, address: str, error: OSError, hint: str | None = None) -> None:
        super().__init__(f"cannot listen on {address}: {words(error)}", hint)
        self.address = address
        self.number = error.errno


class TakenError(BindError):
    """Another process listens on an address."""


def split_address(text: str, default_host: str = "") -> tuple[str, int]:
    """``HOST:PORT``, ``[IPv6]:PORT``, ``:PORT`` or ``PORT`` as (host, port).

    Behind a colon the port may be the name of a service, as ``db:mysql``.

    Raises:
        ValueError: it has none of these forms.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host and not (text.startswith("[") and text.endswith("]")):
        raise ValueError("an IPv6 address needs brackets: [2001:db8::1]:3306")
    if text.endswith("]") or not (port if colon else port.isdigit()):
        raise ValueError("no port (write HOST:PORT)")
    return host_name(host) or default_host, _port(port)


def host_name(host: str) -> str:
    """A name or an address that a resolver can be asked for, as it is; an empty one is none.

    Raises:
        ValueError: a label is empty or too long (RFC 1035, 2.3.4), or cannot be encoded.
    """
    labels = host.removesuffix(".").split(".")
    right = all(0 < len(label) < 64 for label in labels) or not host
    if right and not host.isascii():
        try:
            host.encode("idna")
        except UnicodeError:
            right = False
    if not right:
        raise ValueError("not a host name: between its dots are 1 to 63 characters")
    return host


def url_host(text: str) -> tuple[str, str]:
    """The host of a URL, for a resolver and as its server and its certificate know it.

    They differ by the zone of an IPv6 address, which means something on this machine alone. In a
    URL it follows ``%25`` (RFC 6874, 2), as others write it ``%``.

    Raises:
        ValueError: it is no host.
    """
    name, _, zone = text.partition("%") if ":" in text else (text, "", "")
    zone = zone.removeprefix("25") or zone
    return (f"{name}%{zone}", name) if zone else (host_name(name), name)


def _port(text: str) -> int:
    """A port by its number or, as ``mysql``, by its name (services(5)).

    Raises:
        ValueError: it is neither.
    """
    if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535:
        return int(text)
    if not text.isdigit():
        with contextlib.suppress(OSError, UnicodeError):
            return socket.getservbyname(text, "tcp")
    raise ValueError(
        "the port is no number from 0 to 65535 and no name of a service (write HOST:PORT)"
    )


def address_text(host: str, port: int) -> str:
    """The opposite of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def one_name(text: str) -> str:
    """An address with its port, the same for every way to write all addresses."""
    host, _, port = text.rpartition(":")
    return f"[::]:{port}" if host.strip("[]") in ANY else text


def peer_text(address: object) -> str:
    """A peer as logs show it, from what ``accept`` says; one on IPv4 by its IPv4 address."""
    if not isinstance(address, tuple):
        return "unix:"
    host: str = address[0]
    mapped = host.removeprefix("::ffff:")
    return address_text(mapped if "." in mapped else host, address[1])


def name_of(sock: socket.socket) -> str:
    """The local address of a socket as logs show it."""
    name = sock.getsockname()
    if isinstance(name, tuple):
        return address_text(name[0], name[1])
    return f"unix:{name.decode(errors='replace') if isinstance(name, bytes) else name}"


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as the hard limit does; a server needs two per connection."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # the soft limit works too
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def inherited() -> list[socket.socket]:
    """The listening stream sockets that a supervisor handed down; empty without one.

    The variables that announce them are removed, so that no child
    process takes the sockets for its own.

    Raises:
        KojutoError: a supervisor announced sockets that are not there or not of the right kind.
    """
    raise_descriptor_limit()
    starter = os.environ.pop("SERVER_STARTER_PORT", "")
    if starter:
        found = []
        for entry in starter.split(";"):
            name, equals, fd = entry.rpartition("=")
            if not equals or not fd.isdigit():
                raise KojutoError(
                    f"SERVER_STARTER_PORT={starter}: {entry} is not ADDRESS=FD",
                    "this variable is set by start_server; unset it to bind the address itself",
                )
            found.append(_adopt(int(fd), f"SERVER_STARTER_PORT ({name})"))
        return [sock for sock in found if sock is not None]
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if count and pid == str(os.getpid()):
        if not count.isdigit():
            raise KojutoError(f"LISTEN_FDS={count}: not a number of sockets")
        fds = range(FIRST_SYSTEMD_FD, FIRST_SYSTEMD_FD + int(count))
        return [sock for fd in fds if (sock := _adopt(fd, "LISTEN_FDS")) is not None]
    return []


def _adopt(fd: int, source: str) -> socket.socket | None:
    """Take over a listening stream socket; None for one of another kind (UDP)."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise KojutoError(
            f"{source}: descriptor {fd} is not a socket: {words(error)}",
            "the process that started this one must leave the descriptor open",
        ) from None
    os.set_inheritable(fd, False)
    if sock.type != socket.SOCK_STREAM:
        sock.detach()
        return None
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise KojutoError(f"{source}: descriptor {fd} is a socket that does not listen")
    name = sock.getsockname()
    pacing.unpace(sock, name[0] if isinstance(name, tuple) else None)
    return sock


def bind(host: str, port: int) -> socket.socket:
    """Bind and listen on one TCP address.

    Args:
        host: a name or address; all of `ANY` are all addresses, IPv6 included where the system
            has it.
        port: 0 for one that is free.

    Raises:
        TakenError: another process has the address.
        BindError: for another reason.
    """
    address = address_text(host or "*", port)
    try:
        if host in ANY:
            return _bind_all(port)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        sock = socket.socket(family, kind, protocol)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return _listen(sock, where)
    except OSError as error:
        hint = None
        if isinstance(error, PermissionError):
            hint = "ports below 1024 need root or CAP_NET_BIND_SERVICE"
        if error.errno == errno.EADDRINUSE:
            hint = "another process listens there; 'ss -ltnp' shows which"
            raise TakenError(address, error, hint) from None
        raise BindError(address, error, hint) from None


def _bind_all(port: int) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return _listen(sock, ("::", port))
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):  # no IPv6 on this machine
            raise
        return _listen(socket.socket(socket.AF_INET, socket.SOCK_STREAM), ("0.0.0.0", port))  # noqa: S104


def _listen(sock: socket.socket, where: tuple[object, ...]) -> socket.socket:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        pacing.unpace(sock, where[0])
        sock.bind(where)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def sockets(address: tuple[str, int]) -> list[socket.socket]:
    """The sockets to accept on: the inherited ones, else one bound to `address`.

    Raises:
        KojutoError: the address cannot be bound.
    """
    found = inherited()
    return found or [bind(*address)]


def bind_each(addresses: Sequence[tuple[str, int]]) -> list[socket.socket]:
    """`bind` for several addresses.

    Raises:
        KojutoError: one of them is given twice, or cannot be bound.
    """
    seen: dict[str, str] = {}
    for text in [address_text(*address) for address in addresses if address[1]]:
        before = seen.setdefault(one_name(text), "")
        if before:
            raise UsageError(
                f"{before} and {text} are the same listener",
                "0.0.0.0, [::] and no host are all addresses, IPv4 and IPv6: give it once",
            )
        seen[one_name(text)] = text
    return [bind(*address) for address in addresses]


def address(text: str) -> tuple[str, int]:
    """A reader for options: ``HOST:PORT``, ``:PORT`` for all addresses.

    Raises:
        ValueError: it is not an address.
    """
    return split_address(text)


def upstream(text: str) -> tuple[str, int]:
    """A reader for options: ``HOST:PORT`` with a host.

    Raises:
        ValueError: it is not an address.
    """
    host, port = split_address(text)
    if not host or port == 0:
        raise ValueError("not an upstream (write HOST:PORT, [IPv6]:PORT)")
    return host, port
