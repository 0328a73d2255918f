"""What can be asked of an email, and the circumstances a decision depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from domain.email.events import Feedback
from domain.failures import Outcome
from domain.frozen import quick
from domain.retry import RetryPolicy
from domain.routing import OnLimit, OnUncertain, Opening, Priority


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """All that a decision depends on besides the email: time, chance, and the providers as they stand now.

    `chance` is in [0, 1). `openings` are the providers of the email's route, in its order.
    """

    now: datetime
    chance: float = 0.5
    openings: tuple[Opening, ...] = ()
    on_limit: OnLimit = OnLimit.WAIT
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    resolve_within: timedelta = timedelta(minutes=2)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A client asks for an email. `digest` tells a repeat from another use of the same key."""

    key: str
    digest: str
    size: int
    recipient_domains: tuple[str, ...]
    sender_domain: str
    route: str
    expires_after: timedelta
    on_uncertain: OnUncertain
    priority: Priority = Priority.NORMAL
    tags: tuple[str, ...] = ()
    tenant: str = ""
    send_at: datetime | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class StartAttempt:
    """A worker has room for one more attempt; its call must begin within `begin_within`."""

    email_id: str
    worker: str
    token: int
    begin_within: timedelta


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOutcome:
    """What came of an attempt, from the worker that made it."""

    attempt: int
    outcome: Outcome
    worker: str
    token: int


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class LoseAttempt:
    """The lease that this attempt belonged to has run out."""

    attempt: int


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFeedback:
    """A provider told us something about a recipient."""

    feedback: Feedback


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed: end what has expired, settle what can't be learnt any more."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Call it off, if nothing is under way."""

    by: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Reopen what failed, let go of what is held."""

    by: str
    accept_duplicate_risk: bool = False


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Reschedule:
    """Send it at another time."""

    by: str
    send_at: datetime


LaterCommand = (
    StartAttempt | RecordOutcome | LoseAttempt | RecordFeedback | Tick | Cancel | Retry | Reschedule
)
EmailCommand = Request | LaterCommand
