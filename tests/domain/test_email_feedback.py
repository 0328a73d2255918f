"""What a provider tells us later. Any of it proves that it had accepted the attempt."""

from datetime import datetime

import pytest

from domain.email.commands import LoseAttempt, RecordFeedback
from domain.email.events import (
    Bounced,
    Clicked,
    Complained,
    Delivered,
    DeliveryDelayed,
    FailReason,
    Feedback,
    Held,
    HoldReason,
    Opened,
    Unsubscribed,
)
from domain.email.state import AttemptState, End, Recipient
from domain.errors import NoSuchAttempt
from domain.failures import DRAINED, INTERNAL, FailureKind, NotAccepted, Unanswered
from domain.routing import OnUncertain
from tests.domain.build import (
    KEY_TTL,
    KEYED,
    LATER,
    START,
    Given,
    at,
    ended,
    failed,
    given,
    outcome,
    partly_sent,
    refusals,
    requested,
    risk_accepted,
    sent,
    sent_by_evidence,
    started,
    uncertain,
)

THEN = at(5)
EVERY_KIND: list[Feedback] = [
    Delivered(attempt=1, recipient=0, observed_at=THEN),
    DeliveryDelayed(attempt=1, recipient=0, code="4.2.2", observed_at=THEN),
    Bounced(attempt=1, recipient=0, permanent=True, code="5.1.1", observed_at=THEN),
    Complained(attempt=1, recipient=0, observed_at=THEN),
    Opened(attempt=1, recipient=0, observed_at=THEN),
    Clicked(attempt=1, recipient=0, observed_at=THEN),
    Unsubscribed(attempt=1, recipient=0, observed_at=THEN),
]
each_kind = pytest.mark.parametrize("feedback", EVERY_KIND, ids=lambda one: type(one).__name__)
WAITING = (requested(), started(1), uncertain(1, resolve_by=at(120)))


def delivered(attempt: int = 1, recipient: int = 0, now: datetime = THEN) -> Delivered:
    """The recipient's server took it."""
    return Delivered(attempt=attempt, recipient=recipient, observed_at=now)


@each_kind
def test_feedback_settles_an_email_in_doubt(feedback: Feedback) -> None:
    """Whatever it says about the recipient: the provider had accepted it, so nothing is sent again."""
    then = given(*WAITING).when(RecordFeedback(feedback=feedback))

    then.then(feedback, sent_by_evidence())
    assert AttemptState.KNOWN is then.email.attempts[0].state


@pytest.mark.parametrize(("attempt", "recipient"), [(0, 0), (2, 0), (1, 1), (1, -1)])
def test_feedback_for_what_was_never_sent_is_refused(attempt: int, recipient: int) -> None:
    """It can't be about this email: nobody is counted as reached because of it."""
    command = RecordFeedback(feedback=delivered(attempt, recipient))

    given(*WAITING).when(command).then_refused(NoSuchAttempt)


@each_kind
def test_feedback_after_the_end_changes_no_end(feedback: Feedback) -> None:
    """It is recorded, and that is all."""
    then = given(requested(), started(1), sent(1)).when(RecordFeedback(feedback=feedback))

    then.then(feedback)
    assert (End.SENT, ()) == (then.email.end, then.email.pending)


def test_feedback_answers_for_all_that_an_uncertain_attempt_may_have_carried() -> None:
    """The provider took the message, not a single recipient: who was refused or deferred is not in it."""
    happened = (
        requested(4),
        started(1, recipients=(0, 1, 2, 3)),
        uncertain(1, refused=[2], deferred=(3,), resolve_by=at(120)),
    )
    then = given(*happened).when(RecordFeedback(feedback=delivered()))

    then.then(delivered())
    assert (Recipient.ACCEPTED, Recipient.ACCEPTED, Recipient.REFUSED, Recipient.PENDING) == (
        then.email.recipients
    )
    assert THEN == then.email.due_at
    Given(then.email).when(START, now=THEN).then(started(2, recipients=(3,), now=THEN))


def test_feedback_releases_what_was_held_for_the_doubt() -> None:
    """With somebody still pending it goes on by itself."""
    happened = (
        requested(2, on_uncertain=OnUncertain.HOLD),
        started(1, recipients=(0, 1)),
        uncertain(1, deferred=(1,)),
        Held(reason=HoldReason.UNCERTAIN),
    )
    then = given(*happened).when(RecordFeedback(feedback=delivered()))

    assert (None, THEN, (1,)) == (then.email.held, then.email.due_at, then.email.pending)


