"""mackerel-plugin-pinging on loopback, over links that misbehave as told, and beside others."""

from __future__ import annotations

import json
import random
import re
import signal
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kojuto import _native
from kojuto.errors import UsageError
from kojuto.tools import pinging
from kojuto.tools.pinging import jitter_ms, longest_loss
from tests import shown
from tests.conftest import need_program, read_metrics, run, script, wait_until
from tests.peers.network import Link, Profile, namespace, netem, wire
from tests.peers.wire import answers, ip_packet

NAME = "mackerel-plugin-pinging"
NOBODY = 65534


# -- output ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0"])
def test_the_lines_of_the_original_on_loopback(host: str) -> None:
    done = run(NAME, "--host", host, "--key-prefix", "lo", "--count", "5", "--interval", "1")
    assert done.returncode == 0
    assert done.stderr == b""
    names = [line.split("\t")[0] for line in done.stdout.decode().splitlines()]
    assert names == [
        "pinging.lo_rtt_count.success",
        "pinging.lo_rtt_count.error",
        "pinging.lo_rtt_ms.max",
        "pinging.lo_rtt_ms.min",
        "pinging.lo_rtt_ms.average",
        "pinging.lo_rtt_ms.90_percentile",
    ]
    metrics = read_metrics(done.stdout)
    assert all(re.fullmatch(r"\d+\.\d{6}", value) for value in metrics.values())
    assert metrics["pinging.lo_rtt_count.success"] == "5.000000"
    assert metrics["pinging.lo_rtt_count.error"] == "0.000000"
    low, mid, high = (float(metrics[f"pinging.lo_rtt_ms.{k}"]) for k in ("min", "average", "max"))
    assert 0 < low <= mid <= high < 100


def test_it_prints_what_the_manual_shows() -> None:
    output = shown.output("mackerel-plugin-pinging ")
    with namespace() as space:
        space.sh("ip addr add 8.8.8.8/32 dev lo")
        output.compare(space.run(NAME, *output.words()).stdout)


def test_a_name_that_does_not_resolve_counts_as_errors_and_the_others_go_on() -> None:
    done = run(
        NAME, "--host", "no-such-host.invalid=gone", "--host", "127.0.0.1=lo", "--count", "3"
    )
    assert done.returncode == 1
    metrics = read_metrics(done.stdout)
    assert metrics["pinging.gone_rtt_count.success"] == "0.000000"
    assert metrics["pinging.gone_rtt_count.error"] == "3.000000"
    assert not [name for name in metrics if name.startswith("pinging.gone_rtt_ms")]
    assert metrics["pinging.lo_rtt_count.success"] == "3.000000"
    assert done.stderr.startswith(b"mackerel-plugin-pinging: no-such-host.invalid: ")


def test_a_family_that_the_host_lacks_is_a_name_without_address() -> None:
    assert run(NAME, "--host", "127.0.0.1", "--key-prefix", "p", "-6").returncode == 1
    assert run(NAME, "--host", "::1", "--key-prefix", "p", "-4").returncode == 1
    done = run(NAME, "--host", "localhost", "--key-prefix", "p", "-4", "--count", "1")
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--key-prefix", "p"], "--host is required"),
        (["--host", "a"], "--key-prefix is required"),
        (["--host", "a", "--host", "b", "--key-prefix", "p"], "a and b share the metric key p"),
        (["--host", "=x"], "--host =x: no host"),
        (["--host", "a=b", "--count", "0"], "--count 0: below the minimum of 1"),
        (["--host", "a=b", "--percentile", "101"], "--percentile 101: '101' is not a percentile"),
        (["--host", "a=b", "-4", "-6"], "-4 and -6 cannot be used together"),
    ],
)
def test_a_wrong_call_is_status_2(arguments: list[str], words: str) -> None:
    done = run(NAME, *arguments)
    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert done.stdout == b""


def test_the_graph_definition_names_every_metric_and_sends_nothing() -> None:
    options = ["--detail", "--percentile", "50,99.9"]
    meta = {"MACKEREL_AGENT_PLUGIN_META": "1"}
    done = run(NAME, "--host", "192.0.2.1=far", *options, env=meta, timeout_s=5)
    head, document = done.stdout.decode().splitlines()
    assert head == "# mackerel-agent-plugin"
    graphs = json.loads(document)["graphs"]
    defined = {f"{graph}.{m['name']}" for graph, body in graphs.items() for m in body["metrics"]}
    real = run(NAME, "--host", "127.0.0.1=far", *options)
    assert defined == set(read_metrics(real.stdout))


