"""What an attempt's outcome means for its email: which event records it, and when to try again."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from domain.email.commands import Circumstances, RecordOutcome
from domain.email.events import (
    AttemptFailed,
    EmailEvent,
    LateResultObserved,
    OutcomeUncertain,
    PartlySent,
    Sent,
)
from domain.email.evolve import evolve
from domain.email.state import Attempt, Email
from domain.failures import (
    FREE_OF_TRIES,
    RULES_OUT,
    SPENDS_AT_ONCE,
    Accepted,
    FailureKind,
    NotAccepted,
    Outcome,
    Refusal,
    Unanswered,
    heard_out,
)
from domain.replace import replace
from domain.retry import next_try
from domain.routing import Blocked, walk

THROTTLES_MAX = 3
"""After so many throttled answers in a row, another provider is asked, whatever the route says."""


def within(outcome: Outcome, attempt: Attempt) -> Outcome:
    """The outcome with nobody in it whom the attempt did not carry, and each recipient once."""
    if isinstance(outcome, Accepted) and outcome.accepted == attempt.recipients:
        return replace(outcome, refused=(), deferred=()) if outcome.refused or outcome.deferred else outcome
    carried = set(attempt.recipients)
    accepted: tuple[int, ...] = ()
    if isinstance(outcome, Accepted):
        accepted = tuple(sorted(carried & set(outcome.accepted)))
        carried -= set(accepted)
    refused = tuple({r.index: r for r in outcome.refused if r.index in carried}.values())
    carried -= {refusal.index for refusal in refused}
    deferred = tuple(sorted(carried & set(outcome.deferred)))
    if isinstance(outcome, Accepted):
        if not accepted:
            return NotAccepted(
                kind=FailureKind.DEFERRED, code=outcome.code, refused=refused, deferred=deferred
            )
        return replace(outcome, accepted=accepted, refused=refused, deferred=deferred)
    if outcome.kind is FailureKind.RECIPIENT and not refused and len(attempt.recipients) == 1:
        only = Refusal(index=attempt.recipients[0], code=outcome.code)
        return replace(outcome, refused=(only,), deferred=())
    return replace(outcome, refused=refused, deferred=deferred)


def closing(attempt: Attempt, outcome: Outcome, email: Email, given: Circumstances) -> EmailEvent:
    """The event that closes an open attempt with this outcome. Feedback that came first answers for a lost reply."""
    if isinstance(outcome, Unanswered) and _answered(attempt, outcome):
        outcome = _proven(attempt, outcome)
    match outcome:
        case Accepted():
            return _accepted(attempt, outcome, email, given)
        case NotAccepted():
            return _not_accepted(attempt, outcome, email, given)
        case Unanswered():
            return _unanswered(attempt, outcome, email, given)
        case _:
            assert_never(outcome)


def _answered(attempt: Attempt, outcome: Unanswered) -> bool:
    """Whether feedback said already what the outcome doesn't. Where it was cut off, only for its own recipient."""
    return attempt.proven and (heard_out(outcome.kind, outcome.code) or len(attempt.recipients) == 1)


def _proven(attempt: Attempt, outcome: Unanswered) -> Accepted:
    known = {refusal.index for refusal in outcome.refused} | set(outcome.deferred)
    return Accepted(
        accepted=tuple(index for index in attempt.recipients if index not in known),
        refused=outcome.refused,
        deferred=outcome.deferred,
        code=outcome.code,
    )


def _accepted(attempt: Attempt, outcome: Accepted, email: Email, given: Circumstances) -> EmailEvent:
    settled = set(outcome.accepted) | {refusal.index for refusal in outcome.refused}
    left = tuple(index for index in email.pending if index not in settled)
    if not left:
        return Sent(
            attempt=attempt.number,
            provider=attempt.provider,
            message_id=outcome.message_id,
            accepted=outcome.accepted,
            refused=outcome.refused,
            epoch=attempt.epoch,
            probe=attempt.probe,
        )
    partly = PartlySent(
        attempt=attempt.number,
        provider=attempt.provider,
        message_id=outcome.message_id,
        accepted=outcome.accepted,
        refused=outcome.refused,
        deferred=left,
        retry_at=given.now,
        spent=_spends(email, attempt.provider, None, given),
        epoch=attempt.epoch,
        probe=attempt.probe,
    )
    return replace(partly, retry_at=retry_at(evolve(email, partly), attempt.provider, None, None, given))


