"""Histograms that add up, and reports as they are read."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from application.histogram import BUCKET_MAX, MIDDLE_US, UPPER_US, bucket_of, quantile_us
from application.projections.reports import HOUR, Measure
from application.report_ports import By, Counted, Progress, Span
from application.report_reading import report_of, span_of
from application.reports import Lag

H8 = datetime(2026, 11, 24, 8, tzinfo=UTC)
SPAN = Span(since=H8, until=H8 + 3 * HOUR)
CENTURY_US = UPPER_US[-1]
DONE = Progress(position=9, build=1, holder="", idle=HOUR, last_position=9, oldest_at=None)


@given(some.integers(1001, CENTURY_US))
def test_a_bucket_stands_for_its_durations_within_five_percent(us: int) -> None:
    """Whatever the duration, above the millisecond that the first bucket is for."""
    bucket = bucket_of(timedelta(microseconds=us))

    assert UPPER_US[bucket - 1] < us <= UPPER_US[bucket]
    assert abs(MIDDLE_US[bucket] - us) <= 0.048 * us


def test_no_bucket_is_off_by_more_than_that() -> None:
    """At both of its ends, where it is worst."""
    ends = zip(UPPER_US, MIDDLE_US[1:], UPPER_US[1:], strict=False)

    assert all(middle - shorter - 1 <= 0.048 * (shorter + 1) for shorter, middle, _ in ends)
    assert all(upper - middle <= 0.048 * upper for middle, upper in zip(MIDDLE_US, UPPER_US, strict=True))


@given(some.lists(some.integers(1001, 10**9), min_size=1), some.lists(some.integers(1001, 10**9)))
def test_percentiles_of_merged_histograms(one: list[int], other: list[int]) -> None:
    """Two hours added up give the percentiles of all that was in them."""
    merged = Counter(bucket_of(timedelta(microseconds=us)) for us in one)
    merged += Counter(bucket_of(timedelta(microseconds=us)) for us in other)
    everything = sorted([*one, *other])
    for percent in (50, 95, 99, 100):
        exact = everything[-(-len(everything) * percent // 100) - 1]
        told = quantile_us(merged, percent)

        assert told is not None
        assert abs(told - exact) <= 0.048 * exact


def test_the_ends_of_the_histogram() -> None:
    """Nothing, below zero, and longer than anybody waits."""
    assert quantile_us({}, 50) is None
    assert quantile_us({3: 0}, 50) is None
    assert [0, 0, 0, 1] == [bucket_of(timedelta(microseconds=us)) for us in (-5, 0, 1000, 1001)]
    assert BUCKET_MAX == bucket_of(timedelta(days=365_000))
    assert 100 <= CENTURY_US / 1e6 / 86_400 / 365
    assert [*UPPER_US] == sorted(set(UPPER_US))


def test_rows_and_totals() -> None:
    """A row by hour and name, their sums by name, percentiles of each."""
    second, minute = bucket_of(timedelta(seconds=1)), bucket_of(timedelta(minutes=1))
    tallies = [
        (H8, "ses", "sent", second, 98),
        (H8, "ses", "attempts", 0, 100),
        (H8 + HOUR, "ses", "sent", minute, 2),
        (H8, "", "requested", 0, 7),
    ]
    report = report_of(Counted(progress=DONE, tallies=tallies), SPAN, By.PROVIDER, H8 + 2 * HOUR)

    assert [(H8, ""), (H8, "ses"), (H8 + HOUR, "ses")] == [(row.hour, row.name) for row in report.hourly]
    nobody, ses = report.totals
    assert (7, 0, None) == (nobody.counts[Measure.REQUESTED], nobody.counts[Measure.SENT], nobody.delay)
    assert (100, 100) == (ses.counts[Measure.SENT], ses.counts[Measure.ATTEMPTS])
    assert ses.delay is not None
    assert [1000, 1000, 60_000] == [
        pytest.approx(one, rel=0.05) for one in (ses.delay.p50, ses.delay.p95, ses.delay.p99)
    ]
    assert Lag() == report.lag


def test_a_circuit_that_is_open_counts_up_to_now() -> None:
    """In every hour of the span since it opened, together with what was closed before."""
    counted = Counted(
        progress=DONE,
        tallies=[],
        open_us=[(H8, "ses", 60_000_000)],
        open_since={"ses": H8 + 30 * timedelta(minutes=1), "smtp": H8 - 5 * HOUR},
    )
    report = report_of(counted, SPAN, By.PROVIDER, H8 + HOUR + timedelta(minutes=1))
    later = report_of(counted, SPAN, By.PROVIDER, H8 + 99 * HOUR)

    assert [
        (H8, "ses", 1860.0),
        (H8, "smtp", 3600.0),
        (H8 + HOUR, "ses", 60.0),
        (H8 + HOUR, "smtp", 60.0),
    ] == [(row.hour, row.name, row.open_seconds) for row in report.hourly]
    assert [1920.0, 3660.0] == [row.open_seconds for row in report.totals]
    assert [9060.0, 10800.0] == [row.open_seconds for row in later.totals]


def test_what_is_lacking_is_said() -> None:
    """Events at most, and the age of the first."""
    behind = Progress(position=5, build=1, holder="x", idle=HOUR, last_position=9, oldest_at=H8)
    report = report_of(Counted(progress=behind, tallies=[]), SPAN, By.ROUTE, H8 + HOUR)

    assert Lag(events=4, seconds=3600.0) == report.lag
    assert () == report.hourly == report.totals
    assert Lag(events=4) == Lag.of(behind, 5, H8 - HOUR)
    assert Lag() == Lag.of(behind, 9, H8)


def test_spans_are_whole_hours() -> None:
    """Those that the two times lie in."""
    minute = timedelta(minutes=1)

    assert Span(since=H8, until=H8 + HOUR) == span_of(H8, H8 + HOUR)
    assert Span(since=H8, until=H8 + 2 * HOUR) == span_of(H8 + 59 * minute, H8 + HOUR + minute)
    with pytest.raises(ValueError, match="earlier than until"):
        span_of(H8, H8)
    with pytest.raises(ValueError, match="366 days"):
        span_of(H8 - timedelta(days=367), H8)
