"""Events as the store takes and gives them: what happened, in its envelope."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from domain.circuit import CircuitEvent
from domain.content import Content
from domain.email.events import EmailEvent
from domain.frozen import quick

Event = EmailEvent | CircuitEvent

EMAIL_PREFIX = "email-"
CIRCUIT_PREFIX = "circuit-"


def email_stream(email_id: str) -> str:
    """The stream of one email."""
    return EMAIL_PREFIX + email_id


def circuit_stream(provider: str) -> str:
    """The stream of one provider's circuit."""
    return CIRCUIT_PREFIX + provider


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to record. `causation_id` is the id of the event that led to it, or empty."""

    event_id: str
    event: Event
    correlation_id: str = ""
    causation_id: str = ""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A recorded event. `position` orders the whole log, `version` (from 1) its stream; `at` is UTC."""

    position: int
    event_id: str
    stream: str
    version: int
    at: datetime
    event: Event
    correlation_id: str = ""
    causation_id: str = ""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAppend:
    """Events for one stream, if its version is still `expected_version` (0: there is no stream yet)."""

    stream: str
    expected_version: int
    events: tuple[NewEvent, ...]


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class StoredContent:
    """What the content store keeps of an email: who it is for, what it says, and the salt of its digests.

    `key` is the client's id as it was given. `marks`: what whoever took the request in has to know, besides the
    content and `Requested`, to put together again what the digest is over; None: that isn't known.
    """

    email_id: str
    key: str
    salt: bytes
    content: Content
    marks: tuple[str, ...] | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Appends to one or more streams that take effect together or not at all, with the content they need."""

    at: datetime
    appends: tuple[StreamAppend, ...]
    content: StoredContent | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A unit that was refused: `stream` was at version `actual`, not where the unit expected it."""

    stream: str
    expected: int
    actual: int


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A unit that is durable, as recorded."""

    recorded: tuple[Recorded, ...]
