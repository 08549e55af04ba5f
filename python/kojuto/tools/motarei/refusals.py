"""Why Docker does not answer, in words, and the way out."""

from __future__ import annotations

import os

from kojuto.errors import KojutoError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from docker.errors import APIError
    from requests import Response

ALLOW = (
    "what DOCKER_HOST leads to must allow it; docker-socket-proxy does with CONTAINERS=1, and "
    "EVENTS=1 for changes at once"
)
NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}
"""OpenSSL's codes for an engine that does not speak TLS at all."""


class RefusalError(KojutoError):
    """The engine, or a proxy before it, answers that it will not or cannot do what is asked."""

    def __init__(self, response: Response, explanation: str | None) -> None:
        path = response.request.path_url.partition("?")[0]
        said = f"{response.status_code} {response.reason}"
        why = " ".join((explanation or "").split())
        if why and not why.startswith("<"):  # a page for people
            said += f": {why}"
        forbidden = response.status_code in (401, 403)
        super().__init__(
            f"Docker refuses {response.request.method} {path}: {said}",
            ALLOW if forbidden else "the engine's own log says why",
        )


def as_error(error: Exception) -> KojutoError:
    """What is told of an exception of docker-py's."""
    from docker.errors import APIError

    for one in _chain(error):
        if isinstance(one, APIError):
            return refusal(one)
    return KojutoError(f"Docker does not answer: {_reason(error)}", _hint(error))


def refusal(error: APIError) -> RefusalError:
    """The same of an answer that says no."""
    assert error.response is not None, "docker-py makes one of each answer"
    return RefusalError(error.response, error.explanation)


def check_host() -> None:
    """Refuse a ``DOCKER_HOST`` that cannot serve.

    Raises:
        KojutoError: it is to be reached by ssh, which neither gives the API nor the ports.
    """
    host = os.environ.get("DOCKER_HOST", "")
    if host.startswith("ssh://"):
        raise KojutoError(
            f"DOCKER_HOST={host}: motarei does not log in by ssh",
            f"forward its socket, 'ssh -N -L /tmp/docker.sock:/var/run/docker.sock {host}', set "
            "DOCKER_HOST=unix:///tmp/docker.sock, and give --proxy-connect-ip the address at which "
            "the containers' ports are reached",
        )


def _hint(error: Exception) -> str:
    """The way out."""
    import ssl

    from docker.errors import TLSParameterError

    chain = _chain(error)
    no_tls = any(isinstance(one, ssl.SSLError) and one.reason in NO_TLS for one in chain)
    if any(isinstance(one, (ssl.SSLError, TLSParameterError)) for one in chain) and not no_tls:
        return (
            "DOCKER_CERT_PATH needs ca.pem (who signed the engine's certificate), cert.pem and "
            "key.pem (signed by whom the engine trusts)"
        )
    return "is the engine running, and is DOCKER_HOST right?"


def _reason(error: Exception) -> str:
    """The innermost words of an exception chain, in one line."""
    import ssl

    inner = _chain(error)[-1]
    if isinstance(inner, ssl.SSLEOFError):
        # The engine may hang up before its alert is read (TLS 1.3, RFC 8446, 4.4.2.4).
        return "the engine ended the TLS handshake, as for a certificate it does not trust"
    return " ".join(words(inner).split())


def _chain(error: Exception) -> list[Exception]:
    """An exception, the one that it was made of, and so on to the first.

    Of some that requests and urllib3 wrap, only the argument tells.
    """
    chain: list[Exception] = []
    inner: object = error
    while isinstance(inner, Exception) and inner not in chain:
        chain.append(inner)
        inner = inner.__cause__ or inner.__context__ or next(iter(inner.args), None)
    return chain
