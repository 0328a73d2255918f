"""Claiming: the due emails of chosen lanes, what is overdue, and what a lost worker left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import pytest

from application.ports import Lease, LeaseLost, Locked, Plan, Share, Waiting
from application.projections.gates import Gate, provider_gate
from application.recorded import Unit, email_stream
from domain.email.events import Cancelled, Held, HoldReason
from domain.routing import Lane, Priority
from tests.contract.event_store.conftest import Subject
from tests.contract.event_store.given import (
    DAY,
    LANE,
    MINUTE,
    T0,
    an_id,
    append,
    failed,
    request,
    started,
    unit,
)


class Chooser:
    """Chooses the shares it was given, and remembers what there was to choose from."""

    def __init__(self, *shares: Share) -> None:
        self.shares = shares
        self.waiting: list[Waiting] = []
        self.gates: dict[str, Gate] = {}
        self.now: datetime | None = None

    def __call__(
        self, waiting: Sequence[Waiting], gates: Mapping[str, Gate], now: datetime
    ) -> Sequence[Share]:
        self.waiting, self.gates, self.now = list(waiting), dict(gates), now
        return self.shares


def share(count: int, lane: str = LANE, priority: Priority = Priority.NORMAL) -> Share:
    """So many of a lane, the ordinary one if nothing else is said."""
    return Share(lane=lane, priority=priority, count=count)


def look(subject: Subject, plan: Plan) -> Locked:
    """What the plan finds; nothing is decided."""
    return subject.store.transact(plan, lambda locked: []).locked


def claim(subject: Subject, *shares: Share) -> tuple[str, ...]:
    """What a worker with a lease of its own claims."""
    return look(subject, Plan(lease=subject.store.acquire_lease("w"), choose=Chooser(*shares))).claimed


def test_the_longest_due_are_claimed_first(subject: Subject) -> None:
    """As many as chosen, folded, and not what is due later."""
    ids = [an_id() for _ in range(5)]
    dues = [3, 1, 4, 2, 60]
    units = [request(one, requested_at=T0 + m * MINUTE) for one, m in zip(ids, dues, strict=True)]
    subject.store.append(units)
    subject.clock.time = T0 + 5 * MINUTE
    plan = Plan(lease=subject.store.acquire_lease("w"), choose=Chooser(share(3)))
    locked = look(subject, plan)

    assert (ids[1], ids[3], ids[0]) == locked.claimed
    assert set(locked.claimed) == set(locked.emails)
    assert {1} == {view.version for view in locked.emails.values()}
    assert (ids[1], ids[3], ids[0], ids[2]) == claim(subject, share(100))


def test_a_claim_leaves_the_email_where_it_was(subject: Subject) -> None:
    """Only an event takes it out: a decision that starts nothing can be made again by anybody."""
    email_id = an_id()
    subject.store.append([request(email_id)])

    assert (email_id,) == claim(subject, share(1)) == claim(subject, share(1))


def test_only_what_is_due_can_be_chosen(subject: Subject) -> None:
    """By priority, then by age; scheduled, running, held and ended emails are not offered."""
    ids = {name: an_id() for name in ("bulk", "high", "old", "new", "later", "running", "held", "ended")}
    acme = str(Lane("acme", "default"))
    subject.store.append(
        [
            request(ids["bulk"], priority=Priority.BULK, requested_at=T0 - DAY),
            request(ids["high"], priority=Priority.HIGH),
            request(ids["new"], requested_at=T0 - MINUTE),
            request(ids["old"], requested_at=T0 - 2 * MINUTE, tenant="acme"),
            request(ids["later"], send_at=T0 + MINUTE),
            *(request(ids[one], requested_at=T0 - DAY) for one in ("running", "held", "ended")),
        ]
    )
    subject.store.append(
        [
            unit(append(email_stream(ids["held"]), 1, Held(reason=HoldReason.OPERATOR))),
            unit(append(email_stream(ids["ended"]), 1, Cancelled(by="me"))),
        ]
    )
    subject.store.transact(Plan(), lambda locked: [unit(append(email_stream(ids["running"]), 1, started()))])
    chooser = Chooser()
    look(subject, Plan(lease=subject.store.acquire_lease("w"), choose=chooser))

    assert [
        Waiting(lane=LANE, priority=Priority.HIGH, due_at=T0),
        Waiting(lane=acme, priority=Priority.NORMAL, due_at=T0 - 2 * MINUTE),
        Waiting(lane=LANE, priority=Priority.NORMAL, due_at=T0 - MINUTE),
        Waiting(lane=LANE, priority=Priority.BULK, due_at=T0 - DAY),
    ] == chooser.waiting
    assert T0 == chooser.now
    assert {provider_gate("ses"), "route/default", "service"} == set(chooser.gates)
    assert 1 == chooser.gates[provider_gate("ses")].open_attempts


def test_shares_are_served_in_their_order(subject: Subject) -> None:
    """Each from its lane and priority alone; a lane that isn't there gives nothing."""
    ids = [an_id() for _ in range(4)]
    acme = str(Lane("acme", "default"))
    subject.store.append(
        [
            request(ids[0]),
            request(ids[1], tenant="acme"),
            request(ids[2], requested_at=T0 - MINUTE),
            request(ids[3], priority=Priority.HIGH),
        ]
    )
    claimed = claim(
        subject, share(1, lane=acme), share(5, lane="nowhere"), share(2), share(0, priority=Priority.HIGH)
    )

    assert (ids[1], ids[2], ids[0]) == claimed