def test_other_outputs_hold_the_same_figures() -> None:
    document = json.loads(run(NAME, "--host", "127.0.0.1=lo", "--output", "json").stdout)
    assert document["metrics"]["pinging.lo_rtt_count.success"] == 10
    text = run(NAME, "--host", "127.0.0.1=lo", "--output", "prometheus").stdout.decode()
    assert 'pinging_success{host="127.0.0.1",prefix="lo"} 10.0' in text
    assert 'pinging_rtt_seconds{host="127.0.0.1",prefix="lo",stat="average"}' in text


def test_jitter_and_runs_of_losses() -> None:
    assert jitter_ms([1.0, 3.0, 2.0]) == 1.5
    assert jitter_ms([1.0]) == 0
    assert longest_loss([None, 1, None, None, 2, None]) == 2
    assert longest_loss([1.0]) == 0


# -- privileges -----------------------------------------------------------------------------------


def test_the_unprivileged_socket_needs_no_rights_at_all() -> None:
    with namespace() as space:
        space.allow_unprivileged_ping()
        for host in ("127.0.0.1", "::1"):
            done = space.run(NAME, "--host", host, "--key-prefix", "p", user=NOBODY)
            assert done.returncode == 0, done.stderr
            assert read_metrics(done.stdout)["pinging.p_rtt_count.success"] == "10.000000"


def test_a_raw_socket_serves_where_the_unprivileged_one_is_refused() -> None:
    with namespace() as space:
        space.allow_unprivileged_ping("1 0")
        for host in ("127.0.0.1", "::1"):
            done = space.run(NAME, "--host", host, "--key-prefix", "p")
            assert read_metrics(done.stdout)["pinging.p_rtt_count.success"] == "10.000000"


def test_without_any_right_one_line_tells_the_setting_that_helps() -> None:
    with namespace() as space:
        space.allow_unprivileged_ping("1 0")
        done = space.run(NAME, "--host", "127.0.0.1", "--key-prefix", "p", user=NOBODY)
    assert done.returncode == 1
    assert done.stdout == b""
    error, hint = done.stderr.decode().splitlines()
    assert error.startswith("mackerel-plugin-pinging: error: neither an unprivileged ICMP socket")
    assert "sysctl -w net.ipv4.ping_group_range=" in hint


# -- honest times ---------------------------------------------------------------------------------


def test_both_ends_are_stamped_by_the_kernel() -> None:
    """The kernel begins to stamp in a work item of its own (net_enable_timestamp), which on a busy
    machine has not run when the second request leaves a millisecond after the first."""
    with namespace() as space:
        for groups in ("0 2147483647", "1 0"):
            space.allow_unprivileged_ping(groups)
            for address in ("127.0.0.1", "::1"):
                code = (
                    "from kojuto import _native as n;"
                    f"print(n.ping_hosts([{address!r}],count=20,timeout_ms=1000,interval_ms=20,"
                    "pace_ms=20,deadline_ms=60000,payload_bytes=56)[0].stamped)"
                )
                assert space.python(code) == "20\n"


def test_the_mean_on_loopback_is_at_most_three_quarters_of_fpings() -> None:
    fping = need_program("fping")
    ours, theirs = [], []
    for _ in range(5):
        done = run(NAME, "--host", "127.0.0.1=lo", "--count", "20")
        ours.append(float(read_metrics(done.stdout)["pinging.lo_rtt_ms.average"]))
        told = subprocess.run(
            [fping, "-q", "-c", "20", "-p", "10", "127.0.0.1"], capture_output=True, check=True
        )
        theirs.append(float(told.stderr.decode().rsplit("=", 1)[1].split("/")[1]))
    assert statistics.median(ours) <= 0.75 * statistics.median(theirs), (ours, theirs)


def test_a_process_that_was_stopped_reads_the_true_time_afterwards() -> None:
    """The reply came while we slept: the kernel's stamps tell when, and it is not lost."""
    with wire({"delay": 60}) as link:
        line = [script(NAME), "--host", link.addresses[0], "--key-prefix", "p", "--count", "5"]
        process = subprocess.Popen(
            [*link.space.command(*line), "--timeout", "150"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3):
            time.sleep(0.15)
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.3)
            process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    metrics = read_metrics(out)
    link_ms = link.figures[link.addresses[0]]["delays_ms"][1:]  # the first one warms up
    in_time = sum(delay < 145 for delay in link_ms)  # the link itself may be late
    assert float(metrics["pinging.p_rtt_count.success"]) >= in_time > 0, (err, link_ms)
    assert 60 <= float(metrics["pinging.p_rtt_ms.max"]) < 150


