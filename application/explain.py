"""The story of one email in plain words, from its own events alone: as it stands, or as it stood at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from application.projections import emails
from application.projections.emails import EmailView, Status, email_id_of, view_of
from application.recorded import Recorded
from application.sentences import LEFT, POLICIES, attempts, clock, feedback, length, sentence
from domain.email.events import Cancelled, Failed, Feedback, LateResultObserved, Requested, Sent
from domain.email.state import AttemptState, Email, End, Recipient
from domain.failures import Refusal


class NotYetRequested(Exception):
    """The story begins later than the time asked for, at `requested_at`."""

    def __init__(self, requested_at: datetime) -> None:
        super().__init__(f"it was accepted at {requested_at.isoformat()}, and not before")
        self.requested_at = requested_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One sentence of the story; `event` is the stored fact behind it."""

    at: datetime
    event: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of one recipient, by its index in the envelope: pending, accepted or refused, and how."""

    index: int
    outcome: Recipient
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What happened, and what happens next; `at`: as it stood then, none: as it stands.

    `id` is the client's, as far as it is known. `took`: from acceptance to the end; none: it has not ended.
    `erased`: what it said and to whom is gone by now, which no event says, so that it can't be sent again.
    """

    id: str
    email_id: str
    at: datetime | None
    status: Status
    lines: tuple[Line, ...]
    recipients: tuple[Fate, ...]
    took: timedelta | None
    next: str
    erased: bool = False


def explain(
    history: Sequence[Recorded], now: datetime, waits: str = "", id: str | None = None
) -> Explanation:
    """Tell the story of an email, now; `history` is its stream, in order and not empty.

    `waits`: what keeps it from its next attempt, if all stays as it is, once it is due; empty: nothing does. Events
    don't say it. `id`: the client's, where it is known better than from the events.
    """
    return _told(history, now, waits, id, None)


def explain_at(history: Sequence[Recorded], at: datetime, id: str | None = None) -> Explanation:
    """The story as it stood then, and what was to come; `history` is the whole of it. Raises NotYetRequested.

    What kept the providers then is in no email's events, so it is left out.
    """
    then = list(takewhile(lambda recorded: recorded.at <= at, history))
    if not then:
        raise NotYetRequested(history[0].at)
    return _told(then, at, "", id, at)


def _told(
    history: Sequence[Recorded], now: datetime, waits: str, id: str | None, at: datetime | None
) -> Explanation:
    view = view_of(email_id_of(history[0].stream))
    lines: list[Line] = []
    fates: list[str] = []
    for recorded in history:
        before, view = view, emails.project(view, recorded)
        lines.append(
            Line(at=recorded.at, event=type(recorded.event).__name__, text=sentence(recorded, before))
        )
        fates = _fates(fates, recorded, before.email, view.email)
    email = view.email
    return Explanation(
        id=email.key if id is None else id,
        email_id=view.email_id,
        at=at,
        status=view.status_at(now),
        lines=tuple(lines),
        recipients=tuple(
            Fate(index=index, outcome=outcome, text=fates[index] or _pending(email, index))
            for index, outcome in enumerate(email.recipients)
        ),
        took=_took(history, email),
        next=_next(view, now, waits, waits or ("a worker" if at is None else "its next attempt")),
    )


def _took(history: Sequence[Recorded], email: Email) -> timedelta | None:
    if email.end is None:
        return None
    ends = [one.at for one in history if isinstance(one.event, Sent | Failed | Cancelled)]
    return ends[-1] - history[0].at


def _fates(fates: Sequence[str], recorded: Recorded, before: Email, after: Email) -> list[str]:
    """How each recipient came to what it is; empty while it is pending."""
    event = recorded.event
    if isinstance(event, Requested):
        return [""] * event.recipients
    told = list(fates)
    for index, (old, new) in enumerate(zip(before.recipients, after.recipients, strict=True)):
        if old is not new:
            told[index] = _settled(recorded, after, index, new)
    if isinstance(event, Feedback):
        told[event.recipient] += (
            f"; {feedback(event)}" if feedback(event) not in told[event.recipient] else ""
        )
    return told


def _settled(recorded: Recorded, email: Email, index: int, outcome: Recipient) -> str:
    event = recorded.event
    number = getattr(event, "attempt", None)
    if number is None:
        return f"{outcome.value} by every provider"
    by = f"{outcome.value} by {email.attempts[number - 1].provider} in attempt {number}"
    if isinstance(event, LateResultObserved):
        by += ", as its late answer says"
    elif isinstance(event, Feedback):
        by += ", as its feedback says"
    refusals: Sequence[Refusal] = getattr(event, "refused", ())
    codes = [one.code or one.kind.value for one in refusals if one.index == index]
    return by + (f" ({codes[0]})" if codes and outcome is Recipient.REFUSED else "")


def _pending(email: Email, index: int) -> str:
    """What there is to say of a recipient who is neither accepted nor refused."""
    doubtful = [one for one in email.attempts if one.state is AttemptState.UNCERTAIN and index in one.maybe]
    if doubtful:
        tries = {
            one.provider: [each.number for each in doubtful if each.provider == one.provider]
            for one in doubtful
        }
        told = " or ".join(f"by {provider} in {attempts(numbers)}" for provider, numbers in tries.items())
        return f"may have been accepted {told}"
    if email.end is End.CANCELLED:
        return "not reached: the email was called off"
    if email.fail_reason is not None:
        return LEFT[email.fail_reason]
    if email.open_attempt is not None and index in email.open_attempt.recipients:
        return f"under way at {email.open_attempt.provider}"
    return "not reached yet"


def _next(view: EmailView, now: datetime, blocked: str, waits: str) -> str:
    """`blocked`: what will keep it from its attempt; `waits`: what it waits for once it is due."""
    email = view.email
    until = f"until it expires at {clock(email.expires_at)}"
    if email.end is not None:
        return "nothing: this is its end"
    if email.held:
        return f"it waits for an operator (stagepost retry), {until}"
    if email.open_attempt is not None:
        return f"the answer of {email.open_attempt.provider} to attempt {email.open_attempt.number}"
    if email.lane is not None and email.due_at is not None:
        where = f" at {email.lane.bound} with the same key" if email.lane.bound else ""
        if view.status_at(now) is Status.SCHEDULED:
            return (
                f"its time, {clock(email.due_at)}, in {length(email.due_at - now)}; then it goes on {until}"
            )
        if email.due_at > now:
            then = f"as things stand it then waits for {blocked}; " if blocked else ""
            return f"a try{where} in {length(email.due_at - now)}; {then}it goes on {until}"
        return f"it is due{where}, and waits for {waits}, {until}"
    deadline = email.deadline_at or email.expires_at
    if not email.blocking:
        return f"a decision, at {clock(deadline)}"
    then = "it expires" if deadline >= email.expires_at else POLICIES[email.on_uncertain]
    return f"evidence about {attempts(sorted(email.blocking))}, until {clock(deadline)}; then {then}"
