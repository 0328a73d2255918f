"""Workers that die: an email that took three of them with it waits for an operator."""

from domain.email.commands import LoseAttempt, Retry, Tick
from domain.email.events import EmailEvent, FailReason, Held, HoldReason
from domain.errors import MayHaveBeenSent
from domain.failures import FailureKind, Unanswered
from domain.routing import OnUncertain
from tests.domain.build import (
    EXPIRY,
    KEY_TTL,
    KEYED,
    LATER,
    START,
    Given,
    at,
    ended,
    failed,
    given,
    lost,
    outcome,
    released,
    requested,
    risk_accepted,
    started,
    uncertain,
)

TWO_CRASHES: tuple[EmailEvent, ...] = (
    *(requested(), started(1), lost(1), risk_accepted(1)),
    *(started(2), lost(2), risk_accepted(2, retry_at=at(1))),
)
POISONED: tuple[EmailEvent, ...] = (*TWO_CRASHES, started(3), lost(3), Held(reason=HoldReason.POISON))
LOST_AGAIN = LoseAttempt(attempt=3)


def test_a_lost_attempt_may_have_been_accepted() -> None:
    """It is uncertain, never simply pending; by default the email goes on."""
    (
        given(requested(), started(1))
        .when(LoseAttempt(attempt=1))
        .then(lost(1), risk_accepted(1, retry_at=LATER))
    )


def test_the_third_crash_holds_it() -> None:
    """Before any policy: the next worker would die as well."""
    for policy in OnUncertain:
        happened = (requested(on_uncertain=policy), *TWO_CRASHES[1:], started(3))
        given(*happened).when(LOST_AGAIN).then(lost(3), Held(reason=HoldReason.POISON))


def test_a_poisoned_email_does_not_start() -> None:
    """However long it is due, and a tick does nothing either."""
    given(*POISONED).when(START, now=at(3600)).then_nothing()
    given(*POISONED).when(Tick(), now=at(3600)).then_nothing()


def test_a_poisoned_email_ends_at_expiry() -> None:
    """Nobody came: the last attempt is still in doubt."""
    given(*POISONED).when(Tick(), now=EXPIRY).then(ended(FailReason.OUTCOME_UNKNOWN, 0))


def test_releasing_a_poisoned_email_needs_the_risk_taken() -> None:
    """Its attempts are in doubt: all of them are named, the ones of earlier risks too."""
    then = given(*POISONED).when(Retry(by="alice", accept_duplicate_risk=True), now=at(9))

    given(*POISONED).when(Retry(by="alice"), now=at(9)).then_refused(MayHaveBeenSent)
    then.then(
        released(at(9)), risk_accepted(1, 2, 3, by="alice", why="accept_duplicate_risk", retry_at=at(9))
    )
    assert 0 == then.email.crashes
    Given(then.email).when(START, now=at(9)).then(started(4, now=at(9)))


def test_a_released_email_has_three_lives_again() -> None:
    """The fourth crash is the first after the release."""
    happened = (*POISONED, released(at(9)), risk_accepted(1, 2, 3, by="alice"), started(4))

    given(*happened).when(LoseAttempt(attempt=4), now=at(9)).then(
        uncertain(4, kind=FailureKind.LOST, resolve_by=at(9)), risk_accepted(4, retry_at=at(10))
    )


def test_a_lost_reply_is_no_crash() -> None:
    """The worker lives: however often a provider is silent, that poisons nothing."""
    email = given(*TWO_CRASHES, started(3)).when(outcome(3, Unanswered())).email

    assert 2 == email.crashes
    assert email.held is None


def test_crashes_count_over_failures_in_between() -> None:
    """They need not be in a row."""
    happened = (*TWO_CRASHES, started(3), failed(3), started(4))

    given(*happened).when(LoseAttempt(attempt=4)).then(lost(4), Held(reason=HoldReason.POISON))


def test_a_lost_attempt_with_a_living_key_is_tried_again_with_it() -> None:
    """No risk is taken: the provider answers a repeat from the first."""
    happened = (requested(), started(1, "resend", key_until=at(0) + KEY_TTL))

    given(*happened).when(LoseAttempt(attempt=1), openings=KEYED).then(
        uncertain(1, "resend", FailureKind.LOST, resolve_by=at(120), retry_at=LATER)
    )
