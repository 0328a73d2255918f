"""What recorded events look like as log lines: ids, providers, codes; never an address, a subject or a secret."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog

from application.projections.emails import email_id_of
from application.recorded import CIRCUIT_PREFIX, EMAIL_PREFIX, Recorded
from domain.circuit import CircuitClosed, CircuitHalfOpened, CircuitOpened, ProviderPaused, ProviderResumed
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    DuplicateRiskAccepted,
    Failed,
    Held,
    LateResultObserved,
    OutcomeUncertain,
    PartlySent,
    ProviderSwitched,
    Requested,
    Sent,
)
from domain.failures import ALERTS

ALERTS_KEPT = 20
"""Alerts that readiness shows; older ones are in the log."""

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


class Logbook:
    """Writes a line for each recorded event, and remembers the last alerts: what somebody has to act on."""

    def __init__(self, logger: Any = None) -> None:
        self._log = structlog.get_logger("stagepost") if logger is None else logger
        self.alerts: deque[tuple[datetime, str]] = deque(maxlen=ALERTS_KEPT)

    def recorded(self, events: Iterable[Recorded]) -> None:
        """Log what was recorded, in order."""
        for one in events:
            name = type(one.event).__name__
            word = NAMES.get(name, name.lower())
            fields = {**_whose(one), **_what(one)}
            if self._is_alert(one):
                self.alert(one.at, word, **fields)
            elif isinstance(one.event, OutcomeUncertain | DuplicateRiskAccepted | Failed):
                self._write("warning", word, fields)
            else:
                self._write("info", word, fields)

    def alert(self, at: datetime, word: str, **fields: Any) -> None:
        """Say loudly that somebody has to look."""
        told = " ".join(
            f"{key}={value}"
            for key, value in fields.items()
            if key in ("email_id", "provider", "kind", "reason")
        )
        self.alerts.append((at, f"{word} {told}".strip()))
        self._write("error", word, {"alert": True, **fields})

    def error(self, word: str, **fields: Any) -> None:
        """An error of ours."""
        self._write("error", word, fields)

    def info(self, word: str, **fields: Any) -> None:
        """Something worth knowing that no event records."""
        self._write("info", word, fields)

    def _write(self, level: str, word: str, fields: dict[str, Any]) -> None:
        """A full disk or a closed pipe must cost the line only, not the task that wanted to write it."""
        with suppress(OSError):
            getattr(self._log, level)(word, **fields)

    def _is_alert(self, recorded: Recorded) -> bool:
        event = recorded.event
        return isinstance(event, CircuitOpened | Held) or (
            isinstance(event, AttemptFailed) and event.kind in ALERTS
        )


def _whose(recorded: Recorded) -> dict[str, Any]:
    if recorded.stream.startswith(EMAIL_PREFIX):
        return {"email_id": email_id_of(recorded.stream), "correlation_id": recorded.correlation_id}
    return {"provider": recorded.stream.removeprefix(CIRCUIT_PREFIX)}


def _what(recorded: Recorded) -> dict[str, Any]:
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
        case ProviderPaused() | ProviderResumed() as event:
            return {"by": event.by}
        case _:
            return {}


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
