"""The options of ``wsgate-server`` that say who may come, which ``wsgate-server check`` has too."""

from __future__ import annotations

from kojuto.common.cli import Option
from kojuto.common.gateway import options as gateway
from kojuto.common.server.options import jwt_freshness

GROUP = "Who may come"
IAP_KEYS = "https://www.gstatic.com/iap/verify/public_key-jwk"

MAP = gateway.map_file("name,host:port")
WHO = [
    Option(
        "--public-key",
        metavar="FILE",
        help="PEM keys, any of which must have signed the Bearer token of a request: RSA, EC, "
        "Ed25519; SIGHUP reads them again",
        group=GROUP,
    ),
    jwt_freshness("how long ago a token may have been issued", group=GROUP),
    Option(
        "--users",
        metavar="FILE",
        help="who may reach which name (TOML, see below), nobody else; SIGHUP reads it again",
        group=GROUP,
    ),
    Option(
        "--iap-audience",
        metavar="AUDIENCE",
        repeat=True,
        help="ask for Google's signed X-Goog-IAP-JWT-Assertion with this audience: "
        "/projects/NUMBER/global/backendServices/ID",
        group=GROUP,
    ),
    Option(
        "--iap-keys",
        metavar="FILE|URL",
        default=IAP_KEYS,
        help="where Google's keys are (JWK Set)",
        group=GROUP,
    ),
]
