"""What was asked for in TLS terms, by MySQL's and by MariaDB's names."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from kojuto.errors import KojutoError, words
from kojuto.tools.myps.options import SSL_MODES as MODES

if TYPE_CHECKING:
    from kojuto.tools.myps.prefixes import Setting

VERSIONS = {
    "TLSV1.0": ssl.TLSVersion.TLSv1, "TLSV1.1": ssl.TLSVersion.TLSv1_1,
    "TLSV1.2": ssl.TLSVersion.TLSv1_2, "TLSV1.3": ssl.TLSVersion.TLSv1_3,
}  # fmt: skip
FILES = ("ssl-ca", "ssl-capath", "ssl-cert", "ssl-key", "ssl-crl", "ssl-crlpath")


class Tls:
    """The mode and the files of TLS.

    A later option wins over an earlier one, but a wish to verify the server's certificate stands
    (as with the client of MariaDB), and where only that client would go on in plain text because
    the server has no TLS, this one fails, as MySQL's does.

    Args:
        settings: all that is set, in its order.

    Raises:
        KojutoError: a mode is not one of `MODES`.
    """

    def __init__(self, settings: list[Setting]) -> None:
        self._files: dict[str, str] = {}
        self._mode = ""
        self._on: bool | None = None
        self._verify = False
        for name, value in settings:
            self._take(name, value or "")
        self.mode = self._chosen()

    def _take(self, name: str, value: str) -> None:
        if name == "ssl-mode":
            if value.upper() not in MODES:
                raise KojutoError(f"ssl-mode={value}: not one of {', '.join(MODES)}")
            self._mode, self._on, self._verify = value.upper(), None, False
        elif name == "ssl":
            self._on = value == "1"
        elif name == "ssl-verify-server-cert":
            self._verify = value == "1"
        elif name in (*FILES, "ssl-cipher"):
            self._files[name] = value
            if not self._mode:
                self._on = True
        elif name == "tls-version":
            self._files[name] = value

    def _chosen(self) -> str:
        if self._verify:
            return "VERIFY_IDENTITY"
        if self._on is False:
            return "DISABLED"
        if self._mode and not (self._on and self._mode in ("DISABLED", "PREFERRED")):
            return self._mode
        if not self._on:
            return "PREFERRED"
        return "VERIFY_CA" if {"ssl-ca", "ssl-capath"} & self._files.keys() else "REQUIRED"

    @property
    def required(self) -> bool:
        """Whether nothing may be sent without it."""
        return MODES.index(self.mode) >= MODES.index("REQUIRED")

    def arguments(self, by_socket: bool) -> dict[str, Any]:
        """What pymysql is to be given.

        Raises:
            KojutoError: a file cannot be read, or a cipher or version is unknown.
        """
        if self.mode == "DISABLED" or (by_socket and self.mode == "PREFERRED"):
            return {"ssl_disabled": True}
        files = self._files
        try:
            context = ssl.create_default_context(
                cafile=files.get("ssl-ca"), capath=files.get("ssl-capath")
            )
            if "ssl-cert" in files:
                context.load_cert_chain(files["ssl-cert"], files.get("ssl-key"))
            if "ssl-crl" in files or "ssl-crlpath" in files:
                context.load_verify_locations(files.get("ssl-crl"), files.get("ssl-crlpath"))
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        except (OSError, ssl.SSLError) as error:
            named = ", ".join(files[name] for name in FILES if name in files)
            raise KojutoError(f"TLS files {named}: {words(error)}") from None
        context.check_hostname = self.mode == "VERIFY_IDENTITY"
        if not self.mode.startswith("VERIFY"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._narrow(context)
        return {"ssl": context}

    def _narrow(self, context: ssl.SSLContext) -> None:
        """Allow the ciphers and versions that were asked for and no other."""
        ciphers = self._files.get("ssl-cipher")
        if ciphers:
            try:
                context.set_ciphers(ciphers)
            except ssl.SSLError as error:
                raise KojutoError(f"ssl-cipher={ciphers}: {error}") from None
        wanted = self._files.get("tls-version")
        if wanted:
            named = [VERSIONS.get(name.strip().upper()) for name in wanted.split(",")]
            versions = sorted(version for version in named if version is not None)
            if not versions:
                raise KojutoError(f"tls-version={wanted}: none that is known", "TLSv1.2, TLSv1.3")
            context.minimum_version, context.maximum_version = versions[0], versions[-1]
