"""What mackerel-plugin-pinging makes of a network's (and this machine's) situations, each made in
namespaces of the test's own, with fping and icmplib beside it.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, read_metrics
from tests.peers.network import Namespace, Profile, namespace, stuffed, wire, wired

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NAME = "mackerel-plugin-pinging"
COUNT = 10

Answered = dict[str, int]


def ours(space: Namespace, hosts: dict[str, str], *options: str) -> tuple[dict[str, float], str]:
    """The metrics of hosts by their keys, and what was said."""
    words = [f"--host={address}={key}" for key, address in hosts.items()]
    done = space.run(NAME, *words, "--count", str(COUNT), *options)
    return {name: float(value) for name, value in read_metrics(done.stdout).items()}, str(
        done.stderr, "utf-8"
    )


def counts(metrics: dict[str, float], key: str) -> tuple[int, int]:
    top = f"pinging.{key}_rtt_count."
    return int(metrics[top + "success"]), int(metrics[top + "error"])


def fpings(space: Namespace, addresses: Sequence[str], timeout_ms: int = 500) -> Answered:
    """How many of 10 requests fping has replies to, by address."""
    fping = need_program("fping")
    line = [fping, "-q", "-C", str(COUNT), "-p", "20", "-t", str(timeout_ms), *addresses]
    told = subprocess.run(space.command(*line), capture_output=True, text=True, check=False).stderr
    figures = [line.split(" : ") for line in told.splitlines() if " : " in line]
    return {name.strip(): sum(rtt != "-" for rtt in rtts.split()) for name, rtts in figures}


def icmplibs(space: Namespace, addresses: Sequence[str], *, privileged: bool = True) -> Answered:
    code = (
        "import icmplib, json\n"
        f"hosts = icmplib.multiping({list(addresses)!r}, count={COUNT}, interval=0.02,"
        f" timeout=0.5, privileged={privileged})\n"
        "print(json.dumps({host.address: host.packets_received for host in hosts}))"
    )
    found: Answered = json.loads(space.python(code))
    return found


# -- what comes back --------------------------------------------------------------------------

WIRE: dict[str, tuple[Profile, int, int | None, int | None]] = {
    # situation: (the host, answers that count of 10, the same by fping and by icmplib; None where
    # that is left to chance; icmplib takes advice for a loss where it has a raw socket)
    "redirect": ({"mode": "redirect"}, 10, 10, 10),
    "quench": ({"mode": "quench"}, 10, 10, 10),
    "too-big": ({"mode": "too-big"}, 10, 10, 10),
    "contested": ({"mode": "contested", "delay": 1}, 10, 10, None),
    "duplicate": ({"duplicate": 100}, 10, 10, None),
    "late": ({"delay": 700}, 0, 0, None),
    "spoofed": ({"mode": "payload"}, 0, 10, 10),
    "other address": ({"mode": "stranger"}, 0, 10, 10),
    "lost": ({"loss": 100}, 0, 0, 0),
}


@pytest.mark.parametrize("groups", ["0 2147483647", "1 0"], ids=["unprivileged", "raw"])
def test_the_table_of_what_comes_back(groups: str) -> None:
    with wire(*(profile for profile, *_ in WIRE.values())) as link:
        link.space.allow_unprivileged_ping(groups)
        keys = {name.replace(" ", "-"): name for name in WIRE}
        hosts = dict(zip(keys, link.addresses, strict=True))
        metrics, said = ours(link.space, hosts, "--timeout", "500", "--detail")
        by_fping = fpings(link.space, link.addresses)
        raw = groups == "1 0"
        by_icmplib = icmplibs(link.space, link.addresses, privileged=raw)
    table = {
        name: (counts(metrics, key)[0], by_fping[hosts[key]], by_icmplib[hosts[key]])
        for key, name in keys.items()
    }
    expected = {
        name: tuple(
            seen if wanted is None or (raw and at == 2) else wanted
            for at, (seen, wanted) in enumerate(zip(table[name], figures, strict=True))
        )
        for name, (_, *figures) in WIRE.items()
    }
    assert table == expected, said
    assert all(sum(counts(metrics, key)) == COUNT for key in keys)
    assert metrics["pinging.duplicate_detail.duplicates"] == COUNT, "the last one's too"
    assert metrics["pinging.late_detail.late"] == COUNT, "the last one's too"
    stranger = hosts["other-address"]
    beside = stranger[:-1] + str(int(stranger[-1]) ^ 1)
    assert f"{stranger}: 10 replies from {beside}, which was not asked, did not count" in said


@pytest.mark.parametrize("groups", ["0 2147483647", "1 0"], ids=["unprivileged", "raw"])
def test_advice_of_ipv6_is_no_verdict_either(groups: str) -> None:
    with wire({"mode": "too-big"}, {"mode": "contested"}, v6=True) as link:
        link.space.allow_unprivileged_ping(groups)
        hosts = dict(zip(("big", "contested"), link.addresses, strict=True))
        metrics, said = ours(link.space, hosts)
        others = fpings(link.space, link.addresses[:1])
    assert counts(metrics, "big") == counts(metrics, "contested") == (10, 0), said
    assert others == {link.addresses[0]: 10}


def test_the_late_replies_of_every_request_are_told() -> None:
    with wire({"delay": 60}, {"delay": 60, "duplicate": 100}) as link:
        hosts = {f"h{number}": address for number, address in enumerate(link.addresses)}
        metrics, _ = ours(link.space, hosts, "--timeout", "25", "--detail")
    late = [metrics[f"pinging.{key}_detail.late"] for key in hosts]
    in_time = [counts(metrics, key)[0] for key in hosts]
    assert (late, in_time) == ([10, 10], [0, 0])
    assert metrics["pinging.h1_detail.duplicates"] == 10


# -- the neighbours ---------------------------------------------------------------------------


@contextlib.contextmanager
def naps() -> Iterator[list[int]]:
    """How often the machine woke a thread meanwhile that sleeps for a millisecond each time: a
    packet a millisecond comes to no more.
    """
    taken, over = [0], threading.Event()

    def sleep() -> None:
        while not over.is_set():
            time.sleep(0.001)
            taken[0] += 1

    thread = threading.Thread(target=sleep)
    thread.start()
    try:
        yield taken
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("groups", ["0 2147483647", "1 0"], ids=["unprivileged", "raw"])
def test_living_neighbours_are_not_lost_because_others_are_dead(groups: str) -> None:
    living = {f"up{n}": f"10.9.1.{n}" for n in range(1, 21)}
    dead = {f"down{n}": f"10.9.{2 + n // 200}.{1 + n % 200}" for n in range(300)}
    with wired(*living.values()) as (space, _):
        space.allow_unprivileged_ping(groups)
        with naps() as taken:
            metrics, said = ours(space, {**dead, **living})  # the dead ones first
        by_fping = fpings(space, list(living.values()))
        by_icmplib = icmplibs(space, list(living.values()))
    if taken[0] > 2 * (COUNT + 1) * len(living | dead):
        assert {counts(metrics, key) for key in living} == {(10, 0)}, said
    for key, address in living.items():
        # On a machine that woke nobody so often some could not be sent: that is said, and no loss.
        answered, lost = counts(metrics, key)
        unsent = f"{address}: {COUNT - answered} of {COUNT} were not sent within 25 s\n"
        assert lost == 0, said
        assert answered == COUNT or unsent in said, said
    # How often the kernel gives up a next hop in 25 s is its own.
    for key, address in dead.items():
        answered, lost = counts(metrics, key)
        assert answered == 0
        assert lost == COUNT or re.search(rf"{address}: \d+ of {COUNT} were not sent", said), said
    assert "10.9.2.1: lost " in said
    assert "no reply (next hop not found)" in said or "host unreachable" in said
    # They take the time themselves, and lose what they come to too late.
    assert min(*by_fping.values(), *by_icmplib.values()) > 0


# -- this machine's own queue -----------------------------------------------------------------


def shape(space: Namespace, limit_bytes: int) -> None:
    need_program("tc")
    told = subprocess.run(
        space.command(
            *f"tc qdisc add dev near root tbf rate 1mbit burst 2000 limit {limit_bytes}".split()
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("groups", ["0 2147483647", "1 0"], ids=["unprivileged", "raw"])
def test_the_queue_of_the_uplink_is_seen_and_told_apart(groups: str) -> None:
    with wired("10.9.1.1") as (space, _):
        space.allow_unprivileged_ping(groups)
        shape(space, 1_000_000)
        with stuffed(space, "10.9.1.1", 64_000):
            metrics, said = ours(space, {"up": "10.9.1.1"}, "--timeout", "5000", "--detail")
            told = subprocess.run(
                space.command(need_program("fping"), "-q", "-c", "5", "-t", "5000", "10.9.1.1"),
                capture_output=True,
                text=True,
                check=True,
            ).stderr
    assert counts(metrics, "up") == (10, 0), said
    by_fping = float(told.rsplit("=", 1)[1].split("/")[1])
    average = metrics["pinging.up_rtt_ms.average"]
    queue = metrics["pinging.up_queue_ms.average"]
    assert by_fping > 100
    assert by_fping / 2 < average < by_fping * 2
    assert average - 20 < queue < average, "nearly all of it is the queue's"


def test_a_full_queue_is_no_loss_of_the_network() -> None:
    with wired("10.9.1.1") as (space, _):
        shape(space, 20_230)  # 14 of the others' packets and no ping beside them
        with stuffed(space, "10.9.1.1", 1_000_000):
            metrics, said = ours(space, {"up": "10.9.1.1"}, "--timeout", "5000")
        words = ["tc", "-s", "qdisc", "show", "dev", "near"]
        told = subprocess.run(space.command(*words), capture_output=True, text=True, check=True)
    assert "(dropped 0," not in told.stdout
    success, error = counts(metrics, "up")
    assert error == 0, said
    assert success == 10 or f"{10 - success} of 10 were not sent" in said


def test_what_finds_no_room_in_this_machine_is_left_out_and_said() -> None:
    with wired("10.9.1.1") as (space, _):
        shape(space, 100_000_000)
        line = ["--host=10.9.1.1=up", "--size", "60000", "--count", "200", "--interval", "0"]
        done = space.run(NAME, *line, "--timeout", "1", "--deadline", "4s")
    metrics = {name: float(value) for name, value in read_metrics(done.stdout).items()}
    said = done.stderr.decode()
    success, error = counts(metrics, "up")
    assert done.returncode == 0
    assert success + error < 200
    assert "were not sent within 4 s" in said
    assert "this machine had no room to send" in said
    assert "temporarily unavailable" not in said


# -- names ------------------------------------------------------------------------------------

DNS = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
print("ready", flush=True)
while True:
    question, client = s.recvfrom(512)
    end = question.index(0, 12) + 5
    if question[end - 4:end - 2] != b"\\0\\1":
        continue  # the other family is never answered
    head = question[:2] + b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0"
    record = b"\\xc0\\x0c\\0\\1\\0\\1" + struct.pack("!IH", 60, 4) + bytes([127, 0, 0, 1])
    s.sendto(head + question[12:end] + record, client)
"""
HOSTS = "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 several\n127.0.0.2 several\n"


