"""Failure kinds, row by row: what each says about this email, this provider and its circuit."""

from dataclasses import dataclass, replace
from datetime import datetime

import pytest

from domain import circuit as circuits
from domain.circuit import Circuit, CircuitClosed, CircuitOpened, CircuitPolicy, ObserveResult, Phase
from domain.email.events import FailReason
from domain.email.state import AttemptState
from domain.failures import ALERTS, FailureKind, NotAccepted, Outcome, Refusal, Unanswered
from domain.routing import Blocked, OnLimit
from tests.domain.build import (
    LATER,
    T0,
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
    sent_by_evidence,
    started,
    uncertain,
)

POLICY = CircuitPolicy()
ONE_ATTEMPT = (requested(), started(1))
NOW = at(0)

RECIPIENT, CONTENT, SENDER = FailureKind.RECIPIENT, FailureKind.CONTENT, FailureKind.SENDER
TOO_LARGE, ACCOUNT, QUOTA = FailureKind.TOO_LARGE, FailureKind.ACCOUNT, FailureKind.QUOTA
THROTTLED, TRANSIENT, UNCERTAIN = FailureKind.THROTTLED, FailureKind.TRANSIENT, FailureKind.UNCERTAIN
LOST, DEFERRED, NOT_TRIED = FailureKind.LOST, FailureKind.DEFERRED, FailureKind.NOT_TRIED
UNKNOWN = FailureKind.UNKNOWN


@dataclass(frozen=True)
class Row:
    """A row of the table. `counts`: closed, as a failed call, as a call, or not at all ("").
    `probe`: half-open, whether it passes, fails, or is given back."""

    kind: FailureKind
    retry_at: datetime
    spent: bool
    ruled_out: bool
    counts: str
    probe: str


ROWS = [
    Row(RECIPIENT, LATER, False, False, "call", "passed"),
    Row(CONTENT, NOW, True, True, "call", "passed"),
    Row(SENDER, NOW, True, False, "call", "passed"),
    Row(TOO_LARGE, NOW, True, True, "call", "passed"),
    Row(ACCOUNT, NOW, True, False, "opens", "failed"),
    Row(QUOTA, NOW, True, False, "opens", "failed"),
    Row(THROTTLED, LATER, False, False, "", "given back"),
    Row(TRANSIENT, LATER, False, False, "failure", "failed"),
    Row(DEFERRED, LATER, False, False, "call", "passed"),
    Row(NOT_TRIED, NOW, False, False, "", "given back"),
    Row(UNKNOWN, LATER, False, False, "", "given back"),
]
UNANSWERED = [
    Row(UNCERTAIN, LATER, False, False, "failure", "failed"),
    Row(LOST, LATER, False, False, "", "failed"),
]
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.kind.value)
every_row = pytest.mark.parametrize("row", ROWS + UNANSWERED, ids=lambda row: row.kind.value)


def came(kind: FailureKind) -> Outcome:
    """An attempt that ended with this kind and names no recipient."""
    return Unanswered(kind=kind) if kind in (UNCERTAIN, LOST) else NotAccepted(kind=kind)


def test_every_kind_has_a_row() -> None:
    """A kind that nobody thought about must not get through."""
    assert set(FailureKind) == {row.kind for row in ROWS + UNANSWERED}
    assert {SENDER, ACCOUNT, QUOTA} == ALERTS


@each_row
def test_what_the_email_does_next(row: Row) -> None:
    """To another provider at once, or to the same after a backoff; and who is passed over meanwhile."""
    given_two = given(requested(2), started(1, recipients=(0, 1)))
    then = given_two.when(outcome(1, NotAccepted(kind=row.kind)))

    then.then(
        failed(
            1,
            kind=row.kind,
            retry_at=row.retry_at,
            spent=row.spent,
            not_before=LATER if row.kind is THROTTLED else None,
        )
    )
    assert ({"ses"} if row.spent else set()) == then.email.spent
    assert ({"ses"} if row.ruled_out else set()) == then.email.ruled_out
    assert AttemptState.FAILED is then.email.attempts[0].state


@pytest.mark.parametrize("row", UNANSWERED, ids=lambda row: row.kind.value)
def test_what_the_email_does_after_no_answer(row: Row) -> None:
    """Without a key and without feedback there is nothing to wait for: the policy decides at once."""
    then = given(*ONE_ATTEMPT).when(outcome(1, came(row.kind)))

    then.then(uncertain(1, kind=row.kind), risk_accepted(1, retry_at=row.retry_at))
    assert frozenset() == then.email.spent | then.email.ruled_out


