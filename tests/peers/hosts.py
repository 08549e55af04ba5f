"""What a name resolves to, in the hands of a test."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from tests.conftest import need_program
from tests.machine import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


class Hosts:
    """A private /etc/hosts for one process, in a mount namespace of its own.

    Args:
        folder: where it is.
        name: what is resolved by it.
    """

    def __init__(self, folder: Path, name: str = "db.test") -> None:
        need_program("unshare")
        self.name = name
        self.path = folder / "hosts"
        self.path.write_text("127.0.0.1 localhost\n")
        mount = f'mount --bind "{self.path}" /etc/hosts && exec "$@"'
        self.prefix = ["unshare", "--mount", "sh", "-c", mount, "sh"]

    def set(self, *addresses: str) -> None:
        """What the name resolves to from now on."""
        lines = [f"{address} {self.name}" for address in addresses]
        with open(self.path, "r+", encoding="ascii") as file:  # same inode: it is mounted
            file.write("\n".join(["127.0.0.1 localhost", *lines]) + "\n")
            file.truncate()


@contextlib.contextmanager
def several(
    monkeypatch: pytest.MonkeyPatch, *kinds: str | tuple[str, int]
) -> Iterator[tuple[str, int] | None]:
    """For this process ``name.test`` has an address of each kind, in this order.

    Args:
        kinds: ``dead`` says nothing (its queue is full), ``refuses``, ``answers``, or one of the
            test's own.

    Yields:
        The last that answers.
    """
    ask = socket.getaddrinfo
    addresses: list[tuple[str, int]] = []
    answers = None

    def resolve(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        if host != "name.test" or options.get("flags", 0) & socket.AI_NUMERICHOST:
            return ask(host, port, *args, **options)
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, address) for address in addresses]

    with contextlib.ExitStack() as stack:
        for kind in kinds:
            if isinstance(kind, tuple) or kind == "refuses":
                addresses.append(kind if isinstance(kind, tuple) else ("127.0.0.1", free_port()))
                continue
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(0 if kind == "dead" else 8)
            addresses.append(listener.getsockname())
            if kind == "dead":
                stack.enter_context(socket.create_connection(addresses[-1]))
            else:
                answers = addresses[-1]
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        yield answers
