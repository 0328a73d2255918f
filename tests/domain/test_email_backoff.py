"""When to try again: at another provider at once, at the same one and in the next cycle after a backoff."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce

import pytest

from domain.email.commands import Circumstances
from domain.email.decide import decide
from domain.email.events import AttemptStarted, EmailEvent
from domain.email.evolve import evolve
from domain.email.state import Email
from domain.failures import FailureKind, NotAccepted, Unanswered
from domain.retry import RetryPolicy
from domain.routing import Blocked, OnLimit, Opening
from tests.domain.build import (
    BOTH,
    START,
    T0,
    at,
    blocked,
    failed,
    free,
    given,
    lost,
    outcome,
    requested,
    risk_accepted,
    started,
)

TRANSIENT = NotAccepted(kind=FailureKind.TRANSIENT)
ONCE_EACH = RetryPolicy(attempts_per_provider=1)


def test_the_same_provider_is_tried_again_after_a_backoff() -> None:
    """It has one try of its two left; the route's second provider is not asked yet."""
    given(requested(), started(1)).when(outcome(1, TRANSIENT)).then(failed(1, retry_at=at(1)))


def test_after_its_last_try_the_next_provider_is_asked_at_once() -> None:
    """There is no reason to wait for somebody who did not fail."""
    (
        given(requested(), started(1), failed(1), started(2))
        .when(outcome(2, TRANSIENT), now=at(1))
        .then(failed(2, retry_at=at(1), spent=True))
    )


def test_after_its_last_try_it_waits_where_the_next_provider_is_broken() -> None:
    """The only way on is a new cycle, and cycles have a backoff between them."""
    (
        given(requested(), started(1), failed(1), started(2))
        .when(outcome(2, TRANSIENT), openings=(free("ses"), blocked("smtp", Blocked.CIRCUIT_OPEN)))
        .then(failed(2, retry_at=at(1), spent=True))
    )


def test_after_its_last_try_it_waits_where_the_next_provider_is_busy() -> None:
    """At a limit the route waits; the time is asked for again when it is due."""
    (
        given(requested(), started(1), failed(1), started(2))
        .when(outcome(2, TRANSIENT), openings=(free("ses"), blocked("smtp", Blocked.AT_LIMIT)))
        .then(failed(2, retry_at=at(1), spent=True))
    )


def test_a_new_cycle_waits() -> None:
    """When the last provider of the route is spent, the first is not asked again at once."""
    (
        given(requested(), started(1), failed(1, spent=True), started(2, "smtp"))
        .when(outcome(2, TRANSIENT), retry=ONCE_EACH)
        .then(failed(2, "smtp", retry_at=at(1), spent=True))
    )


@pytest.mark.parametrize("kind", [FailureKind.SENDER, FailureKind.ACCOUNT, FailureKind.QUOTA])
def test_a_new_cycle_waits_after_a_switch_at_once_too(kind: FailureKind) -> None:
    """`At once` means at another provider of this cycle."""
    (
        given(requested(), started(1), failed(1, spent=True), started(2, "smtp"))
        .when(outcome(2, NotAccepted(kind=kind)))
        .then(failed(2, "smtp", kind, retry_at=at(1), spent=True))
    )


@pytest.mark.parametrize(
    ("tries", "longest_s"), [(1, 2), (2, 4), (5, 32), (11, 2048), (12, 3600), (2000, 3600)]
)
def test_the_backoff_grows_with_the_tries_in_a_row(tries: int, longest_s: int) -> None:
    """Of any kind; up to the cap, and with chance it is anything between the base and that."""
    email = given(requested(), started(1)).email
    tried = replace(email, tries=tries - 1)

    def due(chance: float) -> datetime:
        events = decide(
            outcome(1, TRANSIENT), tried, Circumstances(now=T0, chance=chance, openings=(free("ses"),))
        )
        due_at = reduce(evolve, events, tried).due_at
        assert due_at is not None
        return due_at

    assert at(1) == due(0.0)
    assert at(1 + (longest_s - 1) / 2) == due(0.5)
    assert at(longest_s) - timedelta(seconds=longest_s / 100) < due(0.999) < at(longest_s)


