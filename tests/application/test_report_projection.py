"""What each event adds to the reports: measure, kind, provider, hour, tags, delay."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from application.histogram import bucket_of
from application.projections.reports import HOUR, Increments, Measure, Projection, by_hour, hour_of
from application.recorded import Event, Recorded, circuit_stream, email_stream
from domain.circuit import CircuitClosed, CircuitHalfOpened, CircuitOpened, ProbeFailed
from domain.email.events import (
    Cancelled,
    Delivered,
    DuplicateRiskAccepted,
    Failed,
    FailReason,
    Held,
    HoldReason,
    LateResultObserved,
    OutcomeUncertain,
    PartlySent,
    ProviderSwitched,
    Redriven,
    Released,
    Rescheduled,
    Sent,
    SwitchReason,
)
from domain.failures import FailureKind
from tests.contract.event_store.given import failed, requested, sent, started

H8 = datetime.fromisoformat("2026-11-24T08:00:00Z")
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
Happened = tuple[timedelta, Event]


def history(*events: Happened, stream: str = email_stream("e")) -> list[Recorded]:
    """The events of one stream, so long after 08:00."""
    return [
        Recorded(
            position=version,
            event_id=str(version),
            stream=stream,
            version=version,
            at=H8 + after,
            event=event,
        )
        for version, (after, event) in enumerate(events, 1)
    ]


def projected(*events: Happened, stream: str = email_stream("e")) -> Increments:
    """What a whole stream adds."""
    return Projection({}, 10).apply(history(*events, stream=stream))


def counts(added: Increments) -> set[tuple[Any, ...]]:
    """(Minutes from 08:00 to its hour, provider, route, measure, kind, count), without delays."""
    return {
        ((hour - H8) // MINUTE, provider, route, measure, kind, n)
        for (hour, provider, route, measure, kind, _), n in added.tallies.items()
    }


def partly_sent(attempt: int, provider: str) -> PartlySent:
    """Accepted for the first, put off for the second."""
    return PartlySent(
        attempt=attempt,
        provider=provider,
        message_id="m",
        accepted=(0,),
        refused=(),
        deferred=(1,),
        retry_at=H8 + MINUTE,
        spent=False,
        epoch=0,
        probe=None,
    )


def uncertain(attempt: int, provider: str, kind: FailureKind = FailureKind.UNCERTAIN) -> OutcomeUncertain:
    """The reply is lost."""
    return OutcomeUncertain(
        attempt=attempt,
        provider=provider,
        kind=kind,
        code="",
        detail="",
        refused=(),
        deferred=(),
        resolve_by=H8 + HOUR,
        retry_at=None,
        spent=False,
        epoch=0,
        probe=None,
    )


def late(attempt: int, provider: str, kind: FailureKind | None) -> LateResultObserved:
    """A worker without a lease brings its outcome."""
    return LateResultObserved(
        attempt=attempt,
        provider=provider,
        worker="w",
        token=1,
        kind=kind,
        code="",
        detail="",
        message_id="",
        accepted=(0, 1) if kind is None else (),
        refused=(),
        deferred=(),
        observed_at=H8,
    )


SENT_BY_EVIDENCE = Sent(
    attempt=None, provider=None, message_id="", accepted=(), refused=(), epoch=0, probe=None
)
ZERO = timedelta(0)


def test_a_plain_email() -> None:
    """Asked for without a provider, tried and sent with one, on the email's route."""
    added = projected((ZERO, requested(route="bulk")), (SECOND, started()), (2 * SECOND, sent()))

    assert {
        (0, "", "bulk", "requested", "", 1),
        (0, "ses", "bulk", "attempts", "", 1),
        (0, "ses", "bulk", "sent", "", 1),
    } == counts(added)
    assert 1 == added.tallies[H8, "ses", "bulk", Measure.SENT, "", bucket_of(2 * SECOND)]


def test_each_event_counts_in_its_own_hour() -> None:
    """The last microsecond belongs to the hour, the next one does not."""
    added = projected(
        (HOUR - timedelta(microseconds=1), requested()),
        (HOUR, started()),
        (2 * HOUR, sent()),
    )

    assert {(0, "requested"), (60, "attempts"), (120, "sent")} == {(c[0], c[3]) for c in counts(added)}


def test_failures_have_kinds_and_switches_reasons() -> None:
    """A switch counts for the provider that was left."""
    switch = ProviderSwitched(from_provider="ses", to_provider="postmark", reason=SwitchReason.CIRCUIT_OPEN)
    added = projected(
        (ZERO, requested()),
        (ZERO, started()),
        (ZERO, failed(kind=FailureKind.QUOTA)),
        (ZERO, switch),
        (ZERO, started(2, "postmark")),
        (ZERO, failed(2, "postmark", kind=FailureKind.CONTENT)),
        (ZERO, Failed(reason=FailReason.REJECTED, pending=(0, 1), code="")),
    )

    assert {
        (0, "", "default", "requested", "", 1),
        (0, "ses", "default", "attempts", "", 1),
        (0, "ses", "default", "attempts_failed", "quota", 1),
        (0, "ses", "default", "switches", "circuit_open", 1),
        (0, "postmark", "default", "attempts", "", 1),
        (0, "postmark", "default", "attempts_failed", "content", 1),
        (0, "postmark", "default", "failed", "rejected", 1),
    } == counts(added)


