"""The one list of the commands: name, module, one line of what it is for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS: dict[str, tuple[str, str]] = {
    "mackerel-plugin-axslog": ("kojuto.tools.axslog", "latency and status metrics of access logs"),
    "mackerel-plugin-log-incr-rate": (
        "kojuto.tools.log_incr_rate",
        "growth of one log against another",
    ),
    "mackerel-plugin-postfix-log": (
        "kojuto.tools.postfix_log",
        "Postfix delivery delays and outcomes from the mail log",
    ),
    "mackerel-plugin-pinging": (
        "kojuto.tools.pinging",
        "ICMP round-trip metrics of one or more hosts",
    ),
    "mackerel-plugin-linux-process-status": (
        "kojuto.tools.process_status",
        "CPU, file descriptor and memory metrics of a process",
    ),
    "percentile": ("kojuto.tools.percentile", "percentiles of the numbers on standard input"),
    "sabo": ("kojuto.tools.sabo", "bandwidth-limiting pipe whose processes share one budget"),
    "relaxlogs": ("kojuto.tools.relaxlogs", "standard input's lines into time-rotated files"),
    "no-excl-open": (
        "kojuto.tools.no_excl_open",
        "runs logrotate so that a log that is already there does not stop it",
    ),
    "ppdp": ("kojuto.tools.ppdp", "TCP relay: PROXY protocol, balancing, traffic dump"),
    "motarei": ("kojuto.tools.motarei", "TCP relay to the newest Docker container: hot deploy"),
    "deteco": ("kojuto.tools.deteco", "checks JWTs for nginx auth_request"),
    "consul-service-has-ip": (
        "kojuto.tools.consul_service_has_ip",
        "HTTP: is this address in that Consul service? For nginx's auth_request too",
    ),
    "wsgate-server": (
        "kojuto.tools.wsgate_server",
        "TCP out of WebSockets: signed tokens and Google IAP",
    ),
    "wsgate-client": (
        "kojuto.tools.wsgate_client",
        "local TCP ports through WebSockets to wsgate-server",
    ),
    "myps": ("kojuto.tools.myps", "grep, kill and watch the threads of a MySQL server"),
}


PREFIXES = ("", "mackerel-plugin-", "mackerel-plugin-linux-")
"""What may be left out of a name behind ``kojuto``."""


def find(name: str) -> str | None:
    """The command that is meant by `name`: its own name, the short one of a plugin, its module.

    ``axslog`` and ``log_incr_rate`` are plugins; None when there is no such command.
    """
    dashed = name.replace("_", "-")
    return next((prefix + dashed for prefix in PREFIXES if prefix + dashed in COMMANDS), None)


def like(name: str) -> str | None:
    """The name nearest to one that is none, as it would be typed; None when none is near."""
    from difflib import get_close_matches

    short = [n[len(p) :] for p in PREFIXES if p for n in COMMANDS if n.startswith(p)]
    names = ["demo", "install", "report", *COMMANDS, *short]
    near = get_close_matches(name.replace("_", "-"), names, n=1)
    return near[0] if near else None


def load(name: str) -> Callable[[Sequence[str] | None], int]:
    """Import the module of a command and return its ``main``.

    Args:
        name: a key of `COMMANDS`.

    Returns:
        ``main(argv)``, which returns the exit status.

    Raises:
        KeyError: there is no such command.
    """
    from importlib import import_module

    main: Callable[[Sequence[str] | None], int] = import_module(COMMANDS[name][0]).main
    return main
