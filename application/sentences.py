"""Each event of an email in plain words: what was done, by whom, what came of it, how long it took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import assert_never

from application.projections.emails import EmailView
from application.recorded import Recorded
from domain.circuit import CircuitEvent
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
    Feedback,
    Held,
    HoldReason,
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
from domain.email.settle import POLICY
from domain.failures import FailureKind, Refusal
from domain.routing import Blocked, OnUncertain, PassedOver

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
HELD = {
    HoldReason.UNCERTAIN: "nobody knows whether it was sent, and its policy is to ask",
    HoldReason.POISON: "workers were lost over it again and again",
    HoldReason.OPERATOR: "an operator said so",
}
POLICIES = {
    OnUncertain.RETRY: "it is tried again, at the risk of a duplicate",
    OnUncertain.HOLD: "it is held for an operator",
    OnUncertain.FAIL: "it is given up",
}
FEEDBACK: dict[type[Feedback], str] = {
    Delivered: "was delivered",
    DeliveryDelayed: "is delayed",
    Bounced: "bounced",
    Complained: "was reported as spam",
    Opened: "was opened",
    Clicked: "was clicked",
    Unsubscribed: "led to an unsubscribe",
}
Decided = (
    DuplicateRiskAccepted | ProviderSwitched | Failed | Held | Released | Cancelled | Rescheduled | Redriven
)
"""What somebody, or the rules, made of an email."""

RUN_MIN = 3
"""So many indexes in a row are told as a range."""


def sentence(recorded: Recorded, before: EmailView) -> str:
    """What happened; `before` is the email as it stood until then."""
    event, at = recorded.event, recorded.at
    match event:
        case Requested():
            return _requested(event, at)
        case AttemptStarted():
            return _started(event, before)
        case AttemptFailed():
            return _not_accepted(event, before, at)
        case PartlySent():
            return _partly(event, before, at)
        case Sent():
            return _sent(event, before, at)
        case OutcomeUncertain():
            return _uncertain(event, before, at)
        case LateResultObserved():
            return _late(event)
        case (
            Delivered() | DeliveryDelayed() | Bounced() | Complained() | Opened() | Clicked() | Unsubscribed()
        ):
            return f"the copy for recipient {event.recipient} (attempt {event.attempt}) {feedback(event)}"
        case _:
            return _decided(event, at)


def _decided(event: Decided | CircuitEvent, at: datetime) -> str:
    match event:
        case DuplicateRiskAccepted():
            by = "its policy" if event.by == POLICY else event.by
            risk = f"{by} took the risk of a duplicate ({event.why}) for {attempts(event.attempts)}"
            return risk + _again(event.retry_at, at)
        case ProviderSwitched():
            reason = event.reason.value.replace("_", " ")
            return f"switched from {event.from_provider} to {event.to_provider}: {reason}"
        case Failed():
            return _failed(event)
        case Held():
            return f"held for an operator: {HELD[event.reason]}"
        case Released():
            return f"released by {event.by}" + _again(event.due_at, at)
        case Cancelled():
            return f"cancelled by {event.by}"
        case Rescheduled():
            return f"rescheduled by {event.by} to {clock(event.send_at)}; expires {clock(event.expires_at)}"
        case Redriven():
            return f"reopened by {event.by}{_again(event.due_at, at)}; expires {clock(event.expires_at)}"
        case _:  # a circuit's event is in no email's stream
            return type(event).__name__


def feedback(event: Feedback) -> str:
    """What became of a copy: `bounced for good (5.1.1)`."""
    match event:
        case Bounced():
            lasting = " for good" if event.permanent else ", but may work another time"
            return f"bounced{lasting}{_in_brackets(event.code)}"
        case DeliveryDelayed():
            return f"is delayed{_in_brackets(event.code)}"
        case Delivered() | Complained() | Opened() | Clicked() | Unsubscribed():
            return FEEDBACK[type(event)]
        case _:
            assert_never(event)


def _requested(event: Requested, at: datetime) -> str:
    people = "1 recipient" if event.recipients == 1 else f"{event.recipients} recipients"
    when = f", to be sent at {clock(event.send_at)}" if event.send_at else ""
    lives = length(event.expires_at - max(at, event.send_at or at))
    return (
        f"accepted for {people}{when}; route {event.route}, priority {event.priority.name.lower()}, "
        f"expires {clock(event.expires_at)}, after {lives}"
    )


def _started(event: AttemptStarted, before: EmailView) -> str:
    probe = f", as probe {event.probe} of its circuit" if event.probe is not None else ""
    key = ""
    if before.email.blocking:
        first = before.email.attempts[min(before.email.blocking) - 1].number
        key = f", with the key of attempt {first}, which it does not send twice"
    told = ", ".join(_passed(one) for one in event.passed_over)
    over = f"; passed over: {told}" if told else ""
    return f"attempt {event.attempt} started at {event.provider} for {recipients(event.recipients)}{probe}{key}{over}"


def _passed(one: PassedOver) -> str:
    return f"{one.provider} ({PASSED.get(one.reason, one.reason)})"


def _not_accepted(event: AttemptFailed, before: EmailView, at: datetime) -> str:
    took = _took(before, event.attempt, at)
    text = f"attempt {event.attempt} at {event.provider} failed after {took}: {_why(event)}"
    pause = f"; it asked for a pause until {clock(event.not_before)}" if event.not_before else ""
    reset = f"; its quota comes back at {clock(event.reset_at)}" if event.reset_at else ""
    return text + _others(event.refused, event.deferred) + pause + reset + _again(event.retry_at, at)


def _partly(event: PartlySent, before: EmailView, at: datetime) -> str:
    took = _took(before, event.attempt, at)
    text = (
        f"attempt {event.attempt}: {event.provider} accepted it for {recipients(event.accepted)} after {took}"
    )
    text += _named(event.message_id)
    return text + _others(event.refused, event.deferred) + _again(event.retry_at, at)


def _sent(event: Sent, before: EmailView, at: datetime) -> str:
    if event.attempt is None:
        return "sent: nobody is left to reach, and at least one recipient was accepted" + _others(
            event.refused, ()
        )
    took = _took(before, event.attempt, at)
    text = f"sent: {event.provider} accepted attempt {event.attempt} after {took}{_named(event.message_id)}"
    return text + _others(event.refused, ())


def _uncertain(event: OutcomeUncertain, before: EmailView, at: datetime) -> str:
    took = _took(before, event.attempt, at)
    text = f"attempt {event.attempt} at {event.provider} has no known outcome after {took}: {_why(event)}"
    text += _others(event.refused, event.deferred)
    if event.retry_at is not None:
        text += _again(event.retry_at, at) + " with the same key"
    if event.resolve_by <= at:
        return text
    return f"{text}; evidence is waited for until {clock(event.resolve_by)}"


def _failed(event: Failed) -> str:
    left = f"; {LEFT[event.reason]}: {recipients(event.pending)}" if event.pending else ""
    return f"failed: {event.reason.value.replace('_', ' ')}{left}{_in_brackets(event.code)}"


def _late(event: LateResultObserved) -> str:
    if event.kind is None:
        what = f"it was accepted for {recipients(event.accepted)}{_named(event.message_id)}"
    else:
        what = REASONS[event.kind] + _in_brackets(_said(event.code, event.detail))
    others = _others(event.refused, event.deferred)
    return f"the answer to attempt {event.attempt} at {event.provider} came late: {what}{others}"


def _why(event: AttemptFailed | OutcomeUncertain) -> str:
    said = _said(event.code, event.detail)
    return f"{REASONS[event.kind]} ({event.kind.value}{': ' + said if said else ''})"


def _said(code: str, detail: str) -> str:
    return " ".join(part for part in (code, detail) if part)


def _others(refused: Iterable[Refusal], deferred: Sequence[int]) -> str:
    told = "".join(f"; recipient {one.index} refused ({one.code or one.kind.value})" for one in refused)
    return told + (f"; put off: {recipients(deferred)}" if deferred else "")


def _again(retry_at: datetime | None, at: datetime) -> str:
    if retry_at is None:
        return ""
    wait = retry_at - at
    return "; next try at once" if wait <= timedelta(0) else f"; next try in {length(wait)}"


def _named(message_id: str) -> str:
    return f" as {message_id}" if message_id else ""


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _took(before: EmailView, attempt: int, at: datetime) -> str:
    return length(at - before.times[attempt - 1][0])


def attempts(numbers: Sequence[int]) -> str:
    """Attempts by number: `attempt 1`, `attempts 1, 3`."""
    return f"attempt {ranges(numbers)}" if len(numbers) == 1 else f"attempts {ranges(numbers)}"


def recipients(indexes: Sequence[int]) -> str:
    """Recipients by index: `recipient 3`, `recipients 0–4, 7`."""
    return f"recipient {ranges(indexes)}" if len(indexes) == 1 else f"recipients {ranges(indexes)}"


def ranges(indexes: Iterable[int]) -> str:
    """Rising numbers, with those in a row drawn together: `0–4, 7`."""
    runs: list[list[int]] = []
    for index in indexes:
        if runs and runs[-1][-1] + 1 == index:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(
        f"{run[0]}–{run[-1]}" if len(run) >= RUN_MIN else ", ".join(map(str, run)) for run in runs
    )


def clock(at: datetime) -> str:
    """A time as people read it."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def length(length: timedelta) -> str:
    """A duration as people say it: `6 ms`, `1.9 s`, `2 min 10 s`, `3 h`, `2 d 4 h`."""
    milliseconds = max(0, round(length / timedelta(milliseconds=1)))
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    if milliseconds < 59_950:
        return f"{milliseconds / 1000:.1f}".removesuffix(".0") + " s"
    seconds = round(milliseconds / 1000)
    if seconds < 3600:
        return _two(seconds, 60, "min", 1, "s")
    if seconds < 86_400:
        return _two(seconds, 3600, "h", 60, "min")
    return _two(seconds, 86_400, "d", 3600, "h")


def _two(seconds: int, large: int, name: str, small: int, other: str) -> str:
    whole, rest = divmod(seconds // small, large // small)
    return f"{whole} {name} {rest} {other}" if rest else f"{whole} {name}"
