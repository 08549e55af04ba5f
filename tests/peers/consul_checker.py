"""consul-service-has-ip as the tests start it, beside a Consul, and its answers."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import script
from tests.peers.consul import Consul
from tests.peers.servers import LOOPBACK, Program, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.peers.servers import Stage

NAME = "consul-service-has-ip"


class Reply:
    """An answer of ``consul-service-has-ip``."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def stale_s(self) -> int | None:
        text = self.headers.get("x-consul-stale")
        return None if text is None else int(text)

    @property
    def message(self) -> str:
        told = json.loads(self.body)
        assert told["error"] == 1
        return str(told["messages"])


def get(
    port: int, path: str, *, method: str = "GET", host: str = LOOPBACK, **headers: str
) -> Reply:
    """Ask; an underscore in a header's name becomes a dash."""
    conn = http.client.HTTPConnection(host, port, timeout=30)
    try:
        conn.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        response = conn.getresponse()
        body = response.read()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, named, body)
    finally:
        conn.close()


class Checker(Program):
    """``consul-service-has-ip`` on a free port of 127.0.0.1, beside a `Consul`."""

    def __init__(
        self,
        folder: Path,
        consul: Consul,
        *options: str | Path,
        prefix: Sequence[str] = (),
        **keywords: Any,
    ) -> None:
        self.port = free_port()
        command: list[str | Path] = [*prefix, script("consul-service-has-ip"), "-l", LOOPBACK]
        command += ["-p", str(self.port), "--consul-api-endpoint", consul.url, *options]
        super().__init__(command, folder, **keywords)
        self.wait_for("Start listen")

    def get(self, path: str, **keywords: str) -> Reply:
        return get(self.port, path, **keywords)

    def status(self, path: str, **keywords: str) -> int:
        return self.get(path, **keywords).status


@pytest.fixture
def consul() -> Iterator[Consul]:
    server = Consul()
    yield server
    server.stop()


def checker(stage: Stage, consul: Consul, *options: str | Path, **keywords: Any) -> Checker:
    program = Checker(stage.folder, consul, *options, **keywords)
    stage.later(program.close)
    return program
