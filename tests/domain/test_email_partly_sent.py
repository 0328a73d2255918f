"""Envelopes of several recipients: taken for some, refused for some, put off for some."""

import pytest

from domain.email.commands import Tick
from domain.email.events import FailReason
from domain.failures import Accepted, FailureKind, NotAccepted
from domain.retry import RetryPolicy
from tests.domain.build import (
    EXPIRY,
    START,
    at,
    ended,
    failed,
    given,
    outcome,
    partly_sent,
    refusals,
    requested,
    sent,
    started,
)

THREE = (requested(3), started(1, recipients=(0, 1, 2)))


def test_everybody_accepted_is_sent() -> None:
    """The end; the provider's own id is kept."""
    (
        given(*THREE)
        .when(outcome(1, Accepted(accepted=(0, 1, 2), message_id="abc")))
        .then(sent(1, accepted=(0, 1, 2), message_id="abc"))
    )


def test_some_accepted_and_the_rest_refused_is_sent() -> None:
    """Everyone is done."""
    then = given(*THREE).when(outcome(1, Accepted(accepted=(1,), refused=refusals([0, 2]))))

    then.then(sent(1, accepted=(1,), refused=[0, 2]))
    assert () == then.email.pending


def test_some_deferred_is_partly_sent() -> None:
    """The next attempt is for them alone."""
    then = given(*THREE).when(outcome(1, Accepted(accepted=(0,), refused=refusals([1]), deferred=(2,))))

    then.then(partly_sent(1, accepted=(0,), refused=[1], deferred=(2,)))
    assert (2,) == then.email.pending
    given_after = given(*THREE, *then.events)
    given_after.when(START, now=at(1)).then(started(2, recipients=(2,), now=at(1)))


def test_whoever_the_answer_does_not_name_is_deferred() -> None:
    """Silence about a recipient is no acceptance."""
    (
        given(*THREE)
        .when(outcome(1, Accepted(accepted=(0,))))
        .then(partly_sent(1, accepted=(0,), deferred=(1, 2)))
    )


def test_a_recipient_named_twice_is_accepted() -> None:
    """Accepted goes before refused, refused before deferred."""
    (
        given(*THREE)
        .when(outcome(1, Accepted(accepted=(0, 1, 1), refused=refusals([1, 2]), deferred=(0, 1, 2))))
        .then(sent(1, accepted=(0, 1), refused=[2]))
    )


def test_acceptance_of_nobody_is_none() -> None:
    """An answer that accepts only strangers accepted nobody of ours."""
    (
        given(*THREE)
        .when(outcome(1, Accepted(accepted=(7,), refused=refusals([0]), deferred=(1,), code="250")))
        .then(failed(1, kind=FailureKind.DEFERRED, refused=[0], deferred=(1,), code="250"))
    )


def test_the_deferred_go_to_the_next_provider_after_two_tries() -> None:
    """Being put off is a try like another."""
    twice = (*THREE, partly_sent(1, accepted=(0,), deferred=(1, 2)), started(2, recipients=(1, 2)))

    (
        given(*twice)
        .when(outcome(2, Accepted(accepted=(1,), deferred=(2,))))
        .then(partly_sent(2, accepted=(1,), deferred=(2,), retry_at=at(0), spent=True))
    )


def test_a_provider_that_put_somebody_off_has_answered() -> None:
    """Throttles in a row are over, its tries are counted."""
    email = given(*THREE, partly_sent(1, accepted=(0,), deferred=(1, 2))).email

    assert {"ses": 1} == dict(email.cycle_tries)
    assert (1, 0, 0) == (email.tries, email.throttles, email.not_tried)


@pytest.mark.parametrize("kind", [FailureKind.RECIPIENT, FailureKind.DEFERRED])
def test_the_last_pending_refused_after_others_were_accepted_is_sent(kind: FailureKind) -> None:
    """By evidence: the attempt's own answer was no acceptance."""
    then = given(*THREE, partly_sent(1, accepted=(0, 1), deferred=(2,)), started(2, recipients=(2,))).when(
        outcome(2, NotAccepted(kind=kind, refused=refusals([2])))
    )

    assert ["AttemptFailed", "Sent"] == [type(event).__name__ for event in then.events]
    assert () == then.email.pending


def test_pending_at_expiry_is_failed_whoever_else_was_accepted() -> None:
    """The recipients say who has it."""
    (
        given(*THREE, partly_sent(1, accepted=(0,), deferred=(1, 2)))
        .when(Tick(), now=EXPIRY)
        .then(ended(FailReason.EXPIRED, 1, 2))
    )


def test_an_outcome_brought_twice_is_recorded_once() -> None:
    """After a lost commit answer the worker asks again."""
    answer = Accepted(accepted=(0,), deferred=(1, 2))
    email = given(*THREE, partly_sent(1, accepted=(0,), deferred=(1, 2)))

    email.when(outcome(1, answer)).then_nothing()
    email.when(outcome(1, answer), retry=RetryPolicy(attempts_per_provider=1)).then_nothing()
