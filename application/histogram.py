"""Durations in buckets that can be added up: by hours, by providers, by machines, and still give percentiles.

Bucket 0 holds all up to 1 ms; each one after it reaches a tenth further than the one before. So a percentile is
off by at most 4.8 %, whatever its size, and a day fits into 193 buckets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from datetime import timedelta

BUCKET_MAX = 302
"""Reaches a hundred years; what takes longer is counted in it as well."""

UPPER_US: tuple[int, ...] = tuple(1000 * 11**index // 10**index for index in range(BUCKET_MAX + 1))
"""The longest duration of each bucket (µs)."""

MIDDLE_US: tuple[int, ...] = (UPPER_US[0], *((upper * 20 + 10) // 21 for upper in UPPER_US[1:]))
"""What a duration of the bucket is taken for (µs): as far, relatively, from its shortest as from its longest."""

MICROSECOND = timedelta(microseconds=1)


def bucket_of(duration: timedelta) -> int:
    """The bucket of a duration; of one below zero (two machines' clocks) the first."""
    return min(bisect_left(UPPER_US, duration // MICROSECOND), BUCKET_MAX)


def quantile_us(counts: Mapping[int, int], percent: int) -> int | None:
    """The duration (µs) that `percent` of those counted, by bucket, did not exceed; None: there are none."""
    total = sum(counts.values())
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen and seen * 100 >= total * percent:
            return MIDDLE_US[bucket]
    return None
