"""Asking for an email: accepted once, repeated without effect, refused under a used key."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.email.commands import (
    Cancel,
    EmailCommand,
    LoseAttempt,
    RecordFeedback,
    RecordOutcome,
    Request,
    Reschedule,
    Retry,
    Tick,
)
from domain.email.events import Delivered
from domain.email.state import Email
from domain.errors import KeyMisused, NoSuchAttempt, NotRequested
from domain.failures import Accepted
from domain.routing import Lane, OnUncertain, Priority
from tests.domain.build import EXPIRY, LIFETIME, START, T0, at, given, outcome, requested, started

REQUEST = Request(
    key="order-4711",
    digest="digest",
    size=1024,
    recipient_domains=("example.org",),
    sender_domain="example.com",
    route="default",
    expires_after=LIFETIME,
    on_uncertain=OnUncertain.RETRY,
)
ON_AN_EMAIL = [
    START,
    outcome(1, Accepted(accepted=(0,))),
    LoseAttempt(attempt=1),
    RecordFeedback(feedback=Delivered(attempt=1, recipient=0, observed_at=T0)),
    Tick(),
    Cancel(by="alice"),
    Retry(by="alice"),
    Reschedule(by="alice", send_at=at(60)),
]


def test_a_request_is_accepted() -> None:
    """The first time, everything that the client said is recorded, and it expires after its lifetime."""
    given().when(REQUEST).then(requested())


def test_a_key_cannot_be_used_for_another_email() -> None:
    """The same key with another content is a mistake of the client's."""
    given(requested()).when(replace(REQUEST, digest="other")).then_refused(KeyMisused)


def test_a_repeated_request_changes_nothing() -> None:
    """The same key with the same content was answered before, whatever became of the email since."""
    given(requested()).when(REQUEST).then_nothing()
    given(requested(), started(1)).when(REQUEST, now=at(5)).then_nothing()


def test_a_scheduled_email_lives_from_its_send_at() -> None:
    """What is to be sent in a week must not expire tomorrow."""
    week = T0 + timedelta(days=7)
    then = given().when(replace(REQUEST, send_at=week))

    then.then(requested(send_at=week, expires_at=week + LIFETIME))
    assert week == then.email.due_at
    assert LIFETIME == then.email.lifetime


def test_every_recipient_is_pending_and_the_email_is_due() -> None:
    """Right after the request: one recipient per domain named, due at once, ending at its expiry."""
    email = given().when(replace(REQUEST, recipient_domains=("a.example", "b.example"))).email

    assert (0, 1) == email.pending
    assert T0 == email.due_at
    assert EXPIRY == email.deadline_at


@pytest.mark.parametrize("command", ON_AN_EMAIL, ids=lambda command: type(command).__name__)
def test_nothing_else_can_be_asked_of_an_email_that_nobody_requested(command: EmailCommand) -> None:
    """Every other command needs an email."""
    given().when(command).then_refused(NotRequested)


@pytest.mark.parametrize("number", [-1, 0, 2])
def test_an_attempt_that_was_never_started_has_no_outcome(number: int) -> None:
    """An outcome or feedback for it is refused: no index may reach another attempt."""
    email = given(requested(), started(1))
    answer = RecordOutcome(attempt=number, outcome=Accepted(accepted=(0,)), worker="w", token=1)
    delivered = Delivered(attempt=number, recipient=0, observed_at=T0)

    email.when(answer).then_refused(NoSuchAttempt)
    email.when(RecordFeedback(feedback=delivered)).then_refused(NoSuchAttempt)


def test_what_an_email_waits_by_is_kept() -> None:
    """Its key, its tenant, its priority, its route: what lanes and replays are told by."""
    asked = replace(REQUEST, tenant="shop", priority=Priority.HIGH, route="otp", tags=("otp",))
    email = given().when(asked).email

    assert ("order-4711", "shop", Priority.HIGH, "otp") == (
        email.key,
        email.tenant,
        email.priority,
        email.route,
    )
    assert Lane("shop", "otp") == email.lane


def test_nobody_is_nothing() -> None:
    """An email without events is due never and waits for nothing."""
    email = Email()

    assert email.lane is None
    assert email.deadline_at is None
