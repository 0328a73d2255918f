"""Choosing events by type, provider and status: as if every email were folded, with hardly any being so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import combinations

import pytest

from adapters.memory.event_store import MemoryEventStore
from application.projections import emails
from application.projections.emails import EmailView, Status, email_id_of, view_of
from application.recorded import CIRCUIT_PREFIX, Recorded, email_stream
from application.selection import EVENT_TYPES, EVERYTHING, LEADS_TO, Wanted, chosen
from domain.circuit import CircuitPolicy
from domain.email.events import Bounced, Delivered, DuplicateRiskAccepted, Opened, ProviderSwitched
from tests.contract.event_store.given import ManualClock, an_id, request
from tests.contract.event_store.world import World

POLICY = CircuitPolicy(window=timedelta(seconds=30), min_calls=4, consecutive=3)
PROVIDERS = ("ses", "postmark", "smtp")


@pytest.fixture(scope="module")
def lived() -> MemoryEventStore:
    """A log of all that the rules can make of a few hundred emails."""
    clock = ManualClock()
    store = MemoryEventStore(clock=clock, circuit=POLICY)
    World(store, clock, POLICY, seed=12).run(700)
    return store


def folded(log: Sequence[Recorded]) -> list[tuple[Recorded, EmailView | None]]:
    """Every event with its email as it stood after it."""
    views: dict[str, EmailView] = {}
    found: list[tuple[Recorded, EmailView | None]] = []
    for one in log:
        if one.stream.startswith(CIRCUIT_PREFIX):
            found.append((one, None))
        else:
            before = views.get(one.stream) or view_of(email_id_of(one.stream))
            views[one.stream] = emails.project(before, one)
            found.append((one, views[one.stream]))
    return found


def providers_of(one: Recorded, view: EmailView | None) -> set[str | None]:
    """Slowly, but surely."""
    event = one.event
    if view is None:
        return {one.stream.removeprefix(CIRCUIT_PREFIX)}
    if isinstance(event, ProviderSwitched):
        return {event.from_provider, event.to_provider}
    numbers = (
        event.attempts if isinstance(event, DuplicateRiskAccepted) else [getattr(event, "attempt", None)]
    )
    return {view.email.attempts[number - 1].provider for number in numbers if number is not None}


def slowly(lived: Sequence[tuple[Recorded, EmailView | None]], wanted: Wanted) -> list[Recorded]:
    return [
        one
        for one, view in lived
        if (not wanted.types or type(one.event).__name__ in wanted.types)
        and (not wanted.providers or wanted.providers & providers_of(one, view))
        and (not wanted.statuses or (view is not None and view.status_at(one.at) in wanted.statuses))
    ]


def wishes() -> list[Wanted]:
    """Every type, provider and status alone, and many together."""
    types = [Wanted(types=frozenset({name})) for name in EVENT_TYPES]
    providers = [Wanted(providers=frozenset({name})) for name in PROVIDERS]
    statuses = [Wanted(statuses=frozenset(some)) for n in (1, 2) for some in combinations(Status, n)]
    both = [
        Wanted(providers=one.providers, statuses=other.statuses)
        for one in providers
        for other in statuses
        if len(other.statuses) == 1
    ]
    narrow = Wanted(
        types=frozenset({"AttemptFailed", "Bounced"}),
        providers=frozenset({"ses", "smtp"}),
        statuses=frozenset({Status.RETRYING, Status.SENT}),
    )
    return [EVERYTHING, *types, *providers, *statuses, *both, narrow]


def test_what_is_chosen_is_what_folding_every_email_would_choose(lived: MemoryEventStore) -> None:
    """For whatever somebody may want, over a log with every kind of event that matters."""
    log = lived.read_all(0, 100_000)
    all_of_it = folded(log)
    seen = {type(one.event).__name__ for one in log}

    assert {"AttemptFailed", "PartlySent", "Held", "Bounced", "DuplicateRiskAccepted", "Redriven"} <= seen
    for wanted in wishes():
        assert slowly(all_of_it, wanted) == chosen(log, wanted, lived.read_stream), wanted


def test_an_event_leads_where_the_table_says(lived: MemoryEventStore) -> None:
    """And nowhere else: a rule that changes would make the table wrong."""
    for one, view in folded(lived.read_all(0, 100_000)):
        possible = LEADS_TO.get(type(one.event))
        if view is not None and possible is not None:
            assert view.status_at(one.at) in possible, one


def test_what_the_events_say_themselves_costs_no_reading(lived: MemoryEventStore) -> None:
    """Whoever waits for the end of emails reads hardly any history."""
    log = lived.read_all(0, 100_000)
    read: list[str] = []

    def counted(stream: str) -> Sequence[Recorded]:
        read.append(stream)
        return lived.read_stream(stream)

    ends = chosen(
        log, Wanted(types=frozenset({"Sent", "Failed"}), statuses=frozenset({Status.SENT})), counted
    )
    started = chosen(log, Wanted(types=frozenset({"AttemptStarted"}), providers=frozenset({"ses"})), counted)

    assert ends
    assert started
    assert [] == read


def test_a_scheduled_email_is_queued_where_its_time_has_come() -> None:
    """By the time of its request, as a status says it."""
    clock = ManualClock()
    store = MemoryEventStore(clock=clock, circuit=POLICY)
    now = clock.now()
    later, due = an_id(), an_id()
    store.append([request(later, send_at=now + timedelta(minutes=1)), request(due, send_at=now)])
    log = store.read_all(0, 10)

    for status, expected in ((Status.SCHEDULED, later), (Status.QUEUED, due)):
        found = chosen(log, Wanted(statuses=frozenset({status})), store.read_stream)
        assert [email_stream(expected)] == [one.stream for one in found]


def test_every_type_of_event_has_a_name() -> None:
    """Those of circuits too; feedback that was not seen above as well."""
    assert len(EVENT_TYPES) == 29
    assert {Bounced, Delivered, Opened} <= set(EVENT_TYPES.values())
