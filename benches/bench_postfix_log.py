"""What reading a mail log costs beside ``wc -l`` of the same file, and how that grows."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benches.harness import BIN, Row, cost

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benches.harness import Cost, Table

SIZES = (35_000_000, 70_000_000, 140_000_000)
PLUGIN = BIN / "mackerel-plugin-postfix-log"


def flow(rng: random.Random) -> str:
    """The lines of one mail, from connection to removal; about one line in seven is a delivery."""
    stamp = f"Apr {rng.randint(1, 28):2} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}:"

    def head(daemon: str) -> str:
        pid = rng.randint(100, 32000)
        return f"{stamp}{rng.randint(0, 59):02} relaymail1 postfix/{daemon}[{pid}]: "

    client = f"client{rng.randint(1, 900)}.example.net[192.0.2.{rng.randint(1, 254)}]"
    lines = [head("smtpd") + f"connect from {client}"]
    if rng.random() < 0.15:
        lines.append(
            head("smtpd") + f"NOQUEUE: reject: RCPT from {client}: 450 4.7.1 Client host rejected: "
            f"cannot find your reverse hostname, [192.0.2.1]; from=<a{rng.randint(1, 9999)}@mail."
            "example.org> to=<info@example.jp> proto=ESMTP helo=<mail.example.org>"
        )
    else:
        queue_id = f"{rng.getrandbits(44):011X}"
        sender = f"bounce-{rng.randint(1, 99999)}@news.example.org"
        lines += [
            head("smtpd") + f"{queue_id}: client={client}",
            head("cleanup") + f"{queue_id}: message-id=<{rng.getrandbits(100):x}@example.org>",
            head("qmgr") + f"{queue_id}: from=<{sender}>, size={rng.randint(900, 90000)}, nrcpt=1 "
            "(queue active)",
        ]
        for _ in range(1 if rng.random() < 0.8 else 2):
            parts = [rng.choice(("0", "0.01", "0.04", "0.12")), rng.choice(("0", "0.01")),
                     f"{rng.expovariate(8):.2g}", f"{rng.expovariate(2):.2g}"]  # fmt: skip
            total = f"{sum(map(float, parts)):.2g}"
            end = rng.choices(
                (
                    "dsn=2.0.0, status=sent (250 2.0.0 OK 1539154772 az9-v6si59764plb.190 - gsmtp)",
                    "dsn=4.7.1, status=deferred (host mx.example.com[198.51.100.7] said: 454 4.7.1 "
                    "<user@example.com>: Relay access denied (in reply to RCPT TO command))",
                    "dsn=5.1.1, status=bounced (host mx.example.com[198.51.100.7] said: 550 5.1.1 "
                    "<user@example.com>: User unknown (in reply to RCPT TO command))",
                ),
                (90, 6, 4),
            )[0]
            relay = f"mx{rng.randint(1, 40)}.example.com[198.51.100.{rng.randint(1, 254)}]:25"
            lines.append(
                head("smtp") + f"{queue_id}: to=<user{rng.randint(1, 9999)}@example.com>, "
                f"relay={relay}, delay={total}, delays={'/'.join(parts)}, {end}"
            )
        lines.append(head("qmgr") + f"{queue_id}: removed")
    lines.append(head("smtpd") + f"disconnect from {client} ehlo=1 mail=1 rcpt=1 data=1 commands=4")
    return "".join(line + "\n" for line in lines)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Mail logs of the three sizes."""
    folder = tmp_path_factory.mktemp("maillog")
    rng = random.Random(7)
    piece = "".join(flow(rng) for _ in range(15_000)).encode()
    paths = []
    for size in SIZES:
        path = folder / f"maillog-{size}"
        with open(path, "wb") as file:
            for _ in range(size // len(piece) + 1):
                file.write(piece)
            file.truncate(size)
            file.seek(-1, os.SEEK_END)
            file.write(b"\n")
        paths.append(path)
    return paths


def plugin(path: Path, work: Path, *options: str) -> Cost:
    """One first run over the whole of `path`, with compiled modules as pip leaves them."""
    return cost([PLUGIN, "--logfile", path, *options], env=environment(work))


def environment(work: Path) -> dict[str, str]:
    for name in os.listdir(work):
        os.unlink(work / name)
    return {
        "MACKEREL_PLUGIN_WORKDIR": str(work),
        "MACKEREL_AGENT_PLUGIN_META": "",
        "PYTHONDONTWRITEBYTECODE": "",
    }


# The peak of a child counts from the fork on, so that it never is below that of its parent:
# a small interpreter starts it and prints what its child needed, in KiB.
PEAK = (
    "import resource, subprocess, sys;"
    "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def peak_bytes(path: Path, work: Path, *options: str) -> int:
    """The most memory that one first run over the whole of `path` held."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, PLUGIN, "--logfile", path, *options],
        env={**os.environ, **environment(work)},
        capture_output=True,
        check=True,
    )
    return int(done.stdout) * 1024


def median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def test_a_day_of_mail(table: Table, logs: list[Path], tmp_path: Path) -> None:
    """CPU of the plugin over 140 MB, as a ratio to 3.5 x `wc -l` + a bare `python -c pass`."""
    row = table.compare(
        "postfix-log, 140 MB",
        "CPU of the plugin / (3.5 x `wc -l` + bare `python -c pass`)",
        lambda: plugin(logs[-1], tmp_path).cpu_s,
        lambda: (
            3.5 * cost(["wc", "-l", logs[-1]]).cpu_s + cost([sys.executable, "-c", "pass"]).cpu_s
        ),
        bound=1.0,
        runs=15,
    )
    assert row.ok


def test_the_cost_is_linear(table: Table, logs: list[Path], tmp_path: Path) -> None:
    """CPU per byte beyond the start, at 140 MB beside 35 MB; 70 MB is shown with them."""
    empty = tmp_path / "empty"
    empty.touch()
    work = tmp_path / "work"
    work.mkdir()
    start_s = median([plugin(empty, work).cpu_s for _ in range(9)])
    per_mb = [
        median([plugin(path, work).cpu_s - start_s for _ in range(9)]) / (size / 1e6)
        for path, size in zip(logs, SIZES, strict=True)
    ]
    figures = {f"{size}": each * 1e6 for size, each in zip(SIZES, per_mb, strict=True)}
    ratio = per_mb[-1] / per_mb[0]
    row = table.add(
        Row(
            "postfix-log, growth", "us of CPU per MB at 140 MB / at 35 MB", ratio,
            min(per_mb) / per_mb[0], max(per_mb) / per_mb[0], bound=1.3, figures=figures,
        )
    )  # fmt: skip
    assert row.ok


@pytest.mark.parametrize("options", [(), ("--by-relay", "--by-dsn", "--activity")], ids=str)
def test_memory(table: Table, logs: list[Path], tmp_path: Path, options: tuple[str, ...]) -> None:
    """Peak memory beside 32 MiB + 8 bytes for each of the five delays of a line."""
    with open(logs[-1], "rb") as file:
        deliveries = sum(b", delay=" in line for line in file)
    allowed = (32 << 20) + 8 * 5 * deliveries
    peak = peak_bytes(logs[-1], tmp_path, *options)
    row = table.add(
        Row(
            f"postfix-log memory {' '.join(options)}", "peak / (32 MiB + 40 bytes a delivery)",
            peak / allowed, peak / allowed, peak / allowed, bound=1.0,
            figures={"peak": peak, "deliveries": deliveries},
        )
    )  # fmt: skip
    assert row.ok


def test_everything_switched_on(table: Table, logs: list[Path], tmp_path: Path) -> None:
    """The same log with all groups and the activity, beside the plain run (no bound)."""
    table.compare(
        "postfix-log, all options",
        "CPU with --by-relay --by-dsn --activity / without",
        lambda: plugin(logs[-1], tmp_path, "--by-relay", "--by-dsn", "--activity").cpu_s,
        lambda: plugin(logs[-1], tmp_path).cpu_s,
    )


def test_start_up(table: Table, tmp_path: Path) -> None:
    """CPU with an empty log beside a bare interpreter, each the sum of 20 starts."""
    log = tmp_path / "empty"
    log.touch()
    work = tmp_path / "work"
    work.mkdir()
    row = table.compare(
        "start-up, postfix-log",
        "CPU with an empty log / bare `python -c pass`",
        lambda: sum(plugin(log, work).cpu_s for _ in range(20)),
        lambda: sum(cost([sys.executable, "-c", "pass"]).cpu_s for _ in range(20)),
        bound=2.2,
    )
    assert row.ok
