"""Why an attempt did not end in acceptance: one kind per consequence (scope as well as retryability)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique

from domain.frozen import quick


@unique
class FailureKind(StrEnum):
    """What a failed attempt says about the recipient, the message, the provider, or our own account there."""

    RECIPIENT = "recipient"
    """The address is refused for good (5.1.x, 5.2.x): no provider would take it."""
    CONTENT = "content"
    """This provider refuses the message; another one may take it."""
    SENDER = "sender"
    """The sender or its domain is not verified at this provider."""
    TOO_LARGE = "too_large"
    """Larger than this provider takes (552 5.3.4, HTTP 413)."""
    ACCOUNT = "account"
    """Our account there is locked, unpaid, or the credentials are wrong."""
    QUOTA = "quota"
    """A daily or monthly allowance is used up."""
    THROTTLED = "throttled"
    """Too fast (429, 4.7.x, or a 4xx that names a rate)."""
    TRANSIENT = "transient"
    """The provider was not able to take it now, and certainly did not."""
    UNCERTAIN = "uncertain"
    """The provider may have taken it: the answer was lost."""
    LOST = "lost"
    """The worker died or lost its lease while the attempt was open."""
    DEFERRED = "deferred"
    """Every recipient was put off (4xx at RCPT); says nothing about the provider."""
    NOT_TRIED = "not_tried"
    """No connection was opened: drained, or the attempt's deadline had passed."""
    UNKNOWN = "unknown"
    """An answer nobody classified yet."""


RULES_OUT = frozenset({FailureKind.CONTENT, FailureKind.TOO_LARGE})
"""Kinds after which this email never goes to this provider again."""

SPENDS_AT_ONCE = frozenset({FailureKind.SENDER, FailureKind.ACCOUNT, FailureKind.QUOTA})
"""Kinds after which this provider is passed over until the next cycle, whatever tries it had left."""

FREE_OF_TRIES = frozenset({FailureKind.THROTTLED, FailureKind.NOT_TRIED, FailureKind.LOST})
"""Kinds that do not count towards `attempts_per_provider`."""

OPENS_AT_ONCE = frozenset({FailureKind.ACCOUNT, FailureKind.QUOTA})
"""Kinds that open the provider's circuit without any counting."""

COUNTS_AS_FAILURE = frozenset({FailureKind.TRANSIENT, FailureKind.UNCERTAIN})
"""Kinds that the circuit counts as a failed call."""

COUNTS_AS_ANSWER = frozenset(
    {
        FailureKind.RECIPIENT,
        FailureKind.CONTENT,
        FailureKind.TOO_LARGE,
        FailureKind.DEFERRED,
        FailureKind.SENDER,
    }
)
"""Definite answers about the message, its sender or a recipient: the provider itself is at work."""

DRAINED = "drained"
"""The code of an attempt that was cut off because its worker stopped."""

INTERNAL = "internal"
"""The code of an attempt that a mistake of ours cut off."""

GIVES_PROBE_BACK = frozenset({FailureKind.THROTTLED, FailureKind.UNKNOWN, FailureKind.NOT_TRIED})
"""Kinds that prove nothing about a half-open provider: the probe may be granted again."""

ALERTS = frozenset({FailureKind.SENDER, FailureKind.ACCOUNT, FailureKind.QUOTA})
"""Kinds that somebody has to act on."""


def heard_out(kind: FailureKind | None, code: str) -> bool:
    """Whether everything was heard that a provider says before its last answer: whom it refused, whom it put off."""
    return kind is not FailureKind.LOST and code not in (DRAINED, INTERNAL)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One recipient refused for good, by its index in the envelope."""

    index: int
    kind: FailureKind = FailureKind.RECIPIENT
    code: str = ""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The provider took responsibility for at least one recipient.

    `message_id` is the provider's own, empty where it named none.
    """

    accepted: tuple[int, ...]
    refused: tuple[Refusal, ...] = ()
    deferred: tuple[int, ...] = ()
    message_id: str = ""
    code: str = ""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class NotAccepted:
    """The provider took it for nobody, and we know that it did not.

    `retry_after_s` is what the provider asked for (Retry-After, a quota's reset), in seconds from now.
    """

    kind: FailureKind
    code: str = ""
    detail: str = ""
    refused: tuple[Refusal, ...] = ()
    deferred: tuple[int, ...] = ()
    retry_after_s: float | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """The provider may have taken it for everybody who is neither refused nor deferred.

    `kind` is `uncertain` (the reply was lost) or `lost` (the worker was).
    """

    kind: FailureKind = FailureKind.UNCERTAIN
    code: str = ""
    detail: str = ""
    refused: tuple[Refusal, ...] = ()
    deferred: tuple[int, ...] = ()


Outcome = Accepted | NotAccepted | Unanswered
"""What came of one attempt."""
