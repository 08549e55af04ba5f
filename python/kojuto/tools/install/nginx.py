"""Fragments of nginx's configuration: what asks the servers, or leads to them."""

from __future__ import annotations

import os
import re

from kojuto.errors import KojutoError
from kojuto.tools.install.place import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto.tools.install.tree import Node

FOLDER = "etc/nginx/snippets"
HEAD = """\
# nginx before {name}: in {block}
#   include {path};
{how}

"""
ASKED = {
    "deteco": "# and, where only those with a good token may go,\n#   auth_request /auth;",
    "consul-service-has-ip": "# and, where only instances of the service below (bastion) may go,\n"
    "#   auth_request /in-service;",
}
"""Servers that nginx asks; the location is in the help of the command."""
GATEWAY = """\
location /proxy/ {
    proxy_pass http://127.0.0.1:8086;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
    proxy_set_header Host $http_host;
}
"""
STREAM = """\
server {
    listen 3306;
    proxy_pass 127.0.0.1:3000;
    proxy_protocol on;
}
"""


def files(programs: list[Node], prefix: str) -> list[File]:
    """The fragments.

    Args:
        programs: all commands.
        prefix: below what is installed.
    """
    by_name = {node.name: node for node in programs}
    found = [
        _file(prefix, name, "a server block", how, location(by_name[name].command.epilog))
        for name, how in ASKED.items()
    ]
    gateway = "# Pings keep a silent tunnel from proxy_read_timeout (--ping-interval)."
    found.append(_file(prefix, "wsgate-server", "a server block", gateway, GATEWAY))
    stream = (
        "# The clients' addresses go with it: ppdp --proxy-protocol=require --trusted-proxies …"
    )
    found.append(_file(prefix, "ppdp", "the stream block", stream, STREAM))
    return found


def location(epilog: str) -> str:
    """The location that the help of a command shows for nginx.

    Raises:
        KojutoError: it shows none.
    """
    from textwrap import dedent

    found = re.search(r"^ +location = .*?^  \}\n", f"{epilog.strip(chr(10))}\n", re.M | re.S)
    if found is None:
        raise KojutoError("the help shows no location for nginx")
    return dedent(found[0])


def _file(prefix: str, name: str, block: str, how: str, text: str) -> File:
    path = f"{FOLDER}/kojuto-{name}.conf"
    head = HEAD.format(name=name, block=block, path=os.path.join(prefix, path), how=how)
    return File(path, head + text, "#")