def test_a_lane_follows_what_happened(subject: Subject) -> None:
    """After a failure that spends the provider, the email waits in another lane until its retry."""
    email_id = an_id()
    spent = str(Lane("", "default", spent=("ses",), tried=True))
    subject.store.append([request(email_id)])
    events = (started(), failed(spent=True, retry_at=T0 + MINUTE))
    subject.store.transact(Plan(), lambda locked: [unit(append(email_stream(email_id), 1, *events))])
    too_early = claim(subject, share(9, lane=spent))
    subject.clock.time = T0 + MINUTE

    assert () == too_early
    assert () == claim(subject, share(9))
    assert (email_id,) == claim(subject, share(9, lane=spent))


def test_without_a_live_lease_nothing_is_claimed(subject: Subject) -> None:
    """What is waiting to be recorded is still given: the outcome of a worker that lost its lease."""
    email_id = an_id()
    subject.store.append([request(email_id)])
    lease = subject.store.acquire_lease("w")
    alive = look(subject, Plan(lease=lease, choose=Chooser(share(1))))
    subject.store.release_lease(lease)
    dead = look(subject, Plan(lease=lease, choose=Chooser(share(1)), emails=(email_id,)))

    assert (True, (email_id,)) == (alive.lease_alive, alive.claimed)
    assert (False, ()) == (dead.lease_alive, dead.claimed)
    assert {email_id} == set(dead.emails)


def test_another_token_of_the_same_worker_is_another_lease(subject: Subject) -> None:
    """A worker that was started anew must not keep its predecessor alive."""
    subject.store.append([request(an_id())])
    lease = subject.store.acquire_lease("w")
    forged = Lease(worker="w", token=lease.token + 1)

    assert not look(subject, Plan(lease=forged, choose=Chooser(share(1)))).lease_alive


def test_what_is_overdue_is_taken_too(subject: Subject) -> None:
    """Those whose deadline passed first, up to a number; held ones too, running and ended ones not."""
    ids = [an_id() for _ in range(6)]
    expiries = [3, 1, 2, 60, 1, 1]
    subject.store.append(
        [request(one, expires_at=T0 + m * MINUTE) for one, m in zip(ids, expiries, strict=True)]
    )
    subject.store.append(
        [
            unit(append(email_stream(ids[1]), 1, Held(reason=HoldReason.OPERATOR))),
            unit(append(email_stream(ids[5]), 1, Cancelled(by="me"))),
        ]
    )
    subject.store.transact(Plan(), lambda locked: [unit(append(email_stream(ids[4]), 1, started()))])
    before = look(subject, Plan(overdue_max=9)).overdue
    subject.clock.time = T0 + 3 * MINUTE
    locked = look(subject, Plan(overdue_max=9))

    assert () == before
    assert (ids[1], ids[2], ids[0]) == locked.overdue
    assert set(locked.overdue) == set(locked.emails)
    assert (ids[1], ids[2]) == look(subject, Plan(overdue_max=2)).overdue
    assert () == look(subject, Plan()).overdue


