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
from adapters.sql.engine import Database, Rows, Session, stamping
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
STATUS, OUTCOME = COLUMNS["emails"].index("status"), COLUMNS["attempts"].index("outcome")


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


@dataclass(slots=True)
class Page:
    """Histories, and rows of both views, by email id. `last`: there may be more behind this id."""

    histories: dict[str, Rows]
    emails: dict[str, Rows]
    attempts: dict[str, Rows]
    last: str | None


class Folder:
    """Folds spans of one database, here and now. `compare`: with the rows there are."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stamp = stamping(database.kind)
        self._plain = Plain(database.kind)

    def fold(self, span: Span, *, compare: bool) -> Folded:
        """Walk the span."""
        folded = Folded()
        low, limit = span.low, PAGE
        while True:
            page = self._database.read(
                lambda session: _page(session, low, span.high, limit, compare=compare)  # noqa: B023
            )
            self._add(folded, page, compare=compare)
            if page.last is None:
                return folded
            limit = PAGE if page.histories else 2 * limit  # or one stream is longer than that
            low = page.last

    def _add(self, folded: Folded, page: Page, *, compare: bool) -> None:
        folded.types.update([event[TYPE] for events in page.histories.values() for event in events])
        statuses: list[str] = []
        emails, attempts = page.emails, page.attempts
        for email_id, events in page.histories.items():
            email, tried = self._rows(email_id, events)
            folded.events += len(events)
            statuses.append(email[STATUS])
            folded.outcomes.update([one[OUTCOME] for one in tried])
            found = emails.pop(email_id, None), attempts.pop(email_id, [])
            if compare and found != ([email], tried):
                folded.wrong.append(Wrong(email_id, events[-1][VERSION], email, tuple(tried)))
        folded.statuses.update(statuses)
        folded.wrong += [Wrong(email_id, 0, None, ()) for email_id in sorted({*emails, *attempts})]

    def _rows(self, email_id: str, events: Rows) -> tuple[Row, list[Row]]:
        plain = self._plain.rows(email_id, events)
        if plain is not None:
            return plain
        view: EmailView = view_of(email_id)
        for event in events:
            view = project(view, _recorded(email_id, event))
        return email_row(view, self._stamp), attempt_rows(None, view, self._stamp)


def _recorded(email_id: str, event: Row) -> Recorded:
    correlation_id, causation_id, _ = decode_meta(event[META])
    return Recorded(
        position=event[POSITION],
        event_id="",  # no row has it
        stream=email_stream(email_id),
        version=event[VERSION],
        at=time_of(event[AT]),
        event=decode(event[TYPE], event[META], event[DATA]),
        correlation_id=correlation_id,
        causation_id=causation_id,
    )


def _page(session: Session, low: str | None, high: str | None, limit: int, *, compare: bool) -> Page:
    statement = events_between(EVENT, low=low is not None, high=high is not None)
    values: dict[str, Any] = stream_bounds(low, high)
    events = session.plain_rows(statement, limit=limit, **values)
    histories = {email_id_of(stream): of for stream, of in _grouped(events).items()}
    more = len(events) == limit
    last = high
    if more:
        histories.popitem()  # it may go on
        last = next(reversed(histories), low or "")
    page = Page(histories, {}, {}, last if more else None)
    if compare and (histories or not more):
        page.emails, page.attempts = (_rows_between(session, view, low, last) for view in EMAIL_VIEWS)
    return page


def _rows_between(session: Session, view: str, low: str | None, high: str | None) -> dict[str, Rows]:
    values: dict[str, Any] = bounds(low, high)
    statement = rows_between(view, COLUMNS[view], low=low is not None, high=high is not None)
    return _grouped(session.plain_rows(statement, **values))


def _grouped(rows: Rows) -> dict[str, Rows]:
    """Rows by their first column, which they are ordered by."""
    found: dict[str, Rows] = {}
    before: str | None = None
    of: Rows = []
    for row in rows:
        if row[0] != before:
            before = row[0]
            of = found[row[0]] = []
        of.append(row)
    return found