# -- links that delay, lose, duplicate, reorder ---------------------------------------------------

PROFILES: dict[str, Profile] = {
    "delay": {"delay": 20},
    "jitter": {"delay": 20, "jitter": 8},
    "loss": {"delay": 2, "loss": 30},
    "duplicate": {"delay": 2, "duplicate": 40},
    "reorder": {"delay": 20, "reorder": 25},
}
COUNT = 100
Shaped = dict[str, tuple[dict[str, float], Link, str]]


@pytest.fixture(scope="module", params=["wire", "netem"])
def shaped(request: pytest.FixtureRequest) -> Shaped:
    """Every profile pinged side by side, 100 times each."""
    make = {"wire": wire, "netem": netem}[request.param]
    with make(*PROFILES.values()) as link:
        pairs = zip(PROFILES, link.addresses, strict=True)
        hosts = [word for key, address in pairs for word in ("--host", f"{address}={key}")]
        options = ["--count", str(COUNT), "--timeout", "150", "--interval", "5", "--detail"]
        done = link.space.run(NAME, *hosts, *options, "--percentile", "50")
        assert done.returncode == 0, done.stderr
    metrics = {name: float(value) for name, value in read_metrics(done.stdout).items()}
    results = {}
    for key, address in zip(PROFILES, link.addresses, strict=True):
        own = {
            name.replace(f"pinging.{key}_", ""): value
            for name, value in metrics.items()
            if name.startswith(f"pinging.{key}_")
        }
        results[key] = (own, link, address)
    return results


def late_ms(link: Link, address: str, told_ms: float) -> float:
    """How much later than told the link answered on average, on a busy machine; 0 for netem."""
    if not link.figures:
        return 0
    delays: list[float] = link.figures[address]["delays_ms"]
    return max(0.0, statistics.mean(delays[1:]) - told_ms)


def test_delay_is_measured(shaped: Shaped) -> None:
    figures, link, address = shaped["delay"]
    assert figures["rtt_count.success"] == COUNT
    assert figures["rtt_ms.min"] >= 20
    assert figures["rtt_ms.50_percentile"] <= 23 + late_ms(link, address, 20)
    if link.figures:
        real = statistics.mean(link.figures[address]["delays_ms"][1:])
        assert real <= figures["rtt_ms.average"] <= real + 1.5


def test_jitter_is_measured(shaped: Shaped) -> None:
    figures, link, address = shaped["jitter"]
    assert 12 <= figures["rtt_ms.min"] <= 15
    assert 18 <= figures["rtt_ms.average"] <= 23 + late_ms(link, address, 20)
    # Uniform within +-8 ms: standard deviation 8/sqrt(3) = 4.6, mean step 2/3 x 8 = 5.3.
    if not link.figures or late_ms(link, address, 20) < 2:
        assert 3.4 <= figures["rtt_ms.stddev"] <= 6.5
        assert 3.5 <= figures["rtt_ms.jitter"] <= 8
    if link.figures:
        real = link.figures[address]["delays_ms"][1:]
        assert abs(jitter_ms(real) - figures["rtt_ms.jitter"]) < 1
        assert abs(statistics.pstdev(real) - figures["rtt_ms.stddev"]) < 1


def test_loss_is_counted(shaped: Shaped) -> None:
    figures, link, address = shaped["loss"]
    lost = figures["rtt_count.error"]
    assert figures["rtt_count.success"] + lost == COUNT
    assert figures["loss.percentage"] == lost
    # 30 of 100 expected, standard deviation 4.6; five of them either way.
    assert 7 <= lost <= 53
    if link.figures:
        fates = link.figures[address]["fates"][1:]  # the first one warms up
        assert lost == fates.count("lost")
        runs = "".join("x" if fate == "lost" else " " for fate in fates).split()
        assert figures["detail.longest_loss"] == max(map(len, runs))
    assert figures["rtt_ms.max"] < 150


def test_duplicates_never_count_as_replies(shaped: Shaped) -> None:
    figures, link, address = shaped["duplicate"]
    assert figures["rtt_count.success"] == COUNT
    assert figures["rtt_count.error"] == 0
    assert 16 <= figures["detail.duplicates"] <= 64
    if link.figures:
        # The warm-up's is not counted, and the last one's comes when all is done.
        assert 0 <= link.figures[address]["doubled"] - figures["detail.duplicates"] <= 2


