"""Events and circumstances with sane defaults, and given → when → then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce

from domain.email.commands import Circumstances, EmailCommand, RecordOutcome, StartAttempt
from domain.email.decide import decide
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    DuplicateRiskAccepted,
    EmailEvent,
    Failed,
    FailReason,
    LateResultObserved,
    OutcomeUncertain,
    PartlySent,
    Redriven,
    Released,
    Requested,
    Sent,
)
from domain.email.evolve import evolve
from domain.email.state import Email, provider_key
from domain.errors import Refused
from domain.failures import FailureKind, Outcome, Refusal
from domain.retry import RetryPolicy
from domain.routing import Blocked, OnLimit, OnUncertain, Opening, PassedOver, Priority

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
EMAIL_ID = "0195-email"
WORKER = "worker-1"
TOKEN = 7
LIFETIME = timedelta(hours=24)
BEGIN_WITHIN = timedelta(seconds=30)
KEY_TTL = timedelta(hours=12)

START = StartAttempt(email_id=EMAIL_ID, worker=WORKER, token=TOKEN, begin_within=BEGIN_WITHIN)


def at(seconds: float) -> datetime:
    """So many seconds after the email was requested."""
    return T0 + timedelta(seconds=seconds)


EXPIRY = T0 + LIFETIME
LATER = at(1)
"""After the shortest backoff."""


def requested(
    recipients: int = 1,
    *,
    on_uncertain: OnUncertain = OnUncertain.RETRY,
    send_at: datetime | None = None,
    expires_at: datetime | None = None,
    digest: str = "digest",
) -> Requested:
    """An email to so many recipients, at T0, that lives for a day."""
    return Requested(
        key="order-4711",
        digest=digest,
        size=1024,
        recipients=recipients,
        recipient_domains=("example.org",) * recipients,
        sender_domain="example.com",
        route="default",
        priority=Priority.NORMAL,
        tags=(),
        tenant="",
        requested_at=T0,
        send_at=send_at,
        expires_at=expires_at or (send_at or T0) + LIFETIME,
        on_uncertain=on_uncertain,
    )


def started(
    attempt: int,
    provider: str = "ses",
    recipients: tuple[int, ...] = (0,),
    *,
    now: datetime = T0,
    key_until: datetime | None = None,
    deadline: datetime | None = None,
    epoch: int = 0,
    probe: int | None = None,
    passed_over: tuple[tuple[str, Blocked], ...] = (),
) -> AttemptStarted:
    """An attempt by our worker; its call may begin for half a minute."""
    return AttemptStarted(
        attempt=attempt,
        provider=provider,
        route="default",
        recipients=recipients,
        worker=WORKER,
        token=TOKEN,
        deadline=deadline or now + BEGIN_WITHIN,
        epoch=epoch,
        probe=probe,
        provider_key=provider_key(EMAIL_ID, provider, recipients),
        key_until=key_until,
        passed_over=tuple(PassedOver(name, reason.value) for name, reason in passed_over),
    )


def refusals(indexes: Iterable[int], kind: FailureKind = FailureKind.RECIPIENT) -> tuple[Refusal, ...]:
    """These recipients, refused for good."""
    return tuple(Refusal(index=index, kind=kind) for index in indexes)


def failed(
    attempt: int,
    provider: str = "ses",
    kind: FailureKind = FailureKind.TRANSIENT,
    *,
    refused: Iterable[int] = (),
    deferred: tuple[int, ...] = (),
    retry_at: datetime | None = LATER,
    spent: bool = False,
    not_before: datetime | None = None,
    reset_at: datetime | None = None,
    code: str = "",
) -> AttemptFailed:
    """A provider that did not take it, to be tried again after a second."""
    return AttemptFailed(
        attempt=attempt,
        provider=provider,
        kind=kind,
        code=code,
        detail="",
        refused=refusals(refused),
        deferred=deferred,
        retry_at=retry_at,
        spent=spent,
        not_before=not_before,
        reset_at=reset_at,
        epoch=0,
        probe=None,
    )


def partly_sent(
    attempt: int,
    provider: str = "ses",
    *,
    accepted: tuple[int, ...],
    refused: Iterable[int] = (),
    deferred: tuple[int, ...],
    retry_at: datetime = LATER,
    spent: bool = False,
) -> PartlySent:
    """Taken for some; the deferred are to be tried again after a second."""
    return PartlySent(
        attempt=attempt,
        provider=provider,
        message_id="",
        accepted=accepted,
        refused=refusals(refused),
        deferred=deferred,
        retry_at=retry_at,
        spent=spent,
        epoch=0,
        probe=None,
    )


def sent(
    attempt: int,
    provider: str = "ses",
    accepted: tuple[int, ...] = (0,),
    *,
    refused: Iterable[int] = (),
    message_id: str = "",
) -> Sent:
    """Taken, and nobody is left."""
    return Sent(
        attempt=attempt,
        provider=provider,
        message_id=message_id,
        accepted=accepted,
        refused=refusals(refused),
        epoch=0,
        probe=None,
    )


def sent_by_evidence(refused: Iterable[int] = ()) -> Sent:
    """Nobody is left, but no attempt's own answer said so."""
    return Sent(
        attempt=None,
        provider=None,
        message_id="",
        accepted=(),
        refused=refusals(refused, FailureKind.CONTENT),
        epoch=0,
        probe=None,
    )


