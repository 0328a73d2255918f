"""Leases: a worker's right to start attempts, seen or run out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from application.ports import Lease, LeaseLost, Plan
from application.recorded import email_stream
from tests.contract.event_store.conftest import Subject
from tests.contract.event_store.given import T0, an_id, append, failed, request, started, unit

SECOND = timedelta(seconds=1)


def test_tokens_only_ever_rise(subject: Subject) -> None:
    """Over workers, and over leases that were given back: a token is never given again."""
    first = subject.store.acquire_lease("a")
    second = subject.store.acquire_lease("b")
    subject.store.release_lease(second)
    third = subject.store.acquire_lease("b")

    assert ("a", "b", "b") == (first.worker, second.worker, third.worker)
    assert 0 < first.token < second.token < third.token


def test_a_lease_is_renewed_while_it_is_there(subject: Subject) -> None:
    """And not once it is gone, nor under another name."""
    lease = subject.store.acquire_lease("a")
    renewed = subject.store.renew_lease(lease)
    subject.store.release_lease(lease)

    assert renewed
    assert not subject.store.renew_lease(lease)
    assert not subject.store.renew_lease(Lease(worker="b", token=lease.token))


def test_a_worker_may_have_an_old_lease_beside_its_new_one(subject: Subject) -> None:
    """Started again after a crash, it must not lose sight of what it left open."""
    old, new = subject.store.acquire_lease("a"), subject.store.acquire_lease("a")

    assert {old, new} == set(subject.store.stale_leases(timedelta(0)))


def test_a_lease_that_is_not_renewed_goes_stale(subject: Subject) -> None:
    """Counted from when it was last seen."""
    quiet = subject.store.acquire_lease("quiet")
    alive = subject.store.acquire_lease("alive")
    subject.clock.time = T0 + 20 * SECOND
    subject.store.renew_lease(alive)
    subject.clock.time = T0 + 30 * SECOND

    assert [quiet] == subject.store.stale_leases(30 * SECOND)
    assert [] == subject.store.stale_leases(31 * SECOND)
    assert {quiet, alive} == set(subject.store.stale_leases(10 * SECOND))


def test_a_lease_that_was_renewed_meanwhile_is_not_taken_over(subject: Subject) -> None:
    """It was seen to be stale, then its worker came back: only behind the lock it can be told."""
    lease = subject.store.acquire_lease("slow")
    subject.clock.time = T0 + 30 * SECOND
    plan = Plan(takes_over=lease, unseen_for=30 * SECOND)
    subject.store.transact(plan, lambda _: [])
    subject.store.renew_lease(lease)

    with pytest.raises(LeaseLost):
        subject.store.transact(plan, lambda _: [])


def test_every_lease_is_older_than_nothing(subject: Subject) -> None:
    """One that was given this instant too, whatever the clock does: a sole owner clears up at its start."""
    leases = {subject.store.acquire_lease(name) for name in "abc"}
    subject.clock.time = T0 - 60 * SECOND

    assert leases == set(subject.store.stale_leases(timedelta(0)))


def test_a_lease_with_open_attempts_is_not_given_up(subject: Subject) -> None:
    """They would belong to nobody; once they are closed it goes, and to give it up again is no error."""
    lease = subject.store.acquire_lease("w")
    email_id = an_id()
    subject.store.append([request(email_id)])
    begin = unit(append(email_stream(email_id), 1, started(token=lease.token)))
    subject.store.transact(Plan(), lambda locked: [begin])
    subject.store.release_lease(lease)
    kept = subject.store.stale_leases(timedelta(0))
    subject.store.transact(Plan(), lambda locked: [unit(append(email_stream(email_id), 2, failed()))])
    for _ in range(2):
        subject.store.release_lease(lease)

    assert [lease] == kept
    assert [] == subject.store.stale_leases(timedelta(0))


def test_leases_are_shared_by_all_stores_on_a_database(subject: Subject) -> None:
    """One worker sees that another one has gone quiet."""
    lease = subject.store.acquire_lease("a")
    other = subject.open()

    assert [lease] == other.stale_leases(timedelta(0))
    assert other.acquire_lease("b").token > lease.token
