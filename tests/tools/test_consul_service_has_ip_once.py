"""consul-service-has-ip: what it takes from the agent, however much it is asked."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.conftest import run, wait_until
from tests.peers.consul import Consul, instance
from tests.peers.consul_checker import checker, consul

if TYPE_CHECKING:
    from tests.peers.servers import Stage

__all__ = ["consul"]

WEB = "/has/web/10.0.0.1"


def test_strangers_never_take_more_than_the_budget_of_connections(
    stage: Stage, consul: Consul
) -> None:
    for number in range(80):
        consul.set(f"s{number}", instance("10.0.0.1"))
    consul.set("web", instance("10.0.0.1", tags=("t7",)))
    consul.delay_s = 0.02
    server = checker(stage, consul)
    paths = [f"{WEB}?tag=t{number}" for number in range(200)]
    paths += [f"/has/s{number}/10.0.0.1" for number in range(80)]
    paths += [f"/has/absent{number}/10.0.0.1" for number in range(100)]
    paths += [f"{WEB}?filter=Port+%3D%3D+{number}" for number in range(100)]
    with ThreadPoolExecutor(64) as pool:
        found = dict(zip(paths, pool.map(server.status, paths), strict=True))
    assert consul.most_open <= 64
    assert [path for path in paths[:200] if found[path] == 200] == [f"{WEB}?tag=t7"]
    assert set(found.values()) == {200, 404}
    # One watch for all tags.
    wait_until(lambda: any(asked.index for asked in consul.questions("web")))
    assert len([a for a in consul.questions("web") if "filter" not in a.query]) == 2
    assert consul.most_open > 40, "the budget is used"


def test_the_budget_can_be_set(stage: Stage, consul: Consul) -> None:
    for number in range(20):
        consul.set(f"s{number}", instance("10.0.0.1"))
    consul.delay_s = 0.02
    server = checker(stage, consul, "--consul-connections", "4", "--max-watches", "100")
    (warned,) = server.wait_for_lines(1, level="warn", max_watches=100)
    assert warned["watches"] == 3
    with ThreadPoolExecutor(20) as pool:
        paths = [f"/has/s{number % 20}/10.0.0.1" for number in range(60)]
        assert set(pool.map(server.status, paths)) == {200}
    assert consul.most_open <= 4
    pinned = [word for name in "abcd" for word in ("--service", name)]
    wrong = run(
        "consul-service-has-ip", "--consul-api-endpoint", consul.url, "--consul-connections", "4",
        *pinned,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert b"--service: 4 services, --consul-connections 4 has room for 3" in wrong.stderr


def test_a_service_that_does_not_exist_is_not_watched_and_remembered_briefly(
    stage: Stage, consul: Consul
) -> None:
    server = checker(stage, consul)
    for _ in range(5):
        assert server.status(WEB) == 404
    assert [asked.index for asked in consul.questions("web")] == [0]
    consul.set("web", instance("10.0.0.1"))
    wait_until(lambda: server.status(WEB) == 200)  # after seconds, by itself
    wait_until(lambda: consul.waits("web"))
    consul.set("web")  # now it is watched, and stays so without an instance
    wait_until(lambda: server.status(WEB) == 404)
    wait_until(lambda: consul.waits("web"))


def test_a_filter_is_asked_each_time_and_not_watched(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    server = checker(stage, consul)
    for _ in range(3):
        assert server.status(f"{WEB}?filter=x") == 200
    assert [asked.index for asked in consul.questions("web")] == [0] * 3
    wrong = run(
        "consul-service-has-ip", "--consul-api-endpoint", consul.url, "--service", "web?filter=x"
    )
    assert wrong.returncode == 2
    assert b"it cannot be watched" in wrong.stderr


def test_who_may_ask(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    ranges = "192.0.2.0/24,::1"
    server = checker(stage, consul, "--allow-from", ranges)
    refused = server.get(WEB)
    assert refused.status == 403
    assert refused.message == "127.0.0.1 may not ask (--allow-from)"
    assert server.status("/auth?service=web", X_Real_IP="10.0.0.1") == 403
    assert server.status("/live") == 200
    assert not consul.asked
    assert checker(stage, consul, "--allow-from", "127.0.0.0/8").status(WEB) == 200


def test_a_consul_that_wants_fewer_questions_is_asked_later(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    consul.set("new", instance("10.0.0.1"))
    server = checker(stage, consul)
    assert server.status(WEB) == 200
    wait_until(lambda: consul.waits("web"))
    consul.fail(429, "Your IP is issuing too many concurrent connections")
    wait_until(lambda: not consul.waits("web"))
    for _ in range(20):
        reply = server.get(WEB)  # what is known stays good for a while
        assert (reply.status, reply.stale_s) == (200, None), reply.body
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(server.status("/has/new/10.0.0.1")))
    asking.start()
    wait_until(lambda: consul.questions("new"))
    consul.work()
    asking.join()
    assert found == [200]
    assert not server.lines(msg="Consul is away")


def test_a_question_is_given_up_when_consul_wants_none_for_long(
    stage: Stage, consul: Consul
) -> None:
    consul.fail(429, "slow down")
    server = checker(stage, consul, "--timeout", "2s")
    began = time.monotonic()
    reply = server.get(WEB)
    assert reply.status == 500
    assert "429" in reply.message
    times = [asked.at for asked in consul.questions("web")]
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(times))
    assert time.monotonic() - began < 20


def test_an_empty_list_without_a_leader_is_no_answer(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    server = checker(stage, consul, "--stale-if-error", "1m")
    assert server.status(WEB) == 200
    wait_until(lambda: consul.waits("web"))
    consul.knows_leader = False
    consul.set("other", instance("10.0.0.1"))
    consul.set("web", instance("10.0.0.1"))  # wakes the watch
    wait_until(lambda: server.get(WEB).stale_s is not None)
    assert server.status(WEB) == 200
    assert "no leader is known" in server.get("/has/other/10.0.0.1").message
    consul.knows_leader = True
    wait_until(lambda: server.get(WEB).stale_s is None)