def test_an_end_before_any_attempt_has_no_provider() -> None:
    """Cancelled, or expired while nobody could take it."""
    added = projected((ZERO, requested()), (ZERO, Cancelled(by="me")))

    assert (0, "", "default", "cancelled", "", 1) in counts(added)


def test_uncertain_then_a_risk_then_sent() -> None:
    """Both attempts count, and who took the risk: the policy, or an operator, whatever they are called."""
    risks = [DuplicateRiskAccepted(attempts=(1,), by=by, why="", retry_at=H8) for by in ("policy", "ann")]
    added = projected(
        (ZERO, requested()),
        (ZERO, started()),
        (ZERO, uncertain(1, "ses", FailureKind.LOST)),
        (ZERO, risks[0]),
        (ZERO, risks[1]),
        (ZERO, started(2, "smtp")),
        (ZERO, sent(2, "smtp")),
    )

    assert {
        ("ses", "uncertain", "lost", 1),
        ("ses", "duplicates_accepted", "policy", 1),
        ("ses", "duplicates_accepted", "operator", 1),
        ("smtp", "sent", "", 1),
        ("ses", "attempts", "", 1),
        ("smtp", "attempts", "", 1),
        ("", "requested", "", 1),
    } == {(c[1], *c[3:]) for c in counts(added)}


def test_what_evidence_settles_counts_for_who_accepted_it() -> None:
    """A late result, a part that was sent before, feedback: not the provider that was tried last."""
    tries: list[Happened] = [(ZERO, requested()), (ZERO, started()), (ZERO, uncertain(1, "ses"))]
    second: list[Happened] = [(ZERO, started(2, "smtp")), (ZERO, failed(2, "smtp"))]
    by_late = projected(*tries, *second, (ZERO, late(1, "ses", None)), (ZERO, SENT_BY_EVIDENCE))
    told = Delivered(attempt=1, recipient=0, observed_at=H8)
    by_feedback = projected(*tries, *second, (ZERO, told), (ZERO, SENT_BY_EVIDENCE))
    by_part = projected(*tries[:2], (ZERO, partly_sent(1, "ses")), *second, (ZERO, SENT_BY_EVIDENCE))
    refused = projected(*tries[:2], (ZERO, late(1, "ses", FailureKind.CONTENT)))

    for added in (by_late, by_feedback, by_part):
        assert (0, "ses", "default", "sent", "", 1) in counts(added)
    assert (0, "ses", "default", "late_results", "accepted", 1) in counts(by_late)
    assert (0, "ses", "default", "partly_sent", "", 1) in counts(by_part)
    assert (0, "ses", "default", "late_results", "content", 1) in counts(refused)


def test_an_email_that_is_reopened_counts_again() -> None:
    """Held, released, failed, redriven, sent: each once, and the delay is from its acceptance."""
    added = projected(
        (ZERO, requested()),
        (ZERO, started()),
        (ZERO, failed()),
        (ZERO, Held(reason=HoldReason.POISON)),
        (ZERO, Released(by="ann", due_at=H8)),
        (ZERO, Failed(reason=FailReason.EXPIRED, pending=(0,), code="")),
        (HOUR, Redriven(by="ann", due_at=H8 + HOUR, expires_at=H8 + 2 * HOUR)),
        (HOUR, started(2, "smtp")),
        (HOUR, sent(2, "smtp")),
    )

    assert {
        ("held", "poison", 1),
        ("failed", "expired", 1),
        ("redriven", "", 1),
        ("sent", "", 1),
    } <= {c[3:] for c in counts(added)}
    assert 1 == added.tallies[H8 + HOUR, "smtp", "default", Measure.SENT, "", bucket_of(HOUR)]


@pytest.mark.parametrize(
    ("asked", "later", "took"),
    [
        (requested(send_at=H8 + HOUR), None, MINUTE),
        (requested(send_at=H8 - HOUR), None, HOUR + MINUTE),
        (
            requested(send_at=H8 + HOUR),
            Rescheduled(by="me", send_at=H8 + 50 * MINUTE, expires_at=H8),
            11 * MINUTE,
        ),
        (requested(), Rescheduled(by="me", send_at=H8 - HOUR, expires_at=H8), HOUR + MINUTE),
        (requested(send_at=H8 + 3 * HOUR), None, ZERO),
    ],
    ids=["scheduled", "in the past", "rescheduled", "rescheduled to the past", "sent early by another clock"],
)
def test_delays_begin_when_an_email_may_be_sent(asked: Event, later: Event | None, took: timedelta) -> None:
    """Its acceptance, or its `send_at`; below zero is no time at all."""
    between = [] if later is None else [(ZERO, later)]
    added = projected((ZERO, asked), *between, (HOUR, started()), (HOUR + MINUTE, sent()))

    assert [bucket_of(took)] == [key[5] for key in added.tallies if key[3] == "sent"]


