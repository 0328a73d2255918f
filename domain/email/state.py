"""What an email's events add up to, and how each of them changes it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum, unique
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
    OnUncertain,
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
from domain.failures import FREE_OF_TRIES, RULES_OUT, FailureKind, Refusal
from domain.routing import Lane, Priority

NEVER = datetime.max.replace(tzinfo=UTC)
NO_TRIES: Mapping[str, int] = MappingProxyType({})


@unique
class Recipient(StrEnum):
    """Where one recipient stands."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REFUSED = "refused"


@unique
class AttemptState(StrEnum):
    """What is known about an attempt. `known`: it was uncertain, and evidence came later."""

    OPEN = "open"
    FAILED = "failed"
    PARTLY_SENT = "partly_sent"
    SENT = "sent"
    UNCERTAIN = "uncertain"
    KNOWN = "known"


@unique
class End(StrEnum):
    """How an email ended."""

    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try. `maybe`: recipients the provider may have accepted although it did not say so.

    `proven`: feedback came while it was open, so it was accepted whatever its worker brings.
    """

    number: int
    provider: str
    recipients: tuple[int, ...]
    worker: str
    token: int
    deadline: datetime
    epoch: int
    probe: int | None
    provider_key: str
    key_until: datetime | None
    state: AttemptState = AttemptState.OPEN
    maybe: frozenset[int] = frozenset()
    proven: bool = False
    kind: FailureKind | None = None
    code: str = ""

    @property
    def key(self) -> str | None:
        """The idempotency key, where the provider honours it."""
        return None if self.key_until is None else self.provider_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """One email as its events leave it; `Email()` is one that nobody asked for yet.

    `blocking`: attempts in doubt that keep other providers out. `tries`: attempts in a row without an end, of
    any kind; `throttles` and `not_tried`: of that kind in a row; `crashes`: attempts lost. `cycle_tries`,
    `spent`: of the present cycle. `due_at` is none while it waits for something other than time.
    """

    requested_at: datetime | None = None
    key: str = ""
    digest: str = ""
    tenant: str = ""
    route: str = ""
    priority: Priority = Priority.NORMAL
    on_uncertain: OnUncertain = OnUncertain.RETRY
    send_at: datetime | None = None
    expires_at: datetime = NEVER
    lifetime: timedelta = timedelta(0)
    recipients: tuple[Recipient, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    blocking: frozenset[int] = frozenset()
    resolve_by: datetime | None = None
    due_at: datetime | None = None
    held: HoldReason | None = None
    end: End | None = None
    fail_reason: FailReason | None = None
    tries: int = 0
    throttles: int = 0
    not_tried: int = 0
    crashes: int = 0
    cycle_tries: Mapping[str, int] = field(default_factory=lambda: NO_TRIES)
    spent: frozenset[str] = frozenset()
    ruled_out: frozenset[str] = frozenset()

    @property
    def open_attempt(self) -> Attempt | None:
        """The attempt under way: always the last one, if any."""
        if self.attempts and self.attempts[-1].state is AttemptState.OPEN:
            return self.attempts[-1]
        return None

    @property
    def pending(self) -> tuple[int, ...]:
        """Recipients that are neither accepted nor refused, ascending."""
        return tuple(i for i, state in enumerate(self.recipients) if state is Recipient.PENDING)

    @property
    def anyone_accepted(self) -> bool:
        return Recipient.ACCEPTED in self.recipients

    @property
    def in_doubt(self) -> frozenset[int]:
        """Attempts that may have been accepted for somebody still pending, whoever took the risk since."""
        pending = set(self.pending)
        return frozenset(
            attempt.number
            for attempt in self.attempts
            if attempt.state is AttemptState.UNCERTAIN and attempt.maybe & pending
        )

    @property
    def bound(self) -> Attempt | None:
        """The attempt whose provider key, and nothing else, may be tried while it blocks; None: not even that."""
        keys = {self.attempts[number - 1].key for number in self.blocking}
        if len(keys) != 1 or None in keys:
            return None
        attempt = self.attempts[min(self.blocking) - 1]
        return attempt if attempt.recipients == self.pending else None

    @property
    def lane(self) -> Lane | None:
        """Where it waits for its next attempt; None while time and a free provider would not be enough."""
        if self.end or self.held or self.due_at is None or self.open_attempt or not self.pending:
            return None
        bound = self.bound if self.blocking else None
        if self.blocking and bound is None:
            return None
        return Lane(
            self.tenant,
            self.route,
            tuple(sorted(self.ruled_out)),
            tuple(sorted(self.spent)),
            None if bound is None else bound.provider,
        )

    @property
    def deadline_at(self) -> datetime | None:
        """When something is to be decided even if no provider becomes free."""
        if self.end or self.open_attempt or self.requested_at is None:
            return None
        if self.held or not self.blocking:
            return self.expires_at
        return min(self.resolve_by or self.requested_at, self.expires_at)


def provider_key(email_id: str, provider: str, recipients: Iterable[int]) -> str:
    """The key of (email, provider, recipient set): 32 hexadecimal digits, the same for every repeat."""
    named = f"{email_id}/{provider}/{','.join(map(str, recipients))}"
    return hashlib.sha256(named.encode()).hexdigest()[:32]


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
        email = _closed(email, event.attempt, AttemptState.SENT, None, "")
        email = _proven(_accepting(email, event.accepted), event.attempt)
    ended = _refusing(email, event.refused)
    return replace(ended, end=End.SENT, held=None, due_at=None)


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
        return _with_attempt(taken, event.attempt, kind=event.kind, maybe=maybe)
    settled = _with_attempt(taken, event.attempt, state=AttemptState.KNOWN, kind=event.kind)
    settled = replace(settled, blocking=settled.blocking - {event.attempt})
    return _freed(_proven(settled, event.attempt) if event.accepted else settled, event.observed_at)


def _fed_back(email: Email, event: Feedback) -> Email:
    """Feedback proves acceptance for its recipient, and where only the reply was lost for all that it may cover.

    Where the worker was lost, nobody knows whom the provider had put off before: the others stay in doubt.
    """
    attempt = email.attempts[event.attempt - 1]
    if attempt.state is AttemptState.OPEN:
        return _accepting(_with_attempt(email, event.attempt, proven=True), (event.recipient,))
    if attempt.state is not AttemptState.UNCERTAIN:
        return _accepting(email, (event.recipient,))
    left = attempt.maybe - {event.recipient}
    if attempt.kind is FailureKind.LOST and left:
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
    """Acceptance wins over whatever was known before, after an end too."""
    taken = set(indexes)
    return replace(
        email,
        recipients=tuple(
            Recipient.ACCEPTED if index in taken else state for index, state in enumerate(email.recipients)
        ),
    )


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
