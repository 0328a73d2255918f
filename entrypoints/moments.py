"""A moment as people name it: a time with its offset, or so long ago. For the command line and for queries."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from entrypoints.quantities import DURATION, parse_duration

MOMENT_FORM = (
    "write a time with its offset (RFC 3339), like '2026-12-24T18:00:00Z', or how long ago, like '10m'"
)
RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+ -][0-9]{2}:[0-9]{2})"
)
"""With a space for the `+`, which is what a query makes of one that was not escaped."""
AHEAD_MAX = timedelta(seconds=5)
"""The database's clock, by which events are dated, may be so far ahead of ours."""
MICROSECOND = timedelta(microseconds=1)
DIGITS = 6
"""Of a second, that a time has here."""


def parse_moment(text: str, now: datetime) -> datetime:
    """Read `2026-12-24T18:00:00+01:00`, or `10m` for ten minutes before `now`.

    A time is as long as it is written: `18:00:00.593Z` ends with that millisecond, so that what is shown with a
    time has happened by it. Raises ValueError, with the form that would be right, also for what is still to come.
    """
    text = text.strip()
    if DURATION.fullmatch(text):
        return now - parse_duration(text)
    match = RFC_3339.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        date, time, fraction, offset = match.groups(default="")
        fraction = fraction[:DIGITS]
        whole = datetime.fromisoformat(f"{date}T{time}{offset.upper().replace(' ', '+')}").astimezone(UTC)
        begins = whole + int(fraction.ljust(DIGITS, "0")) * MICROSECOND
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no moment; {MOMENT_FORM}") from None
    if begins > now + AHEAD_MAX:
        raise ValueError(f"{text!r} is still to come")
    unit: int = 10 ** (DIGITS - len(fraction))
    return begins + (unit - 1) * MICROSECOND
