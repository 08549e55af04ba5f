"""Where a command begins that has handlers for signals which end a process by default.

A supervisor may send SIGUSR1 to a relaxlogs, or SIGHUP to a server, that it has just started, while
the handler is still to come: it comes after the imports of the command. So the entry points of
these commands are here, and hold the signals before they import anything: what is sent meanwhile
stays pending and is acted on when the handlers are there. What is sent before, while the
interpreter itself starts, nothing can hold.
"""

from __future__ import annotations

import sys

# `signal` makes enumerations of them, which takes longer than the module of a small command.
from _signal import (  # type: ignore[import-not-found]
    SIG_BLOCK,
    SIG_UNBLOCK,
    SIGALRM,
    SIGHUP,
    SIGTERM,
    SIGUSR1,
    pthread_sigmask,
)

HELD: dict[str, tuple[int, ...]] = {
    # With SIGTERM it writes what the pipe holds, which nobody else does.
    "relaxlogs": (SIGHUP, SIGUSR1, SIGALRM, SIGTERM),
    "sabo": (SIGUSR1,),
    "ppdp": (SIGHUP,),
    "motarei": (SIGHUP,),
    "deteco": (SIGHUP,),
    "consul-service-has-ip": (SIGHUP,),
    "wsgate-server": (SIGHUP,),
    "wsgate-client": (SIGHUP,),
}
"""By command, the signals that it handles and that would end it before."""

_holder = ""


def _hold(name: str) -> None:
    global _holder  # noqa: PLW0603 (there is one command in a process)
    _holder = name
    pthread_sigmask(SIG_BLOCK, HELD.get(name, ()))


def release(prog: str) -> None:
    """Let the held signals come where `prog` is not what they are held for, as ``deteco check``."""
    if prog not in (_holder, "kojuto"):
        pthread_sigmask(SIG_UNBLOCK, HELD.get(_holder, ()))


def kojuto() -> int:
    """Run ``kojuto``, and what its first argument names."""
    _hold(sys.argv[1].replace("_", "-") if len(sys.argv) > 1 else "")
    from kojuto.__main__ import main

    return main()


def relaxlogs() -> int:
    """Run ``relaxlogs``."""
    _hold("relaxlogs")
    from kojuto.tools.relaxlogs import main

    return main()


def sabo() -> int:
    """Run ``sabo``."""
    _hold("sabo")
    from kojuto.tools.sabo import main

    return main()


def ppdp() -> int:
    """Run ``ppdp``."""
    _hold("ppdp")
    from kojuto.tools.ppdp import main

    return main()


def motarei() -> int:
    """Run ``motarei``."""
    _hold("motarei")
    from kojuto.tools.motarei import main

    return main()


def deteco() -> int:
    """Run ``deteco``."""
    _hold("deteco")
    from kojuto.tools.deteco import main

    return main()


def consul_service_has_ip() -> int:
    """Run ``consul-service-has-ip``."""
    _hold("consul-service-has-ip")
    from kojuto.tools.consul_service_has_ip import main

    return main()


def wsgate_server() -> int:
    """Run ``wsgate-server``."""
    _hold("wsgate-server")
    from kojuto.tools.wsgate_server import main

    return main()


def wsgate_client() -> int:
    """Run ``wsgate-client``."""
    _hold("wsgate-client")
    from kojuto.tools.wsgate_client import main

    return main()
