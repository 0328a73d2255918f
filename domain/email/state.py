"""What an email's events add up to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum, unique
from types import MappingProxyType

from domain.email.events import FailReason, HoldReason
from domain.failures import FailureKind
from domain.frozen import quick
from domain.routing import Lane, OnUncertain, Priority

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


@quick
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


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """One email as its events leave it.

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
            bool(self.attempts),
        )

    @property
    def deadline_at(self) -> datetime | None:
        """When something is to be decided even if no provider becomes free."""
        if self.end or self.open_attempt or self.requested_at is None:
            return None
        if self.held or not self.blocking:
            return self.expires_at
        return min(self.resolve_by or self.requested_at, self.expires_at)


UNREQUESTED = Email()
"""An email that nobody asked for yet: what every fold begins with."""


def provider_key(email_id: str, provider: str, recipients: Iterable[int]) -> str:
    """The key of (email, provider, recipient set): 32 hexadecimal digits, the same for every repeat."""
    named = f"{email_id}/{provider}/{','.join(map(str, recipients))}"
    return hashlib.sha256(named.encode()).hexdigest()[:32]
