"""Starting an attempt: which provider, which recipients, and what stands in the way."""

from datetime import timedelta

import pytest

from domain.email.events import (
    Cancelled,
    EmailEvent,
    FailReason,
    Held,
    HoldReason,
    ProviderSwitched,
    SwitchReason,
)
from domain.email.state import provider_key
from domain.failures import FailureKind
from domain.routing import Blocked, OnLimit
from tests.domain.build import (
    EMAIL_ID,
    EXPIRY,
    KEY_TTL,
    KEYED,
    START,
    Given,
    at,
    blocked,
    ended,
    failed,
    free,
    given,
    partly_sent,
    requested,
    sent,
    started,
    uncertain,
)


def switched(before: str, after: str, reason: SwitchReason) -> ProviderSwitched:
    """From one to another."""
    return ProviderSwitched(from_provider=before, to_provider=after, reason=reason)


def test_an_attempt_starts_at_the_first_provider_of_the_route() -> None:
    """It carries everybody pending, and its call has to begin soon."""
    given(requested(2)).when(START).then(started(1, "ses", (0, 1)))


@pytest.mark.parametrize(
    "happened",
    [
        pytest.param((started(1),), id="an attempt is open"),
        pytest.param((started(1), failed(1, retry_at=at(9))), id="its backoff is not over"),
        pytest.param((Held(reason=HoldReason.POISON),), id="it is held"),
        pytest.param((started(1), sent(1)), id="it was sent"),
        pytest.param((ended(FailReason.EXPIRED, 0),), id="it failed"),
        pytest.param((Cancelled(by="alice"),), id="it was cancelled"),
        pytest.param((started(1), uncertain(1, resolve_by=at(60))), id="the last one is in doubt"),
    ],
)
def test_no_attempt_starts_while(happened: tuple[EmailEvent, ...]) -> None:
    """There is nothing to do, and nothing wrong with asking."""
    given(requested(), *happened).when(START, now=at(1)).then_nothing()


def test_a_scheduled_email_does_not_start_before_its_time() -> None:
    """And it starts right at it."""
    scheduled = given(requested(send_at=at(60)))

    scheduled.when(START, now=at(59.999)).then_nothing()
    scheduled.when(START, now=at(60)).then(started(1, now=at(60)))


def test_an_expired_email_ends_instead_of_starting() -> None:
    """A worker that claims it too late is what finds out."""
    given(requested()).when(START, now=EXPIRY).then(ended(FailReason.EXPIRED, 0))


def test_a_call_may_not_begin_after_the_email_expired() -> None:
    """The deadline of the last attempt is the email's own."""
    now = EXPIRY - timedelta(seconds=2)

    given(requested()).when(START, now=now).then(started(1, now=now, deadline=EXPIRY))


def test_nothing_happens_where_no_provider_is_free() -> None:
    """The email stays due, no attempt is spent."""
    openings = (blocked("ses", Blocked.CIRCUIT_OPEN), blocked("smtp", Blocked.PAUSED))

    given(requested()).when(START, openings=openings).then_nothing()


@pytest.mark.parametrize(
    ("reason", "switch"),
    [
        (Blocked.CIRCUIT_OPEN, SwitchReason.CIRCUIT_OPEN),
        (Blocked.PAUSED, SwitchReason.PAUSED),
        (Blocked.AT_LIMIT, SwitchReason.RATE_LIMITED),
        (Blocked.NOT_BEFORE, SwitchReason.RATE_LIMITED),
    ],
)
def test_the_first_attempt_says_why_the_first_provider_was_passed_over(
    reason: Blocked, switch: SwitchReason
) -> None:
    """A route that overflows goes on to the second provider, whatever blocks the first."""
    (
        given(requested())
        .when(START, openings=(blocked("ses", reason), free("smtp")), on_limit=OnLimit.OVERFLOW)
        .then(switched("ses", "smtp", switch), started(1, "smtp", passed_over=(("ses", reason),)))
    )


@pytest.mark.parametrize("reason", [Blocked.AT_LIMIT, Blocked.NOT_BEFORE])
def test_a_route_that_waits_waits_at_a_limit(reason: Blocked) -> None:
    """The second provider is for when the first is broken, not for when it is busy."""
    given(requested()).when(START, openings=(blocked("ses", reason), free("smtp"))).then_nothing()