def test_tags_count_on_their_own() -> None:
    """An email counts once for each of its tags, with kinds and delays."""
    added = projected(
        (ZERO, requested(tags=("a", "b", "a"))),
        (ZERO, started()),
        (ZERO, failed()),
        (ZERO, started(2)),
        (SECOND, sent(2)),
    )

    assert {
        (tag, measure, kind, bucket, n)
        for tag in "ab"
        for measure, kind, bucket, n in (
            ("requested", "", 0, 1),
            ("attempts", "", 0, 2),
            ("attempts_failed", "transient", 0, 1),
            ("sent", "", bucket_of(SECOND), 1),
        )
    } == {(*key[1:], n) for key, n in added.tags.items()}


def test_what_follows_an_end_in_the_same_page() -> None:
    """Feedback that came with it adds nothing, and harms nothing."""
    told = Delivered(attempt=1, recipient=0, observed_at=H8)
    added = projected((ZERO, requested()), (ZERO, started()), (ZERO, sent()), (ZERO, told), (ZERO, told))

    assert 3 == added.tallies.total()


def test_it_asks_for_what_it_does_not_know() -> None:
    """The earlier events of streams it never saw or has forgotten, up to where the page goes on."""
    events = history(
        (ZERO, requested(tags=("a",))), (ZERO, started()), (ZERO, failed()), (ZERO, started(2, "smtp"))
    )
    fresh = Projection({}, 10)
    missing = fresh.unknown(events[2:])
    fresh.learn(events[:2])
    added = fresh.apply(events[2:])

    assert {"email-e": 2} == missing
    assert {("attempts_failed", "ses"), ("attempts", "smtp")} == {(key[3], key[1]) for key in added.tallies}
    assert {} == fresh.unknown(history(*((ZERO, failed()),) * 5)[4:])
    assert {"email-e": 3} == fresh.unknown(events[3:]), (
        "it is at another version: told again from the beginning"
    )
    fresh.learn(events[:3])
    assert {("attempts", "smtp")} == {(key[3], key[1]) for key in fresh.apply(events[3:]).tallies}


def test_it_forgets_emails_that_ended_and_the_oldest_beyond_a_bound() -> None:
    """What it forgets can be told again, so memory has an end."""
    projection = Projection({}, 2)
    for name in "abcd":
        projection.apply(history((ZERO, requested()), (ZERO, started()), stream=email_stream(name)))
    projection.apply(history((ZERO, requested()), (ZERO, Cancelled(by="me")), stream=email_stream("x")))
    went_on = [
        history((ZERO, requested()), (ZERO, started()), (ZERO, failed()), stream=email_stream(name))[2]
        for name in "abcdx"
    ]

    assert {"email-a": 2, "email-b": 2, "email-x": 2} == projection.unknown(went_on)


def test_a_stream_with_a_hole_is_refused() -> None:
    """Counting on would count wrongly without anybody noticing."""
    events = history((ZERO, requested()), (ZERO, started()), (ZERO, failed()))
    with pytest.raises(ValueError, match="version 3 does not follow"):
        Projection({}, 10).apply([events[0], events[2]])
    with pytest.raises(ValueError, match="begins with AttemptStarted"):
        projected((ZERO, started()))


def test_circuits() -> None:
    """Open from the first opening on, whatever is probed in between, to the closing; what is open is handed on."""
    opened = CircuitOpened(epoch=1, reason="account", failures=1, calls=1, until=H8)
    added = projected(
        (50 * MINUTE, opened),
        (55 * MINUTE, CircuitHalfOpened(epoch=1)),
        (55 * MINUTE, ProbeFailed(epoch=1, n=1)),
        (56 * MINUTE, opened),
        (70 * MINUTE, CircuitClosed(epoch=1)),
        (80 * MINUTE, CircuitClosed(epoch=1)),
        (90 * MINUTE, opened),
        stream=circuit_stream("ses"),
    )
    later = Projection({"ses": H8 + 90 * MINUTE}, 10).apply(
        history((95 * MINUTE, CircuitClosed(epoch=1)), stream=circuit_stream("ses"))
    )

    assert {(H8, "ses"): 600_000_000, (H8 + HOUR, "ses"): 600_000_000} == added.open_us
    assert {"ses": H8 + 90 * MINUTE} == added.circuits
    assert {(H8 + HOUR, "ses"): 300_000_000} == later.open_us
    assert {"ses": None} == later.circuits


def test_spans_are_split_at_the_hours() -> None:
    """To the microsecond; one that ends before it begins (two clocks) is none."""
    us = timedelta(microseconds=1)

    assert [(H8, 1), (H8 + HOUR, 3_600_000_000), (H8 + 2 * HOUR, 1)] == [
        *by_hour(H8 + HOUR - us, H8 + 2 * HOUR + us)
    ]
    assert [(H8, 3_600_000_000)] == [*by_hour(H8, H8 + HOUR)]
    assert [] == [*by_hour(H8 + us, H8)]
    assert H8 == hour_of(H8 + HOUR - us)
