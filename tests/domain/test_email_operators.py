"""What people ask of an email under way: cancel it, retry it, send it at another time."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.email.commands import Cancel, Reschedule, Retry, Tick
from domain.email.events import Cancelled, EmailEvent, FailReason, Held, HoldReason, Rescheduled
from domain.email.evolve import evolve
from domain.email.state import End
from domain.errors import (
    AlreadyAttempted,
    AlreadyEnded,
    AttemptIsOpen,
    MayHaveBeenSent,
    NothingToRetry,
    Refused,
)
from domain.failures import FailureKind
from domain.routing import OnUncertain
from tests.domain.build import (
    EXPIRY,
    LIFETIME,
    START,
    T0,
    Given,
    at,
    ended,
    failed,
    given,
    late,
    lost,
    partly_sent,
    redriven,
    released,
    requested,
    risk_accepted,
    sent,
    started,
    uncertain,
)

CANCEL = Cancel(by="alice")
RETRY = Retry(by="alice")
RETRY_ANYWAY = Retry(by="alice", accept_duplicate_risk=True)
LATER = EXPIRY + timedelta(hours=1)
TOMORROW = at(86_400)


def taken_by_alice(*attempts: int) -> EmailEvent:
    """An operator took the risk, after expiry."""
    return risk_accepted(*attempts, by="alice", why="accept_duplicate_risk", retry_at=LATER)


# --- cancel ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "happened",
    [
        pytest.param((), id="never tried"),
        pytest.param((started(1), failed(1)), id="after a failure"),
        pytest.param((started(1), uncertain(1, resolve_by=at(120))), id="in doubt"),
        pytest.param((Held(reason=HoldReason.POISON),), id="held"),
    ],
)
def test_an_email_is_cancelled(happened: tuple[EmailEvent, ...]) -> None:
    """Whatever it waits for: it is over."""
    then = given(requested(), *happened).when(CANCEL)

    then.then(Cancelled(by="alice"))
    assert (End.CANCELLED, None, None) == (then.email.end, then.email.lane, then.email.deadline_at)


def test_an_open_attempt_cannot_be_cancelled() -> None:
    """The provider may have it already; ask again when the outcome is known."""
    given(requested(), started(1)).when(CANCEL).then_refused(AttemptIsOpen)


@pytest.mark.parametrize("end", [sent(1), ended(FailReason.EXPIRED, 0)], ids=["sent", "failed"])
def test_an_ended_email_cannot_be_cancelled(end: EmailEvent) -> None:
    """It has had its end."""
    given(requested(), started(1), end).when(CANCEL).then_refused(AlreadyEnded)


def test_cancelling_twice_changes_nothing() -> None:
    """It is what was asked for."""
    given(requested(), Cancelled(by="bob")).when(CANCEL).then_nothing()


# --- retry ----------------------------------------------------------------------------------------------


def test_a_failed_email_is_redriven() -> None:
    """It is due at once, with a new lifetime."""
    expired = ended(FailReason.EXPIRED, 0)
    then = given(requested(), started(1), failed(1), expired).when(RETRY, now=LATER)

    then.then(redriven(LATER))
    assert (None, None, LATER) == (then.email.end, then.email.fail_reason, then.email.due_at)
    assert LATER + LIFETIME == then.email.deadline_at


def test_redriving_forgets_what_was_tried() -> None:
    """Tries, spent and ruled-out providers, crashes: the operator has repaired something."""
    happened = (
        *(requested(), started(1), failed(1, kind=FailureKind.THROTTLED, spent=True)),
        *(started(2, "smtp"), failed(2, "smtp", FailureKind.CONTENT, spent=True)),
        *(started(3), failed(3), ended(FailReason.EXPIRED, 0), redriven(LATER)),
    )
    email = given(*happened).email

    assert (0, 0, 0, 0) == (email.tries, email.throttles, email.not_tried, email.crashes)
    assert (frozenset(), frozenset(), {}) == (email.spent, email.ruled_out, dict(email.cycle_tries))
    Given(email).when(START, now=LATER).then(started(4, now=LATER))


@pytest.mark.parametrize("event", [released(T0), redriven(T0)], ids=["released", "redriven"])
def test_an_operator_lets_it_begin_afresh(event: EmailEvent) -> None:
    """Whatever was counted or ruled out, nothing of it is left."""
    worn = replace(
        given(requested(), started(1), failed(1)).email,
        tries=9,
        throttles=2,
        not_tried=1,
        crashes=2,
        cycle_tries={"ses": 1},
        spent=frozenset({"ses"}),
        ruled_out=frozenset({"smtp"}),
    )
    email = evolve(worn, event)

    assert (0, 0, 0, 0) == (email.tries, email.throttles, email.not_tried, email.crashes)
    assert (frozenset(), frozenset(), {}) == (email.spent, email.ruled_out, dict(email.cycle_tries))


def test_a_redriven_email_carries_the_pending_only() -> None:
    """Who has it, or was refused for good, is not tried again."""
    happened = (
        *(requested(3), started(1, recipients=(0, 1, 2))),
        *(partly_sent(1, accepted=(0,), refused=[1], deferred=(2,)), ended(FailReason.EXPIRED, 2)),
    )

    (given(*happened, redriven(LATER)).when(START, now=LATER).then(started(2, recipients=(2,), now=LATER)))


@pytest.mark.parametrize(
    "happened",
    [
        pytest.param((started(1), sent(1)), id="sent"),
        pytest.param((Cancelled(by="bob"),), id="cancelled"),
        pytest.param((started(1), failed(1, refused=[0]), ended(FailReason.REJECTED)), id="rejected"),
        pytest.param((started(1), failed(1), ended(FailReason.REJECTED, 0)), id="content rejected"),
        pytest.param(
            (started(1), lost(1), ended(FailReason.OUTCOME_UNKNOWN, 0), late(1, accepted=(0,))),
            id="accepted after all",
        ),
    ],
)
def test_there_is_nobody_left_to_retry_for(happened: tuple[EmailEvent, ...]) -> None:
    """Accepted or refused for good: a retry could only repeat that."""
    given(requested(), *happened).when(RETRY_ANYWAY, now=LATER).then_refused(NothingToRetry)


def test_an_outcome_unknown_is_not_redriven_without_the_risk_taken() -> None:
    """The recipient may have it."""
    happened = (requested(), started(1), uncertain(1), ended(FailReason.OUTCOME_UNKNOWN, 0))

    given(*happened).when(RETRY, now=LATER).then_refused(MayHaveBeenSent)


def test_an_outcome_unknown_is_redriven_with_the_risk_taken() -> None:
    """Reopened first, then the risk for all in doubt: also for those that a policy went past."""
    happened = (
        *(requested(), started(1), uncertain(1), risk_accepted(1)),
        *(started(2), uncertain(2), ended(FailReason.OUTCOME_UNKNOWN, 0)),
    )
    then = given(*happened).when(RETRY_ANYWAY, now=LATER)

    then.then(redriven(LATER), taken_by_alice(1, 2))
    Given(then.email).when(START, now=LATER).then(started(3, now=LATER))


def test_a_doubt_resolved_after_the_end_needs_no_risk() -> None:
    """A late refusal said that it was not accepted."""
    happened = (
        *(requested(), started(1), lost(1), ended(FailReason.OUTCOME_UNKNOWN, 0)),
        late(1, kind=FailureKind.TRANSIENT),
    )

    given(*happened).when(RETRY, now=LATER).then(redriven(LATER))


def test_a_held_email_is_released_with_the_risk_taken() -> None:
    """Held for a doubt: letting it go is taking the risk."""
    happened = (
        *(requested(on_uncertain=OnUncertain.HOLD), started(1), uncertain(1)),
        Held(reason=HoldReason.UNCERTAIN),
    )
    then = given(*happened).when(RETRY_ANYWAY, now=at(60))

    given(*happened).when(RETRY, now=at(60)).then_refused(MayHaveBeenSent)
    then.then(released(at(60)), risk_accepted(1, by="alice", why="accept_duplicate_risk", retry_at=at(60)))
    Given(then.email).when(START, now=at(60)).then(started(2, now=at(60)))


def test_a_held_email_without_doubt_is_released() -> None:
    """Nothing may have been accepted: there is no risk."""
    (given(requested(), Held(reason=HoldReason.OPERATOR)).when(RETRY, now=at(60)).then(released(at(60))))


@pytest.mark.parametrize(
    "happened", [(), (started(1),), (started(1), failed(1))], ids=["never tried", "open", "in backoff"]
)
def test_an_email_on_its_way_needs_no_retry(happened: tuple[EmailEvent, ...]) -> None:
    """It goes on by itself."""
    given(requested(), *happened).when(RETRY_ANYWAY).then_nothing()


def test_retrying_twice_redrives_once() -> None:
    """The second click finds it on its way."""
    happened = (requested(), started(1), uncertain(1), ended(FailReason.OUTCOME_UNKNOWN, 0))
    then = given(*happened).when(RETRY_ANYWAY, now=LATER)

    Given(then.email).when(RETRY_ANYWAY, now=LATER).then_nothing()


# --- reschedule -----------------------------------------------------------------------------------------


def test_an_email_is_rescheduled() -> None:
    """It is due then, and lives from then on."""
    then = given(requested()).when(Reschedule(by="alice", send_at=TOMORROW))

    then.then(Rescheduled(by="alice", send_at=TOMORROW, expires_at=TOMORROW + LIFETIME))
    assert TOMORROW == then.email.due_at
    Given(then.email).when(START, now=T0).then_nothing()
    Given(then.email).when(START, now=TOMORROW).then(started(1, now=TOMORROW))


@pytest.mark.parametrize(
    ("happened", "error"),
    [
        pytest.param((started(1),), AlreadyAttempted, id="open"),
        pytest.param((started(1), failed(1)), AlreadyAttempted, id="tried before"),
        pytest.param((started(1), sent(1)), AlreadyEnded, id="sent"),
        pytest.param((Cancelled(by="bob"),), AlreadyEnded, id="cancelled"),
    ],
)
def test_an_email_cannot_be_rescheduled_after(happened: tuple[EmailEvent, ...], error: type[Refused]) -> None:
    """Its first attempt, or its end."""
    given(requested(), *happened).when(Reschedule(by="alice", send_at=TOMORROW)).then_refused(error)


def test_rescheduling_to_the_same_time_changes_nothing() -> None:
    """It is due then already."""
    given(requested(send_at=TOMORROW)).when(Reschedule(by="alice", send_at=TOMORROW)).then_nothing()


def test_rescheduling_keeps_the_lifetime() -> None:
    """However often: an email of two minutes stays one."""
    short = given(requested(send_at=at(60), expires_at=at(180)))
    once = Given(short.when(Reschedule(by="alice", send_at=TOMORROW)).email)
    twice = once.when(Reschedule(by="bob", send_at=at(600)), now=at(1))

    twice.then(Rescheduled(by="bob", send_at=at(600), expires_at=at(720)))
    Given(twice.email).when(Tick(), now=at(720)).then(ended(FailReason.EXPIRED, 0))
