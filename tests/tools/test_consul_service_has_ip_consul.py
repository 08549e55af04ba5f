"""What consul-service-has-ip takes from Consul, and how it gets there."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

from kojuto.tools.consul_service_has_ip import consul
from kojuto.tools.consul_service_has_ip.endpoint import Endpoint, Token
from tests.peers.hosts import several

if TYPE_CHECKING:
    import pytest


def test_what_consul_says_is_taken_within_bounds() -> None:
    asked = ["0", "59", "60", "61", "9" * 30, "-1", "1.5", "", None]
    assert [consul._retry_after(text) for text in asked] == [0, 59, 60, 60, 60, 0, 0, 0, 0]


def test_a_dead_address_of_consul_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took all of the time, at each question."""
    for name in ("CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    endpoint, pick = Endpoint("http://name.test:8500"), consul.picker("any")
    settings = consul.Settings(endpoint, Token(None), pick, timeout_s=20, max_bytes=1 << 20)
    with socket.create_server(("127.0.0.1", 0)) as sock:

        def answer() -> None:
            with sock.accept()[0] as conn:
                conn.recv(65536)
                conn.sendall(b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 2\r\n\r\n[]")

        thread = threading.Thread(target=answer)
        thread.start()
        with several(monkeypatch, "dead", sock.getsockname()):
            channel = consul.Channel(settings)
            assert channel.ask("/v1/health/service/web?passing").index == 7
            channel.close()
        thread.join()
