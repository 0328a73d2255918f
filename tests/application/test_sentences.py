"""How events and durations read."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from application.projections.emails import EmailView, project, view_of
from application.recorded import Recorded, email_stream
from application.sentences import length, ranges, sentence
from domain.email.events import (
    Bounced,
    Cancelled,
    Complained,
    Delivered,
    DeliveryDelayed,
    DuplicateRiskAccepted,
    EmailEvent,
    Failed,
    FailReason,
    Held,
    HoldReason,
    LateResultObserved,
    OutcomeUncertain,
    ProviderSwitched,
    Redriven,
    Released,
    Rescheduled,
    SwitchReason,
)
from domain.failures import FailureKind, Refusal
from tests.contract.event_store.given import DAY, MINUTE, T0, failed, requested, started

NOW = T0 + timedelta(seconds=2)
LATE = LateResultObserved(
    attempt=1,
    provider="ses",
    worker="w",
    token=1,
    kind=None,
    code="",
    detail="",
    message_id="m1",
    accepted=(0,),
    refused=(Refusal(index=1, code="550"),),
    deferred=(),
    observed_at=NOW,
)
BEGUN: tuple[EmailEvent, ...] = (requested(), started())
UNCERTAIN = OutcomeUncertain(
    attempt=1,
    provider="ses",
    kind=FailureKind.LOST,
    code="",
    detail="",
    refused=(),
    deferred=(1,),
    resolve_by=NOW + MINUTE,
    retry_at=None,
    spent=False,
    epoch=0,
    probe=None,
)


def recorded(event: EmailEvent, version: int, at: datetime = NOW) -> Recorded:
    return Recorded(
        position=version,
        event_id=str(version),
        stream=email_stream("e"),
        version=version,
        at=at,
        event=event,
    )


def under_way() -> EmailView:
    """An email whose first attempt has been open for two seconds."""
    view = view_of("e")
    for version, event in enumerate(BEGUN, 1):
        view = project(view, recorded(event, version, T0))
    return view


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            requested(send_at=T0 + MINUTE),
            "accepted for 2 recipients, to be sent at 2026-11-24 08:01:00 UTC; route default, priority normal, "
            "expires 2026-11-25 08:00:00 UTC, after 23 h 59 min",
        ),
        (
            failed(kind=FailureKind.QUOTA, detail="used up", reset_at=T0 + DAY, retry_at=None),
            "attempt 1 at ses failed after 2 s: our quota there is used up (quota: 421 used up); its quota comes "
            "back at 2026-11-25 08:00:00 UTC",
        ),
        (
            failed(kind=FailureKind.THROTTLED, not_before=T0 + MINUTE),
            "attempt 1 at ses failed after 2 s: it asked us to slow down (throttled: 421); it asked for a pause "
            "until 2026-11-24 08:01:00 UTC; next try in 58 s",
        ),
        (
            UNCERTAIN,
            "attempt 1 at ses has no known outcome after 2 s: the worker was lost before it could record the "
            "answer (lost); put off: recipient 1; evidence is waited for until 2026-11-24 08:01:02 UTC",
        ),
        (
            DuplicateRiskAccepted(attempts=(1,), by="policy", why="on_uncertain = retry", retry_at=NOW),
            "its policy took the risk of a duplicate (on_uncertain = retry) for attempt 1; next try at once",
        ),
        (
            DuplicateRiskAccepted(attempts=(1, 2), by="ann", why="accept_duplicate_risk", retry_at=NOW),
            "ann took the risk of a duplicate (accept_duplicate_risk) for attempts 1, 2; next try at once",
        ),
        (
            ProviderSwitched(from_provider="a", to_provider="b", reason=SwitchReason.CIRCUIT_OPEN),
            "switched from a to b: circuit open",
        ),
        (
            Failed(reason=FailReason.OUTCOME_UNKNOWN, pending=(0, 1, 2), code="421"),
            "failed: outcome unknown; not known to be reached: recipients 0–2 (421)",
        ),
        (
            Held(reason=HoldReason.UNCERTAIN),
            "held for an operator: nobody knows whether it was sent, and its policy is to ask",
        ),
        (Held(reason=HoldReason.POISON), "held for an operator: workers were lost over it again and again"),
        (Released(by="ann", due_at=NOW), "released by ann; next try at once"),
        (Cancelled(by="ann"), "cancelled by ann"),
        (
            Rescheduled(by="ann", send_at=T0 + MINUTE, expires_at=T0 + DAY),
            "rescheduled by ann to 2026-11-24 08:01:00 UTC; expires 2026-11-25 08:00:00 UTC",
        ),
        (
            Redriven(by="ann", due_at=NOW, expires_at=T0 + DAY),
            "reopened by ann; next try at once; expires 2026-11-25 08:00:00 UTC",
        ),
        (
            LATE,
            "the answer to attempt 1 at ses came late: it was accepted for recipient 0 as m1; "
            "recipient 1 refused (550)",
        ),
        (
            Bounced(attempt=1, recipient=0, permanent=True, code="5.1.1", observed_at=NOW),
            "the copy for recipient 0 (attempt 1) bounced for good (5.1.1)",
        ),
        (
            Bounced(attempt=1, recipient=0, permanent=False, code="", observed_at=NOW),
            "the copy for recipient 0 (attempt 1) bounced, but may work another time",
        ),
        (
            DeliveryDelayed(attempt=1, recipient=1, code="4.4.1", observed_at=NOW),
            "the copy for recipient 1 (attempt 1) is delayed (4.4.1)",
        ),
        (
            Delivered(attempt=1, recipient=1, observed_at=NOW),
            "the copy for recipient 1 (attempt 1) was delivered",
        ),
        (
            Complained(attempt=1, recipient=1, observed_at=NOW),
            "the copy for recipient 1 (attempt 1) was reported as spam",
        ),
    ],
)
def test_an_event_in_words(event: EmailEvent, text: str) -> None:
    """As whoever answers a customer would say it."""
    assert text == sentence(recorded(event, 3), under_way())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 ms"),
        (0, "0 ms"),
        (0.0061, "6 ms"),
        (0.9996, "1 s"),
        (1.94, "1.9 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (130, "2 min 10 s"),
        (3600, "1 h"),
        (3599.6, "1 h"),
        (3661, "1 h 1 min"),
        (86_399, "23 h 59 min"),
        (2 * 86_400 + 4 * 3600, "2 d 4 h"),
    ],
)
def test_a_duration_in_two_units_at_most(seconds: float, text: str) -> None:
    """The largest that fits, and the next."""
    assert text == length(timedelta(seconds=seconds))


def test_indexes_in_a_row_are_drawn_together() -> None:
    """Two are still told one by one."""
    assert "0–4, 7, 9, 10" == ranges((0, 1, 2, 3, 4, 7, 9, 10))
