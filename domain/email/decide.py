"""What follows from a command: the events to record, or a refusal that says why.

The rules of uncertainty in short: an attempt without a definite answer is in doubt. It blocks every provider
but its own (with the same key) until evidence comes or somebody accepts the risk of a duplicate.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from domain.email.commands import (
    Cancel,
    Circumstances,
    EmailCommand,
    LaterCommand,
    LoseAttempt,
    RecordFeedback,
    RecordOutcome,
    Request,
    Reschedule,
    Retry,
    StartAttempt,
    Tick,
)
from domain.email.events import (
    AttemptStarted,
    Cancelled,
    EmailEvent,
    FailReason,
    ProviderSwitched,
    Redriven,
    Released,
    Requested,
    Rescheduled,
    SwitchReason,
)
from domain.email.outcomes import closing, late, within
from domain.email.settle import Story, risk_accepted, settle
from domain.email.state import Attempt, AttemptState, Email, End, provider_key
from domain.errors import (
    AlreadyAttempted,
    AlreadyEnded,
    AttemptIsOpen,
    KeyMisused,
    MayHaveBeenSent,
    NoSuchAttempt,
    NothingToRetry,
    NotRequested,
)
from domain.failures import Accepted, FailureKind, Outcome, Unanswered, heard_out
from domain.routing import Blocked, Walk, walk

EXCUSES = {
    Blocked.CIRCUIT_OPEN: SwitchReason.CIRCUIT_OPEN,
    Blocked.AT_LIMIT: SwitchReason.RATE_LIMITED,
    Blocked.NOT_BEFORE: SwitchReason.RATE_LIMITED,
    Blocked.PAUSED: SwitchReason.PAUSED,
}
FAULTS = {
    FailureKind.ACCOUNT: SwitchReason.ACCOUNT,
    FailureKind.QUOTA: SwitchReason.ACCOUNT,
    FailureKind.SENDER: SwitchReason.SENDER,
    FailureKind.TOO_LARGE: SwitchReason.TOO_LARGE,
    FailureKind.THROTTLED: SwitchReason.RATE_LIMITED,
}


def decide(command: EmailCommand, email: Email, given: Circumstances) -> tuple[EmailEvent, ...]:
    """The events that `command` brings about; none where it already holds. Raises a `Refused`."""
    if isinstance(command, Request):
        return _request(command, email, given)
    return story_of(command, email, given).events


def story_of(command: LaterCommand, email: Email, given: Circumstances) -> Story:
    """The events as `decide` gives them, for an email that was requested before, and the email as they leave it: to
    decide is to fold already."""
    if email.requested_at is None:
        raise NotRequested("There is no such email.")
    story = Story(email)
    match command:
        case StartAttempt():
            _start(command, story, given)
        case RecordOutcome():
            _record(command, story, given)
        case LoseAttempt(attempt=attempt):
            if email.open_attempt is not None and email.open_attempt.number == attempt:
                story.add(closing(email.open_attempt, Unanswered(kind=FailureKind.LOST), email, given))
                settle(story, given)
        case RecordFeedback(feedback=feedback):
            if feedback.recipient not in _attempt(feedback.attempt, email).recipients:
                raise NoSuchAttempt(f"Attempt {feedback.attempt} carried no recipient {feedback.recipient}.")
            story.add(feedback)
            settle(story, given)
        case Tick():
            settle(story, given)
        case Cancel(by=by):
            _cancel(by, story)
        case Retry():
            _retry(command, story, given)
        case Reschedule():
            _reschedule(command, story)
        case _:
            assert_never(command)
    return story


def _request(command: Request, email: Email, given: Circumstances) -> tuple[EmailEvent, ...]:
    if email.requested_at is not None:
        if email.digest == command.digest:
            return ()
        raise KeyMisused("This id was used before for an email with other content; use a new id.")
    return (
        Requested(
            key=command.key,
            digest=command.digest,
            size=command.size,
            recipients=len(command.recipient_domains),
            recipient_domains=command.recipient_domains,
            sender_domain=command.sender_domain,
            route=command.route,
            priority=command.priority,
            tags=command.tags,
            tenant=command.tenant,
            requested_at=given.now,
            send_at=command.send_at,
            expires_at=(command.send_at or given.now) + command.expires_after,
            on_uncertain=command.on_uncertain,
        ),
    )


def _start(command: StartAttempt, story: Story, given: Circumstances) -> None:
    settle(story, given)
    email, lane = story.email, story.email.lane
    if lane is None or email.due_at is None or given.now < email.due_at:
        return
    found = walk(given.openings, lane, given.on_limit)
    if found.chosen is None:
        return
    chosen = found.chosen
    recipients = email.pending
    deadline = min(given.now + command.begin_within, email.expires_at)
    if email.blocking:
        bound = email.bound
        if bound is None or bound.key_until is None or given.now >= bound.key_until:
            return
        key_until: datetime | None = bound.key_until
        deadline = min(deadline, bound.key_until)
    else:
        key_until = _key_until(command.email_id, chosen.provider, email, given)
    switch = _switched(email, found, given)
    if switch is not None:
        story.add(switch)
    story.add(
        AttemptStarted(
            attempt=len(email.attempts) + 1,
            provider=chosen.provider,
            route=email.route,
            recipients=recipients,
            worker=command.worker,
            token=command.token,
            deadline=deadline,
            epoch=chosen.epoch,
            probe=chosen.probe,
            provider_key=provider_key(command.email_id, chosen.provider, recipients),
            key_until=key_until,
            passed_over=found.passed_over,
        )
    )


def _key_until(email_id: str, provider: str, email: Email, given: Circumstances) -> datetime | None:
    """A key lives from its first use; one that has died is honoured no longer, nor does it come back."""
    opening = next(opening for opening in given.openings if opening.provider == provider)
    if opening.key_ttl is None:
        return None
    key = provider_key(email_id, provider, email.pending)
    first = next((attempt.key_until for attempt in email.attempts if attempt.key == key), None)
    if first is None:
        return given.now + opening.key_ttl
    return first if given.now < first else None


def _switched(email: Email, found: Walk, given: Circumstances) -> ProviderSwitched | None:
    """From the provider before, or from the route's first where this is the first attempt."""
    if found.chosen is None or not given.openings:
        return None
    last = email.attempts[-1] if email.attempts else None
    before = last.provider if last is not None else given.openings[0].provider
    if before == found.chosen.provider:
        return None
    reason = FAULTS.get(last.kind) if last is not None and last.kind is not None else None
    if reason is None:
        excuse = next((one.reason for one in found.passed_over if one.provider == before), "")
        reason = EXCUSES.get(Blocked(excuse)) if excuse else None
    return ProviderSwitched(
        from_provider=before,
        to_provider=found.chosen.provider,
        reason=reason or SwitchReason.ATTEMPT_FAILED,
    )


