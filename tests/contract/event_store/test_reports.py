"""Reports: every event is counted once, whoever projects it, wherever it is cut off; and readers see the sums."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from multiprocessing import get_context
from random import Random
from typing import Any

import pytest

from adapters.sql import open_store
from adapters.virtual import inline
from application import reports
from application.ports import Plan
from application.projections.reports import Measure, Projection, hour_of
from application.recorded import circuit_stream
from application.report_ports import REBUILD, REPORTS, By, ReportStore, Span, TooMuch
from application.reports import Gone, Overtaken, Projector, rebuild
from domain.circuit import CircuitClosed, CircuitOpened
from tests.contract.event_store.conftest import CIRCUIT, Subject
from tests.contract.event_store.given import T0, an_id, append, request, unit
from tests.contract.event_store.reporting import (
    EVER,
    HOUR,
    LIMIT,
    STEPS,
    Bench,
    assert_exact,
    bench_of,
    history,
)
from tests.contract.event_store.test_concurrency import together
from tests.contract.event_store.world import World, whole_log


@pytest.fixture
def bench(subject: Subject) -> Bench:
    """Each kind of store, empty."""
    return bench_of(subject)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pages, so that there are many places to be cut off at."""
    monkeypatch.setattr(reports, "PAGE", 7)


# --- exactness