@pytest.fixture
def running(subject: Subject) -> tuple[Lease, Lease, list[str]]:
    """Two leases; emails 0 to 2 have attempts open under the first, 3 under the second, 4 had one."""
    mine, other = subject.store.acquire_lease("w"), subject.store.acquire_lease("w")
    ids = [an_id() for _ in range(5)]
    subject.store.append([request(one) for one in ids])
    tokens = [mine.token] * 3 + [other.token, mine.token]
    units = [
        unit(append(email_stream(one), 1, started(token=token)))
        for one, token in zip(ids, tokens, strict=True)
    ]
    units.append(unit(append(email_stream(ids[4]), 2, failed())))
    subject.store.transact(Plan(), lambda locked: units)
    return mine, other, ids


def test_open_attempts_of_a_lease_are_taken_over(
    subject: Subject, running: tuple[Lease, Lease, list[str]]
) -> None:
    """All of them, with their emails folded; not those of another lease, though of the same worker."""
    mine, other, ids = running
    locked = look(subject, Plan(takes_over=mine))

    assert {(one, 1) for one in ids[:3]} == set(locked.taken_over)
    assert set(ids[:3]) == set(locked.emails)
    assert ((ids[3], 1),) == look(subject, Plan(takes_over=other)).taken_over


def test_what_the_worker_still_holds_is_kept(
    subject: Subject, running: tuple[Lease, Lease, list[str]]
) -> None:
    """At a renewal only attempts that nobody knows of are closed."""
    mine, _, ids = running
    plan = Plan(lease=mine, takes_over=mine, keep=frozenset({(ids[0], 1), (ids[1], 2)}))

    assert {(ids[1], 1), (ids[2], 1)} == set(look(subject, plan).taken_over)
    assert 3 == len(look(subject, Plan(takes_over=mine, keep=frozenset())).taken_over)


def test_attempts_are_taken_over_bit_by_bit(
    subject: Subject, running: tuple[Lease, Lease, list[str]]
) -> None:
    """Up to the plan's bound, until none is left; a bound counts what is taken, not what is kept."""
    mine, _, ids = running
    keep = frozenset({(ids[0], 1)})
    taken: list[tuple[str, ...]] = []

    def close(locked: Locked) -> Sequence[Unit]:
        taken.append(tuple(email_id for email_id, _ in locked.taken_over))
        return [unit(append(email_stream(one), 2, failed())) for one in taken[-1]]

    for _ in range(3):
        subject.store.transact(Plan(takes_over=mine, keep=keep, open_max=1), close)

    assert [1, 1, 0] == list(map(len, taken))
    assert set(ids[1:3]) == {*taken[0], *taken[1]}


def test_a_lease_that_is_gone_can_not_be_taken_over(subject: Subject) -> None:
    """Somebody else has done it; the decision is not even asked."""
    lease = subject.store.acquire_lease("w")
    subject.store.release_lease(lease)
    asked: list[Locked] = []

    def decide(locked: Locked) -> Sequence[Unit]:
        asked.append(locked)
        return []

    for gone in (lease, Lease(worker="nobody", token=99)):
        with pytest.raises(LeaseLost):
            subject.store.transact(Plan(takes_over=gone), decide)

    assert [] == asked


def test_waiting_counts_what_has_not_ended(subject: Subject) -> None:
    """Scheduled, running and held ones as well."""
    ids = [an_id() for _ in range(4)]
    empty = subject.store.waiting()
    subject.store.append([request(one) for one in ids[:3]])
    subject.store.append([request(ids[3], send_at=T0 + timedelta(days=3))])
    subject.store.append([unit(append(email_stream(ids[0]), 1, Held(reason=HoldReason.OPERATOR)))])
    subject.store.transact(Plan(), lambda locked: [unit(append(email_stream(ids[1]), 1, started()))])
    before = subject.store.waiting()
    subject.store.append([unit(append(email_stream(ids[2]), 1, Cancelled(by="me")))])

    assert (0, 4, 3) == (empty, before, subject.store.waiting())
