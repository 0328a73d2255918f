"""How the queue stands, in numbers: the same from the views as from the log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import make_url

from adapters.memory.event_store import MemoryEventStore
from adapters.memory.standing import MemoryStandings
from adapters.sql import open_store
from application.ports import EventStore, Plan, StoreUnavailable
from application.projections.gates import provider_gate
from application.recorded import email_stream
from application.standing import LATE_AFTER, Depth, StandingReader
from domain.email.events import Held, HoldReason, OutcomeUncertain
from domain.failures import FailureKind
from domain.routing import Priority
from tests.contract.event_store.conftest import CIRCUIT, Subject
from tests.contract.event_store.given import MINUTE, T0, an_id, append, request, sent, started, unit
from tests.contract.event_store.world import World

MICROSECOND = timedelta(microseconds=1)


def standings_of(subject: Subject, store: EventStore | None = None) -> StandingReader:
    """The reader that goes with a store."""
    store = store or subject.store
    if isinstance(store, MemoryEventStore):
        return MemoryStandings(store, subject.clock, CIRCUIT)
    reader: StandingReader = store.standings  # type: ignore[attr-defined]
    return reader


def happen(subject: Subject, email_id: str, *events: Any, version: int = 1) -> None:
    """Have something happen to an email, which is new if nothing else is said."""
    appended = unit(append(email_stream(email_id), version, *events))
    subject.store.transact(Plan(emails=(email_id,)), lambda locked: [appended])


def test_nothing_waits_in_an_empty_store(subject: Subject) -> None:
    """Every priority is named; there is no oldest."""
    reader = standings_of(subject)
    standing, depth = reader.standing(), reader.depth()
    none = dict.fromkeys(Priority, 0)

    assert Depth(due=none, later=none) == depth
    assert ({}, 0, 0, 0) == (standing.oldest, standing.overdue, standing.held, standing.uncertain)
    assert subject.clock.time == standing.now


def test_what_is_due_and_what_is_not_yet(subject: Subject) -> None:
    """By priority; due to the microsecond; what is under way or over waits for nothing."""
    subject.store.append(
        [
            request(an_id(), priority=Priority.HIGH),
            request(an_id(), priority=Priority.BULK, send_at=T0 + MINUTE),
            request(an_id(), priority=Priority.BULK, send_at=T0 + MINUTE + MICROSECOND),
            request(under_way := an_id()),
            request(over := an_id()),
        ]
    )
    happen(subject, under_way, started())
    happen(subject, over, started(), sent())
    subject.clock.time = T0 + MINUTE
    depth = standings_of(subject).depth()

    assert {Priority.HIGH: 1, Priority.NORMAL: 0, Priority.BULK: 1} == depth.due
    assert {Priority.HIGH: 0, Priority.NORMAL: 0, Priority.BULK: 1} == depth.later


def test_the_oldest_is_the_one_that_has_been_due_for_longest(subject: Subject) -> None:
    """Of each priority, over all lanes, by when it became due, not by when it was accepted."""
    subject.store.append(
        [
            request(an_id(), requested_at=T0, send_at=T0 + 9 * MINUTE),
            request(an_id(), requested_at=T0 + 3 * MINUTE),
            request(an_id(), requested_at=T0 + 2 * MINUTE, route="other"),
            request(an_id(), requested_at=T0 + 4 * MINUTE, priority=Priority.BULK),
            request(an_id(), requested_at=T0, send_at=T0 + 20 * MINUTE, priority=Priority.HIGH),
        ]
    )
    subject.clock.time = T0 + 10 * MINUTE

    expected = {Priority.NORMAL: T0 + 2 * MINUTE, Priority.BULK: T0 + 4 * MINUTE}
    assert expected == standings_of(subject).standing().oldest


@pytest.mark.parametrize(("past", "overdue"), [(-MICROSECOND, 0), (timedelta(0), 1)])
def test_overdue_is_what_a_worker_should_have_ended(subject: Subject, past: timedelta, overdue: int) -> None:
    """Its deadline has passed by as long as any round may take; one that is under way has none."""
    under_way = an_id()
    expiring = [request(one, expires_at=T0 + MINUTE) for one in (under_way, an_id())]
    subject.store.append([*expiring, request(an_id())])
    happen(subject, under_way, started())
    subject.clock.time = T0 + MINUTE + LATE_AFTER + past

    assert overdue == standings_of(subject).standing().overdue


def test_held_and_uncertain_emails_are_counted(subject: Subject) -> None:
    """Those that wait for a person, and those that wait for evidence."""
    ids = [an_id() for _ in range(5)]
    subject.store.append([request(one) for one in ids])
    doubt = OutcomeUncertain(
        attempt=1,
        provider="ses",
        kind=FailureKind.UNCERTAIN,
        code="",
        detail="",
        refused=(),
        deferred=(),
        resolve_by=T0 + MINUTE,
        retry_at=None,
        spent=False,
        epoch=0,
        probe=None,
    )
    for one in ids[:3]:
        happen(subject, one, started(), doubt)
    happen(subject, ids[0], Held(reason=HoldReason.UNCERTAIN), version=3)
    standing = standings_of(subject).standing()

    assert (1, 2) == (standing.held, standing.uncertain)


def test_the_gates_are_those_that_are_committed(subject: Subject) -> None:
    """With what is under way at each provider."""
    subject.store.append([request(email_id := an_id())])
    happen(subject, email_id, started(provider="ses"))

    assert 1 == standings_of(subject).standing().gates[provider_gate("ses")].open_attempts


def test_whatever_happened_the_numbers_are_those_of_the_log(sql_subject: Subject) -> None:
    """Views and indexes against a fold of all events, at several moments."""
    world = World(sql_subject.store, sql_subject.clock, CIRCUIT, seed=4)
    reader = standings_of(sql_subject)
    folded = MemoryStandings(sql_subject.store, sql_subject.clock, CIRCUIT)
    seen = set()
    for _ in range(6):
        world.run(20)
        sql_subject.clock.time += timedelta(seconds=130)
        expected, actual = folded.standing(), reader.standing()

        assert folded.depth() == reader.depth()
        assert (expected.oldest, expected.overdue) == (actual.oldest, actual.overdue)
        assert (expected.held, expected.uncertain) == (actual.held, actual.uncertain)
        assert {name: gate.open_attempts for name, gate in expected.gates.items()} == {
            name: gate.open_attempts for name, gate in actual.gates.items()
        }
        seen |= {bool(expected.oldest), bool(expected.overdue) and "overdue", bool(expected.held) and "held"}

    assert {True, "overdue", "held"} <= seen


def test_a_store_that_is_gone_says_so(sql_subject: Subject) -> None:
    """With the exception that everybody knows."""
    url = make_url(sql_subject.url).set(database="nowhere").render_as_string(hide_password=False)
    store = open_store(url, read_only=True, stall_s=1)
    for ask in (store.standings.standing, store.standings.depth):
        with pytest.raises(StoreUnavailable):
            ask()
    store.close()
