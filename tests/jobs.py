"""One small real job of each command, for tests that try all of them in the same hard times."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.commands import COMMANDS
from tests.conftest import DATA, run, script
from tests.peers.deteco import Pair, service
from tests.peers.servers import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERVERS = ("ppdp", "deteco", "consul-service-has-ip", "wsgate-server", "wsgate-client")
PLUGINS = tuple(name for name in COMMANDS if name.startswith("mackerel-plugin-"))
NUMBERS = "".join(f"{number}\n" for number in range(1000)).encode()


class Job:
    """What to run, and what is to come of it.

    Attributes:
        command: the name and the arguments.
        stdin: what it reads; None when it reads nothing.
        status: how it ends when nothing is amiss.
        prints: whether its result is its output.
        port: where it listens, for a server.
    """

    def __init__(
        self,
        *command: str | Path,
        stdin: bytes | None = None,
        status: int = 0,
        prints: bool = True,
        port: int = 0,
        env: dict[str, str] | None = None,
    ) -> None:
        self.command = [script(str(command[0])), *map(str, command[1:])]
        self.name = str(command[0])
        self.stdin = stdin
        self.status = status
        self.prints = prints
        self.port = port
        self.env = env or {}

    def start(self, **how: Any) -> subprocess.Popen[bytes]:
        """The process, with what is not said otherwise read and written by pipes."""
        how["env"] = {**os.environ, **self.env, **how.get("env", {})}
        for stream in ("stdin", "stdout", "stderr"):
            how.setdefault(stream, subprocess.PIPE)
        return subprocess.Popen(self.command, **how)

    def run(self, **how: Any) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end."""
        process = self.start(**how)
        data = self.stdin or b"" if process.stdin is not None else None
        out, error = process.communicate(data, timeout=60)
        return subprocess.CompletedProcess(self.command, process.returncode, out, error)


class Jobs:
    """The jobs, made in a folder that everybody may enter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.upstream = socket.create_server((LOOPBACK, 0))
        self.state = folder / "state"
        self.env = {
            "MACKEREL_PLUGIN_WORKDIR": str(self.state),
            "DOCKER_HOST": "unix:///no/engine",
        }
        for name in ("HTTP_PROXY", "http_proxy", "CONSUL_HTTP_ADDR"):
            os.environ.pop(name, None)

    def make(self, name: str) -> Job:
        """The job of one command, ready to be run once."""
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir()
        self.state.chmod(0o777)
        maker: Callable[[], Job] = getattr(
            self, "_" + name.rpartition("plugin-")[2].replace("-", "_")
        )
        job = maker()
        job.env = {**self.env, **job.env}
        return job

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def _axslog(self) -> Job:
        log = self.file("access", "status:200\tptime:0.5\n" * 100)
        return Job(PLUGINS[0], "--logfile", log, "--key-prefix", "t")

    def _log_incr_rate(self) -> Job:
        log, base = self.file("log", "x\n"), self.file("base", "x\n")
        command: list[str | Path] = [
            PLUGINS[1],
            "--log-file",
            log,
            "--base-log-file",
            base,
            "--key-prefix",
            "t",
        ]
        assert run(*map(str, command), env=self.env).returncode == 0
        for path in self.state.iterdir():
            if path.suffix != ".lock":
                state = json.loads(path.read_text())
                state["time"] = int(time.time()) - 60
                path.write_text(json.dumps(state))
        for path in (log, base):
            path.write_text("x\n" * 100)
        return Job(*command)

    def _postfix_log(self) -> Job:
        log = shutil.copy(DATA / "postfix/mit/verbose-maillog-2022-02.log", self.folder / "mail")
        return Job(PLUGINS[2], "--logfile", log)

    def _pinging(self) -> Job:
        return Job(PLUGINS[3], "--host", f"{LOOPBACK}=a", "--host", "127.0.0.2=b", "--count", "1")

    def _linux_process_status(self) -> Job:
        return Job(PLUGINS[4], "--pid", str(os.getpid()), "--key-prefix", "t")

    def _percentile(self) -> Job:
        return Job("percentile", stdin=NUMBERS)

    def _sabo(self) -> Job:
        return Job("sabo", "--max-bandwidth", "1G", "--work-dir", self.folder, stdin=NUMBERS)

    def _relaxlogs(self) -> Job:
        directory = self.folder / "lines"
        directory.mkdir(exist_ok=True)
        return Job("relaxlogs", "--log-dir", directory, stdin=NUMBERS, prints=False)

    def _no_excl_open(self) -> Job:
        true = shutil.which("true") or "true"
        return Job("no-excl-open", "--for", "true", true, prints=False)

    def _ppdp(self) -> Job:
        port = free_port()
        to = f"{LOOPBACK}:{self.upstream.getsockname()[1]}"
        at = ["-l", f"{LOOPBACK}:{port}", "--upstream", to, "--shutdown-timeout", "1s"]
        return Job("ppdp", *at, prints=False, port=port)

    def _motarei(self) -> Job:
        return Job("motarei", "-l", "a=b", status=1, prints=False)

    def _deteco(self) -> Job:
        port, conf = free_port(), self.file("deteco.toml", service("echo", [Pair()]))
        listen = f"{LOOPBACK}:{port}"
        return Job("deteco", "--conf", conf, "--listen", listen, prints=False, port=port)

    def _consul_service_has_ip(self) -> Job:
        port = free_port()
        at = ["-l", LOOPBACK, "-p", str(port), "--consul-api-endpoint", f"http://{LOOPBACK}:1"]
        return Job("consul-service-has-ip", *at, prints=False, port=port)

    def _wsgate_server(self) -> Job:
        port, names = free_port(), self.file("server.map", f"t,{LOOPBACK}:1\n")
        listen = f"{LOOPBACK}:{port}"
        return Job("wsgate-server", "--listen", listen, "--map", names, prints=False, port=port)

    def _wsgate_client(self) -> Job:
        port = free_port()
        names = self.file("client.map", f"{LOOPBACK}:{port},http://{LOOPBACK}:1/proxy/t\n")
        return Job("wsgate-client", "--map", names, prints=False, port=port)

    def _myps(self) -> Job:
        at = ["--mysql-host", LOOPBACK, "--mysql-port", "1", "--user", "x", "--no-defaults"]
        return Job("myps", "grep", *at, status=1, prints=False)

    # -- more ways of the same commands -------------------------------------------------------

    def more(self) -> list[Job]:
        """Other jobs whose result is their output."""
        key = self.file("key.pem", Pair().private_pem)
        log, saved = self.file("report.log", "status:200\turi:/\tptime:0.5\n"), self.folder / "kjr"
        assert run("kojuto", "report", "--save", saved, log).returncode == 0
        jobs = [
            Job("kojuto", "report", "--merge", saved),
            Job("deteco", "jwtgen", "--private-key", key, "--private-key-user", "x"),
            Job("deteco", "keygen", "--out", tempfile.mkdtemp(dir=self.folder) + "/key"),
            Job("no-excl-open", "--path"),
            Job("relaxlogs", stdin=NUMBERS),
            Job("kojuto"),
            *(Job(name, "--help") for name in (*COMMANDS, "kojuto")),
            *(Job(name, "--version") for name in ("sabo", "kojuto")),
        ]
        for job in jobs:
            job.env = {**self.env, **job.env}
        return jobs


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """The jobs in a folder of their own that every user may write to."""
    folder = Path(tempfile.mkdtemp(prefix="kojuto-jobs-"))
    folder.chmod(0o777)
    made = Jobs(folder)
    yield made
    made.upstream.close()
    shutil.rmtree(folder)
