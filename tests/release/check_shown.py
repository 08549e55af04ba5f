"""Every command line that is shown, run as it stands on a machine of its own.

That is a systemd in namespaces (`tests.peers.systemd`) with stand-ins for the programs, files,
names and addresses that the lines use. A server has to say that it is ready, all else to end with
its status. What cannot be run stands in `NOT_RUN` with its reason.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from kojuto.tools.install import systemd
from tests import shown
from tests.conftest import DATA, wait_until
from tests.peers.deteco import Pair, service
from tests.peers.systemd import Systemd
from tests.release import database, stores

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = "/srv/shown"
BIN = "/opt/stand-ins"
NOT_RUN = {
    r"^ssh -o ProxyCommand": "needs a gateway; tests/tools/test_wsgate_client_ways.py has one",
    r"^motarei wait|^motarei (?!.*--wait)": "needs Docker; tests/tools/test_motarei.py has it",
}
"""Lines, by a regular expression, and why they are not run."""
STATUS = {" check TOKEN ": 1, "--follow": 130, "--run-time": 130}
"""By a part of a line, how it ends where that is not 0: TOKEN is no token, ^C ends a watch."""
TYPED = {"--follow": "\x03", "--run-time": "\x03", "myps kill": "y\r"}
"""By a part of a line, what is typed at its terminal: it watches, or asks."""
AT_A_TERMINAL = ("/opt/kojuto/bin/python3", "/opt/source/tests/programs/typed.py")
AFTER_S = "7"
"""Longer than an interval of those that watch."""

BESIDE = {
    "ppdp connections": "ppdp -l :0 --upstream 127.0.0.1:1 --metrics-listen 127.0.0.1:9100",
    "sabo set": "sleep 600 | sabo --max-bandwidth 100M --work-dir /tmp/dumps",
    "--dask": stores.SCHEDULES,
}
"""What a command asks, by its name or an option."""
THERE = "ls /tmp/dumps; ss -Hltn sport = 9100 or sport = 8786"
"""Prints something once that is there."""

STAND_INS = {
    "mysqldump": "seq 1000",
    "daemon": "seq 10; echo warning >&2",
    "curl": "cat >/dev/null",
    "tshark": "cat >/dev/null",
    "jq": "cat",
    "rclone": 'test -e "$2"',
    "docker": "sleep 600",
    "journalctl": f"cat {HERE}/mail.log",
    "ssh": 'shift; sh -c "$*"',
    "start_server": 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    "nginx": f"cat {HERE}/nginx.txt",
}
NGINX = """
server {
    location /api { auth_request /auth; root /srv; }
    location = /auth {
        internal;
        proxy_pass http://127.0.0.1:8080/auth;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_set_header X-Original-URI $request_uri;
        proxy_set_header X-Original-Method $request_method;
    }
}
"""
ADDRESSES = ("8.8.8.8/32", "10.0.0.5/32", "192.0.2.1/32")
HOSTS = """
127.0.0.1 localhost
127.0.0.1 logs.example.com scheduler
192.0.2.1 db1.example.com gw
198.51.100.7 db.example.com db1 db2 db.internal
"""
MAPS = {
    "wsgate-server": "db,db.internal:3306\n",
    "wsgate-client": "127.0.0.1:3306,https://gate.example.com/proxy/db\n",
}
SETUP = r"""
set -e
cd /srv/shown
ip addr add 127.0.0.2/8 dev lo
for address in {addresses}; do ip addr add $address dev lo; done
mkdir -p old /var/log/nginx /var/log/app /var/lib/node /usr/local/bin
for name in {programs}; do ln -sf /opt/kojuto/bin/$name /usr/local/bin/$name; done
kojuto=/opt/kojuto/bin/kojuto
for name in before after mon tue wed thu fri sat app error; do cp access.log $name.log; done
cp access.log /var/log/nginx/access.log
cp access.log /var/log/nginx/error.log
cp mail.log /var/log/mail.log
cp mail.log /var/log/maillog
gzip -kf access.log; mv access.log.gz access.log.1.gz; cp access.log.1.gz old/1.gz
cut -f 1 access.log | sed 's/.*/1\t2\t3/' >access.tsv
seq 100 >times.txt
entry='{{"status":200,"ptime":0.1,"request_time":0.1,"host":"a","uri":"/"}}'
yes "$entry" | head -n 100 >api.json
cp api.json a.json; cp api.json b.json
for name in before after web1 web2; do $kojuto report --save $name.kjr access.log >/dev/null; done
for name in web1 web2; do
    $kojuto percentile --key ptime --sketch $name.sketch access.log >/dev/null
