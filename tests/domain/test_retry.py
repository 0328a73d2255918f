"""Backoff: how long to wait before the next try."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.retry import RETRY_AFTER_S_MAX, RetryPolicy, backoff, next_try

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
POLICY = RetryPolicy()
CHANCES = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("tries", "longest_s"), [(0, 1), (1, 2), (2, 4), (10, 1024), (11, 2048), (12, 3600), (10**6, 3600)]
)
def test_the_longest_wait_doubles_up_to_the_cap(tries: int, longest_s: int) -> None:
    """The shortest is always the base: full jitter."""
    assert timedelta(seconds=1) == backoff(POLICY, tries, 0.0)
    assert timedelta(seconds=(1 + longest_s) / 2) == backoff(POLICY, tries, 0.5)


@for_all(st.integers(0, 10_000), CHANCES, st.floats(0.001, 1e5), st.floats(0.001, 1e6))
def test_a_wait_is_never_shorter_than_the_base_nor_longer_than_the_cap(
    tries: int, chance: float, base_s: float, cap_s: float
) -> None:
    """Where the cap is below the base, the base wins."""
    policy = RetryPolicy(base=timedelta(seconds=base_s), cap=timedelta(seconds=cap_s))
    slack = timedelta(microseconds=1)

    assert policy.base - slack <= backoff(policy, tries, chance) <= max(policy.base, policy.cap) + slack


@for_all(st.integers(0, 50), CHANCES, CHANCES)
def test_more_chance_is_a_longer_wait(tries: int, one: float, other: float) -> None:
    """It spreads over the whole range."""
    assert backoff(POLICY, tries, min(one, other)) <= backoff(POLICY, tries, max(one, other))


@pytest.mark.parametrize(
    ("retry_after_s", "wait_s"),
    [
        (None, 1),
        (90, 90),
        (0.2, 1),
        (-3, 1),
        (math.nan, 1),
        (1e300, RETRY_AFTER_S_MAX),
        (math.inf, RETRY_AFTER_S_MAX),
    ],
)
def test_retry_after_is_a_lower_bound(retry_after_s: float | None, wait_s: float) -> None:
    """Up to a month: a provider's nonsense must not lie past the last date there is."""
    assert T0 + timedelta(seconds=wait_s) == next_try(
        POLICY, tries=3, chance=0.0, now=T0, retry_after_s=retry_after_s
    )
