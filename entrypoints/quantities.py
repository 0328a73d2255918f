"""Durations and sizes as people write them: `30s`, `800ms`, `40MB`. For the configuration and for requests."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

DURATION_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
DURATION_MAX = timedelta(days=36_500)
"""A hundred years: added to any time we meet, it is still a time."""
DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(ms|s|m|h|d)")
DURATION_FORM = "write it like '800ms', '30s', '5m', '24h' or '7d'"

SIZE_UNITS = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KIB": 1024,
    "MIB": 1024**2,
    "GIB": 1024**3,
}
SIZE_MAX = 2 * 1000**3
"""Two gigabytes: a request is held in memory, and no provider takes a hundredth of that."""
SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([KMG]?I?B)", re.IGNORECASE)
SIZE_FORM = "write it like '512KB', '40MB' or '32MiB'"


def parse_duration(text: str) -> timedelta:
    """Read `5m` (ms, s, m, h or d); above zero. Raises ValueError with the form that would be right."""
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration; {DURATION_FORM}")
    units = Decimal(match[1])
    if units > DURATION_MAX / DURATION_UNITS[match[2]]:
        raise ValueError(f"{text!r} is too long; at most '{DURATION_MAX.days}d'")
    duration = timedelta(microseconds=int(units * (DURATION_UNITS[match[2]] // timedelta(microseconds=1))))
    if not duration:
        raise ValueError(f"{text!r} is no time at all; {DURATION_FORM}")
    return duration


def parse_size(text: str) -> int:
    """Read `40MB` (powers of 1000) or `32MiB` (of 1024) as bytes; above zero. Raises ValueError likewise."""
    match = SIZE.fullmatch(text.strip())
    if match is None or match[2].upper() not in SIZE_UNITS:
        raise ValueError(f"{text!r} is not a size; {SIZE_FORM}")
    size = int(Decimal(match[1]) * SIZE_UNITS[match[2].upper()])
    if not 0 < size <= SIZE_MAX:
        raise ValueError(f"{text!r} is out of range; above zero and at most '2GB'")
    return size


def length(seconds: float) -> str:
    """Seconds as people write them: `800ms`, `12.3s`, `40m03s`, `2h05m`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms" if seconds else "0"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m" if minutes else f"{hours}h"
    return f"{minutes}m{rest:02d}s" if rest else f"{minutes}m"


def pace(per_s: float) -> str:
    """So many a second as people write it: `50/s`, `2/m`."""
    for unit, seconds in (("s", 1), ("m", 60), ("h", 3600)):
        if per_s * seconds >= 1:
            return f"{per_s * seconds:g}/{unit}"
    return f"{per_s * 86_400:g}/d"
