"""What a recorded event comes to in a line: a word, whose it is, its few facts, and how much it matters.

Ids, providers, codes; never an address, a subject or a secret.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, assert_never

from application.projections.emails import email_id_of
from application.recorded import CIRCUIT_PREFIX, EMAIL_PREFIX, Recorded
from domain.circuit import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    ProbeFailed,
    ProbePassed,
    ProviderPaused,
    ProviderResumed,
)
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    Bounced,
    Cancelled,
    Clicked,
    Complained,
    Delivered,
    DeliveryDelayed,
    DuplicateRiskAccepted,
    Failed,
    Held,
    LateResultObserved,
    Opened,
    OutcomeUncertain,
    PartlySent,
    ProviderSwitched,
    Redriven,
    Released,
    Requested,
    Rescheduled,
    Sent,
    Unsubscribed,
)
from domain.failures import ALERTS

Severity = Literal["info", "warning", "error"]

NAMES = {
    "Requested": "accepted",
    "AttemptStarted": "attempt_started",
    "AttemptFailed": "attempt_failed",
    "PartlySent": "partly_sent",
    "OutcomeUncertain": "outcome_uncertain",
    "DuplicateRiskAccepted": "duplicate_risk_accepted",
    "ProviderSwitched": "provider_switched",
    "LateResultObserved": "late_result_observed",
    "CircuitOpened": "circuit_opened",
    "CircuitHalfOpened": "circuit_half_opened",
    "ProbePassed": "probe_passed",
    "ProbeFailed": "probe_failed",
    "CircuitClosed": "circuit_closed",
    "ProviderPaused": "provider_paused",
    "ProviderResumed": "provider_resumed",
}


def word(recorded: Recorded) -> str:
    """What happened, as log lines call it."""
    name = type(recorded.event).__name__
    return NAMES.get(name, name.lower())


def severity(recorded: Recorded) -> Severity:
    """An error is what somebody has to act on, a warning what may have gone wrong for one email."""
    event = recorded.event
    if isinstance(event, CircuitOpened | Held) or (isinstance(event, AttemptFailed) and event.kind in ALERTS):
        return "error"
    return "warning" if isinstance(event, OutcomeUncertain | DuplicateRiskAccepted | Failed) else "info"


def whose(recorded: Recorded) -> dict[str, Any]:
    """Whose event it is: an email's, or a provider's."""
    if recorded.stream.startswith(EMAIL_PREFIX):
        return {"email_id": email_id_of(recorded.stream), "correlation_id": recorded.correlation_id}
    return {"provider": recorded.stream.removeprefix(CIRCUIT_PREFIX)}


def facts(recorded: Recorded) -> dict[str, Any]:
    """What else to know about it at a glance."""
    match recorded.event:
        case Requested() as event:
            return {"route": event.route, "recipients": event.recipients, "size": event.size}
        case AttemptStarted() as event:
            return {"attempt": event.attempt, "provider": event.provider, "recipients": len(event.recipients)}
        case AttemptFailed() | OutcomeUncertain() as event:
            told = {"attempt": event.attempt, "provider": event.provider, "kind": event.kind.value}
            return {**told, "code": event.code, "retry_at": _iso(event.retry_at)}
        case PartlySent() as event:
            return {"attempt": event.attempt, "provider": event.provider, "deferred": len(event.deferred)}
        case Sent() as event:
            return {"attempt": event.attempt, "provider": event.provider, "message_id": event.message_id}
        case LateResultObserved() as event:
            return {"attempt": event.attempt, "provider": event.provider, "kind": event.kind or "accepted"}
        case DuplicateRiskAccepted() as event:
            return {"attempts": list(event.attempts), "by": event.by}
        case ProviderSwitched() as event:
            return {"from": event.from_provider, "provider": event.to_provider, "reason": event.reason.value}
        case Failed() | Held() as event:
            return {"reason": event.reason.value}
        case CircuitOpened() as event:
            return {"reason": event.reason, "epoch": event.epoch, "until": _iso(event.until)}
        case CircuitHalfOpened() | CircuitClosed() as event:
            return {"epoch": event.epoch}
        case ProbePassed() | ProbeFailed() as event:
            return {"epoch": event.epoch, "probe": event.n}
        case ProviderPaused() | ProviderResumed() | Released() | Cancelled() | Redriven() as event:
            return {"by": event.by}
        case Rescheduled() as event:
            return {"by": event.by, "send_at": _iso(event.send_at)}
        case Bounced() as event:
            told = {"attempt": event.attempt, "recipient": event.recipient, "code": event.code}
            return {**told, "permanent": event.permanent}
        case Delivered() | DeliveryDelayed() | Complained() | Opened() | Clicked() | Unsubscribed() as event:
            return {"attempt": event.attempt, "recipient": event.recipient}
        case _:
            assert_never(recorded.event)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
