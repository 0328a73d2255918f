"""Folding emails span by span of their ids, and comparing them with their rows.

A span is walked in pages, each in a transaction that only reads. The streams lie in the log's second index one
after the other, so nothing is remembered from one page to the next, and spans don't depend on each other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from adapters.codec import decode, decode_meta
from adapters.sql.dialect import time_of
from adapters.sql.engine import Database, Rows, Session, Stamp
from adapters.sql.plain import AT, DATA, EVENT, META, POSITION, TYPE, VERSION, Plain
from adapters.sql.spans import bounds, events_between, rows_between, stream_bounds
from adapters.sql.stored import COLUMNS, EMAIL_VIEWS
from adapters.sql.views import attempt_rows, email_row
from application.projections.emails import EmailView, email_id_of, project, view_of
from application.recorded import Recorded, email_stream
from application.stored import Row

PAGE = 4000
"""Events of one transaction."""

SPAN_EVENTS = 20_000
"""About so many events lie in one span: what a process gives back at a time stays small."""

SPANS_MAX = 4096
COLUMNS_READ = f"stream, {EVENT}"
EVENT_ID, STATUS, OUTCOME = 6, COLUMNS["emails"].index("status"), COLUMNS["attempts"].index("outcome")


@dataclass(frozen=True, slots=True)
class Span:
    """Emails with ids above `low`, up to `high`. None: no such bound."""

    low: str | None = None
    high: str | None = None


@dataclass(frozen=True, slots=True)
class Wrong:
    """An email whose rows are not those that its events up to `version` give. Version 0: there are no events."""

    email_id: str
    version: int
    email: Row | None
    attempts: tuple[Row, ...]


@dataclass(slots=True)
class Folded:
    """What a span holds."""

    events: int = 0
    types: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[Wrong] = field(default_factory=list)


def spans(events: int) -> list[Span]:
    """The whole, cut where ids that are hexadecimal digests make it even."""
    count = 1
    while count * SPAN_EVENTS < events and count < SPANS_MAX:
        count *= 16
    digits = len(f"{count - 1:x}")
    bounds = [None, *(f"{number:0{digits}x}" for number in range(1, count)), None]
    return [Span(low, high) for low, high in pairwise(bounds)]


class Folder:
    """Folds spans of one database, here and now. `compare`: with the rows there are."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stamp: Stamp = Session(None, database.kind).stamp  # type: ignore[arg-type]
        self._plain = Plain(database.kind)

    def fold(self, span: Span, *, compare: bool) -> Folded:
        """Walk the span."""
        folded = Folded()
        low, limit = span.low, PAGE
        while True:
            histories, rows, last = self._database.read(
                lambda session: _page(session, low, span.high, limit, compare=compare)  # noqa: B023
            )
            if not histories and last is not None:
                limit *= 2  # one stream is longer than that
                continue
            self._add(folded, histories, rows, compare=compare)
            if last is None:
                return folded
            low, limit = last, PAGE

    def _add(
        self, folded: Folded, histories: dict[str, Rows], rows: list[dict[str, Rows]], *, compare: bool
    ) -> None:
        types, statuses, outcomes = folded.types, folded.statuses, folded.outcomes
        for email_id, events in histories.items():
            email, attempts = self._rows(email_id, events)
            folded.events += len(events)
            types.update([event[TYPE] for event in events])
            statuses[email[STATUS]] += 1
            outcomes.update([one[OUTCOME] for one in attempts])
            if compare and (rows[0].get(email_id) != [email] or rows[1].get(email_id, []) != attempts):
                folded.wrong.append(Wrong(email_id, events[-1][VERSION], email, tuple(attempts)))
        if compare:
            for email_id in sorted({*rows[0], *rows[1]} - histories.keys()):
                folded.wrong.append(Wrong(email_id, 0, None, ()))

    def _rows(self, email_id: str, events: Rows) -> tuple[Row, list[Row]]:
        plain = self._plain.rows(email_id, events)
        if plain is not None:
            return plain[0], [plain[1]]
        view: EmailView = view_of(email_id)
        for event in events:
            view = project(view, _recorded(email_id, event))
        return email_row(view, self._stamp), attempt_rows(None, view, self._stamp)


def _recorded(email_id: str, event: Row) -> Recorded:
    correlation_id, causation_id, _ = decode_meta(event[META])
    return Recorded(
        position=event[POSITION],
        event_id=event[EVENT_ID],
        stream=email_stream(email_id),
        version=event[VERSION],
        at=time_of(event[AT]),
        event=decode(event[TYPE], event[META], event[DATA]),
        correlation_id=correlation_id,
        causation_id=causation_id,
    )


Page = tuple[dict[str, Rows], list[dict[str, Rows]], str | None]
"""Histories, and rows of both views, by email id; and the last id, where there may be more behind it."""


def _page(session: Session, low: str | None, high: str | None, limit: int, *, compare: bool) -> Page:
    statement = events_between(COLUMNS_READ, low=low is not None, high=high is not None)
    values: dict[str, Any] = stream_bounds(low, high)
    histories = _by_email(session.rows(statement, limit=limit, **values), by_stream=True)
    more = sum(map(len, histories.values())) == limit
    last = high
    if more:
        histories.popitem()  # it may go on
        if not histories:
            return {}, [], low
        last = next(reversed(histories))
    rows = [_rows_between(session, view, low, last) for view in EMAIL_VIEWS] if compare else []
    return histories, rows, last if more else None


def _rows_between(session: Session, view: str, low: str | None, high: str | None) -> dict[str, Rows]:
    values: dict[str, Any] = bounds(low, high)
    statement = rows_between(view, COLUMNS[view], low=low is not None, high=high is not None)
    return _by_email(session.rows(statement, **values))


def _by_email(rows: Rows, *, by_stream: bool = False) -> dict[str, Rows]:
    """Rows by their first column, which histories don't repeat."""
    found: dict[str, Rows] = {}
    before = ""
    of: Rows = []
    for row in map(tuple, rows):
        if row[0] != before or not found:
            before = row[0]
            of = found[email_id_of(before) if by_stream else before] = []
        of.append(row[1:] if by_stream else row)
    return found
