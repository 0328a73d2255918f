"""Folding emails span by span of their ids, and comparing them with their rows.

A span is walked in pages, each in a transaction that only reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from adapters.codec import decode_with_ids
from adapters.sql.dialect import time_of
from adapters.sql.engine import Database, Rows, Session, stamping
from adapters.sql.pages import COLUMNS, Page, add_rows, read_page
from adapters.sql.plain import AT, DATA, EVENT, META, POSITION, TYPE, VERSION, Plain
from adapters.sql.views import attempt_rows, email_row
from application.projections.emails import EmailView, project, view_of
from application.recorded import Recorded, email_stream
from application.stored import Row, Span

PAGE = 4000
"""Events of one transaction."""

SPAN_EVENTS = 20_000
"""About so many events lie in one span: what a process gives back at a time stays small."""

SPANS_MAX = 4096
STATUS, OUTCOME = COLUMNS["emails"].index("status"), COLUMNS["attempts"].index("outcome")


@dataclass(frozen=True, slots=True)
class Wrong:
    """An email whose rows are not those that its events up to `version` give. Version 0: there are no events."""

    email_id: str
    version: int
    email: Row | None
    attempts: tuple[Row, ...]


@dataclass(slots=True)
class Folded:
    """What a span holds. Of what was compared only the events are counted."""

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


def fold(database: Database, span: Span, *, compare: bool) -> Folded:
    """What the span holds. `compare`: with the rows there are."""
    return Folder(database).fold(span, compare=compare)


class Folder:
    """Folds spans of one database, here and now. `compare`: with the rows there are."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stamp = stamping(database.kind)
        self._plain = Plain(database.kind)

    def fold(self, span: Span, *, compare: bool) -> Folded:
        """Walk the span."""
        folded = Folded()
        low = span.low
        while True:
            page = self._database.read(lambda session: _page(session, low, span.high, compare=compare))  # noqa: B023
            self._add(folded, page, compare=compare)
            if page.last is None:
                return folded
            low = page.last

    def _add(self, folded: Folded, page: Page, *, compare: bool) -> None:
        rows = [self._rows(email_id, events) for email_id, events in page.histories.items()]
        folded.events += sum(map(len, page.histories.values()))
        if compare:
            folded.wrong += _wrong(page, rows)
            return
        folded.types.update([event[TYPE] for events in page.histories.values() for event in events])
        folded.statuses.update([email[STATUS] for email, _ in rows])
        folded.outcomes.update([one[OUTCOME] for _, tried in rows for one in tried])

    def _rows(self, email_id: str, events: Rows) -> tuple[Row, list[Row]]:
        plain = self._plain.rows(email_id, events)
        if plain is not None:
            return plain
        view: EmailView = view_of(email_id)
        for event in events:
            view = project(view, _recorded(email_id, event))
        return email_row(view, self._stamp), attempt_rows(None, view, self._stamp)


def _wrong(page: Page, rows: Sequence[tuple[Row, list[Row]]]) -> Iterator[Wrong]:
    """The emails whose rows are not these. What is found in the page is taken out of it."""
    emails, attempts = page.emails, page.attempts
    nothing: Rows = []
    for (email_id, events), (email, tried) in zip(page.histories.items(), rows, strict=True):
        if emails.pop(email_id, nothing) != [email] or attempts.pop(email_id, nothing) != tried:
            attempts.pop(email_id, None)
            yield Wrong(email_id, events[-1][VERSION], email, tuple(tried))
    for email_id in sorted({*emails, *attempts}):
        yield Wrong(email_id, 0, None, ())


def _recorded(email_id: str, event: Row) -> Recorded:
    read, correlation_id, causation_id = decode_with_ids(event[TYPE], event[META], event[DATA])
    return Recorded(
        position=event[POSITION],
        event_id="",  # no row has it
        stream=email_stream(email_id),
        version=event[VERSION],
        at=time_of(event[AT]),
        event=read,
        correlation_id=correlation_id,
        causation_id=causation_id,
    )


def _page(session: Session, low: str | None, high: str | None, *, compare: bool) -> Page:
    page = read_page(session, EVENT, low, high, PAGE)
    if compare:
        add_rows(session, page, low, high)
    return page
