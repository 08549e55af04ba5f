"""consul-service-has-ip: watching Consul by blocking queries, and living without it."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.tools.consul_service_has_ip.consul import KEEPALIVE, Channel, Settings, picker
from kojuto.tools.consul_service_has_ip.watch import (
    Bucket,
    Watch,
    Watches,
    backoff_s,
    next_index,
)
from tests.conftest import wait_until
from tests.peers.consul import Consul, instance
from tests.peers.consul_checker import checker, get
from tests.peers.servers import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.peers.servers import Stage

WEB = "/has/web/10.0.0.1"
KEY = "/v1/health/service/web?passing"


@pytest.fixture
def consul() -> Iterator[Consul]:
    server = Consul()
    server.set("web", instance("10.0.0.1"))
    yield server
    server.stop()


def test_a_change_is_known_at_once_and_asked_for_once(stage: Stage, consul: Consul) -> None:
    server = checker(stage, consul)
    assert server.status(WEB) == 200
    wait_until(lambda: consul.waits("web"))
    for _ in range(200):
        assert server.status(WEB) == 200
    first, second = consul.questions("web")
    assert (first.index, second.index) == (0, consul.indexes["dc1", "web"])
    wait_s = int(second.first("wait").removesuffix("ms")) / 1000
    assert 270 <= wait_s <= 300
    consul.set("web", instance("10.0.0.2"))
    wait_until(lambda: server.status(WEB) == 404, within_s=2)
    assert server.status("/has/web/10.0.0.2") == 200
    # All of it went over one connection.
    assert consul.connections == 1


def test_half_a_surrogate_pair_is_no_text_and_ends_no_watch(stage: Stage, consul: Consul) -> None:
    half = "\ud800"
    consul.set("web", instance("10.0.0.1", half, tags=("prod", half)), instance(half, "10.0.0.2"))
    server = checker(stage, consul)
    for question in (WEB, f"{WEB}?tag=prod", "/has/web/10.0.0.2"):
        assert server.status(question) == 200
    assert server.status(f"{WEB}?tag=%ED%A0%80") in (400, 404)
    wait_until(lambda: consul.waits("web"))
    consul.set("web", instance("10.0.0.3", half))
    wait_until(lambda: server.status("/has/web/10.0.0.3") == 200)
    assert not server.lines(level="error")


def test_an_answer_without_a_change_is_asked_again(stage: Stage, consul: Consul) -> None:
    server = checker(stage, consul, "--wait", "1s")
    assert server.status(WEB) == 200
    index = consul.indexes["dc1", "web"]
    wait_until(lambda: len(consul.questions("web", index=str(index))) >= 3)
    assert not server.lines(level="warn")
    assert len(server.wait_for_lines(1, msg="Members")) == 1


def test_the_first_questions_share_one_answer(stage: Stage, consul: Consul) -> None:
    consul.delay_s = 0.5
    server = checker(stage, consul, "--max-watches", "1", "--service", "pinned")
    for service in ("pinned", "web"):  # with a watch, and without one
        found: list[int] = []
        path = f"/has/{service}/10.0.0.1"
        ask = [threading.Thread(target=lambda: found.append(server.status(path)))  # noqa: B023
               for _ in range(20)]  # fmt: skip
        for thread in ask:
            thread.start()
        for thread in ask:
            thread.join()
        assert found == [404 if service == "pinned" else 200] * 20
        assert len(consul.questions(service, index="")) == 1


def test_an_index_that_goes_back_starts_over(stage: Stage, consul: Consul) -> None:
    server = checker(stage, consul)
    assert server.status(WEB) == 200
    wait_until(lambda: consul.waits("web"))
    high = consul.indexes["dc1", "web"]
    consul.rewind()
    wait_until(lambda: len(consul.questions("web")) == 4)
    indexes = [asked.index for asked in consul.questions("web")]
    low = consul.indexes["dc1", "web"]
    assert indexes == [0, high, 0, low]
    assert low < high
    consul.set("web", instance("10.0.0.2"))  # an index below the high one must be seen
    assert consul.indexes["dc1", "web"] < high
    wait_until(lambda: server.status(WEB) == 404, within_s=5)


@pytest.mark.parametrize("told", [0, -1])
def test_without_an_index_there_is_no_busy_loop(stage: Stage, consul: Consul, told: int) -> None:
    consul.told_index = told
    server = checker(stage, consul)
    assert server.status(WEB) == 200
    wait_until(lambda: len(consul.questions("web")) > 3)
    began, count = time.monotonic(), len(consul.questions("web"))
    time.sleep(1.5)
    rate = (len(consul.questions("web")) - count) / (time.monotonic() - began)
    assert rate < 3
    assert {asked.index for asked in consul.questions("web")} == {0, 1}
    consul.set("web", instance("10.0.0.2"))
    wait_until(lambda: server.status(WEB) == 404)


def test_a_service_that_changes_all_the_time_is_asked_at_a_bounded_rate(
    stage: Stage, consul: Consul
) -> None:
    server = checker(stage, consul)
    assert server.status(WEB) == 200
    until = time.monotonic() + 2
    while time.monotonic() < until:
        consul.set("web", instance("10.0.0.1"))
        time.sleep(0.01)
    assert len(consul.questions("web")) <= 3 + 2 + 2
    assert server.status(WEB) == 200


def test_consul_away_is_500_and_then_it_is_back(stage: Stage, consul: Consul) -> None:
    server = checker(stage, consul)
    assert server.status(WEB) == 200
    consul.stop()
    wait_until(lambda: server.status(WEB) == 500)
    away = server.get(WEB)
    assert away.message == f"Consul at {consul.url}: Connection refused"
    assert away.stale_s is None
    assert server.status("/auth?service=web", X_Real_IP="10.0.0.1") == 500
    assert server.get("/live").body == b"OK\n"
    consul.set("web", instance("10.0.0.2"))
    consul.start()
    # A question brings the next attempt forward: nobody waits for the end of a long pause.
    wait_until(lambda: server.status(WEB) == 404, within_s=3)
    assert server.status("/has/web/10.0.0.2") == 200
    assert len(server.wait_for_lines(1, msg="Consul is away", key=KEY)) == 1
    assert server.wait_for_lines(1, msg="Consul answers again")[0]["failures"] >= 1


def test_a_blocking_query_that_breaks_costs_no_answer(stage: Stage, consul: Consul) -> None:
    server = checker(stage, consul)
    assert server.status(WEB) == 200
    wait_until(lambda: consul.waits("web"))
    consul.delay_s = 0.5
    consul.cut()
    wait_until(lambda: len(consul.questions("web")) == 3)  # asked again, and not answered yet
    reply = server.get(WEB)
    assert (reply.status, reply.stale_s) == (200, None), reply.body


def test_stale_answers_while_consul_is_away(stage: Stage, consul: Consul) -> None:
    server = checker(stage, consul, "--stale-if-error", "4s")
    assert server.get(WEB).stale_s is None
    wait_until(lambda: consul.waits("web"))
    began = time.monotonic()
    consul.stop()
    wait_until(lambda: server.get(WEB).stale_s == 0)
    wait_until(lambda: server.get(WEB).stale_s in (1, 2, 3))
    assert time.monotonic() - began >= 1
    no = server.get("/has/web/10.0.0.2")
    assert no.status == 404
    assert no.stale_s in (1, 2, 3)
    assert server.get("/auth?service=web", X_Real_IP="10.0.0.1").stale_s in (1, 2, 3)
    wait_until(lambda: server.status(WEB) == 500)
    assert 4 <= time.monotonic() - began < 15
    assert server.status("/has/other/10.0.0.1") == 500  # never known
    consul.start()
    wait_until(lambda: server.status(WEB) == 200)
    assert server.get(WEB).stale_s is None


@pytest.mark.parametrize(("status", "text"), [(500, "No cluster leader"), (503, "busy")])
def test_errors_of_consul_are_an_outage(
    stage: Stage, consul: Consul, status: int, text: str
) -> None:
    server = checker(stage, consul, "--stale-if-error", "1m")
    assert server.status(WEB) == 200
    consul.fail(status, text)
    wait_until(lambda: server.get(WEB).stale_s is not None)
    assert server.status(WEB) == 200
    other = server.get("/has/other/10.0.0.1")
    assert other.status == 500
    assert f": {status} " in other.message
    assert other.message.endswith(f": {text}")
    consul.work()
    wait_until(lambda: server.get(WEB).stale_s is None)


@pytest.mark.parametrize("status", [403, 400, 404])
def test_a_refusal_is_no_outage(stage: Stage, consul: Consul, status: int) -> None:
    """What a token may not read any more must not be answered from memory."""
    server = checker(stage, consul, "--stale-if-error", "1h")
    assert server.status(WEB) == 200
    consul.fail(status, "Permission denied")
    wait_until(lambda: server.status(WEB) == 500)
    assert "Permission denied" in server.get(WEB).message
    wait_until(lambda: server.lines(msg="Consul refuses", level="error"))
    consul.work()
    wait_until(lambda: server.status(WEB) == 200)


def test_where_an_address_leads_to_is_said_and_not_followed(stage: Stage, consul: Consul) -> None:
    """As nginx before Consul leads to https: it is asked by another address."""
    server = checker(stage, consul)
    there = "https://consul.example/v1/health/service/web"
    consul.fail(301, "<html>Moved</html>", Location=f"{there}?passing")
    message = server.get(WEB).message
    assert message.endswith(
        f": 301 Moved Permanently: it leads to {there}, ask there (--consul-api-endpoint)"
    )


def test_attempts_are_rare_while_consul_is_away(stage: Stage, consul: Consul) -> None:
    server = checker(stage, consul, "--stale-if-error", "1m")
    assert server.status(WEB) == 200
    consul.fail(500)
    wait_until(lambda: server.get(WEB).stale_s is not None)
    count, began = len(consul.asked), time.monotonic()
    while time.monotonic() - began < 2:
        assert server.status(WEB) == 200
    assert len(consul.asked) - count <= 5  # 0.25 s, 0.5 s, 1 s, 2 s, each at least half as long
    # Without anything to answer from, questions press on, but not beyond a rate.
    count, began = len(consul.asked), time.monotonic()
    while time.monotonic() - began < 1:
        assert server.status("/has/other/10.0.0.1") == 500
    assert len(consul.questions("other")) <= 1 / 0.2 + 3


def test_retry_after_is_kept(stage: Stage, consul: Consul) -> None:
    consul.fail(429, "slow down", Retry_After="1")
    server = checker(stage, consul)
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        server.status(WEB)
    times = [asked.at for asked in consul.questions("web")]
    assert len(times) >= 2
    assert all(later - earlier >= 1 for earlier, later in pairwise(times))


def garbage(text: bytes) -> Callable[[socket.socket], None]:
    return lambda conn: conn.sendall(text)


def answer(body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nX-Consul-Index: 5\r\n" + headers + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"
NO_ANSWERS = [
    (answer(b"[{"), "the answer is not JSON"),
    (answer(b"{}"), "the answer is not a list of instances"),
    (answer(b"[[]]"), "an instance in the answer is no object"),
    (answer(b'[{"Node": 5}]'), "an instance in the answer has no node"),
    (answer(b"[" * 100_000), "the answer is not JSON"),
    (answer(b"\xff\xfe[]"), "the answer is not JSON"),
    (answer(b"[" + b" " * 200_000), "the answer is over 100000 bytes (--max-answer-size)"),
    (answer(b"[]", b"Content-Length: 99999999\r\n"), "the answer is over 100000 bytes"),
    (answer(b"[]", b"Content-Length: 9\r\n"), "the answer ended after 2 of 9 bytes"),
    (answer(b"2\r\n[]\r\n", CHUNKED), "the answer ended before its last chunk"),
    (answer(b"9\r\n[]", CHUNKED), "the answer ended before its last chunk"),
    (b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n", "301 Moved"),
    (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "SSH-2.0-OpenSSH_9.2"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, "got more than 100 headers"),
    (b"", "Remote end closed connection without response"),
]


def test_what_is_no_answer_is_an_error(stage: Stage, consul: Consul) -> None:
    server = checker(stage, consul, "--max-answer-size", "100000", "--stale-if-error", "1m")
    for number, (sent, message) in enumerate(NO_ANSWERS):
        consul.raw = garbage(sent)
        found = server.get(f"/has/s{number}/10.0.0.1")
        assert found.status == 500
        assert message in found.message
        assert len(found.message) < 500
    consul.work()
    wait_until(lambda: server.status("/has/s0/10.0.0.1") == 404)
    assert not server.lines(msg="A watch failed")


def test_an_answer_in_chunks_and_one_that_ends_with_the_connection(
    stage: Stage, consul: Consul
) -> None:
    body = b'[{"Node": {"Address": "10.0.0.1"}, "Service": {"Address": ""}}]'
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:9], body[9:])) + b"0\r\n\r\n"
    for sent in (answer(chunks, CHUNKED), answer(body)):
        consul.raw = garbage(sent)
        found = checker(stage, consul).get(WEB)
        assert (found.status, found.body) == (200, b'{"error":0}\n')


def test_a_slow_consul_has_a_deadline(stage: Stage, consul: Consul) -> None:
    stop = threading.Event()
    stage.later(stop.set)

    def drip(conn: socket.socket) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\nX-Consul-Index: 5\r\nContent-Length: 100\r\n\r\n")
        while not stop.wait(0.1):
            conn.sendall(b" ")

    consul.raw = drip
    server = checker(stage, consul, "--timeout", "1s")
    began = time.monotonic()
    found = server.get(WEB)
    assert found.status == 500
    assert found.message.endswith("no answer within 1 s")
    assert 0.9 < time.monotonic() - began < 5
    assert server.get("/live").status == 200
    began = time.monotonic()
    assert server.status(WEB) == 500  # known to be away: nobody waits long
    assert time.monotonic() - began < 3


def test_a_stalled_consul_leaves_other_services_alone(stage: Stage, consul: Consul) -> None:
    server = checker(stage, consul, "--timeout", "20s")
    assert server.status(WEB) == 200
    wait_until(lambda: consul.waits("web"))
    goes_on = threading.Event()
    stage.later(goes_on.set)
    consul.raw = lambda _: (goes_on.wait(60), None)[1]
    asking = [
        threading.Thread(target=lambda: server.status("/has/stalled/1.2.3.4")) for _ in range(40)
    ]
    for thread in asking:
        thread.start()
    wait_until(lambda: consul.questions("stalled"))
    began = time.monotonic()
    assert server.status(WEB) == 200
    assert time.monotonic() - began < 10, "as long as the stalled ones"
    goes_on.set()
    for thread in asking:
        thread.join()
    assert len(consul.questions("stalled", index="")) <= 2


def test_an_acl_that_hides_instances_is_told(stage: Stage, consul: Consul) -> None:
    consul.hides = True
    server = checker(stage, consul)
    assert server.status(WEB) == 404
    wait_until(lambda: [e for e in server.lines(level="warn") if "leaves out" in e["msg"]])


def test_watches_are_bounded_and_end_when_nobody_asks(stage: Stage, consul: Consul) -> None:
    metrics = free_port()
    server = checker(
        stage, consul, "--max-watches", "3", "--watch-idle", "2s", "--service", "web",
        "--metrics-listen", f"{LOOPBACK}:{metrics}",
    )  # fmt: skip

    def figure(name: str) -> float:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{metrics}/metrics", timeout=10) as told:
            lines = told.read().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(name + " "))

    for number in range(20):
        consul.set(f"s{number}", instance("10.0.0.1"))
    for number in range(20):
        assert server.status(f"/has/s{number}/10.0.0.1") == 200
    assert figure("kojuto_consul_watches") == 3
    assert figure("kojuto_consul_direct_questions_total") == 20
    with open(f"/proc/{server.pid}/status", encoding="ascii") as status:
        threads = next(int(line.split()[1]) for line in status if line.startswith("Threads:"))
    assert threads < 60
    wait_until(lambda: figure("kojuto_consul_watches") == 1)  # the pinned one stays
    assert consul.waits("web")
    assert server.status("/has/s19/10.0.0.1") == 200
    assert figure("kojuto_consul_watches") == 2
    assert len(consul.questions("s19")) >= 1


def test_metrics(stage: Stage, consul: Consul) -> None:
    metrics = free_port()
    server = checker(stage, consul, "--metrics-listen", f"{LOOPBACK}:{metrics}")
    assert [server.status(path) for path in (WEB, "/has/web/::1", "/x")] == [200, 404, 404]
    text = get(metrics, "/metrics").body.decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values[f'kojuto_consul_members{{watch="{KEY}"}}'] == "1"
    assert values[f'kojuto_consul_away_seconds{{watch="{KEY}"}}'] == "0.0"
    assert values['kojuto_membership_answers_total{member="yes"}'] == "1"
    assert values['kojuto_membership_answers_total{member="no"}'] == "1"
    assert values["kojuto_membership_refused_total"] == "1"
    assert values['kojuto_http_requests_total{code="4xx"}'] == "2"
    assert values["kojuto_http_quick_total"] == "2"
    consul.stop()

    def away() -> bool:
        told = get(metrics, "/metrics").body.decode()
        line = next(x for x in told.splitlines() if x.startswith("kojuto_consul_away_seconds{"))
        return float(line.split()[-1]) > 0

    wait_until(away)


def settings_of(consul: Consul) -> Settings:
    endpoint: Any = SimpleNamespace(
        host="127.0.0.1", port=consul.port, unix=None, tls=False, path="", authorization=None,
        name=consul.url, netloc=f"127.0.0.1:{consul.port}",
    )  # fmt: skip
    token: Any = SimpleNamespace(text="", hide=str, again=lambda: None)
    return Settings(endpoint, token, picker("any"), timeout_s=20, max_bytes=1 << 20)


def test_a_connection_is_kept_for_the_next_question_and_watched(consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    channel = Channel(settings_of(consul))
    for _ in range(5):
        assert channel.ask("/v1/health/service/web?passing").instances == [(["10.0.0.1"], [])]
    assert (len(consul.asked), consul.connections) == (5, 1)
    assert channel.sock is not None
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *(
        (socket.IPPROTO_TCP, getattr(socket, name)) for name, _ in KEEPALIVE
    )]  # fmt: skip
    assert [channel.sock.getsockopt(*option) for option in options] == [1, 10, 5, 3]
    channel.close()


def test_the_index_of_the_next_question() -> None:
    assert [next_index(0, 7), next_index(7, 7), next_index(7, 9)] == [7, 7, 9]
    assert next_index(9, 7) == 0  # it went back
    assert next_index(0, 0) == 1  # a bug of Consul's that would make a busy loop


def test_pauses_grow_to_a_bound_with_chance_in_them() -> None:
    for failures, most in [(1, 0.25), (2, 0.5), (5, 4), (8, 30), (1000, 30)]:
        found = {backoff_s(failures) for _ in range(200)}
        assert most / 2 <= min(found) < max(found) <= most
        assert len(found) > 100


def test_a_bucket_lets_a_few_through_and_then_slows_down() -> None:
    bucket = Bucket()
    assert [bucket.pause_s() for _ in range(3)] == [0, 0, 0]
    assert 0.9 < bucket.pause_s() <= 1


def test_a_watch_that_failed_unexpectedly_is_begun_anew_by_the_next_question(
    consul: Consul, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Watch) -> None:
        raise RuntimeError("no such case")

    monkeypatch.setattr(Watch, "_watch", fails)
    told: list[tuple[str, str]] = []
    table: Any = SimpleNamespace(
        watch=lambda key: told.append(("watch", key)),
        unwatch=lambda key: told.append(("unwatch", key)),
        refuse=lambda _: None,
    )
    log: Any = SimpleNamespace(error=lambda text, **more: told.append((text, more["error"])))
    watches = Watches(table, settings_of(consul), log, wait_s=1, most=1, singles=1, idle_s=0)
    for _ in range(2):
        told.clear()
        watches.pin("/web")
        wait_until(lambda: ("unwatch", "/web") in told)
        assert watches.names() == []
        assert ("A watch failed", "RuntimeError('no such case')") in told
        assert ("watch", "/web") in told
