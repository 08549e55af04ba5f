"""What is read from the Docker API: families, duplicates, UDP, health."""

from __future__ import annotations

from typing import Any

import pytest

from kojuto.common.containers import Container


def row(*ports: tuple[str, int, int, str], status: str = "Up 1 second", **more: Any) -> Any:
    keys = ("IP", "PrivatePort", "PublicPort", "Type")
    rows = [dict(zip(keys, port, strict=True)) for port in ports]
    return {"Id": "f" * 64, "Created": 1, "Ports": rows, "Status": status, **more}


@pytest.mark.parametrize(
    ("ports", "connect_ip", "expected"),
    [
        ([("0.0.0.0", 80, 1, "tcp"), ("::", 80, 2, "tcp")], "127.0.0.1", ("127.0.0.1", 1)),
        ([("::", 80, 2, "tcp"), ("0.0.0.0", 80, 1, "tcp")], "127.0.0.1", ("127.0.0.1", 1)),
        ([("0.0.0.0", 80, 1, "tcp"), ("::", 80, 2, "tcp")], "::1", ("::1", 2)),
        ([("::", 80, 2, "tcp")], "127.0.0.1", ("::1", 2)),
        ([("10.1.2.3", 80, 1, "tcp")], "127.0.0.1", ("10.1.2.3", 1)),
        ([("0.0.0.0", 80, 1, "tcp")], "10.9.9.9", ("10.9.9.9", 1)),
        ([("0.0.0.0", 80, 1, "tcp")], "::1", ("127.0.0.1", 1)),
        ([("0.0.0.0", 80, 5, "udp"), ("0.0.0.0", 80, 1, "tcp")], "127.0.0.1", ("127.0.0.1", 1)),
    ],
)
def test_the_address_of_a_port(ports: Any, connect_ip: str, expected: tuple[str, int]) -> None:
    assert Container(row(*ports), connect_ip).ports == {80: expected}


def test_a_port_that_is_not_published_does_not_count() -> None:
    found = row(("0.0.0.0", 80, 5, "udp"))
    found["Ports"].append({"PrivatePort": 81, "Type": "tcp"})
    assert Container(found, "127.0.0.1").ports == {}
    found["Ports"] = None
    assert Container(found, "127.0.0.1").ports == {}


@pytest.mark.parametrize(
    ("more", "health"),
    [
        ({"status": "Up 2 seconds"}, "none"),
        ({"status": "Up 2 seconds (healthy)"}, "healthy"),
        ({"status": "Up 2 seconds (unhealthy)"}, "unhealthy"),
        ({"status": "Up 2 seconds (health: starting)"}, "starting"),
        ({"Health": {"Status": "healthy"}}, "healthy"),
        ({"Health": {"Status": "none"}}, "none"),
    ],
)
def test_health(more: Any, health: str) -> None:
    assert Container(row(**more), "127.0.0.1").health == health
