"""A server that says it is ready has all it needs; what is missing is one line."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests import keys
from tests.conftest import run
from tests.peers import gates
from tests.peers.consul import Consul, instance
from tests.peers.consul_checker import Checker
from tests.peers.deteco import Deteco, Pair, service
from tests.peers.servers import LOOPBACK, Ppdp, Program, echo, free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.peers.servers import Stage

SPY = """
import os, sys
def note(event, args):
    if event == "import":
        name = args[0].partition(".")[0]
        if name not in sys.stdlib_module_names and name != "sitecustomize":
            os.write(int(os.environ["SPY"]), (args[0] + "\\n").encode())
sys.addaudithook(note)
"""


class Spy:
    """What a process imports beside the standard library, told by an audit hook."""

    def __init__(self, stage: Stage) -> None:
        self.file = stage.folder / f"imports-{time.monotonic_ns()}"
        folder = stage.folder / "spy"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(SPY)
        self._open = self.file.open("wb")
        stage.later(self._open.close)
        number = self._open.fileno()
        self.keywords: dict[str, Any] = {
            "env": {"PYTHONPATH": str(folder), "SPY": str(number)},
            "pass_fds": [number],
        }
        self.seen = 0

    def ready(self) -> None:
        self.seen = len(self.names())
        assert self.seen > 5

    def names(self) -> list[str]:
        return self.file.read_text().split()

    def late(self) -> list[str]:
        return self.names()[self.seen :]


def finish(program: Program, spy: Spy, work: Callable[[], object]) -> None:
    """Everything a server does in its life, and nothing is imported for it."""
    spy.ready()
    work()
    program.kill(signal.SIGHUP)
    work()
    assert program.end() == 0, program.text()
    late = spy.late()
    assert not late, " ".join(late)


def test_wsgate_both_ends(stage: Stage) -> None:
    key = keys.private_key("ed25519")
    public, private = stage.folder / "public.pem", stage.folder / "private.pem"
    public.write_bytes(keys.public_pem(key))
    private.write_bytes(keys.private_pem(key))
    near, far = Spy(stage), Spy(stage)
    metrics = ["--metrics-listen", f"{LOOPBACK}:{free_port()}"]
    ends = ["--public-key", str(public), *metrics]
    server = gates.server(stage, {"t": stage.peer(echo).port}, *ends, **far.keywords)
    far.ready()
    url = server.url("t")
    client = gates.client(stage, url, "--private-key", str(private), **near.keywords)

    def work() -> None:
        with client.connect() as conn:
            conn.sendall(b"there and back")
            assert conn.recv(100) == b"there and back"
        assert gates.ask(int(metrics[1].rpartition(":")[2]), "/metrics")[0] == 200
        headers = {"Authorization": f"Bearer {keys.token(key)}"}
        with server.connect("t", additional_headers=headers, compression="deflate") as tunnel:
            tunnel.send(b"x" * 1000)
            assert tunnel.recv()
        assert server.status("/proxy/t", Authorization="Bearer x.y.z") == 401

    finish(client, near, work)
    finish(server, far, lambda: gates.ask(server.port, "/live"))


def test_deteco(stage: Stage) -> None:
    pairs = [Pair("rsa"), Pair("ec"), Pair()]
    spy = Spy(stage)
    program = Deteco(stage.folder, service("echo", pairs), **spy.keywords)
    stage.later(program.close)

    def work() -> None:
        for pair in pairs:
            for token in (pair.token(), pair.token(exp=5), pair.token(jti="x" * 3000)):
                program.status(token)

    finish(program, spy, work)


def test_consul_service_has_ip(stage: Stage) -> None:
    consul = Consul()
    stage.later(consul.stop)
    consul.set("web", instance("10.0.0.1"))
    spy = Spy(stage)
    program = Checker(stage.folder, consul, **spy.keywords)
    stage.later(program.close)

    def work() -> None:
        for path in ("/web?ip=10.0.0.1", "/nowhere?ip=10.0.0.1", "/metrics", "/live"):
            program.get(path)

    finish(program, spy, work)


def test_ppdp(stage: Stage) -> None:
    spy = Spy(stage)
    program = Ppdp(stage.folder, stage.peer(echo).port, **spy.keywords)
    stage.later(program.close)

    def work() -> None:
        with program.connect() as conn:
            conn.sendall(b"x")
            assert conn.recv(10) == b"x"

    finish(program, spy, work)


@pytest.mark.parametrize(
    ("package", "distribution", "command"),
    [
        ("docker", "docker", ["motarei", "-l", "a=b"]),
        ("jwt", "pyjwt", ["deteco", "--conf", "{conf}"]),
        ("jwt", "pyjwt", ["wsgate-server", "--map", "{map}"]),
        ("websockets", "websockets", ["wsgate-server", "--map", "{map}"]),
        ("websockets", "websockets", ["wsgate-client", "--map", "{map}"]),
        ("jwt", "pyjwt", ["wsgate-client", "--map", "{map}", "--private-key", "{key}"]),
        ("google", "google-auth",
         ["wsgate-client", "--map", "{map}", "--iap-credential", "{key}", "--iap-client-id", "x"]),
        ("pymysql", "pymysql", ["myps", "grep", "--user", "x"]),
        ("cryptography", "cryptography", ["deteco", "keygen", "--out", "{key}"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("half", [False, True], ids=["missing", "half installed"])
def test_a_missing_package_is_one_line(
    package: str, distribution: str, command: list[str], half: bool, tmp_path: Path
) -> None:
    """As in the middle of ``pip install -U``: the package is gone, or only its folder is there."""
    (tmp_path / "site" / package).mkdir(parents=True)
    text = "" if half else f"raise ModuleNotFoundError('No module {package}', name='{package}')"
    (tmp_path / "site" / package / "__init__.py").write_text(text)
    files = {name: tmp_path / name for name in ("conf", "map", "key")}
    files["map"].write_text("x,127.0.0.1:1\n")
    files["conf"].write_text(service("echo", [Pair()]))
    if package != "cryptography":
        files["key"].write_bytes(Pair().private_pem)
    arguments = [word.format(**files) for word in command]
    done = run(*arguments, env={"PYTHONPATH": str(tmp_path / "site")})
    assert done.returncode == 1
    error, hint = done.stderr.decode().splitlines()
    assert f"error: the package {distribution} is missing or broken: " in error
    assert hint.startswith(f"hint: pip install '{distribution}>=")
    assert done.stdout == b""


def test_a_missing_core_is_one_line(tmp_path: Path) -> None:
    """Every plugin, and what has its like: the native module cannot be loaded."""
    hide = "import sys\nsys.modules['kojuto._native'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(hide)
    for command in (
        ["mackerel-plugin-pinging", "--host", "127.0.0.1", "--key-prefix", "x"],
        ["mackerel-plugin-linux-process-status", "--pid", "1", "--key-prefix", "x"],
        ["percentile"],
    ):
        done = run(*command, env={"PYTHONPATH": str(tmp_path)})
        assert done.returncode == 1
        error, hint = done.stderr.decode().splitlines()
        assert "error: the installation is broken: " in error
        assert hint == "hint: pip install --force-reinstall kojuto"
