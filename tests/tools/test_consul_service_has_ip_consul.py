"""What consul-service-has-ip takes from Consul."""

from __future__ import annotations

from kojuto.tools.consul_service_has_ip import consul


def test_what_consul_says_is_taken_within_bounds() -> None:
    asked = ["0", "59", "60", "61", "9" * 30, "-1", "1.5", "", None]
    assert [consul._retry_after(text) for text in asked] == [0, 59, 60, 60, 60, 0, 0, 0, 0]
