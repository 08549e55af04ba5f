"""All servers and pipes of a soak with their peers, and what goes wrong with them."""

from __future__ import annotations

import http.client
import time
from typing import TYPE_CHECKING

from tests.conftest import wait_until
from tests.disks import fill, small_disk
from tests.peers.consul import Consul, instance
from tests.peers.deteco import ED, service
from tests.peers.engine import Docker, exchange, inside
from tests.peers.servers import LOOPBACK, Peer, echo
from tests.soak import clients
from tests.soak.clients import Clients
from tests.soak.pipes import Followed, Lines, Sketches, Stream
from tests.soak.services import Service, Troubles

if TYPE_CHECKING:
    import contextlib
    import random
    from collections.abc import Callable
    from pathlib import Path

    from tests.soak.clients import Question, Step

DAY_S = 86400
CONSUL_BACK_S = 20.0
"""So long after Consul is back somebody may still wait for the next question to it."""
UPSTREAM_BACK_S = 1.0
DOCKER_PORT = 80


class Backend:
    """An echo that goes away and comes back at its port."""

    def __init__(self) -> None:
        self.troubles = Troubles()
        self._peer = Peer(echo)
        self.port = self._peer.port

    def away(self, for_s: float, *, back_s: float = 0.0) -> None:
        """Be away; with `back_s` 0 somebody else serves meanwhile, and only what is open is cut."""
        self.troubles.begin()
        self._peer.close()
        if not back_s:
            self.troubles.end()
        time.sleep(for_s)
        self._peer = Peer(echo, port=self.port)
        if back_s:
            self.troubles.end(back_s)

    def close(self) -> None:
        self._peer.close()


def given(*words: str) -> Callable[[int], list[str]]:
    """Arguments that do not depend on the port."""
    return lambda _: list(words)


def fill_access_log(port: int) -> None:
    """The 8 MB that an access log has for a disk that is full, which would look like a leak."""
    conn = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
    for _ in range(5000):
        conn.request("GET", "/has/web/10.0.0.1", headers={"User-Agent": "x" * 2000})
        conn.getresponse().read()
    conn.close()