@every_row
def test_what_a_closed_circuit_does(row: Row) -> None:
    """It counts a failed call, an answered call, nothing at all; or opens at once."""
    circuit = circuits.initial(POLICY)
    seen = circuit.seen(kind=row.kind, epoch=0, probe=None, at=T0)
    events = circuits.decide(
        ObserveResult(kind=row.kind, epoch=0, probe=None, now=T0, chance=0.5), circuit, POLICY
    )

    assert (row.counts in ("call", "failure")) == (1 == seen.calls.used(T0))
    assert (row.counts == "failure") == (1 == seen.failures.used(T0)) == (1 == seen.in_a_row)
    assert (row.counts == "opens") == any(isinstance(event, CircuitOpened) for event in events)


@every_row
def test_what_a_half_open_circuit_does(row: Row) -> None:
    """A definite answer passes the probe, a failure or silence opens again, the rest proves nothing."""
    probing = Circuit(phase=Phase.HALF_OPEN, epoch=1, opened=1, granted=3, out=frozenset({3}), passed=2)
    events = circuits.decide(
        ObserveResult(kind=row.kind, epoch=1, probe=3, now=T0, chance=0.5), probing, POLICY
    )
    became = {CircuitClosed: "passed", CircuitOpened: "failed"}

    assert row.probe == (became[type(events[-1])] if events else "given back")


@pytest.mark.parametrize("kind", [RECIPIENT, DEFERRED, CONTENT, TRANSIENT])
def test_a_refused_recipient_is_refused_whatever_else_failed(kind: FailureKind) -> None:
    """Nobody else would take it either; with nobody left the email has failed."""
    (
        given(*ONE_ATTEMPT)
        .when(outcome(1, NotAccepted(kind=kind, refused=refusals([0]), code="5.1.1")))
        .then(
            failed(1, kind=kind, refused=[0], retry_at=None, spent=kind is CONTENT, code="5.1.1"),
            ended(FailReason.REJECTED, code="5.1.1"),
        )
    )


def test_an_answer_about_the_only_recipient_needs_no_list() -> None:
    """A provider that says `recipient` and was given one recipient has said which."""
    (
        given(*ONE_ATTEMPT)
        .when(outcome(1, NotAccepted(kind=RECIPIENT, code="406")))
        .then(
            replace(
                failed(1, kind=RECIPIENT, retry_at=None, code="406"),
                refused=(Refusal(index=0, code="406"),),
            ),
            ended(FailReason.REJECTED, code="406"),
        )
    )


def test_content_refused_everywhere_is_rejected() -> None:
    """When every provider of the route refused this message, the pending are refused."""
    then = given(
        requested(2),
        started(1, recipients=(0, 1)),
        failed(1, kind=CONTENT, spent=True),
        started(2, "smtp", (0, 1)),
    ).when(outcome(2, NotAccepted(kind=TOO_LARGE)))

    then.then(
        failed(2, "smtp", TOO_LARGE, spent=True, retry_at=None),
        ended(FailReason.REJECTED, 0, 1),
    )
    assert () == then.email.pending


def test_content_refused_everywhere_after_some_were_sent_is_sent() -> None:
    """The rest are refused; who has it has it."""
    then = given(
        requested(2),
        started(1, recipients=(0, 1)),
        partly_sent(1, accepted=(0,), deferred=(1,)),
        started(2, recipients=(1,)),
        failed(2, kind=CONTENT, spent=True),
        started(3, "smtp", (1,)),
    ).when(outcome(3, NotAccepted(kind=CONTENT)))

    then.then(failed(3, "smtp", CONTENT, spent=True, retry_at=None), sent_by_evidence(refused=[1]))


def test_content_refused_everywhere_with_one_in_doubt_is_outcome_unknown() -> None:
    """Nobody may say `refused` of a recipient who may have it, even where others were sent theirs."""
    then = given(
        requested(2),
        started(1, recipients=(0, 1)),
        partly_sent(1, accepted=(0,), deferred=(1,)),
        started(2, recipients=(1,)),
        uncertain(2),
        risk_accepted(2),
        started(3, recipients=(1,)),
        failed(3, kind=CONTENT, spent=True),
        started(4, "smtp", (1,)),
    ).when(outcome(4, NotAccepted(kind=CONTENT)))

    then.then(failed(4, "smtp", CONTENT, spent=True, retry_at=None), ended(FailReason.OUTCOME_UNKNOWN, 1))


