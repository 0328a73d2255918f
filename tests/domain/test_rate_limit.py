"""Rates and windows: never more than N starts in any window, however they are spread."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest
from hypothesis import example, find, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain import rate_limit
from domain.rate_limit import BUCKETS_KEPT, BUCKETS_PER_WINDOW, Rate, Window

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
WINDOWS = st.sampled_from([timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)])
LIMITS = st.integers(1, 7)
# Steps in 240ths of the window: some within a bucket, some just a window apart, some far beyond.
STEPS = st.lists(st.one_of(st.integers(0, 8), st.integers(225, 250), st.integers(0, 2000)), max_size=60)


def after(window: Window, steps: float) -> timedelta:
    """So many 240ths of the window, to the microsecond."""
    return timedelta(microseconds=round(window.window / MICROSECOND * steps / 240))


def run(
    window: Window, limit: int, steps: list[int], used: Callable[[Window, datetime], int] = Window.used
) -> list[datetime]:
    """A worker that starts whenever it may; the times of its starts."""
    now, starts = T0, list[datetime]()
    for step in steps:
        now += after(window, step)
        while used(window, now) < limit:
            window = window.started(now)
            starts.append(now)
            if step % 2:
                break
    return starts


def most_in_any_window(starts: list[datetime], window: timedelta) -> int:
    """Both ends belong to it: the strictest reading."""
    return max((sum(first <= at <= first + window for at in starts) for first in starts), default=0)


@for_all(WINDOWS, LIMITS, STEPS)
@example(timedelta(minutes=1), 3, [3, 237, 240, 240])
def test_no_window_ever_holds_more_than_the_limit(length: timedelta, limit: int, steps: list[int]) -> None:
    """Bursts at the end of a bucket, at its beginning, a window apart: never."""
    starts = run(Window(length), limit, steps)

    assert most_in_any_window(starts, length) <= limit


def used_of_sixty(window: Window, now: datetime) -> int:
    """What would be obvious: count the sixty buckets of the window, the current one included."""
    oldest = window.bucket(now) - BUCKETS_PER_WINDOW
    return sum(count for bucket, count in window.counts if bucket > oldest)


def test_sixty_buckets_would_let_twice_as_many_through() -> None:
    """A burst at the end of a bucket, and another before a window is over."""
    window = Window(timedelta(minutes=1)).started(T0 + timedelta(milliseconds=999), count=600)
    in_a_minute = T0 + timedelta(milliseconds=60_001)

    assert 0 == used_of_sixty(window, in_a_minute)
    assert 600 == window.used(in_a_minute)


def test_the_property_finds_that_sixty_are_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted or kept: with sixty there is a counterexample. So the property is sharp enough to see it."""

    def counterexample(used: Callable[[Window, datetime], int]) -> list[int]:
        window = Window(timedelta(minutes=1))
        return find(
            st.lists(st.sampled_from([1, 2, 3, 225, 237, 238]), max_size=6),
            lambda steps: most_in_any_window(run(window, 2, steps, used), window.window) > 2,
            settings=settings(max_examples=2000, database=None, derandomize=True),
        )

    assert counterexample(used_of_sixty)

    monkeypatch.setattr(rate_limit, "BUCKETS_KEPT", BUCKETS_PER_WINDOW)
    assert counterexample(Window.used)


@for_all(WINDOWS, LIMITS, STEPS, st.integers(0, 500))
def test_free_at_is_the_first_moment_at_which_one_more_may_start(
    length: timedelta, limit: int, steps: list[int], later: int
) -> None:
    """Not a microsecond earlier."""
    window, now = Window(length), T0
    for step in steps:
        now += after(window, step)
        window = window.started(now)
    now += after(window, later)

    free = window.free_at(limit, now)

    assert window.used(free) < limit
    assert free == now or (now < free and window.used(free - MICROSECOND) >= limit)


def test_free_at_is_now_below_the_limit() -> None:
    """Nothing to wait for."""
    window = Window(timedelta(minutes=1)).started(T0)

    assert T0 == window.free_at(2, T0)


def test_free_at_waits_for_the_oldest_bucket_to_leave() -> None:
    """Exactly a window later it is only partly outside."""
    window = Window(timedelta(minutes=1)).started(T0)

    assert T0 + timedelta(seconds=61) == window.free_at(1, T0 + timedelta(seconds=60))


def test_free_at_waits_for_as_many_as_are_too_many() -> None:
    """Where a limit was lowered, several have to leave the window first."""
    window = Window(timedelta(minutes=1))
    for second in range(5):
        window = window.started(T0 + timedelta(seconds=second))

    assert T0 + timedelta(seconds=61) == window.free_at(5, T0 + timedelta(seconds=4))
    assert T0 + timedelta(seconds=65) == window.free_at(1, T0 + timedelta(seconds=4))


@for_all(WINDOWS, st.permutations([0, 1, 2, 3, 5, 239, 240, 241, 243, 244, 480, 700]), st.integers(0, 300))
def test_the_order_of_starts_does_not_matter(length: timedelta, order: list[int], later: int) -> None:
    """Clocks of several machines: what counts at the latest of them is the same in any order."""
    window = Window(length)
    times = [T0 + after(window, step) for step in order]
    now = max(times) + after(window, later)
    shuffled = reduce(Window.started, times, window)
    ascending = reduce(Window.started, sorted(times), window)

    assert ascending.used(now) == shuffled.used(now)
    assert list(shuffled.counts) == sorted(shuffled.counts)


def test_starts_from_the_future_count() -> None:
    """A clock that was put back must not let more through."""
    window = Window(timedelta(minutes=1)).started(T0 + timedelta(seconds=30), count=3)

    assert 3 == window.used(T0)
    assert T0 + timedelta(seconds=91) == window.free_at(3, T0)


@for_all(WINDOWS, STEPS)
def test_a_window_costs_the_same_whatever_the_rate(length: timedelta, steps: list[int]) -> None:
    """Sixty-one numbers at most, for ten starts or ten million."""
    window, now = Window(length), T0
    for step in steps:
        now += after(window, step)
        window = window.started(now, count=1_000_000)

        assert len(window.counts) <= BUCKETS_KEPT
        assert window.used(now) >= 1_000_000


def test_a_bucket_counts_until_it_is_wholly_older_than_the_window() -> None:
    """The last microsecond of it decides."""
    window = Window(timedelta(minutes=1)).started(T0)

    assert 1 == window.used(T0 + timedelta(seconds=61) - MICROSECOND)
    assert 0 == window.used(T0 + timedelta(seconds=61))


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("14/s", Rate(14, timedelta(seconds=1))),
        ("600/m", Rate(600, timedelta(minutes=1))),
        (" 5_000 / h ", Rate(5000, timedelta(hours=1))),
        ("50000/d", Rate(50000, timedelta(days=1))),
    ],
)
def test_a_rate_is_read(text: str, rate: Rate) -> None:
    """Per second, minute, hour or day."""
    assert rate == Rate.parse(text)
    assert rate == Rate.parse(str(rate))


@pytest.mark.parametrize(
    "text", ["", "600", "0/m", "-1/m", "1.5/s", "600/w", "600/min", "x/m", "/m", "٣/m", "6 00/m"]
)
def test_what_is_no_rate_is_refused_with_an_example(text: str) -> None:
    """The message says how to write one."""
    with pytest.raises(ValueError, match="'600/m'"):
        Rate.parse(text)
