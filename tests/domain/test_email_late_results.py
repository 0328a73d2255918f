"""What a worker without a lease still brings: never dropped, and evidence for what was in doubt."""

import pytest

from domain.email.commands import RecordOutcome, Tick
from domain.email.events import Cancelled, EmailEvent, FailReason, Held, HoldReason
from domain.email.state import AttemptState, End, Recipient
from domain.errors import NoSuchAttempt
from domain.failures import Accepted, FailureKind, NotAccepted, Unanswered
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
    late,
    lost,
    outcome,
    refusals,
    released,
    requested,
    risk_accepted,
    sent,
    sent_by_evidence,
    started,
    uncertain,
)

HELD: tuple[EmailEvent, ...] = (
    requested(on_uncertain=OnUncertain.HOLD),
    started(1),
    lost(1),
    Held(reason=HoldReason.UNCERTAIN),
)
GONE_ON: tuple[EmailEvent, ...] = (requested(), started(1), lost(1), risk_accepted(1))
ACCEPTED = outcome(1, Accepted(accepted=(0,)))
REFUSED = outcome(1, NotAccepted(kind=FailureKind.TRANSIENT))


def test_a_late_acceptance_sends_the_email() -> None:
    """Nobody is pending any more: the end follows from the evidence."""
    then = given(*HELD).when(ACCEPTED, now=at(5))

    then.then(late(1, accepted=(0,), now=at(5)), sent_by_evidence())
    assert AttemptState.KNOWN is then.email.attempts[0].state


def test_an_outcome_of_an_attempt_nobody_started_is_refused() -> None:
    """There is nothing it could be evidence for."""
    given(*HELD).when(outcome(2, Accepted(accepted=(0,)))).then_refused(NoSuchAttempt)


@pytest.mark.parametrize(
    "again", [ACCEPTED, REFUSED, outcome(1, Unanswered())], ids=["accepted", "refused", "silent"]
)
def test_a_late_result_that_is_known_already_changes_nothing(again: RecordOutcome) -> None:
    """The doubt is gone; whatever is brought again is no news."""
    for happened in ((sent(1),), (lost(1), late(1, accepted=(0,)), sent_by_evidence())):
        given(requested(), started(1), *happened).when(again).then_nothing()


@pytest.mark.parametrize("again", [REFUSED, outcome(1, Unanswered())], ids=["refused", "silent"])
def test_an_attempt_that_failed_stays_failed(again: RecordOutcome) -> None:
    """It is known that nobody was accepted, and nothing less than an acceptance says otherwise."""
    given(requested(), started(1), failed(1)).when(again).then_nothing()


def test_a_late_acceptance_of_a_failed_attempt_is_believed() -> None:
    """It was closed as not tried, and was accepted all the same: nobody is sent a second copy."""
    given(requested(), started(1), failed(1)).when(ACCEPTED).then(late(1, accepted=(0,)), sent_by_evidence())


def test_a_late_refusal_releases_what_was_held_for_the_doubt() -> None:
    """The provider did not take it: it goes on by itself."""
    then = given(*HELD).when(REFUSED, now=at(5))

    then.then(late(1, kind=FailureKind.TRANSIENT, now=at(5)))
    assert (None, at(5), frozenset()) == (then.email.held, then.email.due_at, then.email.in_doubt)
    Given(then.email).when(START, now=at(5)).then(started(2, now=at(5)))


def test_a_late_refusal_does_not_bring_forward_what_waits_for_its_backoff() -> None:
    """It went on by policy: the next try stands."""
    then = given(*GONE_ON).when(REFUSED)

    then.then(late(1, kind=FailureKind.TRANSIENT))
    assert LATER == then.email.due_at


def test_a_late_result_settles_recipient_by_recipient() -> None:
    """Accepted, refused, and the rest still pending: no end yet."""
    happened = (requested(3, on_uncertain=OnUncertain.HOLD), started(1, recipients=(0, 1, 2)), lost(1))
    then = given(*happened, Held(reason=HoldReason.UNCERTAIN)).when(
        outcome(1, Accepted(accepted=(0,), refused=refusals([1]), deferred=(2,))), now=at(5)
    )

    then.then(late(1, accepted=(0,), refused=[1], deferred=(2,), now=at(5)))
    assert (Recipient.ACCEPTED, Recipient.REFUSED, Recipient.PENDING) == then.email.recipients
    Given(then.email).when(START, now=at(5)).then(started(2, recipients=(2,), now=at(5)))


def test_a_late_acceptance_while_the_next_attempt_is_open_ends_nothing() -> None:
    """The open attempt's own outcome will: a failure then says that everybody has it."""
    happened = (*GONE_ON, started(2))
    then = given(*happened).when(ACCEPTED)

    then.then(late(1, accepted=(0,)))
    assert then.email.end is None
    (
        Given(then.email)
        .when(outcome(2, NotAccepted(kind=FailureKind.TRANSIENT)))
        .then(failed(2, retry_at=None, spent=False), sent_by_evidence())
    )


