"""The rows of plain emails, straight from their stored events: sent, to all at once, and never a doubt about it.

Nearly all emails end like that, perhaps after some failures, and folding each of them takes five times as long.
Whatever is the least bit different is left to the projection; `tests/adapters/test_sql_plain.py` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import repeat
from typing import Any

import msgspec

from adapters.codec import decode_meta, schema_of
from adapters.sql.dialect import Kind
from adapters.sql.views import recipients_text
from application.projections.emails import Status
from application.stored import Row
from domain.email.state import Recipient

EVENT = "stream, version, type, at, meta, data, position"
"""The columns that are read of an event."""

STREAM, VERSION, TYPE, AT, META, DATA, POSITION = range(7)
FEEDBACK = frozenset(
    ("Delivered", "DeliveryDelayed", "Opened", "Clicked", "Unsubscribed", "Complained", "Bounced")
)
"""What may follow without changing anything: it proves an acceptance that is known."""

READ = ("Requested", "ProviderSwitched", "AttemptStarted", "AttemptFailed", "Sent", *FEEDBACK)
SENT = Status.SENT.value  # an enumeration takes its time to say it
READABLE = '{"schema":1,'
"""How the meta of an event begins whose data is as it was when this was written."""


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


class _Failed(msgspec.Struct, frozen=True, gc=False):
    attempt: int
    kind: str
    code: str
    refused: list[Any]


class _Sent(msgspec.Struct, frozen=True, gc=False):
    attempt: int | None
    accepted: list[int]
    refused: list[Any]


class _Feedback(msgspec.Struct, frozen=True, gc=False):
    attempt: int
    recipient: int


_started = msgspec.json.Decoder(_Started).decode
_failed = msgspec.json.Decoder(_Failed).decode
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
        # Of a class that has changed since, older data would have to be brought up to date first.
        self._current = all(schema_of(name) == 1 for name in READ)

    def rows(self, email_id: str, events: Sequence[Row]) -> tuple[Row, list[Row]] | None:
        """The row in `emails` and those in `attempts`; None: it is not plain. `events`: its rows of EVENT."""
        count = len(events)
        if count < 3 or not self._current or events[0][TYPE] != "Requested" or events[-1][VERSION] != count:
            return None
        if not all(map(str.startswith, [event[META] for event in events], repeat(READABLE))):
            return None
        following = iter(events)
        requested = self._requested(next(following)[DATA])
        attempts = _attempts(email_id, following, requested.recipients)
        if not attempts or not _only_proves(following, len(attempts), requested.recipients):
            return None
        return self._email(email_id, requested, attempts, events), attempts

    def _email(self, email_id: str, requested: Any, attempts: Sequence[Row], events: Sequence[Row]) -> Row:
        time, last = self._time, events[-1]
        return (
            email_id,
            requested.key,
            requested.tenant,
            requested.route,
            SENT,
            attempts[-1][2],
            requested.priority,
            None,
            None,
            None,
            time(requested.requested_at),
            last[AT],
            None if requested.send_at is None else time(requested.send_at),
            time(requested.expires_at),
            None,
            all_accepted(requested.recipients),
            len(attempts),
            None,
            None,
            _correlation_id(events),
            len(events),
            last[POSITION],
        )


def _attempts(email_id: str, following: Iterator[Row], recipients: int) -> list[Row]:
    """The rows of attempts that failed, up to one that was accepted for everybody; none: it went otherwise."""
    rows: list[Row] = []
    for event in following:
        if event[TYPE] == "ProviderSwitched":
            continue
        end = next(following, None)
        if event[TYPE] != "AttemptStarted" or end is None:
            return []
        started = _started(event[DATA])
        if started.attempt != len(rows) + 1:
            return []
        kind = code = None
        if end[TYPE] == "AttemptFailed":
            failed = _failed(end[DATA])
            if failed.attempt != started.attempt or failed.refused:
                return []
            outcome, kind, code = "failed", failed.kind, failed.code or None
        elif end[TYPE] == "Sent":
            sent = _sent(end[DATA])
            if sent.attempt != started.attempt or sent.refused or sent.accepted != everyone(recipients):
                return []
            outcome = "sent"
        else:
            return []
        carried = bytes(started.recipients).decode()
        rows.append(
            (
                email_id,
                started.attempt,
                started.provider,
                outcome,
                kind,
                code,
                started.worker,
                started.token,
                carried,
                event[AT],
                end[AT],
            )
        )
        if outcome == "sent":
            return rows
    return []


def _only_proves(following: Iterator[Row], attempts: int, recipients: int) -> bool:
    for event in following:
        if event[TYPE] not in FEEDBACK:
            return False
        told = _feedback(event[DATA])
        if told.attempt != attempts or not 0 <= told.recipient < recipients:
            return False  # of an earlier one it would be news
    return True


def _correlation_id(events: Sequence[Row]) -> str:
    """The first there is."""
    for event in events:
        found = decode_meta(event[META])[0]
        if found:
            return found
    return ""


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
