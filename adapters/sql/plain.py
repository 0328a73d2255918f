"""The rows of plain emails, straight from their stored events: requested, one attempt, accepted by all at once.

Nine emails in ten end like that, and folding each of them takes ten times as long. Whatever is the least bit
different is left to the projection; `tests/adapters/test_sql_plain.py` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from adapters.codec import decode_meta, schema_of
from adapters.sql.dialect import Kind
from adapters.sql.views import recipients_text
from application.projections.emails import Status
from application.stored import Row
from domain.email.state import Recipient

EVENT = "version, type, at, meta, data, position, event_id"
"""The columns that are read of an event, behind its stream."""

VERSION, TYPE, AT, META, DATA, POSITION = range(6)
PLAIN = ["Requested", "AttemptStarted", "Sent"]
FEEDBACK = frozenset(
    ("Delivered", "DeliveryDelayed", "Opened", "Clicked", "Unsubscribed", "Complained", "Bounced")
)
"""What may follow without changing anything: it proves an acceptance that is known."""

META_BEGINS = '{{"schema":{},'


class _Requested(msgspec.Struct, frozen=True, gc=False):
    key: str
    recipients: int
    route: str
    priority: int
    tenant: str
    requested_at: datetime
    send_at: datetime | None
    expires_at: datetime


class _RequestedText(msgspec.Struct, frozen=True, gc=False):
    """Times as texts, which SQLite has them as, too."""

    key: str
    recipients: int
    route: str
    priority: int
    tenant: str
    requested_at: str
    send_at: str | None
    expires_at: str


class _Started(msgspec.Struct, frozen=True, gc=False):
    attempt: int
    provider: str
    recipients: msgspec.Raw
    worker: str
    token: int


class _Sent(msgspec.Struct, frozen=True, gc=False):
    attempt: int | None
    provider: str | None
    accepted: list[int]
    refused: list[Any]


class _Feedback(msgspec.Struct, frozen=True, gc=False):
    attempt: int
    recipient: int


_started = msgspec.json.Decoder(_Started).decode
_sent = msgspec.json.Decoder(_Sent).decode
_feedback = msgspec.json.Decoder(_Feedback).decode


class Plain:
    """Makes the rows for one kind of database."""

    def __init__(self, kind: Kind) -> None:
        texts = kind == "sqlite"
        self._requested: Callable[[str], Any] = msgspec.json.Decoder(
            _RequestedText if texts else _Requested
        ).decode
        self._time: Callable[[Any], Any] = text_time if texts else utc
        self._begins = {name: META_BEGINS.format(schema_of(name)) for name in (*PLAIN, *FEEDBACK)}
        # A schema that is not the class's own would have to be brought up to date first.
        self._current = all(schema_of(name) == 1 for name in (*PLAIN, *FEEDBACK))

    def rows(self, email_id: str, events: Sequence[Row]) -> tuple[Row, Row] | None:
        """The rows in `emails` and `attempts`; None: it is not plain. `events`: rows of EVENT, all of the stream."""
        if len(events) < len(PLAIN) or not self._current:
            return None
        first, second, third, *later = events
        if [first[TYPE], second[TYPE], third[TYPE]] != PLAIN or not self._readable(events):
            return None
        requested, started, sent = self._requested(first[DATA]), _started(second[DATA]), _sent(third[DATA])
        count = requested.recipients
        if sent.attempt != 1 or started.attempt != 1 or sent.accepted != everyone(count) or sent.refused:
            return None
        if later and not _only_proves(later, count):
            return None
        last = events[-1]
        time = self._time
        requested_at = time(requested.requested_at)
        email = (
            email_id,
            requested.key,
            requested.tenant,
            requested.route,
            Status.SENT.value,
            started.provider,
            requested.priority,
            None,
            None,
            None,
            requested_at,
            last[AT],
            None if requested.send_at is None else time(requested.send_at),
            time(requested.expires_at),
            None,
            all_accepted(count),
            1,
            None,
            None,
            _correlation_id(events),
            last[VERSION],
            last[POSITION],
        )
        attempt = (
            email_id,
            1,
            started.provider,
            "sent",
            None,
            None,
            started.worker,
            started.token,
            bytes(started.recipients).decode(),
            second[AT],
            third[AT],
        )
        return email, attempt

    def _readable(self, events: Sequence[Row]) -> bool:
        for number, event in enumerate(events, 1):
            begins = self._begins.get(event[TYPE])
            if begins is None or event[VERSION] != number or not event[META].startswith(begins):
                return False
        return True


def _only_proves(later: Sequence[Row], recipients: int) -> bool:
    for event in later:
        if event[TYPE] not in FEEDBACK:
            return False
        told = _feedback(event[DATA])
        if told.attempt != 1 or not 0 <= told.recipient < recipients:
            return False
    return True


def _correlation_id(events: Sequence[Row]) -> str:
    """The first there is."""
    return next((found for event in events if (found := decode_meta(event[META])[0])), "")


@lru_cache(maxsize=64)
def everyone(count: int) -> list[int]:
    """The indexes of so many recipients."""
    return list(range(count))


@lru_cache(maxsize=64)
def all_accepted(count: int) -> str:
    """The column `recipients` of an email that everyone was accepted for."""
    return recipients_text((Recipient.ACCEPTED,) * count)


def text_time(text: str) -> str:
    """A time in an event, as SQLite's rows have it: with all six digits. Raises ValueError for one that isn't UTC."""
    if len(text) == 27 and text[-1] == "Z":
        return text
    if len(text) == 20 and text[-1] == "Z":
        return f"{text[:-1]}.000000Z"
    raise ValueError("no time as events have it")


def utc(at: datetime) -> datetime:
    """The time, in UTC."""
    return at.astimezone(UTC)