def test_a_silent_name_server_costs_the_others_nothing() -> None:
    with wire({"delay": 1}, {"loss": 100}) as link:
        up, silent = link.addresses
        link.space.etc(resolv_conf=f"nameserver {silent}\n", hosts=HOSTS)
        hosts = {"up": up, "lost": silent, "a": "a.example", "b": "b.example"}
        start = time.monotonic()
        metrics, said = ours(link.space, hosts, "--timeout", "100", "--deadline", "3s")
        took = time.monotonic() - start
    assert counts(metrics, "up") == (10, 0)
    assert counts(metrics, "lost") == (0, 10)
    assert counts(metrics, "a") == counts(metrics, "b") == (0, 10)
    assert "a.example: no answer from the resolver within 3 s" in said
    assert 3 <= took < 15
    seen = link.figures[up]["arrivals"]
    assert seen[-1] - seen[0] < 3, "they were pinged meanwhile"


def test_a_server_that_is_silent_on_one_family_costs_nothing() -> None:
    with namespace() as space:
        space.etc(resolv_conf="nameserver 127.0.0.1\n", hosts=HOSTS)
        server = subprocess.Popen(
            space.command("python3", "-c", DNS), stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == "ready\n"
            metrics, said = ours(space, {"p": "half.example"}, "--deadline", "4s")
        finally:
            server.kill()
            server.wait()
            server.stdout.close()
    assert counts(metrics, "p") == (10, 0), said


def test_the_address_that_was_pinged_is_told() -> None:
    with namespace() as space:
        space.etc(hosts=HOSTS)
        done = space.run(NAME, "--host=several=p", "--count=1", "--output=json")
    assert json.loads(done.stdout)["hosts"] == [
        {"host": "several", "prefix": "p", "address": "127.0.0.1", "addresses": 2}
    ]


def test_a_message_names_the_address_among_several() -> None:
    with wire({"loss": 100}, {"loss": 100}) as link:
        first, second = link.addresses
        link.space.etc(hosts=f"{first} several\n{second} several\n{second} single\n")
        hosts = {"p": "several", "q": "single"}
        _, said = ours(link.space, hosts, "--timeout", "20")
    assert f"several ({first}, the first of 2 addresses): lost 10 x no reply" in said
    assert f"single ({second}): lost 10 x no reply" in said


def test_a_link_local_address_needs_its_interface() -> None:
    with wired("10.9.1.1") as (space, far):
        for where, name, address in ((space, "near", "fe80::1"), (far, "far", "fe80::2")):
            where.sh(f"ip addr add {address}/64 dev {name} nodad")
        hosts = {"bare": "fe80::2", "zoned": "fe80::2%near"}
        metrics, said = ours(space, hosts)
        again, _ = ours(space, {"bare": "fe80::2"}, "--interface", "near")
    assert counts(metrics, "bare") == (0, 10)
    assert counts(metrics, "zoned") == counts(again, "bare") == (10, 0)
    assert "fe80::2: a link-local address without its interface" in said
    assert "fe80::1%eth0, or --interface eth0" in said


# -- how packets leave ------------------------------------------------------------------------


def test_packets_leave_as_told() -> None:
    options = ["--size", "1000", "--tos", "184", "--source", "192.0.2.77", "--interface", "wire0"]
    with wire({"delay": 0}, {"delay": 0}) as link:
        link.space.sh("ip addr add 192.0.2.77/24 dev wire0")
        metrics, said = ours(link.space, {"p": link.addresses[0]}, *options, "--dont-fragment")
        ours(link.space, {"p": link.addresses[1]})
    assert counts(metrics, "p") == (10, 0), said
    heads = {tuple(head) for head in link.figures[link.addresses[0]]["heads"]}
    assert heads == {("192.0.2.77", 184, True, 1028)}
    plain = {tuple(head) for head in link.figures[link.addresses[1]]["heads"]}
    assert {(source, tos, length) for source, tos, _, length in plain} == {("192.0.2.1", 0, 84)}


def test_a_packet_that_may_not_be_cut_is_lost_where_it_is_too_big() -> None:
    with wired("10.9.1.1") as (space, _):
        cut, _ = ours(space, {"p": "10.9.1.1"}, "--size", "2000")
        whole, said = ours(space, {"p": "10.9.1.1"}, "--size", "2000", "--dont-fragment")
    assert counts(cut, "p") == (10, 0)
    assert counts(whole, "p") == (0, 10)
    assert "lost 10 x message too long" in said


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--source", "192.0.2.99", "--source 192.0.2.99: Cannot assign requested address"),
        ("--interface", "nowhere", "--interface nowhere: No such device"),
    ],
)
def test_a_way_that_is_not_there_is_named(option: str, value: str, words: str) -> None:
    with namespace() as space:
        done = space.run(NAME, "--host=127.0.0.1=p", option, value)
    assert done.returncode == 1
    assert words in done.stderr.decode()


# -- a histogram ------------------------------------------------------------------------------


def test_a_histogram_grows_from_run_to_run(workdir: Path) -> None:
    with wire({"delay": 30}) as link:
        line = [f"--host={link.addresses[0]}=p", "--count=5", "--output=prometheus"]
        texts = [
            link.space.run(NAME, *line, f"--buckets={bounds}").stdout.decode()
            for bounds in ("0.02,10", "0.02,10", "0.5,10")
        ]
    counted = [
        [
            line.rsplit(" ", 1)[1]
            for line in text.splitlines()
            if "histogram" in line and "{" in line
        ]
        for text in texts
    ]
    assert [figures[:3] for figures in counted] == [["0", "5", "5"], ["0", "10", "10"], ["5"] * 3]
