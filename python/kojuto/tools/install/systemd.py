"""Units of systemd for the servers: a service each, confined, and a socket.

Sources: systemd.service(5), systemd.exec(5), systemd.socket(5); what the servers tell systemd is in
`kojuto.common.server.service`.
"""

from __future__ import annotations

import os
import stat

from kojuto.tools.install.place import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto.tools.install.tree import Node

FOLDER = "lib/systemd/system"
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108
"""What a service with ProtectHome= and a /tmp of its own does not see."""
NOTIFY_RELOAD = 253
"""The version of systemd that first knows ``Type=notify-reload``."""


class Server:
    """What the units of a server need beside what those of all have.

    Args:
        arguments: of its command line, before ``$OPTIONS``.
        needs: what the administrator has to give, for the comment at the top.
        listens: where its socket listens; a server whose sockets go by its configuration has an
            example.
        more: further lines of its service.
    """

    def __init__(self, arguments: str, needs: str, listens: str, more: str = "") -> None:
        self.arguments = arguments
        self.needs = needs
        self.listens = listens
        self.more = more


SERVERS = {
    "ppdp": Server(
        "",
        "OPTIONS=--upstream db.example.com:3306",
        "3000",
        "# What --dump-pcap may write: /var/log/ppdp/….\nLogsDirectory=ppdp\n",
    ),
    "motarei": Server(
        "--wait",
        "OPTIONS=--label app=web --publish 80=8080",
        "8080",
        "# It asks the engine by its socket, which is the group's.\nSupplementaryGroups=docker\n",
    ),
    "deteco": Server(
        "--conf /etc/kojuto/deteco.toml",
        "the file /etc/kojuto/deteco.toml",
        "127.0.0.1:8080",
    ),
    "consul-service-has-ip": Server(
        "--consul-api-endpoint http://127.0.0.1:8500",
        "nothing, where Consul's agent is on this machine",
        "3000",
        "# What --access-log-dir may write to.\nLogsDirectory=consul-service-has-ip\n",
    ),
    "wsgate-server": Server(
        "--map /etc/kojuto/wsgate-server.map",
        "the file /etc/kojuto/wsgate-server.map, OPTIONS=--public-key /etc/kojuto/keys.pem",
        "127.0.0.1:8086",
    ),
    "wsgate-client": Server(
        "--map /etc/kojuto/wsgate-client.map",
        "the file /etc/kojuto/wsgate-client.map; a private key, which only root may\n"
        '# read, by LoadCredential=key:FILE and Environment="OPTIONS=--private-key %d/key" in\n'
        "# 'systemctl edit wsgate-client'.",
        "127.0.0.1:3306",
    ),
}

SERVICE = """\
# {about}
#
# It needs {needs}
#
# More options go to OPTIONS= in /etc/default/{name}; what else is to be otherwise to
# 'systemctl edit {name}'.

[Unit]
Description={about}
Documentation=man:{name}(1)
Wants=network-online.target
After=network-online.target {name}.socket

[Service]
Type=notify
ExecStart={program} {arguments}--shutdown-timeout 80s $OPTIONS
EnvironmentFile=-/etc/default/{name}
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec=30s
Restart=on-failure
RestartSec=1s
# Called wrongly: another try is as wrong.
RestartPreventExitStatus=2
# Open connections have 80 s after SIGTERM (--shutdown-timeout); a longer time goes to both.
TimeoutStopSec=90s
KillMode=mixed
LimitNOFILE=1048576
{more}
# What it may not do.
DynamicUser=yes
ProtectSystem=strict
ProtectHome=yes
PrivateDevices=yes
ProtectProc=invisible
ProcSubset=pid
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
# Netlink: how getaddrinfo(3) finds out about IPv6.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
KeyringMode=private
UMask=0077
# A port below 1024 is opened by {name}.socket.
CapabilityBoundingSet=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources @keyring @memlock
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

SOCKET = """\
# {about}: its socket
#
# systemd holds it, so that no connection is refused while the service is restarted or upgraded:
# 'systemctl enable --now {name}.socket', and the first connection starts the service.

[Unit]
Description={about}: its socket

[Socket]
ListenStream={listens}
Backlog=4096

[Install]
WantedBy=sockets.target
"""

RELOAD = """\
# systemd {version} and later: a reload has ended when the server says so.

[Service]
Type=notify-reload
ExecReload=
"""


def units(programs: list[Node], folder: str, *, notify_reload: bool) -> list[File]:
    """The units of all servers.

    Args:
        programs: all commands.
        folder: where their programs are.
        notify_reload: whether systemd knows ``Type=notify-reload``.
    """
    files = []
    for node in programs:
        server = SERVERS.get(node.name)
        if server is None:
            continue
        about = f"{node.name}: {node.about}".replace("%", "%%")
        program = _quoted(os.path.join(folder, node.name))
        service = SERVICE.format(
            name=node.name,
            about=about,
            program=program,
            needs=server.needs,
            arguments=f"{server.arguments} " if server.arguments else "",
            more=server.more,
        )
        socket = SOCKET.format(name=node.name, about=about, listens=server.listens)
        files.append(File(f"{FOLDER}/{node.name}.service", service, "#"))
        files.append(File(f"{FOLDER}/{node.name}.socket", socket, "#"))
        if notify_reload:
            path = f"{FOLDER}/{node.name}.service.d/notify-reload.conf"
            files.append(File(path, RELOAD.format(version=NOTIFY_RELOAD), "#"))
    return files


def _quoted(path: str) -> str:
    """A path as the first word of ExecStart=."""
    text = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if text != path or " " in path else path


def unseen(path: str) -> tuple[str, str] | None:
    """Why a service as a user of its own does not get to a file, and the way out; else None."""
    real = os.path.realpath(path)
    for top in HIDDEN:
        if f"{real}/".startswith(f"{top}/"):
            return (
                f"the units let no service look into {top}",
                "install kojuto in a folder such as /opt/kojuto, with a Python for all users",
            )
    above = real
    while os.path.exists(above) and above != "/":
        if not os.stat(above).st_mode & (stat.S_IXOTH if os.path.isdir(above) else stat.S_IROTH):
            return (
                f"{above} is closed to the users that services run as",
                "open it as far as all may read it: chmod -R go+rX FOLDER",
            )
        above = os.path.dirname(above)
    return None


def version() -> int:
    """The version of this machine's systemd; 0 without one."""
    import re
    import subprocess

    try:
        done = subprocess.run(["systemctl", "--version"], capture_output=True, check=False)
    except OSError:
        return 0
    found = re.match(rb"systemd (\d+)", done.stdout)
    return int(found[1]) if found else 0