done
cp /bin/sleep /opt/stand-ins/sleeper
printf '[Service]\nExecStart=/opt/stand-ins/sleeper 600\n' >/etc/systemd/system/nginx.service
systemctl daemon-reload
systemctl start nginx  # and before it what clears /tmp
mkdir /tmp/dumps
echo 54320 >/proc/sys/kernel/ns_last_pid
(exec -a nginx sleep 600 </dev/null >/dev/null 2>&1) &
"""

LINES = shown.lines()


def reason(line: shown.Line) -> str | None:
    """Why a line is not run."""
    return next((why for form, why in NOT_RUN.items() if re.search(form, line.text)), None)


def access_log() -> str:
    rows = []
    for i in range(2000):
        at = f"{10 + i // 600:02}:{i // 10 % 60:02}:{i % 10 * 6:02}"
        rows.append(
            f"time:30/Nov/2026:{at} +0000\tmethod:GET\turi:/users/{i}\tstatus:200\thost:a\t"
            f"ptime:0.{i % 97:03}\n"
        )
    return "".join(rows)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    machine = Systemd(tmp_path_factory.mktemp("systemd"))
    try:
        for name, text in STAND_INS.items():
            machine.write(f"{BIN}/{name}", f"#!/bin/sh\n{text}\n")
            machine.run("chmod", "755", f"{BIN}/{name}")
        pair = Pair()
        for name, text in {
            "access.log": access_log(),
            "mail.log": (DATA / "postfix/mit/homoluctus-maillog").read_text(),
            "nginx.txt": NGINX,
            "deteco.toml": service("batch", [pair]),
            "keys.pem": pair.public_pem,
            "key.pem": pair.private_pem.decode(),
            "users.toml": '[db]\nsub = ["*"]\n',
        }.items():
            machine.write(f"{HERE}/{name}", text)
        machine.write("/etc/hosts", HOSTS)
        names = " ".join(shown.PROGRAMS)
        setup = SETUP.format(addresses=" ".join(ADDRESSES), programs=names)
        machine.run("bash", "-c", setup)
        stores.prepare(machine, tmp_path_factory.mktemp("stores"))
        database.start(machine)
        yield machine
    finally:
        machine.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("line", LINES, ids=[line.text[:60] for line in LINES])
def test_a_shown_line_runs(machine: Systemd, line: shown.Line) -> None:
    if (why := reason(line)) is not None:
        pytest.skip(why)
    programs = {command.prog for command, _ in shown.calls(line.text)}
    for name, text in MAPS.items():
        if name in programs:
            for file in ("map.txt", "server.map", "client.map"):
                machine.write(f"{HERE}/{file}", text)
    text = line.text.removeprefix("ExecStart=").removesuffix("&")
    path = f"PATH={BIN}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    if programs & systemd.SERVERS.keys() and " stdio " not in text:
        machine.run(
            "systemd-run", "--quiet", "--collect", "--unit=shown", "--service-type=notify",
            "--property=NotifyAccess=all", f"--property=WorkingDirectory={HERE}",
            f"--setenv={path}", "--setenv=USER=root", "sh", "-c", text, check=False,
        )  # fmt: skip
        assert machine.show("shown", "ActiveState") == "active", machine.log("shown")[-2000:]
        machine.run("systemctl", "kill", "--signal=INT", "shown")
        machine.run("systemctl", "stop", "shown", check=False)
        return
    beside = next((b for name, b in BESIDE.items() if name in programs or name in text), None)
    if beside is not None:
        unit = ["systemd-run", "--quiet", "--unit=beside", f"--setenv={path}"]
        machine.run(*unit, "bash", "-c", beside)
        wait_until(lambda: machine.run("sh", "-c", THERE, check=False))
    status = next((number for part, number in STATUS.items() if part in text), 0)
    keys = next((keys for part, keys in TYPED.items() if part in text), None)
    if keys is not None:
        text = shlex.join([*AT_A_TERMINAL, text, keys, AFTER_S])
    typed = f"cd {HERE}; ({text}\n) </dev/null 2>&1; echo status=$?"
    trusted = f"SSL_CERT_FILE={stores.CERTIFICATE}"
    said = machine.run("env", path, trusted, "USER=root", "HOME=/root", "bash", "-c", typed)
    if beside is not None:
        machine.run("systemctl", "stop", "beside")
    assert said.endswith(f"status={status}\n"), said[-2000:]


def test_few_are_not_run() -> None:
    """How many, so that one sees it grow."""
    left = [line for line in LINES if reason(line) is not None]
    print(f"{len(LINES)} lines are shown, {len(left)} of them are not run")
    assert len(left) <= 5
