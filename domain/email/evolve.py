"""How each event changes an email."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from types import MappingProxyType
from typing import Any, assert_never

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
    EmailEvent,
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
from domain.email.state import NO_TRIES, Attempt, AttemptState, Email, End, Recipient
from domain.failures import FREE_OF_TRIES, RULES_OUT, FailureKind, Refusal, heard_out
from domain.replace import replace


def evolve(email: Email, event: EmailEvent) -> Email:
    """The email after `event`."""
    match event:
        case Requested():
            return _requested(event)
        case AttemptStarted():
            return _started(email, event)
        case AttemptFailed(kind=kind):
            closed = _closed(email, event.attempt, AttemptState.FAILED, kind, event.code)
            return replace(
                _counted(_refusing(closed, event.refused), event.provider, kind, spent=event.spent),
                due_at=event.retry_at,
                ruled_out=email.ruled_out | {event.provider} if kind in RULES_OUT else email.ruled_out,
            )
        case PartlySent():
            closed = _closed(email, event.attempt, AttemptState.PARTLY_SENT, None, "")
            taken = _accepting(_refusing(closed, event.refused), event.accepted)
            counted = _counted(_proven(taken, event.attempt), event.provider, None, spent=event.spent)
            return replace(counted, due_at=event.retry_at)
        case Sent():
            return _sent(email, event)
        case OutcomeUncertain():
            return _uncertain(email, event)
        case DuplicateRiskAccepted(attempts=attempts, retry_at=retry_at):
            left = email.blocking - set(attempts)
            return replace(email, blocking=left, resolve_by=None, due_at=retry_at)
        case ProviderSwitched():
            return email
        case Failed(reason=reason):
            ended = replace(email, end=End.FAILED, fail_reason=reason, held=None, due_at=None)
            if reason is FailReason.REJECTED:
                return _refusing(ended, tuple(Refusal(index=index) for index in event.pending))
            return ended
        case Held(reason=why):
            return replace(email, held=why)
        case Released(due_at=due_at):
            return replace(_afresh(email), held=None, due_at=due_at)
        case Cancelled():
            return replace(email, end=End.CANCELLED, held=None, due_at=None)
        case Rescheduled(send_at=send_at, expires_at=expires_at):
            return replace(email, send_at=send_at, due_at=send_at, expires_at=expires_at)
        case Redriven(due_at=due_at, expires_at=expires_at):
            reopened = replace(_afresh(email), end=None, fail_reason=None, held=None)
            return replace(reopened, due_at=due_at, expires_at=expires_at)
        case LateResultObserved():
            return _late(email, event)
        case (
            Delivered() | DeliveryDelayed() | Bounced() | Complained() | Opened() | Clicked() | Unsubscribed()
        ):
            return _fed_back(email, event)
        case _:
            assert_never(event)


def _requested(event: Requested) -> Email:
    due_at = event.send_at or event.requested_at
    return Email(
        requested_at=event.requested_at,
        key=event.key,
        digest=event.digest,
        tenant=event.tenant,
        route=event.route,
        priority=event.priority,
        on_uncertain=event.on_uncertain,
        send_at=event.send_at,
        expires_at=event.expires_at,
        lifetime=event.expires_at - due_at,
        recipients=(Recipient.PENDING,) * event.recipients,
        due_at=due_at,
    )


def _started(email: Email, event: AttemptStarted) -> Email:
    attempt = Attempt(
        number=event.attempt,
        provider=event.provider,
        recipients=event.recipients,
        worker=event.worker,
        token=event.token,
        deadline=event.deadline,
        epoch=event.epoch,
        probe=event.probe,
        provider_key=event.provider_key,
        key_until=event.key_until,
        maybe=frozenset(event.recipients),
    )
    same = bool(email.attempts) and email.attempts[-1].provider == event.provider
    new_cycle = event.provider in email.spent
    return replace(
        email,
        attempts=(*email.attempts, attempt),
        due_at=None,
        throttles=email.throttles if same else 0,
        spent=frozenset() if new_cycle else email.spent,
        cycle_tries=NO_TRIES if new_cycle else email.cycle_tries,
    )


def _sent(email: Email, event: Sent) -> Email:
    if event.attempt is not None:
        number = event.attempt
        closed = replace(email.attempts[number - 1], state=AttemptState.SENT, kind=None, code="")
        email = replace(
            email,
            attempts=(*email.attempts[: number - 1], closed, *email.attempts[number:]),
            recipients=_with_accepted(email.recipients, event.accepted),
            end=End.SENT,
            held=None,
            due_at=None,
        )
        return _refusing(_proven(email, number), event.refused)
    return replace(_refusing(email, event.refused), end=End.SENT, held=None, due_at=None)


def _uncertain(email: Email, event: OutcomeUncertain) -> Email:
    closed = _closed(email, event.attempt, AttemptState.UNCERTAIN, event.kind, event.code)
    known = {refusal.index for refusal in event.refused} | set(event.deferred)
    maybe = closed.attempts[event.attempt - 1].maybe - known
    doubted = _with_attempt(_refusing(closed, event.refused), event.attempt, maybe=maybe)
    earlier = event.resolve_by if email.resolve_by is None else min(email.resolve_by, event.resolve_by)
    return replace(
        _counted(doubted, event.provider, event.kind, spent=event.spent),
        blocking=email.blocking | {event.attempt},
        resolve_by=earlier,
        due_at=event.retry_at,
        crashes=email.crashes + (event.kind is FailureKind.LOST),
    )


def _late(email: Email, event: LateResultObserved) -> Email:
    """A definite answer ends the doubt, however late. That the reply was lost only narrows it."""
    taken = _accepting(_refusing(email, event.refused), event.accepted)
    if event.kind is FailureKind.UNCERTAIN:
        known = {refusal.index for refusal in event.refused} | set(event.deferred)
        maybe = taken.attempts[event.attempt - 1].maybe - known
        if not heard_out(event.kind, event.code):
            return _with_attempt(taken, event.attempt, maybe=maybe)
        return _with_attempt(taken, event.attempt, kind=event.kind, maybe=maybe)
    settled = _with_attempt(taken, event.attempt, state=AttemptState.KNOWN, kind=event.kind)
    settled = replace(settled, blocking=settled.blocking - {event.attempt})
    return _freed(_proven(settled, event.attempt) if event.accepted else settled, event.observed_at)


def _fed_back(email: Email, event: Feedback) -> Email:
    """Feedback proves acceptance for its recipient, and where only the reply was lost for all that it may cover.

    Where it was cut off, nobody knows whom the provider had put off before: the others stay in doubt.
    """
    attempt = email.attempts[event.attempt - 1]
    if attempt.state is AttemptState.OPEN:
        return _accepting(_with_attempt(email, event.attempt, proven=True), (event.recipient,))
    if attempt.state is not AttemptState.UNCERTAIN:
        return _accepting(email, (event.recipient,))
    left = attempt.maybe - {event.recipient}
    if left and not heard_out(attempt.kind, attempt.code):
        return _accepting(_with_attempt(email, event.attempt, maybe=left), (event.recipient,))
    taken = _accepting(email, attempt.maybe | {event.recipient})
    return _freed(_proven(taken, event.attempt), event.observed_at)


def _with_attempt(email: Email, number: int, **changes: Any) -> Email:
    """The email with some fields of one attempt changed."""
    changed = replace(email.attempts[number - 1], **changes)
    return replace(email, attempts=(*email.attempts[: number - 1], changed, *email.attempts[number:]))


def _closed(email: Email, number: int, state: AttemptState, kind: FailureKind | None, code: str) -> Email:
    return _with_attempt(email, number, state=state, kind=kind, code=code)


def _counted(email: Email, provider: str, kind: FailureKind | None, *, spent: bool) -> Email:
    tries = dict(email.cycle_tries)
    if kind not in FREE_OF_TRIES:
        tries[provider] = tries.get(provider, 0) + 1
    return replace(
        email,
        tries=email.tries + 1,
        throttles=email.throttles + 1 if kind is FailureKind.THROTTLED else 0,
        not_tried=email.not_tried + 1 if kind is FailureKind.NOT_TRIED else 0,
        cycle_tries=MappingProxyType(tries),
        spent=email.spent | {provider} if spent else email.spent,
    )


def _accepting(email: Email, indexes: Iterable[int]) -> Email:
    return replace(email, recipients=_with_accepted(email.recipients, indexes))


def _with_accepted(recipients: tuple[Recipient, ...], indexes: Iterable[int]) -> tuple[Recipient, ...]:
    """Acceptance wins over whatever was known before, after an end too."""
    taken = set(indexes)
    return tuple(Recipient.ACCEPTED if index in taken else state for index, state in enumerate(recipients))


def _refusing(email: Email, refused: Iterable[Refusal]) -> Email:
    indexes = {refusal.index for refusal in refused}
    if not indexes:
        return email
    return replace(
        email,
        recipients=tuple(
            Recipient.REFUSED if index in indexes and state is Recipient.PENDING else state
            for index, state in enumerate(email.recipients)
        ),
    )


def _proven(email: Email, number: int) -> Email:
    """Acceptance of an attempt also answers for every attempt in doubt that carried the same key."""
    if not email.blocking and email.resolve_by is None and not _doubted(email):
        return email
    key = email.attempts[number - 1].key
    same = {
        attempt.number
        for attempt in email.attempts
        if attempt.state is AttemptState.UNCERTAIN
        and (attempt.number == number or (key is not None and attempt.key == key))
    }
    for other in same:
        email = _with_attempt(email, other, state=AttemptState.KNOWN, kind=None)
    blocking = email.blocking - same - {number}
    return replace(email, blocking=blocking, resolve_by=email.resolve_by if blocking else None)


def _doubted(email: Email) -> bool:
    return any(attempt.state is AttemptState.UNCERTAIN for attempt in email.attempts)


def _freed(email: Email, at: datetime) -> Email:
    """Evidence that empties the blocking set lets the email go on, unless it is held for another reason."""
    if email.blocking:
        return email
    email = replace(email, resolve_by=None)
    if email.end or email.open_attempt:
        return email
    if email.held is HoldReason.UNCERTAIN:
        return replace(email, held=None, due_at=at)
    return email if email.due_at is not None else replace(email, due_at=at)


def _afresh(email: Email) -> Email:
    return replace(
        email,
        tries=0,
        throttles=0,
        not_tried=0,
        crashes=0,
        cycle_tries=NO_TRIES,
        spent=frozenset(),
        ruled_out=frozenset(),
    )