def test_a_third_throttled_answer_in_a_row_spends_the_provider() -> None:
    """Two are waited for; after the third another provider is asked, although the route waits at limits."""
    happened = (*ONE_ATTEMPT, failed(1, kind=THROTTLED), started(2))

    (
        given(*happened)
        .when(outcome(2, NotAccepted(kind=THROTTLED)))
        .then(failed(2, kind=THROTTLED, retry_at=LATER, not_before=LATER))
    )
    (
        given(*happened, failed(2, kind=THROTTLED), started(3))
        .when(outcome(3, NotAccepted(kind=THROTTLED)))
        .then(failed(3, kind=THROTTLED, retry_at=NOW, not_before=LATER, spent=True))
    )


@pytest.mark.parametrize("between", [TRANSIENT, NOT_TRIED])
def test_throttled_answers_count_in_a_row_only(between: FailureKind) -> None:
    """Another answer in between begins the count anew; so does another provider."""
    email = given(
        *ONE_ATTEMPT,
        failed(1, kind=THROTTLED),
        started(2),
        failed(2, kind=THROTTLED),
        started(3),
        failed(3, kind=between),
        started(4),
    )

    assert not email.when(outcome(4, NotAccepted(kind=THROTTLED))).email.spent


def test_throttled_answers_count_at_one_provider_only() -> None:
    """Two of one and one of another are not three in a row."""
    email = given(
        *ONE_ATTEMPT,
        failed(1, kind=THROTTLED),
        started(2),
        failed(2, kind=THROTTLED),
        started(3, "smtp"),
    )

    assert not email.when(outcome(3, NotAccepted(kind=THROTTLED))).email.spent


def test_a_throttled_email_overflows_at_once_where_the_route_says_so() -> None:
    """The provider asked all emails for a pause: an overflowing route takes the next one meanwhile."""
    (
        given(*ONE_ATTEMPT)
        .when(outcome(1, NotAccepted(kind=THROTTLED)), on_limit=OnLimit.OVERFLOW)
        .then(failed(1, kind=THROTTLED, retry_at=NOW, not_before=at(1)))
    )


def test_throttled_answers_spend_no_tries() -> None:
    """Being too fast is not the provider's failure: its tries of the cycle are still there."""
    email = given(*ONE_ATTEMPT, failed(1, kind=THROTTLED), started(2)).email

    assert 0 == email.cycle_tries.get("ses", 0)
    assert 1 == email.tries


def test_not_tried_twice_running_waits() -> None:
    """Once is an accident (a drained worker); twice would spin."""
    (
        given(*ONE_ATTEMPT, failed(1, kind=NOT_TRIED, retry_at=NOW), started(2))
        .when(outcome(2, NotAccepted(kind=NOT_TRIED)))
        .then(failed(2, kind=NOT_TRIED, retry_at=at(1)))
    )


def test_a_quota_says_when_it_comes_back() -> None:
    """The email goes elsewhere at once; the circuit is told when to look again."""
    (
        given(*ONE_ATTEMPT)
        .when(outcome(1, NotAccepted(kind=QUOTA, retry_after_s=3600)))
        .then(failed(1, kind=QUOTA, retry_at=NOW, spent=True, reset_at=at(3600)))
    )


@pytest.mark.parametrize("kind", [SENDER, ACCOUNT, QUOTA, CONTENT, TOO_LARGE])
def test_a_switch_at_once_waits_where_nobody_else_is_free(kind: FailureKind) -> None:
    """The only other provider is broken: the backoff keeps the email from spinning."""
    openings = (free("ses"), blocked("smtp", Blocked.CIRCUIT_OPEN))
    then = given(*ONE_ATTEMPT).when(outcome(1, NotAccepted(kind=kind)), openings=openings)

    assert at(1) == then.email.due_at


def test_nobody_is_refused_whom_the_attempt_did_not_carry() -> None:
    """What an adapter says about strangers is not believed, and nobody is named twice."""
    strange = NotAccepted(
        kind=TRANSIENT,
        refused=(
            Refusal(index=0),
            Refusal(index=1, code="first"),
            Refusal(index=1, code="last"),
            Refusal(index=9),
        ),
        deferred=(9, 2, 2, 1, 0),
    )
    (
        given(
            requested(3),
            started(1, recipients=(0, 1, 2)),
            partly_sent(1, accepted=(0,), deferred=(1, 2)),
            started(2, recipients=(1, 2)),
        )
        .when(outcome(2, strange))
        .then(
            replace(
                failed(2, deferred=(2,), retry_at=NOW, spent=True), refused=(Refusal(index=1, code="last"),)
            )
        )
    )
