"""Emails in the order of their ids, page by page: their events, and their rows of both views.

The streams lie in the log's second index one after the other, so nothing has to be remembered from one page to the
next, and spans of ids don't depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapters.sql import tables
from adapters.sql.engine import Rows, Session
from adapters.sql.spans import bounds, events_between, rows_between, stream_bounds
from application.projections.emails import email_id_of

EMAIL_VIEWS = ("emails", "attempts")
COLUMNS = {
    table.name: tuple(column.name for column in table.columns)
    for table in (tables.emails, tables.attempts, tables.gates)
}


@dataclass(slots=True)
class Page:
    """Histories, none cut, and rows of both views, by email id. `last`: there may be more behind this id."""

    histories: dict[str, Rows]
    emails: dict[str, Rows]
    attempts: dict[str, Rows]
    last: str | None


def read_page(session: Session, columns: str, low: str | None, high: str | None, limit: int) -> Page:
    """About `limit` events of emails above `low`, up to `high`, as `columns` name them: the stream first."""
    statement = events_between(columns, low=low is not None, high=high is not None)
    values: dict[str, Any] = stream_bounds(low, high)
    while True:
        events = session.rows(statement, limit=limit, **values)
        histories = {email_id_of(stream): of for stream, of in grouped(events).items()}
        if len(events) < limit:
            return Page(histories, {}, {}, None)
        histories.popitem()  # it may go on
        if histories:
            return Page(histories, {}, {}, next(reversed(histories)))
        limit *= 2


def add_rows(
    session: Session, page: Page, low: str | None, high: str | None, most: int | None = None
) -> None:
    """Read the rows of the page's emails, and those of no email in between; of each view at most so many."""
    high = high if page.last is None else page.last
    page.emails, page.attempts = (
        grouped(between(session, view, COLUMNS[view], low, high, most)) for view in EMAIL_VIEWS
    )


def between(
    session: Session,
    table: str,
    columns: Sequence[str],
    low: str | None,
    high: str | None,
    most: int | None = None,
) -> Rows:
    """The rows of a table above an id, up to another."""
    statement = rows_between(
        table, tuple(columns), low=low is not None, high=high is not None, limited=most is not None
    )
    values: dict[str, Any] = bounds(low, high)
    return session.rows(statement, **values, **({} if most is None else {"limit": most}))


def grouped(rows: Rows) -> dict[str, Rows]:
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