@pytest.mark.parametrize("seed", range(2))
def test_the_sums_are_those_of_the_raw_events(bench: Bench, seed: int) -> None:
    """Whatever happened, projected while it happens and afterwards."""
    world = World(bench.log, bench.subject.clock, CIRCUIT, seed=seed)
    projector = bench.projector()
    for _ in range(5):
        world.run(STEPS[bench.subject.kind] // 5)
        bench.subject.clock.time += timedelta(minutes=25)
        projector.step()
    bench.catch_up(projector)

    assert_exact(bench)
    assert {Measure.REQUESTED, Measure.SENT, Measure.ATTEMPTS} <= {key[2] for key in bench.counted(By.ROUTE)}


class Cut(Exception):
    """A power cut."""


class Failing:
    """A report store whose user is cut off in every other `advance`: before, or just after it was done."""

    def __init__(self, inner: ReportStore, seed: int) -> None:
        self._inner, self._random = inner, Random(seed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def advance(self, *args: Any, **named: Any) -> bool:
        roll = self._random.random()
        if roll < 0.25:
            raise Cut
        done = self._inner.advance(*args, **named)
        if roll < 0.5:
            raise Cut
        return done


@pytest.mark.parametrize("restarts", [True, False], ids=["a new process", "the same process"])
def test_being_cut_off_loses_and_repeats_nothing(bench: Bench, restarts: bool) -> None:
    """Before a transaction, or behind it without having heard that it was done."""
    history(bench.subject, 7)
    log, kept = bench.open()
    failing: Any = Failing(kept, 7)
    projector = Projector(log=log, reports=failing, name=REPORTS, holder="me")
    cuts = 0
    while True:
        try:
            if not projector.step().added:
                break
        except Cut:
            cuts += 1
            if restarts:
                projector = Projector(log=log, reports=failing, name=REPORTS, holder="me")

    assert_exact(bench)
    assert cuts > 3


def test_projectors_that_race_count_everything_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody stands aside for anybody, and each page is added by one of them."""
    monkeypatch.setattr(reports, "STANDS_ASIDE", timedelta(0))
    history(bench.subject, 8)
    added: dict[str, int] = Counter()

    def project(holder: str) -> Callable[[], None]:
        projector = bench.projector(holder)

        def run() -> None:
            while (step := projector.step()).seen.oldest_at is not None:
                added[holder] += step.added

        return run

    together(*(project(holder) for holder in "abc"))

    assert len(whole_log(bench.log)) == sum(added.values())
    assert_exact(bench)


def test_one_projects_and_the_others_stand_aside(bench: Bench) -> None:
    """Until nothing has moved for a while: then somebody else steps in, and the first one stands aside."""
    history(bench.subject, 9)
    one, other = bench.projector("one"), bench.projector("other")
    first = one.step()
    aside = other.step()
    bench.subject.clock.time += reports.STANDS_ASIDE
    instead = other.step()
    back = one.step()
    bench.catch_up(other)

    assert [(7, False), (0, True), (7, False), (0, True)] == [
        (step.added, step.aside) for step in (first, aside, instead, back)
    ]
    assert_exact(bench)


def project_to_the_end(url: str, holder: str) -> None:
    """What a process of its own does until it is done, or killed."""
    store: Any = open_store(url)
    projector = Projector(log=store, reports=store.reports, name=REPORTS, holder=holder)
    while projector.step().added:
        pass
    os._exit(0)


def test_a_killed_process_loses_and_repeats_nothing(
    sql_subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 in the middle of it, several times, wherever it is then."""
    monkeypatch.setattr(reports, "PAGE", 2)
    monkeypatch.setattr(reports, "STANDS_ASIDE", timedelta(0))
    subject, random = sql_subject, Random(3)
    world = World(subject.store, subject.clock, CIRCUIT, seed=10)
    world.run(40)
    store: Any = subject.store
    positions = [0]
    for number in range(4):
        store.close()  # nothing is open where the process forks
        process = get_context("fork").Process(target=project_to_the_end, args=(subject.url, str(number)))
        process.start()
        if number < 3:
            while (seen := store.reports.progress(REPORTS)).position <= positions[-1]:
                assert seen.oldest_at is not None
            time.sleep(random.uniform(0, 0.01))
            process.kill()
        process.join(30)
        positions.append(store.reports.progress(REPORTS).position)

    assert sorted(set(positions)) == positions, "each of them got somewhere, and only the last one to the end"
    assert 0 == process.exitcode
    assert_exact(Bench(subject, store, store.reports, store.report_rows, lambda: (store, store.reports)))


# --- the checkpoint


def test_a_checkpoint_elsewhere_refuses(bench: Bench) -> None:
    """Nothing is added where the page was read at another position, or for other rows."""
    history(bench.subject, 11)
    step = bench.projector().step()
    before = bench.counted(By.PROVIDER)
    page = bench.log.read_all(step.position, 3)
    projection = Projection({}, 10)
    projection.learn(bench.reports.histories(projection.unknown(page)))
    added = projection.apply(page)

    for build, after in ((1, 0), (2, step.position), (1, step.position + 1)):
        moved = bench.reports.advance(
            REPORTS, build=build, after=after, to=page[-1].position, holder="x", added=added
        )
        assert not moved
    assert before == bench.counted(By.PROVIDER)
    assert bench.reports.progress("no such projection") is None
    with pytest.raises(Gone):
        bench.projector(name="no such projection").step()


def test_how_far_behind_it_is_can_be_seen(bench: Bench) -> None:
    """The end of the log, and the time of the first event that is lacking."""
    empty = bench.reports.progress(REPORTS)
    bench.subject.store.append([request(an_id(), at=T0 + n * HOUR) for n in range(9)])
    step = bench.projector().step()
    behind = bench.reports.progress(REPORTS)
    bench.subject.clock.time = T0 + 10 * HOUR
    lag = reports.Lag.of(behind, behind.position, T0 + 10 * HOUR) if behind else None
    bench.catch_up()
    done = bench.reports.progress(REPORTS)

    assert empty is not None
    assert (0, 0, None) == (empty.position, empty.last_position, empty.oldest_at)
    assert behind is not None
    assert (step.position, T0 + 7 * HOUR, "me") == (behind.position, behind.oldest_at, behind.holder)
    assert reports.Lag(events=2, seconds=3 * 3600.0) == lag
    assert done is not None
    assert done.position == done.last_position
    assert done.oldest_at is None


# --- what is read


def opened(epoch: int = 1) -> CircuitOpened:
    """A circuit opens, whatever for."""
    return CircuitOpened(epoch=epoch, reason="consecutive", failures=5, calls=5, until=T0)


def circuits(bench: Bench, *moments: tuple[str, datetime, Any]) -> None:
    """These things happen to circuits."""
    versions: dict[str, int] = Counter()
    for provider, at, event in moments:
        units = [unit(append(circuit_stream(provider), versions[provider], event), at=at)]
        versions[provider] += 1
        bench.log.transact(Plan(), lambda locked, units=units: units)  # type: ignore[misc]


def test_open_circuits_are_measured(bench: Bench) -> None:
    """From opening to closing, split at the hours; a second opening before that changes nothing."""
    start = hour_of(T0)
    circuits(
        bench,
        ("ses", start + timedelta(minutes=50), opened()),
        ("ses", start + timedelta(minutes=70), opened(2)),
        ("smtp", start + timedelta(minutes=80), opened()),
        ("ses", start + timedelta(minutes=130), CircuitClosed(epoch=2)),
        ("ses", start + timedelta(minutes=140), CircuitClosed(epoch=2)),
    )
    bench.catch_up()
    circuits(
        bench, ("relay", start, opened()), ("relay", start + timedelta(minutes=1), CircuitClosed(epoch=1))
    )
    bench.catch_up()
    again = [
        append(circuit_stream("relay"), 2, opened(2)),
        append(circuit_stream("relay"), 3, CircuitClosed(epoch=2)),
    ]
    for minute, one in zip((10, 12), again, strict=True):
        units = [unit(one, at=start + timedelta(minutes=minute))]
        bench.log.transact(Plan(), lambda locked, units=units: units)  # type: ignore[misc]
        bench.catch_up()
    read = bench.rows.counted(EVER, By.PROVIDER, LIMIT)
    part = bench.rows.counted(Span(since=start + HOUR, until=start + 2 * HOUR), By.PROVIDER, LIMIT)

    assert [
        (start, "relay", 180_000_000),
        (start, "ses", 600_000_000),
        (start + HOUR, "ses", 3_600_000_000),
        (start + 2 * HOUR, "ses", 600_000_000),
    ] == [*read.open_us]
    assert {"smtp": start + timedelta(minutes=80)} == read.open_since
    assert [(start + HOUR, "ses", 3_600_000_000)] == [*part.open_us]
    assert () == bench.rows.counted(EVER, By.ROUTE, LIMIT).open_us


def test_a_span_ends_before_its_last_hour(bench: Bench) -> None:
    """From an hour on, up to but without another."""
    start = hour_of(T0)
    bench.subject.store.append([request(an_id(), at=start + n * timedelta(minutes=30)) for n in range(6)])
    bench.catch_up()

    assert Counter({(start + HOUR, "", "requested"): 2}) == bench.counted(
        By.PROVIDER, Span(since=start + HOUR, until=start + 2 * HOUR)
    )


def test_an_answer_has_an_end(bench: Bench) -> None:
    """Who asks for more than that is told so, not given a part."""
    bench.subject.store.append([request(an_id(), at=T0 + n * HOUR) for n in range(4)])
    bench.catch_up()

    assert 4 == len(bench.rows.counted(EVER, By.ROUTE, 4).tallies)
    with pytest.raises(TooMuch):
        bench.rows.counted(EVER, By.ROUTE, 3)


def test_tags_have_a_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones of each hour keep their names, after a restart too; no email is lost, none counts twice."""
    monkeypatch.setattr("application.projections.reports.TAGS_MAX", 2)
    start = hour_of(T0)
    tagged = [("a", "b"), ("c",), ("c", "d", "a"), ("b",)]
    bench.log.append([request(an_id(), at=start, tags=tags) for tags in tagged[:2]])
    bench.catch_up()
    bench.log.append([request(an_id(), at=start, tags=tags) for tags in tagged[2:]])
    bench.log.append([request(an_id(), at=start + HOUR, tags=("d", "d"))])
    bench.catch_up(bench.projector())

    assert {(start, "a"): 2, (start, "b"): 2, (start, "(other)"): 2, (start + HOUR, "d"): 1} == {
        (hour, tag): n for (hour, tag, _), n in bench.counted(By.TAG).items()
    }


# --- rebuilding


def rebuilt(bench: Bench, told: Callable[[int, int], None] = lambda position, last: None) -> int:
    """Make the reports anew, as a command would."""
    log, kept = bench.open()
    return asyncio.run(
        rebuild(
            log=log,
            reports=kept,
            holder="rebuild",
            executor=inline,
            clock=bench.subject.clock,
            told=told,
        )
    )


def test_a_rebuild_repairs_what_is_wrong(bench: Bench) -> None:
    """Rows that were changed by hand, and those of a rebuild that was cut off, are gone afterwards."""
    history(bench.subject, 12)
    bench.catch_up()
    right = bench.counted(By.PROVIDER)
    page = bench.log.read_all(0, 1)
    wrong = Projection({}, 10).apply(page)
    at = bench.reports.progress(REPORTS)
    assert at is not None
    bench.reports.advance(REPORTS, build=1, after=at.position, to=at.position, holder="x", added=wrong)
    bench.reports.begin(REBUILD)
    bench.projector("cut off", REBUILD).step()
    broken = bench.counted(By.PROVIDER)
    events = rebuilt(bench)

    assert right != broken
    assert right == bench.counted(By.PROVIDER)
    assert len(whole_log(bench.log)) == events
    assert bench.reports.progress(REBUILD) is None
    assert 0 == bench.reports.sweep()
    assert_exact(bench)


def test_rows_that_are_behind_are_not_swapped_in(bench: Bench) -> None:
    """Nor those of a projection that is elsewhere, or no longer there."""
    history(bench.subject, 15)
    bench.catch_up()
    before = bench.counted(By.ROUTE)
    begun = bench.reports.begin(REBUILD)
    step = bench.projector(name=REBUILD).step()
    refused = [
        bench.reports.swap(REBUILD, build=build, position=position)
        for build, position in (
            (begun.build, step.position),
            (begun.build, step.position + 10_000),
            (begun.build + 1, step.position),
        )
    ]
    bench.catch_up(bench.projector(name=REBUILD))
    at = bench.log.end()

    assert [False, False, False] == refused
    assert before == bench.counted(By.ROUTE)
    assert bench.reports.swap(REBUILD, build=begun.build, position=at)
    assert not bench.reports.swap(REBUILD, build=begun.build, position=at)
    assert_exact(bench)


def test_readers_never_see_too_few_during_a_rebuild(bench: Bench) -> None:
    """They see the old rows until the new ones have everything; what comes in meanwhile is in both."""
    world = history(bench.subject, 13)
    live = bench.projector("live")
    bench.catch_up(live)
    seen = [bench.counted(By.ROUTE).total()]
    rounds = 0

    def told(position: int, last: int) -> None:
        nonlocal rounds
        rounds += 1
        if rounds % 5 == 0 and rounds < 30:
            world.run(2)
        live.step()
        seen.append(bench.counted(By.ROUTE).total())

    rebuilt(bench, told)
    seen.append(bench.counted(By.ROUTE).total())
    world.run(5)
    bench.catch_up(live)

    assert sorted(seen) == seen
    assert_exact(bench)


def test_a_second_rebuild_ends_the_first(bench: Bench) -> None:
    """The first one says so, and the second one is whole."""
    history(bench.subject, 14)
    bench.catch_up()
    calls = 0

    def told(position: int, last: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            bench.reports.begin(REBUILD)

    with pytest.raises(Overtaken):
        rebuilt(bench, told)
    rebuilt(bench)

    assert 2 == calls
    assert_exact(bench)