def _not_accepted(attempt: Attempt, outcome: NotAccepted, email: Email, given: Circumstances) -> EmailEvent:
    kind, after_s = outcome.kind, outcome.retry_after_s
    asked = (
        None
        if after_s is None
        else next_try(given.retry, tries=0, chance=0.0, now=given.now, retry_after_s=after_s)
    )
    failed = AttemptFailed(
        attempt=attempt.number,
        provider=attempt.provider,
        kind=kind,
        code=outcome.code,
        detail=outcome.detail,
        refused=outcome.refused,
        deferred=outcome.deferred,
        retry_at=given.now,
        spent=_spends(email, attempt.provider, kind, given),
        not_before=None,
        reset_at=asked if kind is FailureKind.QUOTA else None,
        epoch=attempt.epoch,
        probe=attempt.probe,
    )
    after = evolve(email, failed)
    if not after.pending or _refused_everywhere(after, given):
        return replace(failed, retry_at=None)
    if kind is FailureKind.THROTTLED:
        pause = next_try(
            given.retry, tries=after.throttles, chance=given.chance, now=given.now, retry_after_s=after_s
        )
        failed = replace(failed, not_before=pause)
    return replace(failed, retry_at=retry_at(after, attempt.provider, kind, after_s, given))


def _refused_everywhere(email: Email, given: Circumstances) -> bool:
    return bool(given.openings) and all(one.provider in email.ruled_out for one in given.openings)


def _unanswered(attempt: Attempt, outcome: Unanswered, email: Email, given: Circumstances) -> EmailEvent:
    """There is only something to wait for where the same key may be tried again, or the provider tells later."""
    uncertain = OutcomeUncertain(
        attempt=attempt.number,
        provider=attempt.provider,
        kind=outcome.kind,
        code=outcome.code,
        detail=outcome.detail,
        refused=outcome.refused,
        deferred=outcome.deferred,
        resolve_by=given.now,
        retry_at=None,
        spent=_spends(email, attempt.provider, outcome.kind, given),
        epoch=attempt.epoch,
        probe=attempt.probe,
    )
    after = evolve(email, uncertain)
    resolve_by = min(given.now + given.resolve_within, email.expires_at)
    again = next_try(given.retry, tries=after.tries, chance=given.chance, now=given.now, retry_after_s=None)
    if after.bound is not None and attempt.key_until is not None and again < attempt.key_until:
        return replace(uncertain, retry_at=again, resolve_by=min(resolve_by, attempt.key_until))
    if any(one.provider == attempt.provider and one.tells for one in given.openings):
        return replace(uncertain, resolve_by=resolve_by)
    return uncertain


def late(command: RecordOutcome, attempt: Attempt, outcome: Outcome, given: Circumstances) -> EmailEvent:
    """What a worker brought of an attempt that was taken from it."""
    return LateResultObserved(
        attempt=attempt.number,
        provider=attempt.provider,
        worker=command.worker,
        token=command.token,
        kind=None if isinstance(outcome, Accepted) else outcome.kind,
        code=outcome.code,
        detail="" if isinstance(outcome, Accepted) else outcome.detail,
        message_id=outcome.message_id if isinstance(outcome, Accepted) else "",
        accepted=outcome.accepted if isinstance(outcome, Accepted) else (),
        refused=outcome.refused,
        deferred=outcome.deferred,
        observed_at=given.now,
    )


def _spends(email: Email, provider: str, kind: FailureKind | None, given: Circumstances) -> bool:
    """Whether this answer is the last one of the cycle from this provider."""
    if kind in SPENDS_AT_ONCE or kind in RULES_OUT:
        return True
    if kind is FailureKind.THROTTLED:
        return email.throttles + 1 >= THROTTLES_MAX
    if kind in FREE_OF_TRIES:
        return False
    return email.cycle_tries.get(provider, 0) + 1 >= given.retry.attempts_per_provider


def retry_at(
    email: Email, provider: str, kind: FailureKind | None, retry_after_s: float | None, given: Circumstances
) -> datetime:
    """Now, where a provider not yet tried in this cycle can take it; else after the backoff, between cycles too.

    `email`: as the answer leaves it.
    """
    if kind is FailureKind.NOT_TRIED and email.not_tried < 2:
        return given.now
    lane = email.lane
    if lane is not None:
        pausing = kind is FailureKind.THROTTLED
        found = walk(
            tuple(
                replace(one, blocked=Blocked.NOT_BEFORE) if pausing and one.provider == provider else one
                for one in given.openings
            ),
            lane,
            given.on_limit,
        )
        tried = {provider, *lane.spent, *email.cycle_tries}
        if found.chosen is not None and found.chosen.provider not in tried:
            return given.now
    return next_try(
        given.retry, tries=email.tries, chance=given.chance, now=given.now, retry_after_s=retry_after_s
    )
