"""The story of one email in plain words, from its own events alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from application.projections import emails
from application.projections.emails import EmailView, Status, email_id_of, view_of
from application.recorded import Recorded
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
    FailReason,
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
from domain.failures import FailureKind, Refusal
from domain.routing import Blocked, PassedOver

REASONS = {
    FailureKind.RECIPIENT: "the recipient was refused",
    FailureKind.CONTENT: "the provider refuses this message",
    FailureKind.SENDER: "the sender is not allowed there",
    FailureKind.TOO_LARGE: "the message is too large for it",
    FailureKind.ACCOUNT: "our account there is refused",
    FailureKind.QUOTA: "our quota there is used up",
    FailureKind.THROTTLED: "it asked us to slow down",
    FailureKind.TRANSIENT: "it was not able to take it",
    FailureKind.UNCERTAIN: "its answer was lost",
    FailureKind.LOST: "the worker was lost before it could record the answer",
    FailureKind.DEFERRED: "it put the recipients off",
    FailureKind.NOT_TRIED: "no connection was opened",
    FailureKind.UNKNOWN: "it gave an answer nobody knows",
}
PASSED = {
    Blocked.PAUSED.value: "paused",
    Blocked.CIRCUIT_OPEN.value: "circuit open",
    Blocked.AT_LIMIT.value: "at its limit",
    Blocked.NOT_BEFORE.value: "asked for a pause",
    Blocked.RULED_OUT.value: "refused this message before",
    Blocked.SPENT.value: "has had its tries in this cycle",
    Blocked.BOUND_ELSEWHERE.value: "another provider may have the message",
}
LEFT = {
    FailReason.REJECTED: "refused",
    FailReason.EXPIRED: "not reached",
    FailReason.SUPPRESSED: "suppressed",
    FailReason.OUTCOME_UNKNOWN: "not known to be reached",
}
FEEDBACK = {
    Delivered: "was delivered",
    DeliveryDelayed: "is delayed",
    Bounced: "bounced",
    Complained: "was reported as spam",
    Opened: "was opened",
    Clicked: "was clicked",
    Unsubscribed: "led to an unsubscribe",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One step of the story. `event` is the stored fact behind it."""

    at: datetime
    event: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What happened, and what happens next."""

    email_id: str
    status: Status
    lines: tuple[Line, ...]
    next: str


def explain(history: Sequence[Recorded], now: datetime, waits: str = "") -> Explanation:
    """Tell the story of an email; `history` is its stream in order and not empty.

    `waits`: why none of its providers can take it now, where that is so; events don't say it.
    """
    view = view_of(email_id_of(history[0].stream))
    lines: list[Line] = []
    for recorded in history:
        before = view
        view = emails.project(view, recorded)
        lines.append(Line(recorded.at, type(recorded.event).__name__, _tell(recorded, before)))
    return Explanation(
        email_id=view.email_id, status=view.status_at(now), lines=tuple(lines), next=_next(view, now, waits)
    )


def _tell(recorded: Recorded, before: EmailView) -> str:
    match recorded.event:
        case Requested() as event:
            return _requested(event)
        case AttemptStarted() as event:
            return _started(event)
        case AttemptFailed() as event:
            took = _took(before, event.attempt, recorded.at)
            text = f"attempt {event.attempt} at {event.provider} failed after {took}: {_why(event)}"
            return text + _recipients(event.refused, event.deferred) + _again(event.retry_at, recorded.at)
        case PartlySent() as event:
            took = _took(before, event.attempt, recorded.at)
            text = f"attempt {event.attempt}: {event.provider} accepted it for {_indexes(event.accepted)} after {took}"
            return text + _recipients(event.refused, event.deferred) + _again(event.retry_at, recorded.at)
        case Sent() as event if event.attempt is not None:
            took = _took(before, event.attempt, recorded.at)
            named = f" as {event.message_id}" if event.message_id else ""
            text = f"sent: {event.provider} accepted attempt {event.attempt} after {took}{named}"
            return text + _recipients(event.refused, ())
        case Sent():
            return "sent: nobody is left to reach, and at least one recipient was accepted"
        case OutcomeUncertain() as event:
            text = f"attempt {event.attempt} at {event.provider} has no known outcome: {_why(event)}"
            if event.resolve_by <= recorded.at:
                return text
            return text + f"; evidence is waited for until {clock(event.resolve_by)}"
        case DuplicateRiskAccepted() as event:
            return (
                f"{event.by} took the risk of a duplicate ({event.why}) for attempt {_indexes(event.attempts)}"
                + _again(event.retry_at, recorded.at)
            )
        case ProviderSwitched() as event:
            return f"switched from {event.from_provider} to {event.to_provider}: {event.reason.value.replace('_', ' ')}"
        case Failed() as event:
            return _failed(event)
        case Held() as event:
            return f"held for an operator: {event.reason.value}"
        case Released() as event:
            return f"released by {event.by}"
        case Cancelled(by=by):
            return f"cancelled by {by}"
        case Rescheduled() as event:
            return f"rescheduled by {event.by} to {clock(event.send_at)}"
        case Redriven() as event:
            return f"reopened by {event.by}; expires {clock(event.expires_at)}"
        case LateResultObserved() as event:
            what = "it was accepted" if event.kind is None else REASONS[event.kind]
            return f"the answer to attempt {event.attempt} at {event.provider} came late: {what} {event.code}".rstrip()
        case (
            Delivered() | DeliveryDelayed() | Bounced() | Complained() | Opened() | Clicked() | Unsubscribed()
        ) as event:
            return (
                f"the copy for recipient {event.recipient} (attempt {event.attempt}) {FEEDBACK[type(event)]}"
            )
        case _:
            return type(recorded.event).__name__


def _failed(event: Failed) -> str:
    left = f"; {LEFT[event.reason]}: recipient {_indexes(event.pending)}" if event.pending else ""
    return f"failed: {event.reason.value.replace('_', ' ')}{left}" + (
        f" ({event.code})" if event.code else ""
    )


def _requested(event: Requested) -> str:
    people = "1 recipient" if event.recipients == 1 else f"{event.recipients} recipients"
    when = f", to be sent at {clock(event.send_at)}" if event.send_at else ""
    return (
        f"accepted for {people}{when}; route {event.route}, priority {event.priority.name.lower()}, "
        f"expires {clock(event.expires_at)}"
    )


def _started(event: AttemptStarted) -> str:
    probe = f", as probe {event.probe} of its circuit" if event.probe is not None else ""
    return (
        f"attempt {event.attempt} started at {event.provider} for recipient {_indexes(event.recipients)}"
        f"{probe}{_passed(event.passed_over)}"
    )


def _passed(over: Iterable[PassedOver]) -> str:
    told = ", ".join(f"{one.provider} ({PASSED.get(one.reason, one.reason)})" for one in over)
    return f"; passed over: {told}" if told else ""


def _why(event: AttemptFailed | OutcomeUncertain) -> str:
    said = " ".join(part for part in (event.code, event.detail) if part)
    return f"{REASONS[event.kind]} ({event.kind.value}{': ' + said if said else ''})"


def _recipients(refused: Iterable[Refusal], deferred: Iterable[int]) -> str:
    told = "".join(f"; recipient {one.index} refused ({one.code or one.kind.value})" for one in refused)
    deferred = tuple(deferred)
    return told + (f"; deferred: recipient {_indexes(deferred)}" if deferred else "")


def _again(retry_at: datetime | None, at: datetime) -> str:
    if retry_at is None:
        return ""
    wait = retry_at - at
    return "; next try at once" if wait <= timedelta(0) else f"; next try in {_length(wait)}"


def _next(view: EmailView, now: datetime, waits: str) -> str:
    email = view.email
    if email.end is not None:
        return "nothing: this is its end"
    if email.held:
        return f"it waits for an operator (stagepost retry), until it expires at {clock(email.expires_at)}"
    if email.open_attempt is not None:
        return f"the answer of {email.open_attempt.provider} to attempt {email.open_attempt.number}"
    if email.lane is not None and email.due_at is not None:
        until = f"until it expires at {clock(email.expires_at)}"
        if email.due_at > now:
            return f"a try in {_length(email.due_at - now)}; it goes on {until}"
        return f"it is due, and waits for {waits or 'a worker'}, {until}"
    deadline = email.deadline_at
    return f"evidence about attempt {_indexes(sorted(email.blocking))}, until {clock(deadline or email.expires_at)}"


def _took(before: EmailView, attempt: int, at: datetime) -> str:
    return _length(at - before.times[attempt - 1][0])


def _indexes(indexes: Iterable[int]) -> str:
    return ", ".join(map(str, indexes))


def clock(at: datetime) -> str:
    """A time as people read it."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def _length(length: timedelta) -> str:
    seconds = length.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