def test_a_spent_provider_hands_over_to_the_next_one() -> None:
    """After its tries of the cycle the first provider is passed over."""
    (
        given(requested(), started(1), failed(1, spent=True))
        .when(START, now=at(1))
        .then(
            switched("ses", "smtp", SwitchReason.ATTEMPT_FAILED),
            started(2, "smtp", now=at(1), passed_over=(("ses", Blocked.SPENT),)),
        )
    )


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (FailureKind.ACCOUNT, SwitchReason.ACCOUNT),
        (FailureKind.QUOTA, SwitchReason.ACCOUNT),
        (FailureKind.SENDER, SwitchReason.SENDER),
        (FailureKind.TOO_LARGE, SwitchReason.TOO_LARGE),
        (FailureKind.THROTTLED, SwitchReason.RATE_LIMITED),
        (FailureKind.CONTENT, SwitchReason.ATTEMPT_FAILED),
        (FailureKind.TRANSIENT, SwitchReason.ATTEMPT_FAILED),
    ],
)
def test_a_switch_after_a_failure_says_which(kind: FailureKind, reason: SwitchReason) -> None:
    """The reason is what the provider before had answered."""
    events = given(requested(), started(1), failed(1, kind=kind, spent=True)).when(START, now=at(1)).events

    assert switched("ses", "smtp", reason) == events[0]


def test_a_new_cycle_begins_where_every_provider_is_spent() -> None:
    """It walks the route from its beginning, and the tries of the cycle before are forgotten."""
    then = given(
        requested(),
        started(1),
        failed(1, spent=True),
        started(2, "smtp"),
        failed(2, "smtp", spent=True),
    ).when(START, now=at(1))

    then.then(switched("smtp", "ses", SwitchReason.ATTEMPT_FAILED), started(3, now=at(1)))
    assert frozenset() == then.email.spent
    assert {} == then.email.cycle_tries


def test_a_new_cycle_begins_early_where_the_unspent_are_broken() -> None:
    """A spent provider is better than one whose circuit is open."""
    (
        given(requested(), started(1), failed(1, spent=True))
        .when(START, now=at(1), openings=(free("ses"), blocked("smtp", Blocked.CIRCUIT_OPEN)))
        .then(started(2, now=at(1)))
    )


def test_a_provider_ruled_out_stays_out_in_every_cycle() -> None:
    """It refused this very message."""
    then = given(
        requested(),
        started(1),
        failed(1, kind=FailureKind.CONTENT, spent=True),
        started(2, "smtp"),
        failed(2, "smtp", spent=True),
    ).when(START, now=at(1))

    then.then(started(3, "smtp", now=at(1), passed_over=(("ses", Blocked.RULED_OUT),)))


def test_the_next_attempt_carries_only_who_is_left() -> None:
    """The provider key is that of the smaller set: another request to the provider."""
    then = given(
        requested(3), started(1, recipients=(0, 1, 2)), partly_sent(1, accepted=(1,), deferred=(0, 2))
    )

    then.when(START, now=at(1)).then(started(2, recipients=(0, 2), now=at(1)))
    assert provider_key(EMAIL_ID, "ses", (0, 2)) != provider_key(EMAIL_ID, "ses", (0, 1, 2))


def test_an_attempt_carries_the_circuits_epoch_and_probe() -> None:
    """So that its result can be told from one of another epoch."""
    openings = (free("ses", epoch=4, probe=2),)

    given(requested()).when(START, openings=openings).then(started(1, epoch=4, probe=2))


def test_a_key_lives_from_its_first_use() -> None:
    """A repeat a second later does not prolong it: the provider counts from the first."""
    first = started(1, "resend", key_until=at(0) + KEY_TTL)

    given(requested()).when(START, openings=KEYED).then(first)
    (
        given(requested(), first, failed(1, "resend"))
        .when(START, now=at(1), openings=KEYED)
        .then(started(2, "resend", now=at(1), key_until=at(0) + KEY_TTL))
    )


def test_a_dead_key_does_not_come_back() -> None:
    """The provider may have forgotten it: from then on it is a provider without keys."""
    dead = at(0) + KEY_TTL
    happened = (requested(), started(1, "resend", key_until=dead), failed(1, "resend"))

    given(*happened).when(START, now=dead, openings=KEYED).then(started(2, "resend", now=dead))
    (
        given(*happened, started(2, "resend", now=dead), failed(2, "resend"))
        .when(START, now=dead + timedelta(hours=1), openings=KEYED)
        .then(started(3, "resend", now=dead + timedelta(hours=1)))
    )


def test_asking_twice_starts_once() -> None:
    """The second worker finds the attempt open."""
    then = given(requested()).when(START)

    Given(then.email).when(START).then_nothing()
    assert then.email.lane is None
