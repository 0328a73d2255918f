"""The email view: each email's fold with the times of its envelope; the rows of `emails` and `attempts`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, unique
from functools import reduce

from application.recorded import EMAIL_PREFIX, Recorded
from domain.circuit import CircuitEvent
from domain.email.events import AttemptStarted
from domain.email.evolve import evolve
from domain.email.state import UNREQUESTED, Attempt, AttemptState, Email, End
from domain.frozen import quick
from domain.replace import replace


@unique
class Status(StrEnum):
    """What a client is told. `scheduled` becomes `queued` by time alone, so readers compare it with `due_at`."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    RETRYING = "retrying"
    UNCERTAIN = "uncertain"
    HELD = "held"
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class EmailView:
    """One email at one version. `times`: when each attempt started and, if it did, finished."""

    email_id: str
    email: Email
    version: int = 0
    position: int = 0
    updated_at: datetime | None = None
    correlation_id: str = ""
    last_event_id: str = ""
    times: tuple[tuple[datetime, datetime | None], ...] = ()

    def status_at(self, now: datetime) -> Status:
        """Where the email stands at `now`: one that was scheduled is queued once its time has come."""
        status = self.status
        due_at = self.email.due_at
        if status is Status.SCHEDULED and due_at is not None and due_at <= now:
            return Status.QUEUED
        return status

    @property
    def status(self) -> Status:
        """What the events say, whatever the time."""
        email = self.email
        if email.end is not None:
            return Status(email.end.value)
        if email.held:
            return Status.HELD
        if email.open_attempt is not None:
            return Status.SENDING
        if email.blocking:
            return Status.UNCERTAIN
        if email.attempts:
            return Status.RETRYING
        return Status.SCHEDULED if email.send_at is not None else Status.QUEUED

    @property
    def provider(self) -> str | None:
        """The last provider attempted."""
        return self.email.attempts[-1].provider if self.email.attempts else None


def view_of(email_id: str) -> EmailView:
    """The view of an email that nothing is recorded of."""
    return EmailView(email_id=email_id, email=UNREQUESTED)


def project(view: EmailView, recorded: Recorded) -> EmailView:
    """The view after one more event of its stream."""
    event = recorded.event
    if isinstance(event, CircuitEvent):
        raise TypeError(f"{type(event).__name__} does not belong to an email")
    return having(view, recorded, evolve(view.email, event))


def having(view: EmailView, recorded: Recorded, after: Email) -> EmailView:
    """The view after one more event, of which it is known already what it makes of the email."""
    event = recorded.event
    times = view.times
    if isinstance(event, AttemptStarted):
        times = (*times, (recorded.at, None))
    elif view.email.open_attempt is not None and after.open_attempt is None:
        times = (*times[:-1], (times[-1][0], recorded.at))
    return replace(
        view,
        email=after,
        version=recorded.version,
        position=recorded.position,
        updated_at=recorded.at,
        correlation_id=view.correlation_id or recorded.correlation_id,
        last_event_id=recorded.event_id,
        times=times,
    )


def folded(history: Iterable[Recorded]) -> EmailView:
    """The view of an email with this history: its whole stream, in order, and not empty."""
    events = iter(history)
    first = next(events)
    return reduce(project, events, project(view_of(email_id_of(first.stream)), first))


def email_id_of(stream: str) -> str:
    """The email a stream belongs to."""
    return stream.removeprefix(EMAIL_PREFIX)


OUTCOMES = {
    AttemptState.OPEN: "open",
    AttemptState.FAILED: "failed",
    AttemptState.PARTLY_SENT: "partly_sent",
    AttemptState.SENT: "sent",
    AttemptState.UNCERTAIN: "uncertain",
}


def outcome_of(attempt: Attempt) -> str:
    """What readers are told of an attempt. One that evidence explained later reads as the evidence says."""
    if attempt.state is AttemptState.KNOWN:
        return "sent" if attempt.kind is None else "failed"
    return OUTCOMES[attempt.state]


def is_over(view: EmailView) -> bool:
    """Whether the email has reached an end."""
    return view.email.end in (End.SENT, End.FAILED, End.CANCELLED)
