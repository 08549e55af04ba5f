"""The library of charts, uPlot: read from the package that carries it, which is never imported."""

from __future__ import annotations

from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import Distribution

NAME = "uPlot 1.6.31"
CARRIER = "youplot"
VERSION = "1.0.0"
SHA256 = {
    "youplot/vendor/uplot.iife.min.js": (
        "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2"
    ),
    "youplot/vendor/uplot.min.css": (
        "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"
    ),
}
"""Of the files of uPlot's own release 1.6.31, whose names in the carrier these are."""
INSTALL = "pip install 'kojuto[report]'"


class Library:
    """Its script and its style, as text."""

    __slots__ = ("script", "style")

    def __init__(self, script: str, style: str) -> None:
        self.script = script
        self.style = style


def read() -> Library:
    """The files of the release, wherever the carrier is installed.

    Raises:
        KojutoError: it is not installed, or a file of it is not the one of the release.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        carrier = distribution(CARRIER)
    except PackageNotFoundError:
        raise KojutoError(
            f"--html needs the package {CARRIER}, which has {NAME}", INSTALL
        ) from None
    script, style = (_text(carrier, name) for name in SHA256)
    return Library(script, style)


def _text(carrier: Distribution, name: str) -> str:
    from hashlib import sha256

    path = str(carrier.locate_file(name))
    hint = f"pip install --force-reinstall {CARRIER}=={VERSION}"
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        raise KojutoError(f"{path} of the package {CARRIER} is missing", hint) from None
    if sha256(content).hexdigest() != SHA256[name]:
        raise KojutoError(f"{path} is not the file of {NAME}: it has another SHA-256", hint)
    return content.decode()
