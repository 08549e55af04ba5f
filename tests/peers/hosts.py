"""What a name resolves to, in the hands of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conftest import need_program

if TYPE_CHECKING:
    from pathlib import Path


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
