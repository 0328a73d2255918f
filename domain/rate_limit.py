"""Rates and sliding windows: never more than N starts in any window, at the same cost whatever the rate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from domain.frozen import quick

BUCKETS_PER_WINDOW = 60
BUCKETS_KEPT = BUCKETS_PER_WINDOW + 1
"""One more than the window has: the oldest is only partly inside, and counts until it is wholly outside.
With 60, a burst at the end of a bucket could be followed by another within the same window (2N)."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
RATE = re.compile(r"([1-9][0-9_]*)\s*/\s*([smhd])")


@quick
@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` attempts started in any `window`."""

    limit: int
    window: timedelta

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read `600/m` (s, m, h or d). Raises ValueError with the form that would be right."""
        match = RATE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not a rate; write it like '14/s', '600/m', '5000/h' or '50000/d'")
        return cls(int(match[1].replace("_", "")), UNITS[match[2]])

    def __str__(self) -> str:
        unit = next(unit for unit, window in UNITS.items() if window == self.window)
        return f"{self.limit}/{unit}"


@quick
@dataclass(frozen=True, slots=True)
class Window:
    """Starts counted in buckets of a 60th of the window; `counts` holds (bucket, starts), ascending."""

    window: timedelta
    counts: tuple[tuple[int, int], ...] = ()

    def bucket(self, at: datetime) -> int:
        """The number of the bucket that `at` falls into, counted from 1970."""
        return (at - EPOCH) // MICROSECOND * BUCKETS_PER_WINDOW // (self.window // MICROSECOND)

    def used(self, now: datetime) -> int:
        """Starts that may lie within the window that ends now. Starts from the future count as well."""
        oldest = self.bucket(now) - BUCKETS_PER_WINDOW
        return sum(count for bucket, count in self.counts if bucket >= oldest)

    def started(self, at: datetime, count: int = 1) -> Window:
        """The window with `count` more starts at `at`; buckets that can't count any more are dropped."""
        now = self.bucket(at)
        if self.counts and self.counts[-1][0] == now:
            return Window(self.window, (*self.counts[:-1], (now, self.counts[-1][1] + count)))
        kept = [(bucket, n) for bucket, n in self.counts if bucket > now - BUCKETS_KEPT]
        if not kept or kept[-1][0] < now:
            kept.append((now, count))
        else:
            kept = sorted({**dict(kept), now: dict(kept).get(now, 0) + count}.items())
        return Window(self.window, tuple(kept))

    def free_at(self, limit: int, now: datetime) -> datetime:
        """When one more start would be within `limit`, if nothing else starts; now, if it is already."""
        over = self.used(now) - limit + 1
        if over <= 0:
            return now
        oldest = self.bucket(now) - BUCKETS_PER_WINDOW
        for bucket, count in self.counts:
            if bucket < oldest:
                continue
            over -= count
            if over <= 0:
                return self._start_of(bucket + BUCKETS_KEPT)
        return now

    def _start_of(self, bucket: int) -> datetime:
        microseconds = -(-bucket * (self.window // MICROSECOND) // BUCKETS_PER_WINDOW)
        return EPOCH + timedelta(microseconds=microseconds)