def test_a_late_acceptance_clears_every_attempt_with_its_key() -> None:
    """They were one request to the provider."""
    until = at(0) + KEY_TTL
    happened = (
        requested(),
        started(1, "resend", key_until=until),
        uncertain(1, "resend", FailureKind.LOST, resolve_by=at(120), retry_at=LATER),
        started(2, "resend", key_until=until),
        uncertain(2, "resend", resolve_by=at(121), retry_at=at(3)),
    )
    then = given(*happened).when(ACCEPTED, openings=KEYED)

    then.then(late(1, "resend", accepted=(0,)), sent_by_evidence())
    assert frozenset() == then.email.in_doubt


def test_a_late_acceptance_of_some_leaves_other_attempts_in_doubt() -> None:
    """Another provider, another request: what it did is as unknown as before."""
    happened = (
        *(requested(2), started(1, recipients=(0, 1)), lost(1), risk_accepted(1)),
        *(started(2, "smtp", (0, 1)), uncertain(2, "smtp", resolve_by=at(120))),
    )
    email = given(*happened).when(outcome(1, Accepted(accepted=(0,), deferred=(1,)))).email

    assert frozenset({2}) == email.in_doubt == email.blocking


def test_a_late_refusal_clears_only_its_own_attempt() -> None:
    """The second one with the same key may still have been accepted."""
    until = at(0) + KEY_TTL
    happened = (
        requested(),
        started(1, "resend", key_until=until),
        uncertain(1, "resend", FailureKind.LOST, resolve_by=at(120), retry_at=LATER),
        started(2, "resend", key_until=until),
        uncertain(2, "resend", resolve_by=at(121), retry_at=at(3)),
    )
    then = given(*happened).when(REFUSED, openings=KEYED)

    then.then(late(1, "resend", FailureKind.TRANSIENT))
    assert frozenset({2}) == then.email.blocking == then.email.in_doubt
    assert at(120) == then.email.deadline_at


@pytest.mark.parametrize(
    "end",
    [
        pytest.param((ended(FailReason.OUTCOME_UNKNOWN, 0),), id="failed"),
        pytest.param((Cancelled(by="alice"),), id="cancelled"),
        pytest.param((started(2, "smtp"), failed(2, "smtp"), ended(FailReason.EXPIRED, 0)), id="expired"),
    ],
)
def test_a_late_acceptance_after_the_end_is_folded_and_reopens_nothing(end: tuple[EmailEvent, ...]) -> None:
    """The recipient has it, and the email says so; its end stays what it was."""
    before = given(*GONE_ON, *end)
    then = before.when(ACCEPTED, now=EXPIRY)

    then.then(late(1, accepted=(0,), now=EXPIRY))
    assert before.email.end is then.email.end is not None
    assert (Recipient.ACCEPTED,) == then.email.recipients
    Given(then.email).when(Tick(), now=EXPIRY).then_nothing()


def test_acceptance_wins_over_a_refusal() -> None:
    """Two attempts disagree: who has it has it."""
    happened = (*GONE_ON, started(2), failed(2, refused=[0], retry_at=None), ended(FailReason.REJECTED))

    assert (Recipient.ACCEPTED,) == given(*happened).when(ACCEPTED).email.recipients


def test_a_late_silence_narrows_the_doubt_of_a_lost_attempt() -> None:
    """The worker lives after all, and knows whom the provider had refused or put off before the reply was lost."""
    happened = (requested(3), started(1, recipients=(0, 1, 2)), lost(1), risk_accepted(1))
    silence = outcome(1, Unanswered(refused=refusals([0]), deferred=(1,)))
    then = given(*happened).when(silence)

    then.then(late(1, kind=FailureKind.UNCERTAIN, refused=[0], deferred=(1,)))
    assert (1, 2) == then.email.pending
    assert frozenset({2}) == then.email.attempts[0].maybe
    assert frozenset({1}) == then.email.in_doubt
    Given(then.email).when(silence).then_nothing()


def test_a_late_silence_unblocks_nothing() -> None:
    """It proves nothing: the attempt stays in doubt, and blocks."""
    before = given(requested(), started(1), uncertain(1, kind=FailureKind.LOST, resolve_by=at(120)))
    then = before.when(outcome(1, Unanswered()))

    then.then(late(1, kind=FailureKind.UNCERTAIN))
    assert frozenset({1}) == then.email.blocking
    assert at(120) == then.email.deadline_at


def test_a_late_result_leaves_a_poisoned_email_held() -> None:
    """Three workers died of it: only an operator lets it go on."""
    happened = (
        *(requested(), started(1), lost(1), risk_accepted(1)),
        *(started(2), lost(2), risk_accepted(2)),
        *(started(3), lost(3), Held(reason=HoldReason.POISON)),
    )
    then = given(*happened).when(outcome(3, NotAccepted(kind=FailureKind.TRANSIENT)))

    assert HoldReason.POISON is then.email.held
    assert then.email.lane is None
    assert 0 == given(*happened, released(at(9))).email.crashes


def test_a_late_result_says_nothing_that_the_attempt_did_not_carry() -> None:
    """Strangers are left out of it, as from any outcome."""
    then = given(*HELD).when(outcome(1, Accepted(accepted=(0, 5), refused=refusals([6]))))

    then.then(late(1, accepted=(0,)), sent_by_evidence())
    assert End.SENT is then.email.end
