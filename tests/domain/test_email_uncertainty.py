"""An attempt without an answer: it blocks other providers until evidence comes or somebody takes the risk."""

from datetime import timedelta

import pytest

from domain.email.commands import LoseAttempt, Retry, Tick
from domain.email.events import EmailEvent, FailReason, Held, HoldReason
from domain.email.state import AttemptState
from domain.errors import MayHaveBeenSent
from domain.failures import Accepted, FailureKind, NotAccepted, Unanswered
from domain.routing import Blocked, Lane, OnUncertain
from tests.domain.build import (
    BOTH,
    EXPIRY,
    KEY_TTL,
    KEYED,
    LATER,
    START,
    Given,
    at,
    blocked,
    ended,
    failed,
    free,
    given,
    outcome,
    partly_sent,
    refusals,
    requested,
    risk_accepted,
    sent,
    started,
    uncertain,
)

SILENCE = outcome(1, Unanswered())
KEY_UNTIL = at(0) + KEY_TTL
RESOLVE_BY = at(120)
KEYED_ATTEMPT = started(1, "resend", key_until=KEY_UNTIL)
FED_BACK = (free("ses", feedback=True), free("smtp"))


KEYED_DOUBT: tuple[EmailEvent, ...] = (
    requested(),
    KEYED_ATTEMPT,
    uncertain(1, "resend", resolve_by=RESOLVE_BY, retry_at=LATER),
)
"""The answer of a provider that honours keys was lost."""


def test_with_neither_key_nor_feedback_there_is_nothing_to_wait_for() -> None:
    """The policy decides at once: by default the risk is taken, and it says so first."""
    then = given(requested(), started(1)).when(SILENCE)

    then.then(uncertain(1), risk_accepted(1))
    assert frozenset() == then.email.blocking
    assert frozenset({1}) == then.email.in_doubt


def test_the_policy_hold_holds() -> None:
    """It waits for an operator, at most until it expires."""
    then = given(requested(on_uncertain=OnUncertain.HOLD), started(1)).when(SILENCE)

    then.then(uncertain(1), Held(reason=HoldReason.UNCERTAIN))
    assert EXPIRY == then.email.deadline_at


def test_the_policy_fail_fails() -> None:
    """The end says that nobody knows."""
    then = given(requested(on_uncertain=OnUncertain.FAIL), started(1)).when(SILENCE)

    then.then(uncertain(1), ended(FailReason.OUTCOME_UNKNOWN, 0))


def test_a_provider_with_feedback_is_waited_for() -> None:
    """It will say what became of it; until then nothing starts."""
    then = given(requested(), started(1)).when(SILENCE, openings=FED_BACK)

    then.then(uncertain(1, resolve_by=RESOLVE_BY))
    assert RESOLVE_BY == then.email.deadline_at
    assert then.email.lane is None
    assert then.email.bound is None
    Given(then.email).when(START, now=at(119), openings=FED_BACK).then_nothing()


def test_a_provider_that_honours_keys_is_asked_again_with_the_same_key() -> None:
    """No risk: if it had accepted the first, it says so again."""
    given(requested(), KEYED_ATTEMPT).when(SILENCE, openings=KEYED).then(*KEYED_DOUBT[2:])
    (
        given(*KEYED_DOUBT)
        .when(START, now=at(1), openings=KEYED)
        .then(started(2, "resend", now=at(1), key_until=KEY_UNTIL))
    )


def test_while_a_key_is_in_doubt_no_other_provider_may_start() -> None:
    """Even where its own is broken: another one would be a second copy in silence."""
    openings = (blocked("resend", Blocked.CIRCUIT_OPEN), free("smtp"))

    given(*KEYED_DOUBT).when(START, now=at(1), openings=openings).then_nothing()
    assert Lane("", "default", (), (), "resend", tried=True) == given(*KEYED_DOUBT).email.lane


def test_the_same_key_accepted_answers_for_every_attempt_with_it() -> None:
    """Nobody has to take a risk."""
    happened = (*KEYED_DOUBT, started(2, "resend", key_until=KEY_UNTIL))
    then = given(*happened).when(outcome(2, Accepted(accepted=(0,))), openings=KEYED)

    then.then(sent(2, "resend"))
    assert frozenset() == then.email.in_doubt
    assert AttemptState.KNOWN is then.email.attempts[0].state


def test_the_same_key_refused_answers_for_nothing() -> None:
    """A provider may refuse before it looks at the key: the first attempt stays in doubt."""
    happened = (*KEYED_DOUBT, started(2, "resend", key_until=KEY_UNTIL))
    then = given(*happened).when(
        outcome(2, NotAccepted(kind=FailureKind.THROTTLED)), now=at(2), openings=KEYED
    )

    then.then(failed(2, "resend", FailureKind.THROTTLED, retry_at=at(3), not_before=at(3)))
    assert frozenset({1}) == then.email.blocking
    assert RESOLVE_BY == then.email.deadline_at


def test_the_same_key_refusing_a_recipient_is_of_no_use_any_more() -> None:
    """The request would be another one: the email waits for evidence, and for nothing else."""
    email = given(
        requested(2),
        started(1, "resend", (0, 1), key_until=KEY_UNTIL),
        uncertain(1, "resend", resolve_by=RESOLVE_BY, retry_at=LATER),
        started(2, "resend", (0, 1), key_until=KEY_UNTIL),
        failed(2, "resend", refused=[0], retry_at=at(2)),
    )

    email.when(START, now=at(2), openings=KEYED).then_nothing()
    assert email.email.lane is None
    assert RESOLVE_BY == email.email.deadline_at


def test_the_same_key_in_silence_again_does_not_prolong_the_wait() -> None:
    """It ends at the earliest `resolve_by`, and then the policy names both."""
    happened = (*KEYED_DOUBT, started(2, "resend", key_until=KEY_UNTIL))
    then = given(*happened).when(outcome(2, Unanswered()), now=at(60), openings=KEYED)

    then.then(uncertain(2, "resend", resolve_by=at(180), retry_at=at(61), spent=True))
    assert RESOLVE_BY == then.email.deadline_at
    (
        Given(then.email)
        .when(Tick(), now=RESOLVE_BY, openings=KEYED)
        .then(risk_accepted(1, 2, retry_at=RESOLVE_BY))
    )


def test_a_key_that_dies_before_the_next_try_is_no_key() -> None:
    """Without feedback there is nothing to wait for."""
    now = KEY_UNTIL - timedelta(seconds=1)
    then = given(requested(), KEYED_ATTEMPT).when(SILENCE, now=now, openings=KEYED)

    then.then(
        uncertain(1, "resend", resolve_by=now),
        risk_accepted(1, retry_at=now + timedelta(seconds=1)),
    )


def test_a_key_is_not_waited_for_longer_than_it_lives() -> None:
    """After its death the email could only stand there, due and unable to start."""
    now = KEY_UNTIL - timedelta(seconds=30)
    then = given(requested(), KEYED_ATTEMPT).when(SILENCE, now=now, openings=KEYED)

    then.then(
        uncertain(1, "resend", resolve_by=KEY_UNTIL, retry_at=now + timedelta(seconds=1)),
    )


def test_a_call_with_a_key_in_doubt_may_not_begin_after_the_key_died() -> None:
    """The provider would take it for a new email."""
    now = KEY_UNTIL - timedelta(seconds=10)
    doubt = uncertain(1, "resend", resolve_by=KEY_UNTIL, retry_at=now)
    then = given(requested(), KEYED_ATTEMPT, doubt).when(START, now=now, openings=KEYED)

    then.then(started(2, "resend", now=now, key_until=KEY_UNTIL, deadline=KEY_UNTIL))


def test_a_key_that_died_starts_nothing() -> None:
    """Whatever was said about the wait: a dead key is never used as a living one."""
    doubt = uncertain(1, "resend", resolve_by=EXPIRY, retry_at=LATER)

    given(requested(), KEYED_ATTEMPT, doubt).when(START, now=KEY_UNTIL, openings=KEYED).then_nothing()


def test_a_key_of_other_recipients_is_another_key() -> None:
    """One recipient was refused meanwhile: the same request can't be made again, so there is no wait."""
    happened = (requested(2), started(1, "resend", (0, 1), key_until=KEY_UNTIL))
    silence = outcome(1, Unanswered(refused=refusals([1])))

    given(*happened).when(silence, openings=KEYED).then(uncertain(1, "resend", refused=[1]), risk_accepted(1))


def test_refused_and_deferred_recipients_are_not_in_doubt() -> None:
    """They are known not to have it: refused for good, or to be tried again."""
    happened = (requested(3, on_uncertain=OnUncertain.HOLD), started(1, recipients=(0, 1, 2)))
    then = given(*happened).when(outcome(1, Unanswered(refused=refusals([0]), deferred=(1,))))

    then.then(uncertain(1, refused=[0], deferred=(1,)), Held(reason=HoldReason.UNCERTAIN))
    assert frozenset({2}) == then.email.attempts[0].maybe
    assert (1, 2) == then.email.pending


def test_silence_about_nobody_left_is_no_doubt() -> None:
    """Everyone the attempt carried was refused: the email has failed, and surely so."""
    (
        given(requested(), started(1))
        .when(outcome(1, Unanswered(refused=refusals([0]))))
        .then(uncertain(1, refused=[0]), ended(FailReason.REJECTED))
    )


def test_the_wait_ends_at_expiry_at_the_latest() -> None:
    """An email that expires in a minute does not wait for two."""
    then = given(requested(expires_at=at(60)), started(1)).when(SILENCE, openings=FED_BACK)

    then.then(uncertain(1, resolve_by=at(60)))
    Given(then.email).when(Tick(), now=at(60)).then(ended(FailReason.OUTCOME_UNKNOWN, 0))


def test_in_doubt_at_expiry_is_outcome_unknown_although_the_risk_was_taken() -> None:
    """Taking a risk is not knowing."""
    happened = (requested(), started(1), uncertain(1), risk_accepted(1))

    given(*happened).when(Tick(), now=EXPIRY).then(ended(FailReason.OUTCOME_UNKNOWN, 0))


def test_in_doubt_for_somebody_who_has_it_anyway_is_no_doubt() -> None:
    """The pending one was never in that attempt."""
    happened = (
        requested(2),
        started(1, recipients=(0, 1)),
        uncertain(1, deferred=(1,)),
        risk_accepted(1),
        started(2, recipients=(0, 1)),
        partly_sent(2, accepted=(0,), deferred=(1,)),
    )

    given(*happened).when(Tick(), now=EXPIRY).then(ended(FailReason.EXPIRED, 1))


def test_a_worker_that_starts_late_finds_the_wait_over() -> None:
    """The claim itself takes the risk first, then starts elsewhere: never the other way round."""
    events = (
        given(*KEYED_DOUBT)
        .when(START, now=RESOLVE_BY, openings=(blocked("resend", Blocked.CIRCUIT_OPEN), free("smtp")))
        .events
    )

    assert ["DuplicateRiskAccepted", "ProviderSwitched", "AttemptStarted"] == [
        type(event).__name__ for event in events
    ]


def test_a_tick_before_the_wait_is_over_does_nothing() -> None:
    """There may still be evidence."""
    given(*KEYED_DOUBT).when(Tick(), now=at(119), openings=KEYED).then_nothing()


def test_an_operator_may_take_the_risk_earlier() -> None:
    """By name; without saying so it is refused."""
    waiting = given(*KEYED_DOUBT)

    waiting.when(Retry(by="alice"), now=at(2)).then_refused(MayHaveBeenSent)
    (
        waiting.when(Retry(by="alice", accept_duplicate_risk=True), now=at(2)).then(
            risk_accepted(1, by="alice", why="accept_duplicate_risk", retry_at=at(2))
        )
    )


@pytest.mark.parametrize("policy", list(OnUncertain))
def test_a_lost_attempt_is_in_doubt_like_a_silent_one(policy: OnUncertain) -> None:
    """Nobody knows how far the worker got: never is it simply pending again."""
    email = given(requested(on_uncertain=policy), started(1)).when(LoseAttempt(attempt=1)).email

    assert frozenset({1}) == email.in_doubt
    assert FailureKind.LOST is email.attempts[0].kind


def test_losing_an_attempt_that_is_not_open_does_nothing() -> None:
    """Its outcome was recorded just before, or it was lost already."""
    for happened in ((failed(1),), (uncertain(1, resolve_by=RESOLVE_BY),)):
        given(requested(), started(1), *happened).when(LoseAttempt(attempt=1)).then_nothing()
    given(requested(), started(1)).when(LoseAttempt(attempt=2), openings=BOTH).then_nothing()
