"""What a request for a WebSocket is answered (RFC 6455, 4.2)."""

from __future__ import annotations

from http import HTTPStatus

from kojuto.common.gateway import httphead
from kojuto.tools.wsgate_server.request import UPGRADE, Refused, choose_websocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.extensions import Extension
    from websockets.http11 import Request

SUBPROTOCOLS = {"binary", "mqtt", "mqttv3.1", "amqp"}
"""These say of a tunnel's frames what they are: binary ones with the bytes of a TCP connection
(websockify's name for it; MQTT 5.0, 6; AMQP's binding to WebSocket). Browsers and clients of such
protocols leave where none that they offer is chosen."""


def agree(request: Request, *, compress: bool) -> tuple[bytes, Sequence[Extension]]:
    """The answer that opens a tunnel, and the extensions that both sides use then.

    Args:
        request: whose client may come.
        compress: permessage-deflate is agreed to where it is offered.

    Raises:
        Refused: it is not the request for a WebSocket that is spoken here.
    """
    choose_websocket(request)
    # An offer of nothing, or of nothing that is known here, is none.
    offers = request.headers.get_all("Sec-WebSocket-Extensions")
    compress = compress and any("permessage-deflate" in offer for offer in offers)
    chosen = _subprotocol(request)
    plain = None if compress or chosen else _plain_answer(request)
    if plain is not None:
        return plain, ()
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
    from websockets.server import ServerProtocol

    protocol = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()] if compress else None)
    response = protocol.accept(request)
    if response.status_code != 101:
        text = response.body.decode(errors="replace").strip()
        headers = UPGRADE if response.status_code == 426 else {}
        raise Refused(response.status_code, text, **headers)
    response.headers[httphead.END_HEADER] = httphead.END_BY_CLOSE
    if chosen:
        response.headers["Sec-WebSocket-Protocol"] = chosen
    return response.serialize(), protocol.extensions


def _subprotocol(request: Request) -> str | None:
    """The first of those that the client offers that tells no lie."""
    offers = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(",")
    return next((offer for offer in map(str.strip, offers) if offer in SUBPROTOCOLS), None)


def _plain_answer(request: Request) -> bytes | None:
    """The answer to a request as nearly all are; None for any other, which the library judges.

    That knows every way in which a request may be wrong, and takes ten times as long.
    """
    from base64 import b64decode, b64encode
    from email.utils import formatdate
    from hashlib import sha1

    headers = request.headers
    keys, versions = headers.get_all("Sec-WebSocket-Key"), headers.get_all("Sec-WebSocket-Version")
    upgrades, options = headers.get_all("Upgrade"), headers.get_all("Connection")
    if len(headers.get_all("Origin")) > 1:
        return None
    if len(keys) != 1 or versions != ["13"] or len(upgrades) != 1 or len(options) != 1:
        return None
    if upgrades[0].lower() != "websocket" or options[0].lower() != "upgrade":
        return None
    try:
        if len(keys[0]) != 24 or len(b64decode(keys[0], validate=True)) != 16:
            return None
    except ValueError:
        return None
    accept = b64encode(sha1(keys[0].encode() + httphead.GUID).digest()).decode()  # noqa: S324 (RFC 6455)
    return (
        "HTTP/1.1 101 Switching Protocols\r\n"
        f"Date: {formatdate(usegmt=True)}\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n"
        f"{httphead.END_HEADER}: {httphead.END_BY_CLOSE}\r\n\r\n"
    ).encode()


def refusal(refused: Refused, *, head: bool) -> bytes:
    """The answer that opens none; `head`: without its body."""
    from websockets.server import ServerProtocol

    response = ServerProtocol().reject(HTTPStatus(refused.status), refused.text + "\n")
    for name, value in refused.headers.items():
        response.headers[name] = value
    if head:
        response.body = b""
    return response.serialize()
