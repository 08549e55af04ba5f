"""Durations, sizes and numbers as people write them.

Each function takes the text and returns the value or raises `ValueError` with a sentence that
says what is expected; `kojuto.common.parser` puts the option's name and the value before it.
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

LARGEST = 10**18
"""1EB: what a size may be at most; sums of two still fit into 64 bits with a sign."""


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
        Seconds, not negative; infinite when no float can hold them.

    Raises:
        ValueError: it is not a duration.
    """
    total = 0.0
    rest = text.strip()
    if not rest:
        raise ValueError("not a duration (write 500ms, 60s, 1h or plain seconds)")
    plain = True
    while rest:
        digits, unit, rest = _split(rest)
        scale = _SECONDS.get(unit) if unit or not plain or rest else 1.0
        try:
            value = float(digits)
        except ValueError:
            scale = None
        if scale is None:
            raise ValueError("not a duration (write 500ms, 60s, 1h or plain seconds)")
        total += value * scale
        plain = False
    return total


def timed(low: str, high: str, *, zero: bool = False) -> Callable[[str], float]:
    """Make a reader of durations.

    Args:
        low: the least, as it is typed; the messages show it so.
        high: the most, likewise.
        zero: whether 0 is taken too, where it has a meaning of its own below `low`.
    """

    def read(text: str) -> float:
        value = duration(text)
        if not (zero and value == 0):
            _check(value, duration(low), duration(high), low, high, zero=zero)
        return value

    return read


def _bytes(text: str) -> float:
    """Bytes, a whole number as long as it can be told exactly; infinite when no float holds it."""
    digits, unit, rest = _split(text.strip().replace("_", ""))
    scale = _SIZES.get(unit.strip().lower())
    try:
        value = float(digits)
    except ValueError:
        scale = None
    if scale is None or rest:
        raise ValueError("not a size (write 100M, 32KB, 2GiB or plain bytes)")
    if value * scale > LARGEST:
        return value * scale
    return int(digits) * scale if digits.isdigit() else round(value * scale)


def size(text: str) -> int:
    """Bytes of ``100M``, ``32KB``, ``2GiB`` or a plain number.

    Args:
        text: what the user wrote; K, M, G, T are powers of 1000, Ki, Mi, Gi, Ti of 1024.

    Returns:
        Bytes, not negative.

    Raises:
        ValueError: it is not a size, or more than `LARGEST`.
    """
    value = _bytes(text)
    if value > LARGEST:
        raise ValueError("above the maximum of 1EB")
    return int(value)


def sized(low: str = "0", high: str = "1EB", *, zero: bool = False) -> Callable[[str], int]:
    """Make a reader of sizes; `low`, `high` and `zero` as those of `timed`."""

    def read(text: str) -> int:
        value = _bytes(text)
        if not (zero and value == 0):
            _check(value, size(low), size(high), low, high, zero=zero)
        return int(value)

    return read


def integer(low: int, high: int, unit: str = "") -> Callable[[str], int]:
    """Make a reader of whole numbers from `low` to `high`, both included.

    Args:
        low: the least.
        high: the most.
        unit: what is counted, for the messages: ms, minutes, days.
    """

    def read(text: str) -> int:
        digits = text.strip().removeprefix("+")
        below = digits.startswith("-")
        digits = digits.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            raise ValueError("not a whole number")
        # Python reads no number of thousands of digits; the first 32 decide as well.
        value = int(digits.lstrip("0")[:32] or "0")
        value = -value if below else value
        _check(value, low, high, _with(low, unit), _with(high, unit))
        return value

    return read


def number(low: float, high: float, unit: str = "") -> Callable[[str], float]:
    """Make a reader of numbers from `low` to `high`, both included; `unit` as in `integer`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError("not a number") from None
        if value - value != 0 or not text.isascii():  # NaN or infinite
            raise ValueError("not a finite number")
        _check(value, low, high, _with(f"{low:.15g}", unit), _with(f"{high:.15g}", unit))
        return value

    return read


def percentiles(text: str, *, zero: bool = True) -> list[tuple[str, float]]:
    """Each percentile of ``99.9,99,50`` as it was written, and as a number.

    Args:
        text: what the user wrote.
        zero: whether 0 is one.

    Raises:
        ValueError: a part is not a percentile.
    """
    found = []
    for part in map(str.strip, text.split(",")):
        try:
            value = float(part)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 100 or not (value or zero) or not part.isascii() or "_" in part:
            expected = "numbers from 0 to 100" if zero else "numbers above 0 and up to 100"
            raise ValueError(f"'{part}' is not a percentile (write {expected}: 99.9,99,50)")
        found.append((part, value))
    return found


def _with(value: object, unit: str) -> str:
    if str(value) == "1" and len(unit) > 2:
        unit = unit.removesuffix("s")  # minutes, not ms
    return f"{value} {unit}" if unit else f"{value}"


def _check(
    value: float, low: float, high: float, low_text: str, high_text: str, *, zero: bool = False
) -> None:
    """Refuse what is out of range, with the whole range in the sentence."""
    which = "0, or " if zero else ""
    if value < low:
        raise ValueError(f"below the minimum of {low_text} ({which}{low_text} to {high_text})")
    if value > high:
        raise ValueError(f"above the maximum of {high_text} ({which}{low_text} to {high_text})")


def format_size(count: float) -> str:
    """``1234567`` as ``1.2 MB`` (powers of 1000)."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError
