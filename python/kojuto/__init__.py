"""The toolbox of a site-reliability engineer: ops commands on a Rust core.

Each command lives in ``kojuto.tools`` under its own name; ``kojuto.commands`` lists them. For other
programs there are `kojuto.Sketch`, ``kojuto.report``, ``kojuto.logs`` and ``kojuto.sabo``.
"""

__version__ = "0.1.0"
__all__ = ["Sketch", "__version__"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto._native import Sketch


def __getattr__(name: str) -> object:
    """`Sketch`, which brings the Rust core along, once it is asked for (PEP 562)."""
    if name != "Sketch":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kojuto._native import Sketch

    globals()[name] = Sketch
    return Sketch


def __dir__() -> list[str]:
    """What the module has, what it gets later included."""
    return sorted({*globals(), *__all__})
