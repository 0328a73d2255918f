"""What answers look like as JSON, the same over HTTP and from `--json`: plain dictionaries, ready to encode."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from application.accept import Receipt
from application.explain import Explanation
from application.projections.emails import Status
from application.queries import AttemptRow, LimitUse, ProviderStatus, StatusRow

Shape = dict[str, Any]


def rfc3339(at: datetime) -> str:
    """A time as every answer writes it: UTC, to the microsecond, `2026-11-24T03:52:59.000000Z`."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def receipt(receipt: Receipt) -> Shape:
    """What a client is told about an email that was accepted."""
    return {
        "id": receipt.id,
        "email_id": receipt.email_id,
        "status": receipt.status.value,
        "message": "Email process initiated.",
    }


def status(row: StatusRow) -> Shape:
    """One row of `GET /statuses`."""
    return {
        "id": row.id,
        "email_id": row.email_id,
        "status": row.status.value,
        "provider": row.provider,
        "attempts": [_attempt(one) for one in row.attempts],
        "recipients": [{"index": index, "outcome": each} for index, each in enumerate(row.recipients)],
        "requested_at": rfc3339(row.requested_at),
        "updated_at": rfc3339(row.updated_at),
        "next_at": _rfc3339_or_none(row.next_at),
    }


def explanation(told: Explanation) -> Shape:
    """The story of one email: every line with its time and the stored event behind it."""
    return {
        "email_id": told.email_id,
        "status": told.status.value,
        "lines": [{"at": rfc3339(one.at), "event": one.event, "text": one.text} for one in told.lines],
        "next": told.next,
    }


def acted(row: StatusRow, status: Status) -> Shape:
    """Where a cancel or a retry left an email; `row` says which."""
    return {"id": row.id, "email_id": row.email_id, "status": status.value}


def provider(provider: ProviderStatus) -> Shape:
    """One row of `GET /providers`."""
    return {
        "name": provider.name,
        "type": provider.type,
        "circuit": provider.circuit.value,
        "paused": provider.paused,
        "open_until": _rfc3339_or_none(provider.open_until),
        "not_before": _rfc3339_or_none(provider.not_before),
        "open_attempts": provider.open_attempts,
        "limits": [_limit(one) for one in provider.limits],
    }


def _attempt(attempt: AttemptRow) -> Shape:
    return {
        "attempt": attempt.attempt,
        "provider": attempt.provider,
        "outcome": attempt.outcome,
        "kind": attempt.kind,
        "code": attempt.code,
        "started_at": rfc3339(attempt.started_at),
        "finished_at": _rfc3339_or_none(attempt.finished_at),
    }


def _limit(limit: LimitUse) -> Shape:
    return {"rate": limit.rate, "used": limit.used, "remaining": limit.remaining}


def _rfc3339_or_none(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)
