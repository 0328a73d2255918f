"""The SQL views `report_*`: whoever reads them without the service reads the same numbers."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from application.histogram import MIDDLE_US, UPPER_US
from application.projections.reports import Measure, hour_of
from application.report_ports import REBUILD, By
from application.report_reading import Report, report_of
from domain.circuit import CircuitClosed, CircuitOpened
from tests.contract.event_store.conftest import Subject
from tests.contract.event_store.database import Row, execute, micros
from tests.contract.event_store.given import T0, an_id, request
from tests.contract.event_store.reporting import EVER, HOUR, LIMIT, Bench, Sums, bench_of, facts_of, history
from tests.contract.event_store.test_reports import circuits
from tests.contract.event_store.world import whole_log

DOCS = Path(__file__).resolve().parents[3] / "docs" / "reporting.md"
QUERIES = [
    text for text in re.findall(r"```sql\n(.*?)```", DOCS.read_text(), re.DOTALL) if "ATTACH" not in text
]
MEASURES = [measure.value for measure in Measure]


def rows(bench: Bench, statement: str) -> list[Row]:
    """What a database client is told."""
    return execute(bench.subject.url, statement)


def report(bench: Bench, by: By) -> Report:
    """What the service tells."""
    return report_of(bench.rows.counted(EVER, by, LIMIT), EVER, by, bench.subject.clock.now())


def time_of(us: int) -> datetime:
    """A time that `micros` counted."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def wide(found: list[Row], names: int, measures: list[str]) -> Sums:
    """Hour, names and a column for each measure, as sums by hour, names and measure."""
    sums: Sums = Counter()
    for row in found:
        for measure, n in zip(measures, row[1 + names :], strict=True):
            assert type(n) is int
            sums[time_of(micros(row[0])), *row[1 : 1 + names], measure] += n
    return +sums


def counts_are_those_of_the_raw_events(bench: Bench) -> None:
    """By provider and route, by provider, by tag."""
    columns = ", ".join(MEASURES)
    of_providers = MEASURES[1:]
    hourly: Sums = Counter()
    providers: Sums = Counter()
    tags: Sums = Counter()
    for hour, provider, route, named, measure, _, _ in facts_of(whole_log(bench.log)):
        hourly[hour, provider or None, route, measure.value] += 1
        if provider:
            providers[hour, provider, measure.value] += 1
        for tag in named:
            tags[hour, tag, measure.value] += 1

    assert hourly == wide(
        rows(bench, f"SELECT hour, provider, route, {columns} FROM report_hourly"), 2, MEASURES
    )
    assert tags == wide(rows(bench, f"SELECT hour, tag, {columns} FROM report_tags"), 1, MEASURES)
    assert providers == wide(
        rows(bench, f"SELECT hour, provider, {', '.join(of_providers)} FROM report_providers"),
        1,
        of_providers,
    )


def kinds_are_those_of_the_raw_events(bench: Bench) -> None:
    """Everything that has a kind or reason, by that."""
    by_route: Sums = Counter()
    by_tag: Sums = Counter()
    for hour, provider, route, tags, measure, kind, _ in facts_of(whole_log(bench.log)):
        if kind:
            by_route[hour, provider or None, route, measure.value, kind] += 1
            for tag in tags:
                by_tag[hour, tag, measure.value, kind] += 1

    assert by_route == {
        (time_of(micros(hour)), *key): n
        for hour, *key, n in rows(
            bench, "SELECT hour, provider, route, measure, kind, count FROM report_kinds"
        )
    }
    assert by_tag == {
        (time_of(micros(hour)), *key): n
        for hour, *key, n in rows(bench, "SELECT hour, tag, measure, kind, count FROM report_tag_kinds")
    }


def delays_are_in_their_buckets(bench: Bench, view: str, by: By) -> None:
    """With what they stand for; as many as were sent."""
    found = rows(bench, f"SELECT {by}, bucket, upper_ms, delay_ms, emails FROM {view}")
    expected: Sums = Counter()
    for _, name, measure, bucket, n in bench.rows.counted(EVER, by, LIMIT).tallies:
        if measure == Measure.SENT:
            expected[name, bucket] += n
    seen: Sums = Counter()
    for name, bucket, upper, middle, n in found:
        seen[name, bucket] += n
        assert upper / 1.1 <= middle <= upper or bucket == 0

    assert expected == seen
    assert found
    assert [*zip(UPPER_US, MIDDLE_US, strict=True)] == rows(
        bench, "SELECT upper_us, middle_us FROM delay_buckets ORDER BY bucket"
    )


