"""The toolbox of a site-reliability engineer: ops commands on a Rust core.

Each command lives in ``kojuto.tools`` under its own name; ``kojuto.commands`` lists them. For other
programs there are `kojuto.Sketch`, ``kojuto.report``, ``kojuto.logs`` and ``kojuto.sabo``.
"""

__all__ = ["Sketch", "__version__"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto._native import Sketch

    __version__: str

_OF_THE_CORE = {"Sketch": "Sketch", "__version__": "CORE_VERSION"}


def __getattr__(name: str) -> object:
    """What the Rust core has, which comes along once it is asked for (PEP 562)."""
    if name not in _OF_THE_CORE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kojuto import _native

    value: object = getattr(_native, _OF_THE_CORE[name])
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What the module has, what it gets later included."""
    return sorted({*globals(), *__all__})