def test_retry_after_is_kept() -> None:
    """A provider that says when to come back is not asked before."""
    (
        given(requested(), started(1))
        .when(outcome(1, replace(TRANSIENT, retry_after_s=90)))
        .then(failed(1, retry_at=at(90)))
    )


def test_a_retry_after_shorter_than_the_backoff_does_not_shorten_it() -> None:
    """Nor does one in the past."""
    for retry_after_s in (0.1, -5.0):
        (
            given(requested(), started(1))
            .when(outcome(1, replace(TRANSIENT, retry_after_s=retry_after_s)))
            .then(failed(1, retry_at=at(1)))
        )


def test_retry_after_of_a_throttled_provider_is_for_all_emails() -> None:
    """Its gate learns it as well."""
    (
        given(requested(), started(1))
        .when(outcome(1, NotAccepted(kind=FailureKind.THROTTLED, retry_after_s=90)))
        .then(failed(1, kind=FailureKind.THROTTLED, retry_at=at(90), not_before=at(90)))
    )


def test_a_lost_worker_costs_the_provider_no_try() -> None:
    """It says nothing about the provider: both its tries are still there."""
    happened = (requested(), started(1), lost(1), risk_accepted(1), started(2))
    email = given(*happened).when(outcome(2, TRANSIENT)).email

    assert {"ses": 1} == dict(email.cycle_tries)
    assert not email.spent


def test_a_policy_that_goes_on_goes_to_the_next_provider_where_this_one_is_spent() -> None:
    """Two attempts without an answer are tries like others."""
    silent = Unanswered()
    happened = (requested(), started(1), failed(1), started(2))

    assert at(0) == given(*happened).when(outcome(2, silent)).email.due_at
    assert at(1) == given(requested(), started(1)).when(outcome(1, silent)).email.due_at


def outage(
    openings: tuple[Opening, ...], retry: RetryPolicy, hours: float, on_limit: OnLimit = OnLimit.WAIT
) -> list[tuple[float, str]]:
    """(seconds, provider) of every attempt while nobody answers anything but `transient`; no luck with chance."""
    email: Email = given(requested()).email
    now, starts = T0, []
    while now < at(hours * 3600):
        for command in (START, outcome(len(email.attempts) + 1, TRANSIENT)):
            given_now = Circumstances(
                now=now, chance=0.999, openings=openings, retry=retry, on_limit=on_limit
            )
            events: tuple[EmailEvent, ...] = decide(command, email, given_now)
            starts += [
                ((now - T0).total_seconds(), event.provider)
                for event in events
                if isinstance(event, AttemptStarted)
            ]
            email = reduce(evolve, events, email)
        assert email.due_at is not None
        now = max(now, email.due_at)
    return starts


@pytest.mark.parametrize("per_provider", [1, 2, 3])
def test_a_total_outage_is_walked_in_cycles(per_provider: int) -> None:
    """Each provider gets its tries, then the next; and a day of it is a few dozen attempts, not thousands."""
    retry = RetryPolicy(attempts_per_provider=per_provider)
    starts = outage(BOTH, retry, hours=20)
    cycle = ["ses"] * per_provider + ["smtp"] * per_provider

    assert cycle * 3 == [provider for _, provider in starts[: 3 * len(cycle)]]
    assert 2 * per_provider <= len(starts) < 80


def test_two_attempts_at_one_provider_are_never_without_a_backoff() -> None:
    """Whatever came in between."""
    starts = outage(BOTH, ONCE_EACH, hours=20)
    last: dict[str, float] = {}

    for second, provider in starts:
        assert second >= last.get(provider, -1.0) + 1.0
        last[provider] = second