class World:
    """Everything, started; of each server one is never ended, and one again and again.

    Attributes:
        steady: the servers and pipes whose one process lives all the time.
        victims: the servers that are killed.
    """

    def __init__(self, folder: Path, stack: contextlib.ExitStack, dice: random.Random) -> None:
        self.folder, self.dice, self._stack = folder, dice, stack
        self.disk = stack.enter_context(small_disk(folder / "disk", "size=64m"))
        self.lines_disk = stack.enter_context(small_disk(folder / "lines", "size=96m"))
        self.log_disk = stack.enter_context(small_disk(folder / "tiny", "size=256k"))
        self.first, self.second, self.behind = self._add(*(Backend() for _ in range(3)))
        self.consul = Consul()
        stack.callback(self.consul.stop)
        self.consul.set("web", instance("10.0.0.1"))
        self.consul_troubles = Troubles()
        self.steady: list[Service] = []
        self.victims: list[Service] = []
        self.loads: list[Clients] = []
        self._ppdp()
        self._gateways()
        self._checkers()
        self.docker_troubles = Troubles()
        self.docker = Docker(folder / "docker")
        stack.callback(self.docker.close)
        self.docker.build()
        self.motarei = self._motarei()
        seed = dice.randrange(1 << 30)
        self.lines, self.lines_killed = self._add(
            Lines("relaxlogs kept", self.lines_disk, seed, steady=True),
            Lines("relaxlogs killed", self.lines_disk, seed + 1, steady=False),
        )
        (self.stream,) = self._add(Stream(folder / "members", self.disk, seed))
        (self.followed,) = self._add(Followed(folder, self.disk, seed))
        self.sketches = Sketches(self.disk, seed)
        for load in self.loads:
            load.start()
        self.full = 0

    def _add(self, *things: object) -> tuple:  # type: ignore[type-arg]
        for thing in things:
            self._stack.callback(thing.close)  # type: ignore[attr-defined]
        return things

    def _service(self, name: str, arguments: Callable[[int], list[str]], **how: object) -> Service:
        made = Service(name, arguments, self.folder, **how)  # type: ignore[arg-type]
        self._add(made)
        (self.victims if name.endswith(" killed") else self.steady).append(made)
        return made

    def _load(self, name: str, steps: list[Step], *troubles: Troubles) -> None:
        seed = self.dice.randrange(1 << 30)
        self.loads.append(Clients(name, steps, troubles, seed))

    def _ppdp(self) -> None:
        dump = ["--dump-pcap", f"{self.disk}/ppdp.pcap", "--dump-pcap-size", "1M"]
        for which, more in (("kept", [*dump, "--dump-pcap-files", "2"]), ("killed", [])):
            to = [f"--upstream={LOOPBACK}:{each.port}" for each in (self.first, self.second)]
            made = self._service(f"ppdp {which}", given(*to, *more))
            steps = [clients.short(made.port)] * 2 + [clients.long(made.port)] * 2
            troubles = (made.troubles, self.second.troubles)
            self._load(made.name, [*steps, clients.rude(made.port)], *troubles)

    def _gateways(self) -> None:
        for which in ("kept", "killed"):
            names = self.folder / f"server-{which}.map"
            names.write_text(f"a,{LOOPBACK}:{self.behind.port}\n")
            far = self._service(f"wsgate-server {which}", given("--map", str(names)))
            lines = self.folder / f"client-{which}.map"

            def arguments(port: int, lines: Path = lines, to: int = far.port) -> list[str]:
                lines.write_text(f"{LOOPBACK}:{port},http://{LOOPBACK}:{to}/proxy/a\n")
                return ["--map", str(lines)]

            near = self._service(f"wsgate-client {which}", arguments)
            steps = [clients.short(near.port), clients.long(near.port), clients.rude(near.port)]
            troubles = (near.troubles, far.troubles, self.behind.troubles)
            self._load(f"tunnel {which}", steps, *troubles)

    def _checkers(self) -> None:
        good = ED.token(exp=int(time.time()) + 2 * DAY_S)
        late = ED.token(exp=int(time.time()) - 60)
        asked = [(good, "/api/echo", 200), (good, "/other", 403), (late, "/api/echo", 401)]
        questions = [
            ("/auth", {"Authorization": f"Bearer {token}", "X-Original-URI": path}, status)
            for token, path, status in asked
        ]
        members: list[Question] = [("/has/web/10.0.0.1", {}, 200), ("/has/web/10.0.0.2", {}, 404)]
        for which in ("kept", "killed"):
            self.conf = self.folder / "deteco.toml"
            self.conf.write_text(service("echo", [ED]))
            more = ["--conf", str(self.conf), "--jwt-freshness", "48h"]
            made = self._service(f"deteco {which}", given(*more))
            self._load(made.name, [clients.asks(made.port, questions)] * 2, made.troubles)
            more = ["--consul-api-endpoint", self.consul.url]
            if which == "kept":
                more += ["--stale-if-error", "24h", "--access-log-dir", str(self.log_disk)]
            made = self._service(f"consul-service-has-ip {which}", given(*more))
            if which == "kept":
                fill_access_log(made.port)
            troubles = [made.troubles] + [self.consul_troubles] * (which == "killed")
            self._load(made.name, [clients.asks(made.port, members)] * 2, *troubles)

    def _motarei(self) -> Service:
        self.docker.up("plain")
        made = self._service(
            "motarei kept", given("--label", "app=web"),
            env=self.docker.env, before=self.docker.inside, held=False,
        )  # fmt: skip
        of = (clients.short, clients.long)
        steps = [clients.within(self.docker.name, each(DOCKER_PORT)) for each in of]
        self._load(made.name, steps, made.troubles, self.docker_troubles)
        return made

    # -- what goes wrong -------------------------------------------------------------------------

    def events(self) -> dict[str, tuple[int, Callable[[], None]]]:
        """By its name how often each is chosen, and what it does."""
        some = self.dice.choice
        return {
            "kill of a server": (12, lambda: some(self.victims).kill()),
            "restart of a server": (6, lambda: some(self.victims).renew()),
            "reload": (10, lambda: some([*self.steady, *self.victims]).hang_up()),
            "broken configuration": (3, self.broken_configuration),
            "upstream away": (5, lambda: self.second.away(self.dice.random())),
            "only upstream away": (
                3, lambda: self.behind.away(self.dice.random(), back_s=UPSTREAM_BACK_S)
            ),
            "Consul away": (2, self.consul_away),
            "full disk": (4, self.full_disk),
            "full disk of logs": (3, self.full_disk_of_logs),
            "kill of relaxlogs": (8, self.lines_killed.kill),
            "rotation": (6, lambda: some([self.lines, self.lines_killed]).rotate()),
            "sabo": (12, self.stream.another),
            "axslog": (10, self.followed.run),
            "kill of axslog": (8, self.followed.kill),
            "rename of a log": (5, self.followed.rotate),
            "percentile": (4, self.sketches.run),
            "kill of percentile": (4, self.sketches.kill),
            "deploy of a container": (2, self.deploy),
            "restart of Docker": (1, self.restart_docker),
        }  # fmt: skip

    def broken_configuration(self) -> None:
        right = self.conf.read_text()
        asked = [s for s in (*self.steady, *self.victims) if s.name.startswith("deteco")]
        places = [each.place() for each in asked]
        self.conf.write_text("[[services]\n")
        try:
            for each, place in zip(asked, places, strict=True):
                each.hang_up()
                wait_until(lambda e=each, p=place: "is kept" in e.text(p), what="it is told")  # type: ignore[misc]
        finally:
            self.conf.write_text(right)
        for each in asked:
            each.hang_up()

    def consul_away(self) -> None:
        self.consul_troubles.begin()
        self.consul.stop()
        time.sleep(self.dice.random() * 3)
        self.consul.start()
        self.consul_troubles.end(CONSUL_BACK_S)

    def full_disk(self) -> None:
        self.full += 1
        filler = fill(self.disk)
        try:
            self.stream.to_a_full_disk()
            fill(self.disk)  # what that one has freed
            self.sketches.run()
            self.followed.run()
        finally:
            filler.unlink()

    def full_disk_of_logs(self) -> None:
        """Until both have told, and then until both have told that they write again."""
        both = (self.lines, self.lines_killed)

        def told(word: str) -> list[int]:
            return [each.errors.read_text().count(word) for each in both]

        before = told("No space")
        filler = fill(self.lines_disk)
        wait_until(lambda: all(n > b for n, b in zip(told("No space"), before, strict=True)))
        filler.unlink()
        wait_until(lambda: told("No space") == told("again"), what="lines reach the disk again")
        self.full += 1

    def deploy(self) -> None:
        old = self.docker.docker("ps", "-q").stdout.decode().split()
        place = self.motarei.place()
        new = self.docker.up("plain")[:12]
        wait_until(lambda: new in self.motarei.text(place), what="it switches")
        self.docker.docker("stop", "-t", "20", *old)
        self.docker.docker("rm", *old)

    def restart_docker(self) -> None:
        """What publishes the ports on loopback is a child of dockerd and ends with it."""
        self.docker_troubles.begin()
        self.docker.stop()
        self.docker.start()

        def serves() -> bool:
            try:
                inside(self.docker, exchange, DOCKER_PORT)
            except (OSError, AssertionError):
                return False
            return True

        wait_until(serves, within_s=60, what="the container is reached again")
        self.docker_troubles.end()

    def stop(self) -> None:
        """End the clients, then the pipes and the servers."""
        for load in self.loads:
            load.stop()
        for pipe in (self.lines, self.lines_killed, self.stream, self.followed):
            pipe.stop()
        for each in (*self.steady, *self.victims):
            each.stop()
