"""mackerel-plugin-postfix-log on the log of a real Postfix that delivers to real SMTP servers."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, read_metrics, run, wait_until
from tests.machine import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

PROG = "mackerel-plugin-postfix-log"
SENT = {"ok.test": 12, "soft.test": 5, "hard.test": 3}

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
  -o syslog_name=postfix/relay
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Mail:
    """A Postfix of its own and the SMTP servers that it delivers to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "maillog"
        self.port = free_port()
        self.sinks: list[subprocess.Popen[bytes]] = []
        ports = {domain: free_port() for domain in SENT}
        for name in ("etc", "queue", "data"):
            (folder / name).mkdir()
        os.chown(folder / "data", pwd.getpwnam("postfix").pw_uid, -1)
        routes = ", ".join(f"{d}=smtp:[127.0.0.1]:{p}" for d, p in ports.items())
        relay = f"relay.test=relay:[127.0.0.1]:{ports['ok.test']}"
        (folder / "etc" / "main.cf").write_text(
            f"""\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {self.log}
maillog_file_prefixes = {folder}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = check_recipient_access inline:{{ no@ok.test=REJECT }}
disable_dns_lookups = yes
transport_maps = inline:{{ {routes}, {relay} }}
alias_maps =
alias_database =
local_recipient_maps =
minimal_backoff_time = 300s
default_destination_concurrency_failed_cohort_limit = 100
"""
        )
        (folder / "etc" / "master.cf").write_text(MASTER.format(port=self.port))
        sink = need_program("smtp-sink")
        answers = {"ok.test": [], "soft.test": ["-r", "RCPT"], "hard.test": ["-f", "RCPT"]}
        for domain, port in ports.items():
            with open(folder / f"sink-{domain}", "wb") as seen:
                self.sinks.append(
                    subprocess.Popen(
                        [sink, "-u", "nobody", "-v", *answers[domain], f"127.0.0.1:{port}", "100"],
                        stdout=subprocess.DEVNULL,
                        stderr=seen,
                    )
                )
        self.postfix("start")
        everybody = [self.port, *ports.values()]
        wait_until(lambda: all(map(answering, everybody)), within_s=30, what="the servers")

    def postfix(self, what: str) -> None:
        done = subprocess.run(
            [need_program("postfix"), "-c", self.folder / "etc", what],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def stop(self) -> None:
        try:
            self.postfix("stop")
        finally:
            for sink in self.sinks:
                sink.send_signal(signal.SIGTERM)
                sink.wait(timeout=10)

    def send(self, recipient: str, number: int) -> None:
        done = subprocess.run(
            [
                need_program("smtp-source"), "-m", str(number), "-s", "1", "-f", "",
                "-t", recipient, f"127.0.0.1:{self.port}",
            ],
            capture_output=True,
            timeout=60,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def seen(self, domain: str) -> int:
        """How many recipients the server of `domain` was asked to take."""
        text = (self.folder / f"sink-{domain}").read_text(errors="replace")
        return text.count("smtp-sink: RCPT TO:")

    def lines(self, pattern: str) -> int:
        return len(re.findall(pattern, self.log.read_text(), re.MULTILINE))


def answering(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return connection.recv(3) == b"220"
    except OSError:
        return False


@pytest.fixture(scope="module")
def mail() -> Iterator[Mail]:
    """The servers with all mail sent and every delivery tried once."""
    for name in ("postfix", "smtp-sink", "smtp-source"):
        need_program(name)
    if os.getuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("Postfix has to be started by root")
        pytest.skip("Postfix has to be started by root")
    # Postfix's daemons run as another user, so the folder must be open to them.
    folder = Path(tempfile.mkdtemp(prefix="kojuto-postfix-"))
    folder.chmod(0o755)
    try:
        yield from serving(folder)
    finally:
        shutil.rmtree(folder)


def serving(folder: Path) -> Iterator[Mail]:
    mail = Mail(folder)
    try:
        for domain, number in SENT.items():
            mail.send(f"user@{domain}", number)
        mail.send("user@relay.test", 2)
        with socket.create_connection(("127.0.0.1", mail.port), timeout=10) as connection:
            for command in (b"HELO x", b"MAIL FROM:<>", b"RCPT TO:<no@ok.test>", b"QUIT"):
                connection.recv(1000)
                connection.sendall(command + b"\r\n")
            assert connection.recv(1000)
        tried = sum(SENT.values()) + 2
        wait_until(lambda: mail.lines(r", status=\w+ ") >= tried, within_s=40, what="deliveries")
        removed = tried - SENT["soft.test"]
        wait_until(lambda: mail.lines(r": removed$") >= removed, within_s=40, what="removals")
    finally:
        mail.stop()
    yield mail


def figures(
    workdir: Path, log: Path, *options: str, seconds: int = 1_000_000
) -> tuple[dict[str, str], dict[str, int]]:
    """All metrics of a run over the whole log, and the counts behind the per-second figures."""
    position = workdir / f"maillog-postfixlog-{os.getuid()}"
    stat = log.stat()
    state = {"pos": 0, "time": time.time() - seconds, "inode": stat.st_ino, "dev": stat.st_dev}
    position.write_text(json.dumps(state))
    done = run(PROG, "--logfile", log, *options)
    assert (done.returncode, done.stderr) == (0, b"")
    metrics = read_metrics(done.stdout)
    counts = {
        name.removeprefix("postfixlog."): round(float(value) * seconds)
        for name, value in metrics.items()
        if "num" in name or "transfer_total" in name
    }
    return metrics, counts


def rfc3339(text: str) -> str:
    """The log as rsyslog and systemd write it today."""
    year = time.gmtime().tm_year
    head = re.compile(r"^([A-Z][a-z]{2}) +(\d+) (\d\d:\d\d:\d\d) ", re.MULTILINE)
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    return head.sub(
        lambda m: f"{year}-{months.index(m[1]) + 1:02}-{int(m[2]):02}T{m[3]}.123456+09:00 ", text
    )


@pytest.mark.parametrize("stamps", ["syslog", "RFC 3339"])
def test_the_counts_are_those_of_the_servers(
    mail: Mail, workdir: Path, tmp_path: Path, stamps: str
) -> None:
    log = mail.log
    if stamps != "syslog":
        log = tmp_path / "maillog"
        log.write_text(rfc3339(mail.log.read_text()))
        assert "T" in log.read_text()[:20]
    # What the servers saw is what was sent: the counts below are theirs, not the log's.
    assert mail.seen("ok.test") == SENT["ok.test"] + 2
    assert mail.seen("soft.test") == SENT["soft.test"]
    assert mail.seen("hard.test") == SENT["hard.test"]

    metrics, counts = figures(workdir, log)
    by_smtp = sum(SENT.values())
    assert counts["transfer_num.2xx_count"] == mail.seen("ok.test") - 2
    assert counts["transfer_num.4xx_count"] == mail.seen("soft.test")
    assert counts["transfer_num.5xx_count"] == mail.seen("hard.test")
    assert counts["transfer_total.count"] == by_smtp
    share = metrics["postfixlog.transfer_ratio.4xx_percentage"]
    assert share == f"{SENT['soft.test'] * 100 / by_smtp:f}"
    delays = re.findall(r" postfix/smtp\[\d+\]: .*, delay=([\d.]+), ", mail.log.read_text())
    values = sorted(map(float, delays))
    assert metrics["postfixlog.total_delay.average"] == f"{sum(values) / len(values):f}"
    assert metrics["postfixlog.total_delay.99_percentile"] == f"{values[-1]:f}"


def test_instances_agents_status_codes_and_relays(mail: Mail, workdir: Path) -> None:
    _, counts = figures(workdir, mail.log, "--program", "postfix/relay/smtp")
    assert counts["transfer_total.count"] == 2
    _, counts = figures(
        workdir, mail.log, "--syslog-name", "postfix(/relay)?", "--by-dsn", "--by-relay"
    )  # fmt: skip
    everything = sum(SENT.values()) + 2
    assert counts["transfer_total.count"] == everything
    assert counts["dsn_num.2_0_0.count"] == mail.seen("ok.test")
    assert counts["dsn_num.4_3_0.count"] == mail.seen("soft.test")
    assert counts["dsn_num.5_3_0.count"] == mail.seen("hard.test")
    assert counts["relay_transfer_total.127_0_0_1--d7b7e7a8.count"] == everything


def test_the_activity_is_what_went_through(mail: Mail, workdir: Path) -> None:
    _, counts = figures(workdir, mail.log, "--activity")
    taken = sum(SENT.values()) + 2
    stations = {
        "received": taken,
        "rejected": 1,
        "queued": taken,
        "active": taken,
        "removed": taken - SENT["soft.test"],
        "expired": 0,
    }
    found = {name: counts[f"activity_num.{name}_count"] for name in stations}
    assert found == stations
    _, only = figures(workdir, mail.log, "--program", "smtpd")
    assert only["activity_num.received_count"] == taken
    assert only["activity_num.queued_count"] == 0
    assert "transfer_total.count" not in only
