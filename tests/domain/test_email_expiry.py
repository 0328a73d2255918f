"""No state without a next deadline: whatever an email waits for, there is a time at which it ends."""

from datetime import timedelta

import pytest

from domain.email.commands import Tick
from domain.email.events import Cancelled, EmailEvent, FailReason, Held, HoldReason, Rescheduled
from domain.email.state import End
from domain.failures import Accepted, FailureKind, NotAccepted
from domain.routing import Blocked, OnUncertain
from tests.domain.build import (
    EXPIRY,
    LIFETIME,
    Given,
    at,
    blocked,
    ended,
    failed,
    given,
    outcome,
    redriven,
    requested,
    risk_accepted,
    sent,
    started,
    uncertain,
)

WAYS_TO_WAIT = {
    "never tried": (),
    "after a failure": (started(1), failed(1)),
    "held for a doubt": (started(1), uncertain(1), Held(reason=HoldReason.UNCERTAIN)),
    "held after crashes": (started(1), uncertain(1), Held(reason=HoldReason.POISON)),
    "held by an operator": (Held(reason=HoldReason.OPERATOR),),
    "in doubt": (started(1), uncertain(1, resolve_by=EXPIRY)),
    "gone on in doubt": (started(1), uncertain(1), risk_accepted(1)),
}
each_wait = pytest.mark.parametrize("happened", WAYS_TO_WAIT.values(), ids=WAYS_TO_WAIT)


@each_wait
def test_expiry_ends_every_wait(happened: tuple[EmailEvent, ...]) -> None:
    """Without any provider, without any operator."""
    in_doubt = given(requested(), *happened).email.in_doubt
    openings = (blocked("ses", Blocked.PAUSED),)

    given(requested(), *happened).when(Tick(), now=EXPIRY, openings=openings).then(
        ended(FailReason.OUTCOME_UNKNOWN if in_doubt else FailReason.EXPIRED, 0)
    )


@each_wait
def test_nothing_waits_without_a_deadline(happened: tuple[EmailEvent, ...]) -> None:
    """The time at which it has to be looked at, though nothing happens, is known from its events."""
    assert EXPIRY == given(requested(), *happened).email.deadline_at


def test_a_tick_before_expiry_does_nothing() -> None:
    """Not even a microsecond."""
    given(requested()).when(Tick(), now=EXPIRY - timedelta(microseconds=1)).then_nothing()


@pytest.mark.parametrize(
    "end", [sent(1), ended(FailReason.EXPIRED, 0), Cancelled(by="alice")], ids=lambda end: type(end).__name__
)
def test_a_tick_after_the_end_does_nothing(end: EmailEvent) -> None:
    """And nothing is waited for."""
    email = given(requested(), started(1), end)

    email.when(Tick(), now=EXPIRY).then_nothing()
    assert (None, None) == (email.email.deadline_at, email.email.lane)


def test_expiry_waits_for_an_open_attempt() -> None:
    """While an attempt is open nothing ends: its worker's lease sees to that."""
    email = given(requested(), started(1))

    email.when(Tick(), now=EXPIRY).then_nothing()
    assert email.email.deadline_at is None


def test_an_attempt_that_ends_after_expiry_ends_the_email() -> None:
    """Sent if it was sent; else expired, and no other try."""
    email = given(requested(), started(1))
    late = EXPIRY + timedelta(minutes=4)

    email.when(outcome(1, Accepted(accepted=(0,))), now=late).then(sent(1))
    email.when(outcome(1, NotAccepted(kind=FailureKind.CONTENT, code="550")), now=late).then(
        failed(1, kind=FailureKind.CONTENT, retry_at=late, spent=True, code="550"),
        ended(FailReason.EXPIRED, 0, code="550"),
    )


def test_the_end_says_what_the_last_answer_was() -> None:
    """Why it never got out."""
    happened = (requested(), started(1), failed(1, code="421"), started(2), failed(2, code="451"))

    given(*happened).when(Tick(), now=EXPIRY).then(ended(FailReason.EXPIRED, 0, code="451"))


def test_a_rescheduled_email_expires_later() -> None:
    """It gets its whole lifetime from its new time on."""
    tomorrow = at(86_400)
    email = given(requested(), Rescheduled(by="alice", send_at=tomorrow, expires_at=tomorrow + LIFETIME))

    email.when(Tick(), now=EXPIRY).then_nothing()
    email.when(Tick(), now=tomorrow + LIFETIME).then(ended(FailReason.EXPIRED, 0))


def test_a_redriven_email_expires_later() -> None:
    """And ends once more: ends and `Redriven` alternate."""
    again = EXPIRY + timedelta(hours=2)
    email = given(requested(), ended(FailReason.EXPIRED, 0), redriven(again))

    email.when(Tick(), now=again).then_nothing()
    email.when(Tick(), now=again + LIFETIME).then(ended(FailReason.EXPIRED, 0))


@pytest.mark.parametrize("policy", list(OnUncertain))
def test_expiry_goes_before_the_policy(policy: OnUncertain) -> None:
    """At expiry no risk is taken any more, and nothing is held."""
    happened = (requested(on_uncertain=policy), started(1), uncertain(1, resolve_by=EXPIRY))
    then = given(*happened).when(Tick(), now=EXPIRY)

    then.then(ended(FailReason.OUTCOME_UNKNOWN, 0))
    assert End.FAILED is then.email.end
    Given(then.email).when(Tick(), now=EXPIRY).then_nothing()
