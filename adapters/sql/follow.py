"""Following the log by position, although positions are drawn before they are committed (PostgreSQL).

A reader stops at the first gap: a transaction may still fill it. Every writer gets its transaction id before it
draws a position, so whoever may fill a gap below a position that is seen has a lower id than one that is drawn
after seeing it. Once a later snapshot's `xmin` has reached that id, all of those have ended: what the gap lacks
in that snapshot never comes. Waiting for what the snapshot knows to be running (`xmax`) would miss a writer that
began after it, and a bare `position > checkpoint` would miss them all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from threading import Lock
from typing import Any

from adapters.sql import log
from adapters.sql.dialect import Sql
from adapters.sql.engine import Database, Rows, Session
from adapters.sql.log import COLUMNS, recorded_of
from application.recorded import Recorded

PAGE = Sql(f"SELECT {COLUMNS} FROM events WHERE position > :after ORDER BY position LIMIT :limit")
POSITIONS = Sql("SELECT position FROM events WHERE position > :after AND position <= :last ORDER BY position")
XMIN = Sql("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS int8)")
OWN_ID = Sql("SELECT CAST(CAST(pg_current_xact_id() AS text) AS int8)")

LOOKS = 3
"""Looks at a gap in one call: mostly its writer is about to commit."""

LOOK_AGAIN_S = 0.002

END_LOOKS = 50
"""Looks until the writers of the moment have ended: whoever begins to follow does it once."""

GAPS_MAX = 10_000
"""How far from the end a gap is looked for, where some writer takes longer than that."""


class Follower:
    """Reads the log of one database for all who follow it."""

    def __init__(self, database: Database, page: Sql = PAGE) -> None:
        """`page` reads the next rows behind `:after`; their position stands first."""
        self._database = database
        self._statement = page
        self._lock = Lock()
        self._settled = 0  # no position up to here appears any more
        self._asked: tuple[int, int] | None = (
            None  # a transaction id, and the position seen before it was drawn
        )

    def read(self, after: int, limit: int) -> list[Recorded]:
        """The next events behind `after`, none behind a gap that may still be filled."""
        return [recorded_of(row) for row in self.rows(after, limit)]

    def rows(self, after: int, limit: int) -> Rows:
        """Their rows, as the statement gives them."""
        if self._database.kind == "sqlite":
            return self._database.read(lambda session: self._page(session, after, limit))
        for look in range(LOOKS):
            settled = self._settled  # before the snapshot: what others learn later may be missing from it
            rows, xmin = self._database.read(lambda session: self._seen(session, after, limit))
            known = list(_up_to_a_gap(after, rows, max(settled, self._learn(xmin))))
            if len(known) == len(rows) or (known and look > 0):
                break
            self._ask()
            if look > 0:
                time.sleep(LOOK_AGAIN_S)
        return known

    def end(self) -> int:
        """The last position that nothing can come in front of any more."""
        last: int = self._database.read(lambda session: session.value(log.LAST))
        if self._database.kind == "sqlite":
            return last
        for look in range(END_LOOKS):
            if self._settled >= last:
                return last
            self._ask()
            if look > 0:
                time.sleep(LOOK_AGAIN_S)
            self._learn(self._database.read(lambda session: session.value(XMIN)))
        after = max(self._settled, last - GAPS_MAX)
        rows = self._database.read(lambda session: session.rows(POSITIONS, after=after, last=last))
        known: list[int] = [after, *(row[0] for row in _up_to_a_gap(after, rows, after))]
        return known[-1]

    def _page(self, session: Session, after: int, limit: int) -> Rows:
        return session.rows(self._statement, after=after, limit=limit)

    def _seen(self, session: Session, after: int, limit: int) -> tuple[Rows, int]:
        """A page, and the `xmin` of the snapshot that it was read in."""
        xmin: int = session.value(XMIN)
        return self._page(session, after, limit), xmin

    def _learn(self, xmin: int) -> int:
        """Up to where a snapshot with this `xmin` has all there will ever be, as far as it tells."""
        with self._lock:
            if self._asked is None or self._asked[0] > xmin:
                return 0
            position = self._asked[1]
            self._settled = max(self._settled, position)
            self._asked = None
            return position

    def _ask(self) -> None:
        """Draw an id behind everyone who may fill a gap below the last position there is now."""
        with self._lock:
            if self._asked is None:
                last: int = self._database.read(lambda session: session.value(log.LAST))
                self._asked = (self._database.write(lambda session: session.value(OWN_ID)), last)


def _up_to_a_gap(after: int, rows: Rows, settled: int) -> Iterator[tuple[Any, ...]]:
    """The rows behind `after` up to the first gap that may still be filled: one beyond `settled`."""
    for (before, *_), row in pairwise([(after,), *rows]):
        if before + 1 < row[0] and row[0] - 1 > settled:
            return
        yield row
