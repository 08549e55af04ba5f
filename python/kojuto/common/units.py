"""Durations, sizes and numbers as people write them.

Each function takes the text and returns the value or raises `ValueError` with a sentence that
says what is expected; `kojuto.common.cli` puts the option's name and the value before it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # the micro sign, U+00B5
    "μs": 1e-6,  # the Greek letter, U+03BC
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}

_SIZES = {"": 1}
for _power, _letter in enumerate("kmgtpe", start=1):
    _SIZES[_letter] = _SIZES[_letter + "b"] = 1000**_power
    _SIZES[_letter + "i"] = _SIZES[_letter + "ib"] = 1024**_power
_SIZES["b"] = 1


def _split(text: str) -> tuple[str, str, str]:
    """Cut ``1.5h30m`` into number, unit and rest."""
    end = 0
    while end < len(text) and ((text[end].isascii() and text[end].isdigit()) or text[end] == "."):
        end += 1
    unit_end = end
    while unit_end < len(text) and not (text[unit_end].isdigit() or text[unit_end] == "."):
        unit_end += 1
    return text[:end], text[end:unit_end], text[unit_end:]


def duration(text: str) -> float:
    """Seconds of ``500ms``, ``60s``, ``1h``, ``24h0m0s``, ``1d`` or plain seconds.

    Args:
        text: what the user wrote; the units are those of Go's ``time.ParseDuration`` and ``d``.

    Returns:
        Seconds, not negative.

    Raises:
        ValueError: it is no duration.
    """
    total = 0.0
    rest = text.strip()
    if not rest:
        raise ValueError("no duration (write 500ms, 60s, 1h or plain seconds)")
    plain = True
    while rest:
        digits, unit, rest = _split(rest)
        scale = _SECONDS.get(unit) if unit or not plain or rest else 1.0
        try:
            value = float(digits)
        except ValueError:
            scale = None
        if scale is None:
            raise ValueError("no duration (write 500ms, 60s, 1h or plain seconds)")
        total += value * scale
        plain = False
    return total


def size(text: str) -> int:
    """Bytes of ``100M``, ``32KB``, ``2GiB`` or a plain number.

    Args:
        text: what the user wrote; K, M, G, T are powers of 1000, Ki, Mi, Gi, Ti of 1024.

    Returns:
        Bytes, not negative.

    Raises:
        ValueError: it is no size.
    """
    digits, unit, rest = _split(text.strip().replace("_", ""))
    scale = _SIZES.get(unit.strip().lower())
    try:
        value = float(digits)
    except ValueError:
        scale = None
    if scale is None or rest:
        raise ValueError("no size (write 100M, 32KB, 2GiB or plain bytes)")
    return int(digits) * scale if digits.isdigit() else round(value * scale)


def sized(low: int = 0, high: int = 10**18) -> Callable[[str], int]:
    """Make a reader of sizes from `low` to `high` bytes, both included."""

    def read(text: str) -> int:
        value = size(text)
        if value < low:
            raise ValueError(f"below the minimum of {low} bytes")
        if value > high:
            raise ValueError(f"above the maximum of {high} bytes")
        return value

    return read


def integer(low: int | None = None, high: int | None = None) -> Callable[[str], int]:
    """Make a reader of whole numbers from `low` to `high`, both included."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError("no whole number") from None
        if low is not None and value < low:
            raise ValueError(f"below the minimum of {low}")
        if high is not None and value > high:
            raise ValueError(f"above the maximum of {high}")
        return value

    return read


def number(low: float | None = None, high: float | None = None) -> Callable[[str], float]:
    """Make a reader of finite numbers from `low` to `high`, both included."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError("no number") from None
        if value - value != 0:  # NaN or infinite
            raise ValueError("no finite number")
        if low is not None and value < low:
            raise ValueError(f"below the minimum of {low:g}")
        if high is not None and value > high:
            raise ValueError(f"above the maximum of {high:g}")
        return value

    return read


def format_size(count: float) -> str:
    """``1234567`` as ``1.2 MB`` (powers of 1000)."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError
