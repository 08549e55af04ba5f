"""Why Docker does not answer, in words, and the way out."""

from __future__ import annotations

from kojuto.errors import words

NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}
"""OpenSSL's codes for an engine that does not speak TLS at all."""


def hint(error: Exception) -> str:
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


def reason(error: Exception) -> str:
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
