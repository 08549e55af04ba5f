"""Writes down what a real server answers, packet by packet, for `mysql_replay` to say again.

``python -m tests.peers.mysql_record HOST:PORT FILE [--before REGEX COMMAND] -- CLIENT…`` starts a
client with ``{port}`` in its words replaced by a port here, relays its one connection to the
server, and writes the conversation. COMMAND runs before the first statement that matches REGEX is
passed on.
The server must refuse TLS and its user have no password, or the login cannot be said again.
"""

from __future__ import annotations

import argparse
import json
import re
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.peers.mysql_replay import receive, send

COM_QUIT, COM_QUERY = b"\x01", b"\x03"


def answers(server: socket.socket, client: socket.socket) -> list[str]:
    """Pass on all that the server says before the client speaks again, as hexadecimal packets."""
    found: list[str] = []
    while True:
        ready, _, _ = select.select([server, client], [], [], 30)
        if client in ready or server not in ready:
            return found
        number, packet = receive(server)
        send(client, number, packet)
        found.append(packet.hex())


def record(
    server: socket.socket, client: socket.socket, before: tuple[str, str] | None
) -> dict[str, Any]:
    """Relay one connection from the greeting to the end; what was said."""
    number, greeting = receive(server)
    send(client, number, greeting)
    turns: list[dict[str, Any]] = []
    while True:
        number, packet = receive(client)
        statement = packet[1:].decode() if packet[:1] == COM_QUERY and turns else None
        if before and statement and re.search(before[0], statement):
            subprocess.run(before[1], shell=True, check=True)
            before = None
        send(server, number, packet)
        if packet == COM_QUIT and turns:
            return {"greeting": greeting.hex(), "turns": turns}
        said = packet[:1].hex() if turns and statement is None else statement
        turns.append({"client": said, "server": answers(server, client)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server")
    parser.add_argument("file", type=Path)
    parser.add_argument("--before", nargs=2)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    host, _, port = given.server.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = [w.format(port=listener.getsockname()[1]) for w in given.command if w != "--"]
        started = subprocess.Popen(words)
        client, _ = listener.accept()
    server = socket.create_connection((host, int(port)))
    with client, server:
        found = record(server, client, tuple(given.before) if given.before else None)
    if started.wait(30):
        sys.exit(f"{words} ended with {started.returncode}")
    given.file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
