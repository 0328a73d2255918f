"""What answers look like as JSON, the same over HTTP and from `--json`: plain dictionaries, ready to encode."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from application.accept import Receipt
from application.explain import Explanation
from application.projections.emails import Status, email_id_of
from application.queries import AttemptRow, LimitUse, ProviderStatus, StatusRow
from application.recorded import EMAIL_PREFIX, Recorded
from application.replay import Counted, State
from application.report_ports import By, Span
from application.report_reading import WITH_KINDS, ReportRow
from application.reports import Lag
from application.verify import Verdict

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
        "erased": row.erased,
    }


def explanation(told: Explanation) -> Shape:
    """The story of one email: every line with its time and the stored event behind it."""
    return {
        "id": told.id,
        "email_id": told.email_id,
        "at": _rfc3339_or_none(told.at),
        "status": told.status.value,
        "lines": [{"at": rfc3339(one.at), "event": one.event, "text": one.text} for one in told.lines],
        "recipients": [
            {"index": one.index, "outcome": one.outcome.value, "text": one.text} for one in told.recipients
        ],
        "took_s": None if told.took is None else told.took.total_seconds(),
        "next": told.next,
        "erased": told.erased,
    }


def event(recorded: Recorded) -> Shape:
    """One row of `GET /emails/{id}/events`. `data` is as its class has it, which msgspec knows to encode."""
    return {
        "type": type(recorded.event).__name__,
        "version": recorded.version,
        "position": recorded.position,
        "at": rfc3339(recorded.at),
        "data": recorded.event,
    }


def logged(recorded: Recorded) -> Shape:
    """An event of the whole log: with its stream, and its email, if it is an email's."""
    is_email = recorded.stream.startswith(EMAIL_PREFIX)
    named = {"stream": recorded.stream, "email_id": email_id_of(recorded.stream) if is_email else None}
    return {**event(recorded), **named}


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


def counted(found: Counted, seconds: float) -> Shape:
    """What a fold of the whole log gave, and how long it took."""
    return {
        "events": found.events,
        "types": dict(sorted(found.types.items())),
        "emails": dict(sorted(found.statuses.items())),
        "attempts": dict(sorted(found.outcomes.items())),
        "gates": found.gates,
        "seconds": round(seconds, 3),
        "events_per_second": round(found.events / seconds) if seconds > 0 else None,
    }


def verdict(found: Verdict) -> Shape:
    """Whether everything is as it was recorded, and if not, the first thing that isn't."""
    bad = found.first_bad
    return {
        "ok": bad is None,
        "events": found.events,
        "first_bad": None
        if bad is None
        else {"position": bad.position, "stream": bad.stream, "what": bad.what},
        "emails": found.emails,
        "contents": {"proven": found.proven, "unproven": found.unproven},
    }


def rebuild(state: State) -> Shape:
    """How a rebuild goes: `GET /rebuild`."""
    return {
        "view": state.view,
        "state": "running" if state.running else "failed" if state.failed else "done",
        "now": state.now or None,
        "done": state.done,
        "whole": state.whole,
        "rebuilt": [
            {
                "view": one.view,
                "events": one.mended.events,
                "rows": one.mended.rows,
                "removed": one.mended.removed,
            }
            for one in state.rebuilt
        ],
        "failed": state.failed or None,
    }


def report_row(row: ReportRow, by: By) -> Shape:
    """One row of `GET /reports/hourly`; without its hour, of sums over all of them."""
    shape: Shape = {} if row.hour is None else {"hour": rfc3339(row.hour)}
    shape[by.value] = row.name or None
    if by is By.KIND:
        return shape | {measure.value: row.counts[measure] for measure in WITH_KINDS}
    delay = row.delay
    shape |= {measure.value: n for measure, n in row.counts.items()}
    shape["delay_ms"] = None if delay is None else {"p50": delay.p50, "p95": delay.p95, "p99": delay.p99}
    if by is By.PROVIDER:
        shape["open_seconds"] = row.open_seconds
    return shape


def report_head(span: Span, lag: Lag) -> Shape:
    """What stands beside the rows of a report: which hours they are of, and what may be lacking."""
    return {
        "since": rfc3339(span.since),
        "until": rfc3339(span.until),
        "lag": {"events": lag.events, "seconds": lag.seconds},
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