def documented_queries_say_what_the_service_says(bench: Bench) -> None:
    """Percentiles, shares, hours with an open circuit."""
    percentiles, shares, opened = (rows(bench, query) for query in QUERIES)
    told = {one.name: one for one in report(bench, By.PROVIDER).totals}
    failed: Sums = Counter()
    for provider, _, _, _, n in shares:
        failed[provider] += n

    assert [
        (name, *(pytest.approx(each) for each in (one.delay.p50, one.delay.p95, one.delay.p99)))
        for name, one in sorted(told.items())
        if one.delay
    ] == [(name, *map(float, each)) for name, *each in percentiles]
    assert percentiles
    counts = {name: one.counts[Measure.ATTEMPTS_FAILED] for name, one in told.items() if name}

    assert Counter(counts) == failed
    assert {(row[0], row[1]) for row in opened} == {
        (row[0], row[1]) for row in rows(bench, "SELECT hour, provider FROM report_open")
    }


def test_views_say_what_the_raw_events_say(sql_subject: Subject) -> None:
    """All of them, and the documented queries over them; rows that are being made anew beside are not in them."""
    bench = bench_of(sql_subject)
    history(sql_subject, 21)
    bench.catch_up()

    counts_are_those_of_the_raw_events(bench)
    kinds_are_those_of_the_raw_events(bench)
    delays_are_in_their_buckets(bench, "report_delays", By.PROVIDER)
    delays_are_in_their_buckets(bench, "report_tag_delays", By.TAG)
    documented_queries_say_what_the_service_says(bench)
    bench.reports.begin(REBUILD)
    bench.projector(name=REBUILD).step()
    counts_are_those_of_the_raw_events(bench)


def test_open_circuits(sql_subject: Subject) -> None:
    """Those that are closed to the microsecond, those that are open up to now; in `report_providers` as well."""
    bench = bench_of(sql_subject)
    start = hour_of(T0) - 24 * HOUR
    now = datetime.now(UTC)
    since = now - timedelta(minutes=150)
    opened = CircuitOpened(epoch=1, reason="consecutive", failures=5, calls=5, until=T0)
    circuits(
        bench,
        ("ses", start + timedelta(minutes=50), opened),
        ("ses", start + timedelta(minutes=70, microseconds=1), CircuitClosed(epoch=1)),
        ("smtp", since, opened),
    )
    bench.catch_up()
    told = {
        (provider, time_of(micros(hour))): float(seconds)
        for hour, provider, seconds in rows(bench, "SELECT hour, provider, open_seconds FROM report_open")
    }
    still = {hour: seconds for (provider, hour), seconds in told.items() if provider == "smtp"}

    assert 600.0 == told["ses", start]
    assert 600.000001 == told["ses", start + HOUR]
    assert hour_of(since) == min(still)
    assert pytest.approx(9000.0, abs=60) == sum(still.values())
    assert 3600.0 == pytest.approx(still[hour_of(since) + HOUR], abs=0.01)
    assert {key: pytest.approx(one, abs=60) for key, one in told.items()} == {
        (provider, time_of(micros(hour))): float(seconds)
        for hour, provider, seconds in rows(
            bench, "SELECT hour, provider, open_seconds FROM report_providers"
        )
    }


def test_what_is_lacking(sql_subject: Subject) -> None:
    """How many events at most, and since when; none once all are in."""
    bench = bench_of(sql_subject)
    bench.log.append([request(an_id(), at=T0 + n * HOUR) for n in range(3)])
    position, last, behind, oldest = rows(bench, "SELECT * FROM report_lag")[0]
    bench.catch_up()

    assert (0, 3, 3, T0) == (position, last, behind, time_of(micros(oldest)))
    assert [(3, 3, 0, None)] == rows(bench, "SELECT * FROM report_lag")
