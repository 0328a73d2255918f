"""Events, units and contents for the suite: short to write, whole enough to be recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from application.ports import Clock
from application.recorded import (
    Committed,
    Conflict,
    Event,
    NewEvent,
    StoredContent,
    StreamAppend,
    Unit,
    email_stream,
)
from domain.content import Address, Attachment, Content
from domain.email.events import AttemptFailed, AttemptStarted, Requested, Rescheduled, Sent
from domain.failures import FailureKind
from domain.routing import Lane, OnUncertain, Priority

T0 = datetime(2026, 11, 24, 8, 0, 0, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
LANE = str(Lane("", "default"))

_ids = count(1)


class ManualClock(Clock):
    """A clock that stands still until it is told otherwise."""

    def __init__(self, now: datetime = T0) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return (self.time - T0).total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def an_id() -> str:
    """An id like those the service gives, never the same twice in a run."""
    number = next(_ids)
    return f"019ab000-{number >> 16 & 0xFFFF:04x}-7{number & 0xFFF:03x}-8000-{number:012x}"


def requested(**changes: Any) -> Requested:
    """An email to two recipients, due at once."""
    event = Requested(
        key="k",
        digest="d" * 64,
        size=512,
        recipients=2,
        recipient_domains=("example.com", "example.org"),
        sender_domain="shop.example",
        route="default",
        priority=Priority.NORMAL,
        tags=(),
        tenant="",
        requested_at=T0,
        send_at=None,
        expires_at=T0 + DAY,
        on_uncertain=OnUncertain.RETRY,
    )
    return replace(event, **changes)


def started(attempt: int = 1, provider: str = "ses", **changes: Any) -> AttemptStarted:
    """An attempt for both recipients by worker `w`, token 1."""
    event = AttemptStarted(
        attempt=attempt,
        provider=provider,
        route="default",
        recipients=(0, 1),
        worker="w",
        token=1,
        deadline=T0 + MINUTE,
        epoch=0,
        probe=None,
        provider_key="f" * 32,
        key_until=None,
        passed_over=(),
    )
    return replace(event, **changes)


def failed(attempt: int = 1, provider: str = "ses", **changes: Any) -> AttemptFailed:
    """A failure that may be tried again a minute after `T0`."""
    event = AttemptFailed(
        attempt=attempt,
        provider=provider,
        kind=FailureKind.TRANSIENT,
        code="421",
        detail="",
        refused=(),
        deferred=(),
        retry_at=T0 + MINUTE,
        spent=False,
        not_before=None,
        reset_at=None,
        epoch=0,
        probe=None,
    )
    return replace(event, **changes)


def sent(attempt: int = 1, provider: str = "ses") -> Sent:
    """Accepted for both recipients."""
    return Sent(
        attempt=attempt,
        provider=provider,
        message_id="m1",
        accepted=(0, 1),
        refused=(),
        epoch=0,
        probe=None,
    )


def rescheduled(minutes: int = 1) -> Rescheduled:
    """To be sent so many minutes after `T0`."""
    return Rescheduled(by="me", send_at=T0 + minutes * MINUTE, expires_at=T0 + DAY)


def new(event: Event) -> NewEvent:
    """The event with an id of its own."""
    return NewEvent(event_id=an_id(), event=event)


def append(stream: str, expected_version: int, *events: Event) -> StreamAppend:
    """Events for one stream."""
    return StreamAppend(stream=stream, expected_version=expected_version, events=tuple(map(new, events)))


def unit(*appends: StreamAppend, at: datetime = T0, content: StoredContent | None = None) -> Unit:
    """Appends that go together."""
    return Unit(at=at, appends=appends, content=content)


def request(email_id: str, *, with_content: bool = False, at: datetime = T0, **changes: Any) -> Unit:
    """The unit that accepts an email."""
    asked = append(email_stream(email_id), 0, requested(**changes))
    return unit(asked, at=at, content=content_of(email_id) if with_content else None)


def content_of(email_id: str, *attachments: bytes) -> StoredContent:
    """What such an email says, in more than ASCII."""
    content = Content(
        sender=Address(address="shop@shop.example", name="Łódź & Söhne"),
        to=(Address(address="a@example.com"), Address(address="b@example.org", name="B")),
        reply_to=(Address(address="reply@shop.example"),),
        subject="Ihre Bestellung ✓",
        text="Größe: 42 €\r\n\x00😀",
        headers=(("X-Shop", "1"),),
        attachments=tuple(
            Attachment(filename=f"{n}.bin", content_type="application/octet-stream", data=data)
            for n, data in enumerate(attachments)
        ),
    )
    return StoredContent(
        email_id=email_id, key=f"Schlüssel {email_id}", salt=bytes(range(16)), content=content
    )


def committed(answer: Committed | Conflict) -> Committed:
    """The answer, which has to be good news."""
    assert isinstance(answer, Committed), answer
    return answer
