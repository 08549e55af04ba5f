"""A server that speaks the MySQL protocol and answers by a written conversation.

For servers that are in no package of the distribution. A conversation is either recorded (by
`mysql_record`: every packet that a real server sent) or written by hand from the manual: then each
exchange is a statement (a regular expression) and its answers: ``columns`` and ``rows``, an
``error`` [number, state, words], or ``ok``. A statement out of turn is answered by an error and
noted in `unexpected`.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from typing import Any

from kojuto.tools.myps.connect import OWN_SETTINGS
from tests.conftest import DATA

PROTOCOL_41 = 0x0200
CAPABILITIES = 0x00000001 | PROTOCOL_41 | 0x2000 | 0x8000 | 0x10000 | 0x20000 | 0x80000
MORE_RESULTS = 0x0008
AUTOCOMMIT = 0x0002


class Replay(threading.Thread):
    """The server; `port` is where it listens, `asked` every statement in order."""

    def __init__(self, conversation: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.greeting: str | None = conversation.get("greeting")
        self.version: str = conversation.get("version", "")
        self.exchanges: list[dict[str, Any]] = list(
            conversation["turns" if self.greeting else "exchanges"]
        )
        self.switch: str | None = conversation.get("switch")
        self.login = self.password = b""
        self.asked: list[str] = []
        self.unexpected: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    def __enter__(self) -> Replay:  # noqa: PYI034
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join(10)

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                client.settimeout(20)
                try:
                    (self.repeat if self.greeting else self.serve)(client)
                except (ConnectionError, EOFError):
                    continue

    def repeat(self, client: socket.socket) -> None:
        """Say what was recorded, as long as the client says its part."""
        assert self.greeting is not None
        send(client, 0, bytes.fromhex(self.greeting))
        while True:
            number, packet = receive(client)
            if not self.login:
                self.login = packet
            elif packet == b"\x01":  # COM_QUIT
                return
            elif packet[1:].decode() == OWN_SETTINGS:  # which it was not recorded with
                send(client, 1, ok())
                continue
            else:
                self.asked.append(packet[1:].decode())
                if not self.exchanges or self.exchanges[0]["client"] != self.asked[-1]:
                    self.unexpected.append(self.asked[-1])
                    send(client, 1, failure(1064, "42000", f"out of turn: {self.asked[-1]}"))
                    continue
            for answer in self.exchanges.pop(0)["server"]:
                number += 1
                send(client, number, bytes.fromhex(answer))

    def serve(self, client: socket.socket) -> None:
        scramble = b"abcdefgh" + b"ijklmnopqrst\0"
        greeting = b"\x0a" + self.version.encode() + b"\0" + struct.pack("<I", 7)
        greeting += scramble[:8] + b"\0" + struct.pack("<H", CAPABILITIES & 0xFFFF)
        greeting += b"\xff" + struct.pack("<HH", AUTOCOMMIT, CAPABILITIES >> 16)
        greeting += bytes([21]) + bytes(10) + scramble[8:] + b"mysql_native_password\0"
        send(client, 0, greeting)
        number, self.login = receive(client)
        if self.switch is not None:
            send(client, number + 1, b"\xfe" + self.switch.encode() + b"\0")
            number, self.password = receive(client)
        send(client, number + 1, ok())
        while True:
            _, packet = receive(client)
            if packet[:1] == b"\x01":  # COM_QUIT
                return
            if packet[:1] != b"\x03":  # all but COM_QUERY
                send(client, 1, ok())
                continue
            self.answer(client, packet[1:].decode())

    def answer(self, client: socket.socket, text: str) -> None:
        if text == OWN_SETTINGS or re.match(r"SET (NAMES|AUTOCOMMIT)", text):
            send(client, 1, ok())
            return
        self.asked.append(text)
        if not self.exchanges or not re.fullmatch(self.exchanges[0]["statement"], text, re.DOTALL):
            self.unexpected.append(text)
            send(client, 1, failure(1064, "42000", f"out of turn: {text}"))
            return
        answers = self.exchanges.pop(0)["answers"]
        number = 1
        for position, answer in enumerate(answers):
            status = AUTOCOMMIT | (MORE_RESULTS if position + 1 < len(answers) else 0)
            number = respond(client, number, answer, status)


def respond(client: socket.socket, number: int, answer: dict[str, Any], status: int) -> int:
    if "error" in answer:
        send(client, number, failure(*answer["error"]))
        return number + 1
    if "columns" not in answer:
        send(client, number, ok(status))
        return number + 1
    packets = [bytes([len(answer["columns"])])]
    for name in answer["columns"]:
        head = b"".join(text(part) for part in ("def", "", "", "", name, name))
        packets.append(head + b"\x0c" + struct.pack("<HIBHBxx", 45, 1024, 0xFD, 0, 0))
    packets.append(b"\xfe" + struct.pack("<HH", 0, status))
    packets += [
        b"".join(b"\xfb" if value is None else text(value) for value in row)
        for row in answer["rows"]
    ]
    packets.append(b"\xfe" + struct.pack("<HH", 0, status))
    for packet in packets:
        send(client, number, packet)
        number += 1
    return number


def text(value: object) -> bytes:
    content = str(value).encode()
    if len(content) < 251:
        return bytes([len(content)]) + content
    return b"\xfc" + struct.pack("<H", len(content)) + content


def ok(status: int = AUTOCOMMIT) -> bytes:
    return b"\0\0\0" + struct.pack("<HH", status, 0)


def failure(number: int, state: str, words: str) -> bytes:
    return b"\xff" + struct.pack("<H", number) + b"#" + state.encode() + words.encode()


def send(client: socket.socket, number: int, packet: bytes) -> None:
    client.sendall(struct.pack("<I", len(packet))[:3] + bytes([number & 255]) + packet)


def receive(client: socket.socket) -> tuple[int, bytes]:
    head = exactly(client, 4)
    return head[3], exactly(client, int.from_bytes(head[:3], "little"))


def exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = client.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def conversation(name: str) -> dict[str, Any]:
    """A conversation of tests/data/mysql."""
    path = DATA / "mysql" / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found
