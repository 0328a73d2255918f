"""What can happen to an email. Every event says it without an address, a subject, a body or a secret.

Recipients are indexes into the envelope, which lies in the content store. The envelope of a recorded event
(stream, version, position, time) is the event store's business and not repeated here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, unique

from domain.failures import FailureKind, Refusal
from domain.frozen import quick
from domain.routing import OnUncertain, PassedOver, Priority


@unique
class FailReason(StrEnum):
    """Why an email ended without reaching everyone."""

    REJECTED = "rejected"
    """Nobody took it: every recipient, or the message at every provider, was refused for good."""
    EXPIRED = "expired"
    """Its time was over before everyone was reached."""
    SUPPRESSED = "suppressed"
    """Its recipients are on a list of those who get no mail. Nothing writes it yet."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """A recipient who is not known to be reached may have been, in an attempt that was never cleared up."""


@unique
class HoldReason(StrEnum):
    """Why an email waits for an operator."""

    UNCERTAIN = "uncertain"
    """It may have been sent, and its policy is to ask."""
    POISON = "poison"
    """Several workers in a row were lost over it."""
    OPERATOR = "operator"
    """An operator said so. Nothing writes it yet."""


@unique
class SwitchReason(StrEnum):
    """Why an email goes to another provider than the one before."""

    ATTEMPT_FAILED = "attempt_failed"
    """The provider before did not take it, or has had its tries."""
    CIRCUIT_OPEN = "circuit_open"
    """Its circuit is open."""
    RATE_LIMITED = "rate_limited"
    """It is at a limit, or asked for a pause."""
    ACCOUNT = "account"
    """Our account there is refused, or its quota used up."""
    SENDER = "sender"
    """The sender is not allowed there."""
    TOO_LARGE = "too_large"
    """The message is too large for it."""
    PAUSED = "paused"
    """An operator took it out of use."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """The email was accepted and is durable.

    `key` is the client's id for it (one with an `@` only as a digest), `digest` the salted digest of what the
    client asked for, `size` the content's octets. `recipient_domains` has one entry per recipient.
    """

    key: str
    digest: str
    size: int
    recipients: int
    recipient_domains: tuple[str, ...]
    sender_domain: str
    route: str
    priority: Priority
    tags: tuple[str, ...]
    tenant: str
    requested_at: datetime
    send_at: datetime | None
    expires_at: datetime
    on_uncertain: OnUncertain


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    """From here on the provider may have the email. Committed before a connection is used.

    `recipients` are the indexes this attempt carries. The call must begin by `deadline`. `epoch` and `probe` are
    the circuit's. `key_until`: how long the provider answers a repeat of `provider_key` from the first; none
    where it does not honour keys. `passed_over`: earlier providers of the route, and why not they.
    """

    attempt: int
    provider: str
    route: str
    recipients: tuple[int, ...]
    worker: str
    token: int
    deadline: datetime
    epoch: int
    probe: int | None
    provider_key: str
    key_until: datetime | None
    passed_over: tuple[PassedOver, ...]


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed:
    """The provider did not take the email for anybody, and we know that it did not.

    `retry_at` is none where nobody is left to try for. `spent`: the provider is passed over until the next
    cycle. `not_before`: it asked for a pause, for all emails. `reset_at`: when its quota is said to come back.
    """

    attempt: int
    provider: str
    kind: FailureKind
    code: str
    detail: str
    refused: tuple[Refusal, ...]
    deferred: tuple[int, ...]
    retry_at: datetime | None
    spent: bool
    not_before: datetime | None
    reset_at: datetime | None
    epoch: int
    probe: int | None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class PartlySent:
    """The provider took it for some; the next attempt carries only the deferred ones."""

    attempt: int
    provider: str
    message_id: str
    accepted: tuple[int, ...]
    refused: tuple[Refusal, ...]
    deferred: tuple[int, ...]
    retry_at: datetime
    spent: bool
    epoch: int
    probe: int | None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Everyone is done and at least one was accepted. `accepted` and `refused` are this attempt's.

    `attempt` is none where later evidence, not an attempt's own answer, settled the last recipient.
    """

    attempt: int | None
    provider: str | None
    message_id: str
    accepted: tuple[int, ...]
    refused: tuple[Refusal, ...]
    epoch: int
    probe: int | None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeUncertain:
    """The provider may have accepted it for everyone neither refused nor deferred: reply or worker lost.

    Evidence is waited for until `resolve_by`. `retry_at`: when the same provider key may be tried again.
    """

    attempt: int
    provider: str
    kind: FailureKind
    code: str
    detail: str
    refused: tuple[Refusal, ...]
    deferred: tuple[int, ...]
    resolve_by: datetime
    retry_at: datetime | None
    spent: bool
    epoch: int
    probe: int | None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateRiskAccepted:
    """Somebody (`by`: `policy` or an operator) chose to go on although `attempts` may have been accepted."""

    attempts: tuple[int, ...]
    by: str
    why: str
    retry_at: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSwitched:
    """The next attempt goes to another provider than the last one, or than the route's first."""

    from_provider: str
    to_provider: str
    reason: SwitchReason


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The end: `pending` recipients (indexes) were not reached. `code` is the last answer that led here."""

    reason: FailReason
    pending: tuple[int, ...]
    code: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """It waits for an operator, at most until it expires."""

    reason: HoldReason


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """An operator lets it go on; tries, crashes and ruled-out providers start afresh."""

    by: str
    due_at: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The client or an operator called it off."""

    by: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Rescheduled:
    """It is to be sent at another time. Only before the first attempt."""

    by: str
    send_at: datetime
    expires_at: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """An operator reopens an ended email for those still pending; everything but its recipients starts afresh."""

    by: str
    due_at: datetime
    expires_at: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class LateResultObserved:
    """A worker that had lost the attempt still brought its outcome. `kind` is none where it was accepted."""

    attempt: int
    provider: str
    worker: str
    token: int
    kind: FailureKind | None
    code: str
    detail: str
    message_id: str
    accepted: tuple[int, ...]
    refused: tuple[Refusal, ...]
    deferred: tuple[int, ...]
    observed_at: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The recipient's server took it. (Feedback from here on: for one recipient of one attempt.)"""

    attempt: int
    recipient: int
    observed_at: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryDelayed:
    """The provider is still trying."""

    attempt: int
    recipient: int
    code: str
    observed_at: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Bounced:
    """The recipient's server refused it; `permanent` or it may work another time."""

    attempt: int
    recipient: int
    permanent: bool
    code: str
    observed_at: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Complained:
    """The recipient marked it as spam."""

    attempt: int
    recipient: int
    observed_at: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The recipient, or a machine for them, loaded its tracking picture."""

    attempt: int
    recipient: int
    observed_at: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Clicked:
    """The recipient followed a link."""

    attempt: int
    recipient: int
    observed_at: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribed:
    """The recipient asked for no more."""

    attempt: int
    recipient: int
    observed_at: datetime


Feedback = Delivered | DeliveryDelayed | Bounced | Complained | Opened | Clicked | Unsubscribed
"""What a provider tells us later. Each of them proves that it had accepted the attempt for that recipient."""

EmailEvent = (
    Requested
    | AttemptStarted
    | AttemptFailed
    | PartlySent
    | Sent
    | OutcomeUncertain
    | DuplicateRiskAccepted
    | ProviderSwitched
    | Failed
    | Held
    | Released
    | Cancelled
    | Rescheduled
    | Redriven
    | LateResultObserved
    | Feedback
)
