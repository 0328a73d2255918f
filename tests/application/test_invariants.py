"""A log that breaks an invariant is told apart from one that doesn't, whatever else stands in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.memory.event_store import MemoryEventStore
from application.invariants import LogCheck, Violation, worst_window
from application.recorded import Event, Recorded, circuit_stream, email_stream
from domain.circuit import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitPolicy,
    ProbePassed,
    ProviderPaused,
    ProviderResumed,
)
from domain.email.events import Cancelled, Delivered, FailReason
from tests.contract.event_store.given import ManualClock
from tests.contract.event_store.world import World
from tests.domain.build import (
    T0,
    at,
    ended,
    failed,
    late,
    partly_sent,
    redriven,
    requested,
    risk_accepted,
    sent,
    started,
    uncertain,
)

EMAIL, OTHER, SES = email_stream("a"), email_stream("b"), circuit_stream("ses")
OPENED = CircuitOpened(epoch=1, reason="consecutive", failures=5, calls=5, until=T0)
HALF = CircuitHalfOpened(epoch=1)


def log(*events: tuple[str, Event]) -> list[Recorded]:
    """These events of these streams, in this order."""
    versions: dict[str, int] = {}
    recorded: list[Recorded] = []
    for position, (stream, event) in enumerate(events, 1):
        versions[stream] = version = versions.get(stream, 0) + 1
        recorded.append(
            Recorded(
                position=position, event_id=str(position), stream=stream, version=version, at=T0, event=event
            )
        )
    return recorded


def email(*events: Event, of: str = EMAIL, recipients: int = 1) -> list[tuple[str, Event]]:
    return [(of, requested(recipients)), *((of, event) for event in events)]


def found(events: list[Recorded], policy: CircuitPolicy | None = None) -> list[Violation]:
    return list(LogCheck(policy).check(events))


def probes(*numbers: int) -> list[tuple[str, Event]]:
    """One email for each number, started as that probe."""
    return [
        pair for n in numbers for pair in email(started(1, epoch=1, probe=n), of=email_stream(f"probe{n}"))
    ]


HELD_GOOD: dict[str, list[tuple[str, Event]]] = {
    "a retry elsewhere": email(started(1), failed(1), started(2, "smtp"), sent(2, "smtp")),
    "a declared risk": email(
        started(1),
        uncertain(1),
        risk_accepted(1),
        started(2, "smtp"),
        sent(2, "smtp"),
        late(1, accepted=(0,)),
    ),
    "the same key twice, where it is honoured": email(
        started(1, key_until=at(60)),
        uncertain(1),
        started(2, key_until=at(60)),
        sent(2),
        late(1, accepted=(0,)),
    ),
    "parts at two providers": email(
        started(1, recipients=(0, 1)),
        partly_sent(1, accepted=(0,), deferred=(1,)),
        started(2, "smtp", (1,)),
        sent(2, "smtp", (1,)),
        recipients=2,
    ),
    "reopened": email(started(1), failed(1), ended(FailReason.EXPIRED, 0), redriven(T0), started(2), sent(2)),
    "feedback after its end": email(started(1), sent(1), Delivered(attempt=1, recipient=0, observed_at=T0)),
    "three probes, one back, a fourth": [
        (SES, OPENED),
        (SES, HALF),
        *probes(1, 2, 3),
        (email_stream("probe1"), replace(sent(1), epoch=1, probe=1)),
        (SES, ProbePassed(epoch=1, n=1)),
        *probes(4),
    ],
    "a closed circuit": [(SES, OPENED), (SES, HALF), (SES, CircuitClosed(epoch=1)), *email(started(1))],
    "resumed": [(SES, ProviderPaused(by="x")), (SES, ProviderResumed(by="x")), *email(started(1))],
}
BROKEN: dict[str, tuple[str, list[tuple[str, Event]]]] = {
    "two ends": ("I2", email(ended(FailReason.EXPIRED, 0), Cancelled(by="x"))),
    "an end over an open attempt": ("I2", email(started(1), Cancelled(by="x"))),
    "two copies in silence": (
        "I3",
        email(started(1), failed(1), started(2, "smtp"), sent(2, "smtp"), late(1, accepted=(0,))),
    ),
    "two copies at a provider that honours no keys": (
        "I3",
        email(started(1), uncertain(1), started(2), sent(2), late(1, accepted=(0,))),
    ),
    "a risk declared too late": (
        "I3",
        email(
            started(1),
            uncertain(1),
            started(2, "smtp"),
            risk_accepted(1),
            sent(2, "smtp"),
            late(1, accepted=(0,)),
        ),
    ),
    "a risk that names another": (
        "I3",
        email(
            started(1),
            uncertain(1),
            risk_accepted(2),
            started(2, "smtp"),
            sent(2, "smtp"),
            Delivered(attempt=1, recipient=0, observed_at=T0),
        ),
    ),
    "an outcome of nothing": ("I5", email(failed(1))),
    "an outcome twice": ("I5", email(started(1), failed(1), failed(1))),
    "evidence of nothing": ("I5", email(late(1, accepted=(0,)))),
    "a start behind an open circuit": ("I7", [(SES, OPENED), *email(started(1))]),
    "an ordinary start while half open": ("I7", [(SES, OPENED), (SES, HALF), *email(started(1, epoch=1))]),
    "a start while paused": ("I7", [(SES, ProviderPaused(by="x")), *email(started(1))]),
    "four probes at a time": ("I7", [(SES, OPENED), (SES, HALF), *probes(1, 2, 3, 4)]),
    "two open attempts": ("I8", email(started(1), started(2))),
    "a token that fell": (
        "I8",
        [*email(replace(started(1), token=7)), *email(replace(started(1), token=6), of=OTHER)],
    ),
    "nothing was requested": ("I9", [(EMAIL, started(1))]),
    "requested twice": ("I9", [(EMAIL, requested()), (EMAIL, requested())]),
    "an attempt after the end": ("I11", email(started(1), sent(1), started(2))),
    "reopened without an end": ("I11", email(redriven(T0))),
    "a refused recipient again": (
        "I12",
        email(
            started(1, recipients=(0, 1)),
            failed(1, refused=(1,), deferred=(0,)),
            started(2, recipients=(0, 1)),
            recipients=2,
        ),
    ),
    "an accepted recipient again": (
        "I12",
        email(
            started(1, recipients=(0, 1)),
            partly_sent(1, accepted=(0,), deferred=(1,)),
            started(2, "smtp", (0, 1)),
            recipients=2,
        ),
    ),
}


@pytest.mark.parametrize("name", HELD_GOOD)
def test_what_is_allowed_is_not_found(name: str) -> None:
    """Everything the rules permit passes."""
    assert [] == found(log(*HELD_GOOD[name]))


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_forbidden_is_found(name: str) -> None:
    """The first violation names the invariant, and the event that broke it."""
    invariant, events = BROKEN[name]

    first = found(log(*events))[0]

    assert invariant == first.invariant
    assert events[first.position - 1][0] == first.stream


def test_a_version_left_out_is_found() -> None:
    """An event that went missing within a stream shows."""
    whole = log(*email(started(1), failed(1), started(2), sent(2)))

    (violation, *_) = found(whole[:2] + whole[3:])

    assert ("I9", 4) == (violation.invariant, violation.position)


@pytest.mark.parametrize("seed", range(8))
def test_what_the_real_rules_write_holds(seed: int) -> None:
    """Logs of a made-up world with everything in it: no violation in any."""
    policy = CircuitPolicy(window=timedelta(seconds=30), min_calls=4, consecutive=3)
    clock = ManualClock()
    store = MemoryEventStore(clock=clock, circuit=policy)
    World(store, clock, policy, seed).run(400)

    assert [] == found(store.read_all(0, 100_000), policy)


def test_the_worst_window_is_found_wherever_it_lies() -> None:
    """Half-open: a start exactly one window later is outside."""
    second = timedelta(seconds=1)

    assert 0 == worst_window([], second)
    assert 1 == worst_window([at(0), at(1), at(2)], second)
    assert 3 == worst_window([at(5.5), at(0), at(5), at(5.999), at(6.0), at(9)], second)
