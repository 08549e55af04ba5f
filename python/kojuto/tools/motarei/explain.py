"""``motarei status``, ``explain`` and ``wait``: which container takes which port, and why."""

from __future__ import annotations

from kojuto.common import cli, streams, terminal, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.server import ask, listen
from kojuto.errors import KojutoError
from kojuto.tools.motarei import options, refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

POLL_S = 0.2
SERVER = Option(
    "--metrics-listen",
    metavar="ADDRESS",
    read=listen.address,
    help="ask the motarei that was started with this; without it Docker alone is asked",
)
OPTIONS = [*options.CONTAINERS, SERVER]

STATUS = Command(
    "motarei status",
    "Lists which container takes the connections of which port: exit status 0 when one does, 1 "
    "when none does.",
    [*OPTIONS, ask.JSON],
    positional="[PORT …]",
)
EXPLAIN = Command(
    "motarei explain",
    "Says for each port why its connections go where they go, and what the other containers wait "
    "for.",
    OPTIONS,
    positional="[PORT …]",
)
WAIT = Command(
    "motarei wait",
    "Waits until a container takes the connections of each PORT, or of any without one: exit "
    "status 0 then, 1 when it takes too long.",
    [
        *OPTIONS,
        Option(
            "--healthy",
            help="wait for the newest container, until it takes each PORT, or without one all that "
            "it offers",
        ),
        Option(
            "--timeout",
            metavar="TIME",
            read=units.timed("1ms", "24h"),
            default="60s",
            help="how long to wait",
        ),
    ],
    positional="[PORT …]",
    epilog="""
PORT is the private port of the containers. Example, the end of a deploy:
  motarei wait --healthy --label app=web --timeout 2m
""",
)


def run(name: str, argv: Sequence[str]) -> int:
    """Run one of the commands; returns the exit status."""
    command, work = {
        "status": (STATUS, _status),
        "explain": (EXPLAIN, _explain),
        "wait": (WAIT, _wait),
    }[name]
    return cli.run(command, work, argv)


def _asker(values: Values) -> Callable[[], dict[str, Any]]:
    """What asks the running server, or else Docker."""
    if values.metrics_listen:
        return lambda: ask.ask(values.metrics_listen, "/status", "ports", "motarei")
    options.check(values)
    refusals.check_host()
    from kojuto.tools.motarei.finder import Finder
    from kojuto.tools.motarei.ports import Ports
    from kojuto.tools.motarei.state import describe as described

    finder, ports = Finder(values.label, values.proxy_connect_ip), Ports(options.only(values))

    def look() -> dict[str, Any]:
        view = ports.look(finder.running(), finder.expected)
        found = described(view, dict(values.publish), set(view.ports))
        return {"by": "docker", "labels": values.label, "docker": "", **found}

    streams.say(
        "motarei: judged by Docker alone: whether a motarei runs and listens is not known "
        "(--metrics-listen asks it)\n"
    )
    return look


def _wanted(found: dict[str, Any], ports: Sequence[int]) -> list[dict[str, Any]]:
    """The ports that are asked for, those that no container offers too; all without any."""
    known = {port["port"]: port for port in found["ports"]}
    nothing = {"pending": found["expected"], "containers": []}
    return [known.get(port, {"port": port, "listen": port, **nothing}) for port in ports or known]


def _ports(arguments: Sequence[str]) -> list[int]:
    from kojuto.errors import UsageError

    read = units.integer(1, 65535)
    try:
        return [read(text) for text in arguments]
    except ValueError as error:
        raise UsageError(f"PORT {' '.join(arguments)}: {error}") from None


def _serving(port: dict[str, Any]) -> dict[str, str] | None:
    """The container that takes a port's connections."""
    if port.get("error"):
        return None
    return next((one for one in port["containers"] if one["state"] == "serves"), None)


def _status(values: Values, arguments: list[str]) -> int:
    wanted = _ports(arguments)
    found = _asker(values)()
    found["ports"] = _wanted(found, wanted)
    if values.json:
        print(terminal.json_text(found, indent=2))
    else:
        print("\n".join(_table(found["ports"]) if found["ports"] else [_nobody(found)]))
    if found["docker"]:
        streams.say(f"motarei: {found['docker']} (the last known containers are shown)\n")
    return cli.DONE if any(_serving(port) for port in found["ports"]) else cli.FAILED