def test_reordered_packets_keep_their_own_times(shaped: Shaped) -> None:
    figures, link, address = shaped["reorder"]
    assert figures["rtt_count.success"] == COUNT
    assert figures["rtt_ms.min"] < 3
    late = late_ms(link, address, 15)
    assert 20 <= figures["rtt_ms.90_percentile"] <= 25 + 5 * late
    # A quarter goes past at once, so the mean is about three quarters of the delay.
    assert 11.5 <= figures["rtt_ms.average"] <= 19 + late
    if link.figures:
        real = statistics.mean(link.figures[address]["delays_ms"][1:])
        assert real <= figures["rtt_ms.average"] <= real + 1.5


def test_a_reply_after_its_time_out_stays_lost() -> None:
    """With replies always one behind, one that is matched carelessly would count."""
    with wire({"delay": 60}, {"delay": 60, "duplicate": 100}) as link:
        hosts = [f"--host={address}=h{number}" for number, address in enumerate(link.addresses)]
        done = link.space.run(NAME, *hosts, "--count", "6", "--timeout", "25", "--detail")
    assert done.returncode == 0
    metrics = read_metrics(done.stdout)
    for key in ("h0", "h1"):
        assert metrics[f"pinging.{key}_rtt_count.success"] == "0.000000"
        assert metrics[f"pinging.{key}_rtt_count.error"] == "6.000000"
        assert metrics[f"pinging.{key}_loss.percentage"] == "100.000000"
        assert float(metrics[f"pinging.{key}_detail.late"]) >= 3
        assert f"pinging.{key}_rtt_ms.max" not in metrics
    assert b"lost 6 x no reply" in done.stderr


FORGERIES = ["payload", "sequence", "identifier", "stranger", "truncated", "garbage"]


def test_no_forgery_is_by_chance_the_right_answer() -> None:
    """The token in a request is random: each byte of it has had each value."""
    rng = random.Random(1)
    for byte in range(256):
        message = b"\x08\0\0\0" + bytes([byte]) * 20 + bytes(range(16, 56))
        packet = ip_packet(b"\xc0\0\2\1", b"\xc0\0\2\x0a", message)
        right = answers(packet, "plain", rng)
        for mode in FORGERIES:
            assert not set(right) & set(answers(packet, mode, rng)), (mode, byte)


@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
@pytest.mark.parametrize("groups", ["0 2147483647", "1 0"], ids=["unprivileged", "raw"])
def test_foreign_and_forged_replies_never_count(groups: str, v6: bool) -> None:
    profiles: list[Profile] = [{"mode": mode} for mode in [*FORGERIES, "plain"]]
    with wire(*profiles, v6=v6) as link:
        link.space.allow_unprivileged_ping(groups)
        names = [*FORGERIES, "honest"]
        pairs = zip(names, link.addresses, strict=True)
        hosts = [f"--host={address}={name}" for name, address in pairs]
        done = link.space.run(NAME, *hosts, "--count", "4", "--timeout", "400", "--detail")
    metrics = read_metrics(done.stdout)
    for name in FORGERIES:
        assert metrics[f"pinging.{name}_rtt_count.success"] == "0.000000", name
        assert metrics[f"pinging.{name}_rtt_count.error"] == "4.000000", name
    assert metrics["pinging.honest_rtt_count.success"] == "4.000000"
    assert all(link.figures[address]["seen"] == 5 for address in link.addresses)


@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
@pytest.mark.parametrize("groups", ["0 2147483647", "1 0"], ids=["unprivileged", "raw"])
def test_unreachable_is_an_error_at_once(groups: str, v6: bool) -> None:
    with wire({"mode": "unreachable"}, {"delay": 1}, v6=v6) as link:
        link.space.allow_unprivileged_ping(groups)
        hosts = [f"--host={address}=h{number}" for number, address in enumerate(link.addresses)]
        start = time.monotonic()
        done = link.space.run(NAME, *hosts, "--count", "5", "--timeout", "5000")
        assert time.monotonic() - start < 5
    metrics = read_metrics(done.stdout)
    assert metrics["pinging.h0_rtt_count.error"] == "5.000000"
    assert metrics["pinging.h1_rtt_count.success"] == "5.000000"
    assert b"lost 5 x host unreachable" in done.stderr


