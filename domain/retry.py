"""How long to wait before the next try: exponential backoff with full jitter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

EXPONENT_MAX = 40
"""2**40 seconds is past any cap; a larger exponent only overflows."""

RETRY_AFTER_S_MAX = 31 * 86_400.0
"""A month's quota is back by then. A longer Retry-After is a mistake, and could lie past the last date there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """`base` and `cap` bound one wait; `attempts_per_provider` is how often a cycle tries each provider."""

    base: timedelta = timedelta(seconds=1)
    cap: timedelta = timedelta(hours=1)
    attempts_per_provider: int = 2
    expires_after: timedelta = timedelta(hours=24)


def backoff(policy: RetryPolicy, tries: int, chance: float) -> timedelta:
    """U(base, max(base, min(cap, base * 2**tries))): `tries` in a row before this wait, `chance` in [0, 1).

    Full jitter, so that the emails an outage piled up do not come back all at once.
    """
    base_s, cap_s = policy.base.total_seconds(), policy.cap.total_seconds()
    longest_s = max(base_s, min(cap_s, base_s * (1 << min(tries, EXPONENT_MAX))))
    return timedelta(seconds=base_s + (longest_s - base_s) * chance)


def next_try(
    policy: RetryPolicy, *, tries: int, chance: float, now: datetime, retry_after_s: float | None
) -> datetime:
    """When to try again: after the backoff, and never before the provider's Retry-After."""
    wait = backoff(policy, tries, chance)
    if retry_after_s is not None:
        wait = max(wait, timedelta(seconds=min(max(0.0, retry_after_s), RETRY_AFTER_S_MAX)))
    return now + wait