def _attempt(number: int, email: Email) -> Attempt:
    if not 1 <= number <= len(email.attempts):
        raise NoSuchAttempt(f"The email has no attempt {number}.")
    return email.attempts[number - 1]


def _record(command: RecordOutcome, story: Story, given: Circumstances) -> None:
    """A late answer is news to a doubt; a late `uncertain` only where nothing but the worker's loss is known.

    A late acceptance is always news, to an attempt that was thought to have failed as well.
    """
    email, attempt = story.email, _attempt(command.attempt, story.email)
    outcome = within(command.outcome, attempt)
    if attempt.state is AttemptState.OPEN:
        story.add(closing(attempt, outcome, email, given))
        settle(story, given)
    elif _is_news(attempt, outcome):
        story.add(late(command, attempt, outcome, given))
        settle(story, given)


def _is_news(attempt: Attempt, outcome: Outcome) -> bool:
    match attempt.state, outcome:
        case AttemptState.FAILED, Accepted():
            return True
        case AttemptState.UNCERTAIN, Unanswered():
            return attempt.kind is FailureKind.LOST and heard_out(outcome.kind, outcome.code)
        case AttemptState.UNCERTAIN, _:
            return True
        case _:
            return False


def _cancel(by: str, story: Story) -> None:
    if story.email.end is End.CANCELLED:
        return
    if story.email.end is not None:
        raise AlreadyEnded(f"The email is {story.email.end} already.")
    if story.email.open_attempt is not None:
        raise AttemptIsOpen("An attempt is under way; try again once its outcome is known.")
    story.add(Cancelled(by=by))


def _retry(command: Retry, story: Story, given: Circumstances) -> None:
    email = story.email
    doubted = email.in_doubt | email.blocking
    if email.end is None and (email.open_attempt is not None or (not email.held and not email.blocking)):
        return
    if email.end in (End.SENT, End.CANCELLED):
        raise NothingToRetry(f"The email was {email.end}.")
    if email.end is not None and (email.fail_reason is FailReason.REJECTED or not email.pending):
        raise NothingToRetry("Every recipient was accepted or refused for good; nobody is left to retry for.")
    if doubted and not command.accept_duplicate_risk:
        raise MayHaveBeenSent(
            "An earlier attempt may have been accepted; confirm with accept_duplicate_risk that a recipient "
            "may get it twice."
        )
    if email.end is not None:
        story.add(Redriven(by=command.by, due_at=given.now, expires_at=given.now + email.lifetime))
    elif email.held:
        story.add(Released(by=command.by, due_at=given.now))
    if doubted:
        story.add(risk_accepted(story.email, by=command.by, why="accept_duplicate_risk", given=given))


def _reschedule(command: Reschedule, story: Story) -> None:
    email = story.email
    if email.end is not None:
        raise AlreadyEnded(f"The email is {email.end} already.")
    if email.attempts:
        raise AlreadyAttempted("An attempt was made already; only an email never tried can be rescheduled.")
    if email.send_at == command.send_at:
        return
    story.add(
        Rescheduled(by=command.by, send_at=command.send_at, expires_at=command.send_at + email.lifetime)
    )
