"""Which events somebody wants to see: by type, by provider, by the status that their email has after them.

Most events say it themselves. For some only the email's history tells: a failed attempt leaves it `retrying`, or
`uncertain` where an earlier one is in doubt; a bounce names the attempt, not its provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from application.projections import emails
from application.projections.emails import EmailView, Status, email_id_of, view_of
from application.recorded import CIRCUIT_PREFIX, Event, Recorded
from domain.circuit import CircuitEvent
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    Cancelled,
    DuplicateRiskAccepted,
    EmailEvent,
    Failed,
    Feedback,
    Held,
    LateResultObserved,
    OutcomeUncertain,
    PartlySent,
    ProviderSwitched,
    Requested,
    Sent,
)

EVENT_TYPES: Mapping[str, type[Event]] = {
    cls.__name__: cls for cls in (*get_args(EmailEvent), *get_args(CircuitEvent))
}
"""Every type of event, by the name that readers are told."""

LEADS_TO: Mapping[type[Event], frozenset[Status]] = {
    AttemptStarted: frozenset({Status.SENDING}),
    AttemptFailed: frozenset({Status.RETRYING, Status.UNCERTAIN}),
    PartlySent: frozenset({Status.RETRYING, Status.UNCERTAIN}),
    OutcomeUncertain: frozenset({Status.UNCERTAIN}),
    Sent: frozenset({Status.SENT}),
    Failed: frozenset({Status.FAILED}),
    Held: frozenset({Status.HELD}),
    Cancelled: frozenset({Status.CANCELLED}),
}
"""What an email's status can be after such an event; the others may leave it at any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What all of an event's type, providers and status must be among; nothing named: whatever it may be."""

    types: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    statuses: frozenset[Status] = frozenset()

    def sees(self, recorded: Recorded) -> bool | None:
        """Whether the event is one of them; None: only the email's history tells."""
        if self.types and type(recorded.event).__name__ not in self.types:
            return False
        if not self.providers and not self.statuses:
            return True
        verdicts = (self._has_provider(recorded), self._has_status(recorded))
        return False if False in verdicts else None if None in verdicts else True

    def sees_after(self, recorded: Recorded, view: EmailView) -> bool:
        """The same, with the email as it stands after the event."""
        named = not self.types or type(recorded.event).__name__ in self.types
        there = not self.providers or bool(self.providers & _providers_after(recorded, view))
        return named and there and (not self.statuses or view.status_at(recorded.at) in self.statuses)

    def _has_provider(self, recorded: Recorded) -> bool | None:
        if not self.providers:
            return True
        providers = _providers(recorded)
        return None if providers is None else bool(self.providers & providers)

    def _has_status(self, recorded: Recorded) -> bool | None:
        if not self.statuses:
            return True
        event = recorded.event
        if isinstance(event, CircuitEvent):
            return False
        if isinstance(event, Requested):
            later = event.send_at is not None and event.send_at > recorded.at
            return (Status.SCHEDULED if later else Status.QUEUED) in self.statuses
        possible = LEADS_TO.get(type(event))
        if possible is None or (possible & self.statuses and not possible <= self.statuses):
            return None
        return possible <= self.statuses


EVERYTHING = Wanted()


def chosen(
    events: Sequence[Recorded], wanted: Wanted, read_stream: Callable[[str], Sequence[Recorded]]
) -> list[Recorded]:
    """Those of the events that are wanted, in their order. `read_stream` gives the history where it is needed."""
    found = [(one, wanted.sees(one)) for one in events]
    versions: dict[str, set[int]] = {}
    for one, seen in found:
        if seen is None:
            versions.setdefault(one.stream, set()).add(one.version)
    views = {
        (stream, version): view
        for stream, these in versions.items()
        for version, view in _views(read_stream(stream), these)
    }
    return [
        one
        for one, seen in found
        if (wanted.sees_after(one, views[one.stream, one.version]) if seen is None else seen)
    ]


def _views(history: Iterable[Recorded], versions: set[int]) -> Iterable[tuple[int, EmailView]]:
    """An email as it stood at these versions."""
    last, view = max(versions), None
    for recorded in history:
        view = emails.project(view or view_of(email_id_of(recorded.stream)), recorded)
        if recorded.version in versions:
            yield recorded.version, view
        if recorded.version == last:
            return


def _providers(recorded: Recorded) -> frozenset[str] | None:
    """The providers an event is about; None: it names attempts only."""
    match recorded.event:
        case (
            AttemptStarted()
            | AttemptFailed()
            | PartlySent()
            | OutcomeUncertain()
            | LateResultObserved() as event
        ):
            return frozenset({event.provider})
        case Sent(provider=provider):
            return frozenset() if provider is None else frozenset({provider})
        case ProviderSwitched() as event:
            return frozenset({event.from_provider, event.to_provider})
        case event if isinstance(event, CircuitEvent):
            return frozenset({recorded.stream.removeprefix(CIRCUIT_PREFIX)})
        case event if isinstance(event, Feedback | DuplicateRiskAccepted):
            return None
        case _:
            return frozenset()


def _providers_after(recorded: Recorded, view: EmailView) -> frozenset[str]:
    known = _providers(recorded)
    if known is not None:
        return known
    event = recorded.event
    if isinstance(event, DuplicateRiskAccepted):
        return frozenset(view.email.attempts[number - 1].provider for number in event.attempts)
    assert isinstance(event, Feedback)
    return frozenset({view.email.attempts[event.attempt - 1].provider})
