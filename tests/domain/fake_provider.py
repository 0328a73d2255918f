"""A provider that does what it is told, and that keeps its word about idempotency keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from domain.email.state import Attempt
from domain.failures import Accepted, FailureKind, NotAccepted, Outcome, Refusal, Unanswered


@dataclass(frozen=True)
class Reaction:
    """What a provider does with a call. `kind` is none where it takes it, and then `silent` loses the reply;
    a `kind` of `uncertain` loses it without having taken anything. `refuses`, `defers`: recipients, at RCPT."""

    kind: FailureKind | None = None
    silent: bool = False
    refuses: frozenset[int] = frozenset()
    defers: frozenset[int] = frozenset()
    retry_after_s: float | None = None


@dataclass
class FakeProvider:
    """Takes emails. `partial`: it answers for each recipient; `remembers`: what it took under which key, when."""

    name: str
    key_ttl: timedelta | None = None
    feedback: bool = False
    partial: bool = False
    remembers: dict[str, tuple[datetime, Accepted]] = field(default_factory=dict)

    def call(self, attempt: Attempt, reaction: Reaction, now: datetime) -> tuple[Outcome, Accepted | None]:
        """The answer as the worker sees it, and what was newly taken, if anything."""
        refuses = reaction.refuses & set(attempt.recipients) if self.partial else frozenset()
        defers = reaction.defers & set(attempt.recipients) - refuses if self.partial else frozenset()
        refused = tuple(Refusal(index=index) for index in sorted(refuses))
        deferred = tuple(sorted(defers))
        left = tuple(index for index in attempt.recipients if index not in refuses | defers)
        if not left or reaction.kind not in (None, FailureKind.UNCERTAIN):
            kind = reaction.kind if reaction.kind not in (None, FailureKind.UNCERTAIN) else None
            no = NotAccepted(
                kind=kind or FailureKind.DEFERRED,
                refused=refused,
                deferred=deferred,
                retry_after_s=reaction.retry_after_s,
            )
            return no, None
        unanswered = Unanswered(refused=refused, deferred=deferred)
        if reaction.kind is FailureKind.UNCERTAIN:
            return unanswered, None
        taken_at, first = self.remembers.get(attempt.provider_key, (now, None))
        if self.key_ttl is not None and first is not None and now < taken_at + self.key_ttl:
            return (unanswered if reaction.silent else first), None
        answer = Accepted(accepted=left, refused=refused, deferred=deferred, message_id="m")
        if self.key_ttl is not None:
            self.remembers[attempt.provider_key] = (now, answer)
        return (unanswered if reaction.silent else answer), answer
