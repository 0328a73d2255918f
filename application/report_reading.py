"""Reports as they are read: rows of counts with percentiles, by the hour and in all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.histogram import quantile_us
from application.ports import Clock, Executor
from application.projections.reports import HOUR, Measure, by_hour, hour_of
from application.report_ports import By, Counted, ReportRows, Span
from application.reports import Lag

SUMS_MAX = 200_000
"""Sums that one answer is made from: more would take seconds, and memory by the hundred megabytes."""

SPAN_MAX = timedelta(days=366)
"""The longest time one answer is about."""

WITH_KINDS = (
    Measure.ATTEMPTS_FAILED,
    Measure.UNCERTAIN,
    Measure.LATE_RESULTS,
    Measure.SWITCHES,
    Measure.DUPLICATES_ACCEPTED,
    Measure.HELD,
    Measure.FAILED,
)
"""Measures that are told apart by kind or reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """From acceptance (or `send_at`, where that is later) to `sent`: percentiles in ms, each ±4.8 %."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """What was counted under one name in one hour; `hour` is none in a sum over all of them.

    `name` is empty for what belongs to no provider yet. `delay`: none where nothing was sent. `open_seconds`: how
    long the provider's circuit was open.
    """

    hour: datetime | None
    name: str
    counts: Mapping[Measure, int]
    delay: Delay | None
    open_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The rows of a span, by hour and then by name, and their sums by name."""

    span: Span
    by: By
    hourly: tuple[ReportRow, ...]
    totals: tuple[ReportRow, ...]
    lag: Lag


@dataclass(slots=True)
class _Cell:
    counts: dict[Measure, int] = field(default_factory=lambda: defaultdict(int))
    delays: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    open_us: int = 0

    def row(self, hour: datetime | None, name: str) -> ReportRow:
        return ReportRow(
            hour=hour,
            name=name,
            counts={measure: self.counts.get(measure, 0) for measure in Measure},
            delay=delay_of(self.delays),
            open_seconds=self.open_us / 1e6,
        )


class ReportReader:
    """Answers from the counts. Raises TooMuch, StoreUnavailable."""

    def __init__(self, *, rows: ReportRows, executor: Executor, clock: Clock) -> None:
        self._rows = rows
        self._executor = executor
        self._clock = clock

    async def report(self, span: Span, by: By) -> Report:
        """What was counted in a span, by the hour and in all. A circuit that is open counts up to now."""
        now = self._clock.now()
        return await self._executor(lambda: report_of(self._rows.counted(span, by, SUMS_MAX), span, by, now))


def report_of(counted: Counted, span: Span, by: By, now: datetime) -> Report:
    """The report that these sums make, as of now."""
    hours: dict[tuple[datetime, str], _Cell] = defaultdict(_Cell)
    totals: dict[str, _Cell] = defaultdict(_Cell)
    for hour, name, word, bucket, n in counted.tallies:
        measure = Measure(word)
        for cell in (hours[hour, name], totals[name]):
            cell.counts[measure] += n
            if measure is Measure.SENT:
                cell.delays[bucket] += n
    open_us = [*counted.open_us]
    for provider, since in counted.open_since.items():
        parts = by_hour(max(since, span.since), min(now, span.until))
        open_us += [(hour, provider, length) for hour, length in parts]
    for hour, provider, length in open_us:
        for cell in (hours[hour, provider], totals[provider]):
            cell.open_us += length
    behind = counted.progress
    return Report(
        span=span,
        by=by,
        hourly=tuple(hours[key].row(*key) for key in sorted(hours)),
        totals=tuple(totals[name].row(None, name) for name in sorted(totals)),
        lag=Lag.of(behind, behind.position, now),
    )


def delay_of(counts: Mapping[int, int]) -> Delay | None:
    """The percentiles of a histogram; none of an empty one."""
    p50, p95, p99 = (quantile_us(counts, percent) for percent in (50, 95, 99))
    if p50 is None or p95 is None or p99 is None:
        return None
    return Delay(p50=p50 / 1000, p95=p95 / 1000, p99=p99 / 1000)


def span_of(since: datetime, until: datetime) -> Span:
    """The whole hours that two times lie in. Raises ValueError where there is none, or more than SPAN_MAX."""
    span = Span(since=hour_of(since), until=hour_of(until + HOUR - timedelta(microseconds=1)))
    if since >= until:
        raise ValueError("must be earlier than until")
    if span.until - span.since > SPAN_MAX + HOUR:
        raise ValueError(f"is more than {SPAN_MAX.days} days before until; ask for less at a time")
    return span
