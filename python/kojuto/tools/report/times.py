"""Times as people and logs write them, and as a report shows them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from kojuto.common.units import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import tzinfo

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
EXPECTED = (
    "not a time (write 2026-11-29T12:48:00+09:00, 29/Nov/2026:12:48:00 +0900, 12:48, -15m before "
    "now or end-15m before the last line)"
)


FIRST_CHANGE_S = 946_684_800
"""2000-01-01: no earlier change of the clock is looked for."""
CHANGES_APART_S = 14 * 86400
"""A clock that was changed is left so for longer (Morocco's in Ramadan: a month)."""

GRAIN_S = 900
"""Clocks are changed at quarters of an hour, UTC."""


def clock_changes(now_s: float) -> list[tuple[int, int]]:
    """The changes of this machine's clock, to a year from now: when, and how far it is ahead then.

    Seconds since the epoch, and seconds ahead of UTC; the first has what holds before.
    """
    from time import localtime

    at = FIRST_CHANGE_S
    found = [(at, localtime(at).tm_gmtoff)]
    while at < now_s + 366 * 86400:
        before, at = at, at + CHANGES_APART_S
        if localtime(at).tm_gmtoff == found[-1][1]:
            continue
        first = at
        while first - before > GRAIN_S:
            middle = before + (first - before) // GRAIN_S // 2 * GRAIN_S
            if localtime(middle).tm_gmtoff == found[-1][1]:
                before = middle
            else:
                first = middle
        found.append((first, localtime(first).tm_gmtoff))
    return found


class Bound:
    """An end of a window of time, as it was written.

    Attributes:
        kind: ``at`` (seconds since the epoch), ``local`` (a wall clock's, in seconds since the
            epoch as if it were UTC's), ``clock`` (seconds since midnight), ``now`` or ``end``
            (seconds before now, or before the last line).
        value: the seconds.
    """

    __slots__ = ("kind", "value")

    def __init__(self, kind: str, value: float) -> None:
        self.kind = kind
        self.value = value

    def resolve(self, *, now_s: float, end_s: float | None, zone_s: int | None) -> float:
        """Seconds since the epoch.

        Args:
            now_s: the time it is.
            end_s: of the last line; None when no line has a time.
            zone_s: the log's offset; None for the local zone.

        `12:48` is the last one that is not after the last line.
        """
        end_s = now_s if end_s is None else end_s
        if self.kind == "now":
            return now_s - self.value
        if self.kind == "end":
            return end_s - self.value
        if self.kind == "at":
            return self.value
        zone = zone_of(zone_s)
        if self.kind == "local":
            wall = datetime.fromtimestamp(self.value, timezone.utc).replace(tzinfo=None)
            return wall.replace(tzinfo=zone).timestamp() if zone else wall.timestamp()
        day = datetime.fromtimestamp(end_s, zone).replace(hour=0, minute=0, second=0, microsecond=0)
        found = (day + timedelta(seconds=self.value)).timestamp()
        if found > end_s:
            found = (day + timedelta(days=-1, seconds=self.value)).timestamp()
        return found


def zone_of(zone_s: int | None) -> tzinfo | None:
    """The zone of an offset in seconds; None, the local one, of None."""
    return None if zone_s is None else timezone(timedelta(seconds=zone_s))


def moment(at_s: float, zone: tzinfo | None) -> datetime:
    """A time in a zone, in the local one when it is None; to the millisecond."""
    return datetime.fromtimestamp(round(at_s, 3), timezone.utc).astimezone(zone)


def rfc3339(at_s: float | None, zone: tzinfo | None) -> str | None:
    """A time as RFC 3339 has it, with the zone's offset; whole seconds have no fraction."""
    if at_s is None:
        return None
    at = moment(at_s, zone)
    return at.isoformat(timespec="milliseconds" if at.microsecond else "seconds")


def read_bound(text: str) -> Bound:
    """An end of a window.

    Raises:
        ValueError: it is no time.
    """
    text = text.strip()
    for kind, before in (("end", "end-"), ("now", "now-"), ("now", "-")):
        if text.startswith(before):
            return Bound(kind, duration(text[len(before) :]))
    if text in ("now", "end"):
        return Bound(text, 0.0)
    found = _clock(text) or _log_time(text) or _iso_time(text)
    if found is None:
        raise ValueError(EXPECTED)
    return found


def bound_of(value: str | datetime | float) -> Bound:
    """An end of a window as programs give it: in words, as a moment, or in seconds since the epoch.

    Raises:
        ValueError: it is no time.
    """
    if isinstance(value, str):
        return read_bound(value)
    if isinstance(value, int | float):
        return Bound("at", float(value))
    return Bound("at", value.timestamp())


def _clock(text: str) -> Bound | None:
    """``12:48`` and ``12:48:30``."""
    parts = text.split(":")
    if not 2 <= len(parts) <= 3 or not all(
        p.isascii() and p.isdigit() and len(p) == 2 for p in parts
    ):
        return None
    hour, minute, second = (*map(int, parts), 0)[:3]
    if hour > 23 or minute > 59 or second > 59:
        return None
    return Bound("clock", float(hour * 3600 + minute * 60 + second))


def _log_time(text: str) -> Bound | None:
    """``29/Nov/2026:12:48:00 +0900``, in brackets or not, with or without its zone."""
    day, slash, rest = text.strip("[]").partition("/")
    month, other_slash, rest = rest.partition("/")
    if not slash or not other_slash or month.capitalize() not in MONTHS:
        return None
    number = MONTHS.index(month.capitalize()) + 1
    year, _, clock = rest.partition(":")
    return _iso_time(f"{year}-{number:02}-{day:0>2}T{clock.replace(' ', '', 1)}")


def _iso_time(text: str) -> Bound | None:
    """RFC 3339, also with a blank for the T, without seconds, a zone, or a time of day."""
    if not text.isascii() or len(text) < 10 or text[10:11] not in ("", "T", "t", " "):
        return None
    day, clock = text[:10], text[11:].replace(" ", "").upper()
    if clock.endswith("Z"):
        clock = clock[:-1] + "+00:00"
    sign = max(clock.find("+"), clock.find("-"))
    offset = clock[sign:] if sign > 0 else ""
    clock = clock[:sign] if sign > 0 else clock
    if len(offset) == 5:
        offset = f"{offset[:3]}:{offset[3:]}"
    head, dot, fraction = clock.partition(".")
    if dot:
        if not fraction.isdigit():
            return None
        clock = f"{head}.{fraction[:6]:0<6}"
    try:
        at = datetime.fromisoformat(f"{day}T{clock or '00:00'}{offset}")
        if at.tzinfo is None:
            return Bound("local", at.replace(tzinfo=timezone.utc).timestamp())
        return Bound("at", at.timestamp())
    except (ValueError, OverflowError):
        return None


def read_zone(text: str) -> tzinfo | None:
    """The zone in which times are shown: ``local`` (None), ``UTC``, ``+09:00``, ``Asia/Tokyo``.

    Raises:
        ValueError: there is no such zone.
    """
    if text == "local":
        return None
    if text.upper() in ("UTC", "Z"):
        return timezone.utc
    if text.startswith(("+", "-")):
        digits = text[1:].replace(":", "", 1).ljust(4, "0") if len(text) > 2 else ""
        if len(digits) != 4 or not digits.isascii() or not digits.isdigit() or digits > "1400":
            raise ValueError("not an offset (write +09:00)")
        ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        return timezone(-ahead if text[0] == "-" else ahead)
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(text)
    except (OSError, ValueError, KeyError):
        raise ValueError("not a time zone (write UTC, local, +09:00 or Asia/Tokyo)") from None