def test_feedback_clears_every_attempt_with_its_key() -> None:
    """They were one request to the provider."""
    until = at(0) + KEY_TTL
    happened = (
        requested(),
        started(1, "resend", key_until=until),
        uncertain(1, "resend", resolve_by=at(120), retry_at=LATER),
        started(2, "resend", key_until=until),
        uncertain(2, "resend", resolve_by=at(120), retry_at=at(3)),
    )
    then = given(*happened).when(RecordFeedback(feedback=delivered(2)), openings=KEYED)

    then.then(delivered(2), sent_by_evidence())
    assert frozenset() == then.email.blocking | then.email.in_doubt


def test_feedback_after_a_failure_by_doubt_says_who_has_it() -> None:
    """Folded, not reopened; and a retry has nobody left to reach."""
    happened = (*WAITING, ended(FailReason.OUTCOME_UNKNOWN, 0))
    then = given(*happened).when(RecordFeedback(feedback=delivered()))

    then.then(delivered())
    assert (End.FAILED, ()) == (then.email.end, then.email.pending)


def test_feedback_while_the_attempt_is_open_ends_nothing() -> None:
    """A webhook can be faster than the reply; the reply ends it."""
    then = given(requested(), started(1)).when(RecordFeedback(feedback=delivered()))

    then.then(delivered())
    assert (None, ()) == (then.email.end, then.email.pending)


def test_feedback_that_came_first_answers_for_a_lost_reply() -> None:
    """There is no doubt to begin with: who was not refused or put off has it."""
    happened = (requested(4), started(1, recipients=(0, 1, 2, 3)), delivered())
    silence = Unanswered(refused=refusals([2]), deferred=(3,))

    given(*happened).when(outcome(1, silence)).then(
        partly_sent(1, accepted=(0, 1), refused=[2], deferred=(3,))
    )


def test_feedback_that_came_first_answers_for_a_lost_worker() -> None:
    """The provider has it; the worker's death is no crash of this email's."""
    then = given(requested(), started(1), delivered()).when(LoseAttempt(attempt=1))

    then.then(sent(1))
    assert 0 == then.email.crashes


def test_feedback_about_one_recipient_says_nothing_about_the_others_of_a_lost_worker() -> None:
    """The provider may have put them off before it took the rest, and the worker died with that answer."""
    lost = (requested(2), started(1, recipients=(0, 1)), uncertain(1, kind=FailureKind.LOST))
    email = given(*lost).when(RecordFeedback(feedback=delivered())).email
    earlier = (
        given(requested(2), started(1, recipients=(0, 1)), delivered()).when(LoseAttempt(attempt=1)).email
    )

    assert (1,) == email.pending == earlier.pending
    assert {1} == email.in_doubt == earlier.in_doubt


@pytest.mark.parametrize("code", [DRAINED, INTERNAL])
def test_feedback_about_one_recipient_says_nothing_about_the_others_of_an_attempt_we_cut_off(
    code: str,
) -> None:
    """Whom the provider had refused or put off, nobody heard: it may be that only one of them has it."""
    cut_off = outcome(1, Unanswered(code=code))
    begun = (requested(2, on_uncertain=OnUncertain.HOLD), started(1, recipients=(0, 1)))
    told = given(*begun).when(cut_off).email
    email = Given(told).when(RecordFeedback(feedback=delivered())).email
    earlier = given(*begun, delivered()).when(cut_off).email

    assert (1,) == email.pending == earlier.pending
    assert {1} == email.in_doubt == earlier.in_doubt


def test_a_late_answer_that_was_cut_off_is_no_news_to_a_lost_attempt() -> None:
    """It says as little as the loss did."""
    lost = (requested(2), started(1, recipients=(0, 1)), uncertain(1, kind=FailureKind.LOST))

    given(*lost).when(outcome(1, Unanswered(code=DRAINED))).then()


def test_feedback_against_a_refusal_believes_the_feedback() -> None:
    """The provider said no and delivered all the same: that recipient has it."""
    happened = (requested(2), started(1, recipients=(0, 1)), failed(1))
    then = given(*happened).when(RecordFeedback(feedback=delivered()))

    then.then(delivered())
    assert (1,) == then.email.pending
    (Given(then.email).when(START, now=LATER).then(started(2, recipients=(1,), now=LATER)))


def test_feedback_after_the_risk_was_taken_stops_the_next_attempt() -> None:
    """The second copy is not sent if the evidence comes in time."""
    happened = (requested(), started(1), uncertain(1), risk_accepted(1))

    given(*happened).when(RecordFeedback(feedback=delivered())).then(delivered(), sent_by_evidence())


def test_feedback_while_the_next_attempt_is_open_waits_for_it() -> None:
    """While an attempt is open nothing ends."""
    happened = (requested(), started(1), uncertain(1), risk_accepted(1), started(2))
    then = given(*happened).when(RecordFeedback(feedback=delivered()))

    then.then(delivered())
    (
        Given(then.email)
        .when(outcome(2, NotAccepted(kind=FailureKind.TRANSIENT)))
        .then(failed(2, retry_at=None, spent=True), sent_by_evidence())
    )
