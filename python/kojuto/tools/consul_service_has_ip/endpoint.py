"""Where Consul is and what it takes to be let in: URL, token, certificates, HTTP proxy."""

from __future__ import annotations

import os
from contextlib import suppress

from kojuto.common.server.listen import address_text, url_host
from kojuto.errors import KojutoError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssl import SSLContext


class Endpoint:
    """Where Consul is.

    Args:
        text: ``http://HOST:PORT[/PREFIX]``, ``https://…``, ``unix:///PATH``, or ``HOST:PORT`` as
            in ``CONSUL_HTTP_ADDR``.
        tls: http means https.

    Raises:
        ValueError: it has none of these forms.
    """

    def __init__(self, text: str, *, tls: bool = False) -> None:
        from urllib.parse import urlsplit

        scheme, separator, _ = text.partition("://")
        if not separator:
            text = f"{'https' if tls else 'http'}://{text}"
        parts = urlsplit(text)
        scheme = "https" if tls and parts.scheme == "http" else parts.scheme
        if scheme not in ("http", "https", "unix"):
            raise ValueError("not an endpoint (write http://127.0.0.1:8500)")
        if parts.query or parts.fragment:
            raise ValueError("an endpoint must have no query (?) or fragment (#)")
        self.tls = scheme == "https"
        self.path = parts.path.rstrip("/")
        self.unix: str | None = None
        self.authorization: str | None = None
        if scheme == "unix":
            self.unix, self.path, self.port = parts.path, "", 0
            self.host = self.server_name = "localhost"
            if not self.unix:
                raise ValueError("no path of a socket (write unix:///run/consul.sock)")
            self.netloc, self.name = "localhost", f"unix://{self.unix}"
            return
        if not parts.hostname:
            raise ValueError("no host (write http://127.0.0.1:8500)")
        self.host, self.server_name = url_host(parts.hostname)
        # As the URL has it: the original takes the scheme's own port.
        default = (443 if self.tls else 80) if separator else 8500
        self.port = default if parts.port is None else parts.port
        self.authorization = _basic(parts.username, parts.password)
        self.netloc = address_text(self.server_name, self.port)
        self.name = f"{scheme}://{address_text(self.host, self.port)}{self.path}"


class Token:
    """The secret that Consul is shown.

    ``CONSUL_HTTP_TOKEN_FILE`` and ``CONSUL_HTTP_TOKEN`` are taken as the consul command takes
    them: a file wins.

    Args:
        path: of a file that holds it.

    Raises:
        KojutoError: the file cannot be read.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path or os.environ.get("CONSUL_HTTP_TOKEN_FILE") or None
        self._text = os.environ.get("CONSUL_HTTP_TOKEN", "").strip()
        if self.path is not None:
            try:
                self._text = self._read(self.path)
            except (OSError, ValueError) as error:
                raise KojutoError(
                    f"{self.path}: {words(error)}",
                    "it must hold the Consul token, in one line",
                ) from None

    @staticmethod
    def _read(path: str) -> str:
        with open(path, encoding="ascii") as file:
            text = file.read(4097).strip()
        if not text or len(text) > 4096 or not text.isprintable():
            raise ValueError("holds no token")
        return text

    def again(self) -> str | None:
        """Read the file again; what is known stays when it cannot be read.

        Returns:
            What is wrong with the file, if anything; Consul's next answer tells whether the token
            at hand still holds.
        """
        if self.path is not None:
            try:
                self._text = self._read(self.path)
            except (OSError, ValueError) as error:
                return f"{self.path}: {words(error)}"
        return None

    @property
    def text(self) -> str:
        """The token, or nothing."""
        return self._text

    def hide(self, message: str) -> str:
        """`message` without the token."""
        return message.replace(self._text, "*****") if self._text else message


class Proxy:
    """The HTTP proxy that the environment names (``http_proxy``, ``https_proxy``, ``no_proxy``).

    Args:
        text: its URL.

    Raises:
        ValueError: it is not an HTTP proxy.
    """

    def __init__(self, text: str) -> None:
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            (self.host, _), self.port = url_host(parts.hostname or ""), parts.port or 80
        except ValueError:
            self.host = ""
        if not self.host or parts.scheme != "http":
            raise ValueError("not an HTTP proxy (write http://HOST:PORT)")
        self.authorization = _basic(parts.username, parts.password)


def find_proxy(endpoint: Endpoint) -> Proxy | None:
    """The proxy on the way to Consul; none to this machine.

    Raises:
        KojutoError: what the environment names is not a proxy.
    """
    from ipaddress import ip_address
    from urllib.request import getproxies, proxy_bypass

    if endpoint.unix is not None or endpoint.host == "localhost":
        return None
    with suppress(ValueError):
        if ip_address(endpoint.host).is_loopback:
            return None
    name = "https" if endpoint.tls else "http"
    url = getproxies().get(name)
    if not url or proxy_bypass(endpoint.netloc):
        return None
    try:
        return Proxy(url)
    except ValueError as error:
        hint = f"unset {name}_proxy, or list the host in no_proxy"
        raise KojutoError(f"{name}_proxy: {error}", hint) from None


def _basic(user: str | None, password: str | None) -> str | None:
    """The value of an Authorization header (RFC 7617) for what a URL holds."""
    if user is None:
        return None
    from base64 import b64encode
    from urllib.parse import unquote

    return "Basic " + b64encode(f"{unquote(user)}:{unquote(password or '')}".encode()).decode()


def tls_context(ca_file: str | None) -> SSLContext:
    """How to verify Consul, by a file or by the consul command's variables.

    Those are ``CONSUL_CACERT``, ``CONSUL_CAPATH``, ``CONSUL_CLIENT_CERT``, ``CONSUL_CLIENT_KEY``
    and ``CONSUL_HTTP_SSL_VERIFY``.

    Raises:
        KojutoError: a file cannot be used.
    """
    import ssl

    get = os.environ.get
    ca_file = ca_file or get("CONSUL_CACERT") or None
    certificate = get("CONSUL_CLIENT_CERT") or None
    at_work = ca_file
    try:
        context = ssl.create_default_context(cafile=ca_file, capath=get("CONSUL_CAPATH") or None)
        at_work = certificate
        if certificate:
            context.load_cert_chain(certificate, get("CONSUL_CLIENT_KEY") or None)
    except OSError as error:  # ssl.SSLError is one
        raise KojutoError(f"{at_work}: {words(error)}", "it must be a PEM file") from None
    if get("CONSUL_HTTP_SSL_VERIFY", "").lower() in ("0", "false", "f"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