def _nobody(found: dict[str, Any]) -> str:
    labels = " and ".join(found["labels"])
    return f"no running container with the label {labels} has a published TCP port"


def _table(ports: Sequence[dict[str, Any]]) -> list[str]:
    rows = [["PORT", "LISTENER", "CONTAINER", "ADDRESS", "STATE", "REASON"]]
    for port in ports:
        at = ",".join(port.get("listeners") or []) or "-"
        private = str(port["port"])
        if port.get("error"):
            rows.append([private, "-", "-", "-", "closed", port["error"]])
        rows += [
            [private, at, one["name"], one["address"], one["state"], one["reason"]]
            for one in port["containers"]
        ]
        if not port["containers"]:
            rows.append([private, at, "-", "-", "unserved", "no container offers it"])
    return ask.table(rows)


def _explain(values: Values, arguments: list[str]) -> int:
    wanted = _ports(arguments)
    found = _asker(values)()
    lines = []
    if found["docker"]:
        lines.append(f"{found['docker']}: the last known containers are kept")
    if found["expected"]:
        lines.append("a container was created and does not run yet: new connections wait for it")
    ports = _wanted(found, wanted)
    for port in ports:
        lines += _paragraph(port)
    if not ports:
        lines.append(_nobody(found))
    print("\n".join(lines))
    return cli.DONE


def _paragraph(port: dict[str, Any]) -> list[str]:
    """What is to be said of one port."""
    at = "not open"
    if port.get("error"):
        at = f"closed: {port['error']}; this is tried again"
    elif "listeners" not in port:
        at = f"to be accepted on port {port['listen']}"
    elif port["listeners"]:
        at = f"accepted on {', '.join(port['listeners'])}"
    lines = [f"port {port['port']}, {at}"]
    phrases = {
        "serves": "new connections go to",
        "next": "then to",
        "awaited": "waits for",
        "out": "not to",
    }
    for one in port["containers"]:
        name = f"{one['name']} ({one['id']}) at {one['address']}"
        lines.append(f"  {phrases[one['state']]} {name}: {one['reason']}")
    if not any(one["state"] == "serves" for one in port["containers"]):
        waits = "new connections wait for one that is about to follow" if port["pending"] else (
            "new connections are refused"
        )  # fmt: skip
        lines.append(f"  no container takes its connections: {waits}")
    elif port["pending"]:
        lines.append("  until a newer one is ready, a connection is held for 200 ms")
    return lines


def _wait(values: Values, arguments: list[str]) -> int:
    import time

    wanted = _ports(arguments)
    asks = _asker(values)
    deadline = time.monotonic() + values.timeout
    while True:
        try:
            found = asks()
            why = _missing(found, wanted, healthy=values.healthy)
        except KojutoError as error:
            found, why = None, str(error)
        if found is not None and not why:
            break
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise KojutoError(
                f"not within the time: {why}",
                "'motarei explain' says more; name the PORTs that matter, or raise --timeout",
            )
        time.sleep(min(POLL_S, left_s))
    for port in _wanted(found, wanted):
        if (one := _serving(port)) is not None:
            print(f"{one['name']} takes the connections of port {port['port']}")
    return cli.DONE


def _missing(found: dict[str, Any], wanted: Sequence[int], *, healthy: bool) -> str:
    """What is not yet as it is waited for; empty for nothing."""
    newest = found["newest"]
    if found["docker"]:
        return str(found["docker"])
    if newest is None or (healthy and found["expected"]):
        return "no container runs" if newest is None else "a container is about to run"
    ports = _wanted(found, wanted)
    if not healthy and not wanted:
        return "" if any(_serving(port) for port in ports) else _why(ports[0])
    for port in ports:
        one = _serving(port)
        offered = any(other["id"] == newest["id"] for other in port["containers"])
        if one is None and (wanted or offered):
            return _why(port)
        if one is not None and healthy and one["id"] != newest["id"] and (wanted or offered):
            return _why(port, newest["id"])
    return ""


def _why(port: dict[str, Any], container: str | None = None) -> str:
    """Why no container takes a port, or not that one."""
    if port.get("error"):
        return f"port {port['port']}: {port['error']}"
    for one in port["containers"]:
        if one["id"] == container or container is None:
            return f"port {port['port']}, {one['name']}: {one['reason']}"
    return f"port {port['port']}: no container offers it"