def test_no_route_is_an_error_that_says_so() -> None:
    with namespace() as space:
        done = space.run(NAME, "--host", "203.0.113.1", "--key-prefix", "p", "--count", "3")
    assert done.returncode == 0
    assert read_metrics(done.stdout)["pinging.p_rtt_count.error"] == "3.000000"
    assert b"lost 3 x network is unreachable" in done.stderr


# -- many hosts -----------------------------------------------------------------------------------


def test_hosts_run_side_by_side_and_paced() -> None:
    profiles: list[Profile] = [{"delay": 100} for _ in range(40)]
    with wire(*profiles) as link:
        hosts = [f"--host={address}=h{number}" for number, address in enumerate(link.addresses)]
        start = time.monotonic()
        done = link.space.run(NAME, *hosts, "--count", "5")
        took = time.monotonic() - start
    metrics = read_metrics(done.stdout)
    assert all(metrics[f"pinging.h{n}_rtt_count.success"] == "5.000000" for n in range(40))
    # One after the other would take 40 x 6 x 0.11 s = 26 s.
    assert took < 8
    arrivals = sorted(at for figures in link.figures.values() for at in figures["arrivals"])
    assert len(arrivals) == 240
    # At least 1 ms between two requests: no window of 20 ms holds more than 21 (and a few that
    # the reading side found waiting together).
    busiest = max(sum(1 for b in arrivals if a <= b < a + 0.02) for a in arrivals)
    assert busiest <= 30


def test_the_same_link_reads_the_same_through_an_independent_library() -> None:
    with wire({"delay": 25}) as link:
        address = link.addresses[0]
        code = (
            "import icmplib;"
            f"h=icmplib.ping({address!r},count=20,interval=0.02,privileged=True);"
            "print(h.min_rtt, sorted(h.rtts)[10], h.packets_received)"
        )
        with ThreadPoolExecutor() as pool:
            other = pool.submit(link.space.python, code)
            options = ["--count", "20", "--interval", "20", "--percentile", "50"]
            done = link.space.run(NAME, "--host", address, "--key-prefix", "p", *options)
            low, middle, received = other.result().split()
    figures = read_metrics(done.stdout)
    ours = {key: float(figures[f"pinging.p_rtt_ms.{key}"]) for key in ("min", "50_percentile")}
    assert received == "20"
    # Not the means: on a busy machine the link itself is late now and then. The library is late
    # with each packet there, for it takes the time itself: it bounds ours from above alone.
    assert 25 <= ours["min"] <= float(low) + 1
    assert 25 <= ours["50_percentile"] < float(middle) + 10


def test_an_interrupt_ends_it_soon_with_130() -> None:
    with wire({"loss": 100}) as link:
        line = [script(NAME), "--host", link.addresses[0], "--key-prefix", "p"]
        process = subprocess.Popen(
            link.space.command(*line), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        wait_until(lambda: pings(process.pid), what="the plugin's socket")
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert time.monotonic() - start < 4
    assert process.returncode == 130, err
    assert out == b""


def pings(pid: int) -> bool:
    """Whether it is the plugin by now (`ip` has sockets too) and has opened its socket."""
    process = Path(f"/proc/{pid}")
    if b"netns" in (process / "cmdline").read_bytes():
        return False
    try:
        return any("socket" in str(fd.readlink()) for fd in (process / "fd").iterdir())
    except OSError:
        return False  # one was closed while we looked


def test_arguments_of_the_native_call_are_checked() -> None:
    plan: dict[str, Any] = {
        "count": 1,
        "timeout_ms": 1,
        "interval_ms": 1,
        "pace_ms": 1,
        "deadline_ms": 1,
        "payload_bytes": 56,
    }
    for wrong, words in (
        ({"source": "nowhere"}, "nowhere: not an address"),
        ({"timeout_ms": -1}, "timeout_ms"),
        ({"family": 5}, "family 5"),
    ):
        with pytest.raises(ValueError, match=words):
            _native.ping_hosts(["127.0.0.1"], **{**plan, **wrong})
    assert _native.ping_hosts([], **plan) == []


def test_a_thousand_hosts_are_pinged_and_no_more() -> None:
    def keys(count: int) -> list[tuple[str, str, str]]:
        values: Any = SimpleNamespace(
            host=[(f"h{n}", f"k{n}") for n in range(count)], key_prefix=None
        )
        return pinging._keys(values)

    with pytest.raises(UsageError, match="1001 hosts: above the maximum of 1000"):
        keys(1001)
    assert len(keys(1000)) == 1000