def uncertain(
    attempt: int,
    provider: str = "ses",
    kind: FailureKind = FailureKind.UNCERTAIN,
    *,
    refused: Iterable[int] = (),
    deferred: tuple[int, ...] = (),
    resolve_by: datetime = T0,
    retry_at: datetime | None = None,
    spent: bool = False,
) -> OutcomeUncertain:
    """The answer was lost, and there is nothing to wait for."""
    return OutcomeUncertain(
        attempt=attempt,
        provider=provider,
        kind=kind,
        code="",
        detail="",
        refused=refusals(refused),
        deferred=deferred,
        resolve_by=resolve_by,
        retry_at=retry_at,
        spent=spent,
        epoch=0,
        probe=None,
    )


def lost(attempt: int, provider: str = "ses", *, resolve_by: datetime = T0) -> OutcomeUncertain:
    """The worker died."""
    return uncertain(attempt, provider, FailureKind.LOST, resolve_by=resolve_by)


def risk_accepted(
    *attempts: int, by: str = "policy", why: str = "on_uncertain = retry", retry_at: datetime = LATER
) -> DuplicateRiskAccepted:
    """The policy goes on in spite of these attempts."""
    return DuplicateRiskAccepted(attempts=attempts, by=by, why=why, retry_at=retry_at)


def ended(reason: FailReason, *pending: int, code: str = "") -> Failed:
    """The end, without these recipients."""
    return Failed(reason=reason, pending=pending, code=code)


def released(now: datetime, by: str = "alice") -> Released:
    """An operator lets it go on."""
    return Released(by=by, due_at=now)


def redriven(now: datetime, by: str = "alice", expires_at: datetime | None = None) -> Redriven:
    """An operator reopens it."""
    return Redriven(by=by, due_at=now, expires_at=expires_at or now + LIFETIME)


def late(
    attempt: int,
    provider: str = "ses",
    kind: FailureKind | None = None,
    *,
    accepted: tuple[int, ...] = (),
    refused: Iterable[int] = (),
    deferred: tuple[int, ...] = (),
    now: datetime = T0,
) -> LateResultObserved:
    """What a worker without a lease still brought."""
    return LateResultObserved(
        attempt=attempt,
        provider=provider,
        worker=WORKER,
        token=TOKEN,
        kind=kind,
        code="",
        detail="",
        message_id="",
        accepted=accepted,
        refused=refusals(refused),
        deferred=deferred,
        observed_at=now,
    )


def outcome(attempt: int, came: Outcome) -> RecordOutcome:
    """Our worker brings what came of its attempt."""
    return RecordOutcome(attempt=attempt, outcome=came, worker=WORKER, token=TOKEN)


def free(
    provider: str,
    *,
    key_ttl: timedelta | None = None,
    feedback: bool = False,
    epoch: int = 0,
    probe: int | None = None,
) -> Opening:
    """A provider that may be used now."""
    return Opening(provider=provider, key_ttl=key_ttl, tells=feedback, epoch=epoch, probe=probe)


def blocked(provider: str, reason: Blocked, until: datetime | None = None) -> Opening:
    """A provider that may not be used now."""
    return Opening(provider=provider, blocked=reason, until=until)


BOTH = (free("ses"), free("smtp"))
"""The route of most tests: first ses, then smtp."""
KEYED = (free("resend", key_ttl=KEY_TTL), free("smtp"))
"""A route whose first provider honours idempotency keys."""


@dataclass(frozen=True)
class Then:
    """What a command brought about; `error` where it was refused."""

    before: Email
    events: tuple[EmailEvent, ...] = ()
    error: Refused | None = None

    @property
    def email(self) -> Email:
        """The email after what was decided."""
        return reduce(evolve, self.events, self.before)

    def then(self, *expected: EmailEvent) -> Then:
        """Exactly these events, every field of them."""
        assert self.error is None
        assert expected == self.events
        return self

    def then_nothing(self) -> None:
        """No event, and no complaint."""
        assert self.error is None
        assert self.events == ()

    def then_refused(self, expected: type[Refused]) -> None:
        """Exactly this error (no subclass), with a sentence for who asked."""
        assert expected is type(self.error)
        assert self.error is not None
        assert self.error.reason.endswith(".")


@dataclass(frozen=True)
class Given:
    """An email with a past."""

    email: Email

    def when(
        self,
        command: EmailCommand,
        *,
        now: datetime = T0,
        openings: tuple[Opening, ...] = BOTH,
        on_limit: OnLimit = OnLimit.WAIT,
        chance: float = 0.0,
        retry: RetryPolicy | None = None,
        resolve_within: timedelta = timedelta(minutes=2),
    ) -> Then:
        """What the command brings about. Without chance every backoff is the shortest: a second."""
        given = Circumstances(
            now=now,
            chance=chance,
            openings=openings,
            on_limit=on_limit,
            retry=retry or RetryPolicy(),
            resolve_within=resolve_within,
        )
        try:
            return Then(self.email, decide(command, self.email, given))
        except Refused as error:
            return Then(self.email, error=error)


def given(*events: EmailEvent) -> Given:
    """An email that these events happened to."""
    return Given(reduce(evolve, events, Email()))
