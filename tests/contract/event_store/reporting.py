"""Reports on a store under test, and an independent count over its raw events to compare them with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from adapters.memory.event_store import MemoryEventStore
from adapters.memory.reports import MemoryReports
from application.histogram import bucket_of
from application.ports import EventStore
from application.projections import emails
from application.projections.emails import view_of
from application.projections.reports import Measure, hour_of
from application.recorded import Recorded
from application.report_ports import REPORTS, By, ReportRows, ReportStore, Span
from application.reports import Projector
from domain.circuit import CircuitClosed, CircuitEvent, CircuitOpened
from domain.email.events import LateResultObserved, PartlySent, Requested, Sent
from domain.email.state import Email
from tests.contract.event_store.conftest import CIRCUIT, Subject
from tests.contract.event_store.given import T0
from tests.contract.event_store.world import World, whole_log

HOUR = timedelta(hours=1)
EVER = Span(since=hour_of(T0) - 24 * HOUR, until=hour_of(T0) + 24 * HOUR)
STEPS = {"memory": 130, "sqlite": 45, "postgres": 40}
LIMIT = 100_000

Sums = Counter[tuple[Any, ...]]


@dataclass
class Bench:
    """A store under test, and what reports on it."""

    subject: Subject
    log: EventStore
    reports: ReportStore
    rows: ReportRows
    open: Callable[[], tuple[EventStore, ReportStore]]

    def projector(self, holder: str = "me", name: str = REPORTS) -> Projector:
        """Somebody who projects, with connections of their own."""
        log, kept = self.open()
        return Projector(log=log, reports=kept, name=name, holder=holder)

    def catch_up(self, projector: Projector | None = None) -> None:
        """Project all there is."""
        projector = projector or self.projector()
        while projector.step().added:
            pass

    def counted(self, by: By, span: Span = EVER) -> Sums:
        """What is read, by hour, name and measure."""
        found: Sums = Counter()
        for hour, name, measure, _, n in self.rows.counted(span, by, LIMIT).tallies:
            found[hour, name, measure] += n
        return found


def bench_of(subject: Subject) -> Bench:
    """Reports on this store."""
    if isinstance(subject.store, MemoryEventStore):
        kept: Any = MemoryReports(subject.store, subject.clock)
        return Bench(subject, subject.store, kept, kept, lambda: (subject.store, kept))

    def opened() -> tuple[EventStore, ReportStore]:
        store: Any = subject.open()
        return store, store.reports

    store: Any = subject.store
    return Bench(subject, store, store.reports, store.report_rows, opened)


def history(subject: Subject, seed: int) -> World:
    """Some hours in which much goes wrong."""
    world = World(subject.store, subject.clock, CIRCUIT, seed=seed)
    for _ in range(3):
        world.run(STEPS[subject.kind] // 3)
        subject.clock.time += timedelta(minutes=50)
    return world


TYPES = {
    "Requested": Measure.REQUESTED,
    "AttemptStarted": Measure.ATTEMPTS,
    "Sent": Measure.SENT,
    "PartlySent": Measure.PARTLY_SENT,
    "AttemptFailed": Measure.ATTEMPTS_FAILED,
    "OutcomeUncertain": Measure.UNCERTAIN,
    "LateResultObserved": Measure.LATE_RESULTS,
    "ProviderSwitched": Measure.SWITCHES,
    "DuplicateRiskAccepted": Measure.DUPLICATES_ACCEPTED,
    "Held": Measure.HELD,
    "Redriven": Measure.REDRIVEN,
    "Failed": Measure.FAILED,
    "Cancelled": Measure.CANCELLED,
}


def kind_of(event: Any) -> str:
    """The kind or reason an event names."""
    match type(event).__name__:
        case "AttemptFailed" | "OutcomeUncertain":
            return str(event.kind)
        case "LateResultObserved":
            return str(event.kind or "accepted")
        case "ProviderSwitched" | "Held" | "Failed":
            return str(event.reason)
        case "DuplicateRiskAccepted":
            return "policy" if event.by == "policy" else "operator"
        case _:
            return ""


def provider_of(event: Any, before: Email, evidence: str) -> str:
    """The provider an event is about: its own, or the last one attempted."""
    if isinstance(event, Requested):
        return ""
    own = getattr(event, "provider", None) or getattr(event, "from_provider", None)
    last = before.attempts[-1].provider if before.attempts else ""
    return own or (evidence if isinstance(event, Sent) else "") or last


def count(log: Sequence[Recorded], by: By) -> Sums:
    """The whole log, event by event, by hour, name and measure."""
    sums: Sums = Counter()
    for hour, provider, route, tags, measure, kind, _ in facts_of(log):
        names = {By.PROVIDER: (provider,), By.ROUTE: (route,), By.TAG: tags, By.KIND: (kind,) if kind else ()}
        for name in names[by]:
            sums[hour, name, measure] += 1
    return sums


def delays(log: Sequence[Recorded]) -> Sums:
    """Emails sent, by hour, provider and bucket of their delay."""
    return Counter(
        (hour, provider, bucket_of(delay))
        for hour, provider, _, _, measure, _, delay in facts_of(log)
        if measure is Measure.SENT
    )


def open_seconds(log: Sequence[Recorded]) -> dict[str, float]:
    """How long circuits were open that are `closed` again, in all; and since when the others are, after `T0`."""
    since: dict[str, float] = {}
    closed = 0.0
    for one in log:
        if isinstance(one.event, CircuitOpened):
            since.setdefault(one.stream.removeprefix("circuit-"), (one.at - T0).total_seconds())
        elif isinstance(one.event, CircuitClosed):
            began = since.pop(one.stream.removeprefix("circuit-"), None)
            closed += 0 if began is None else (one.at - T0).total_seconds() - began
    return {"closed": closed, **since}


def facts_of(log: Sequence[Recorded]) -> Iterator[tuple[Any, ...]]:
    """Each event that counts, with all that it is counted by."""
    views: dict[str, emails.EmailView] = {}
    asked: dict[str, Requested] = {}
    due: dict[str, datetime] = {}
    evidence: dict[str, str] = {}
    for one in log:
        event = one.event
        if isinstance(event, CircuitEvent):
            continue
        stream = one.stream
        before = views.get(stream) or view_of(stream)
        if isinstance(event, Requested):
            asked[stream], due[stream] = event, max(one.at, event.send_at or one.at)
        views[stream] = emails.project(before, one)
        if type(event).__name__ == "Rescheduled":
            due[stream] = views[stream].email.send_at or one.at
        measure = TYPES.get(type(event).__name__)
        if measure is not None:
            provider = provider_of(event, before.email, evidence.get(stream, ""))
            origin = asked[stream]
            delay = one.at - due[stream]
            yield hour_of(one.at), provider, origin.route, origin.tags, measure, kind_of(event), delay
        if isinstance(event, PartlySent) or (isinstance(event, LateResultObserved) and event.accepted):
            evidence[stream] = event.provider
        elif type(event).__name__ in ("Delivered", "Bounced"):
            feedback: Any = event
            evidence[stream] = before.email.attempts[feedback.attempt - 1].provider


def assert_exact(bench: Bench) -> None:
    """The reports are what the raw events add up to."""
    log = whole_log(bench.log)
    read = bench.rows.counted(EVER, By.PROVIDER, LIMIT)
    sent: Sums = Counter()
    for hour, name, measure, bucket, n in read.tallies:
        if measure == Measure.SENT:
            sent[hour, name, bucket] += n

    for by in By:
        assert count(log, by) == bench.counted(by)
    assert delays(log) == sent
    assert open_seconds(log) == {
        "closed": pytest.approx(sum(us for *_, us in read.open_us) / 1e6),
        **{name: (since - T0).total_seconds() for name, since in read.open_since.items()},
    }
    assert log[-1].position == read.progress.position == read.progress.last_position
    assert read.progress.oldest_at is None
