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
XMIN = Sql("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS int8)")
OWN_ID = Sql("SELECT CAST(CAST(pg_current_xact_id() AS text) AS int8)")

LOOKS = 3
"""Looks at a gap in one call: mostly its writer is about to commit."""

LOOK_AGAIN_S = 0.002


class Follower:
    """Reads the log of one database for all who follow it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._settled = 0  # no position up to here appears any more
        self._asked: tuple[int, int] | None = (
            None  # a transaction id, and the position seen before it was drawn
        )

    def read(self, after: int, limit: int) -> list[Recorded]:
        """The next events behind `after`, none behind a gap that may still be filled."""
        if self._database.kind == "sqlite":
            return self._decoded(self._database.read(lambda session: self._page(session, after, limit)))
        for look in range(LOOKS):
            rows, xmin = self._database.read(lambda session: self._seen(session, after, limit))
            self._learn(xmin)
            known = list(self._up_to_a_gap(after, rows))
            if len(known) == len(rows) or (known and look > 0):
                break
            self._ask()
            if look > 0:
                time.sleep(LOOK_AGAIN_S)
        return self._decoded(known)

    def _page(self, session: Session, after: int, limit: int) -> Rows:
        return session.rows(PAGE, after=after, limit=limit)

    def _seen(self, session: Session, after: int, limit: int) -> tuple[Rows, int]:
        """A page, and the `xmin` of the snapshot that it was read in."""
        xmin: int = session.value(XMIN)
        return self._page(session, after, limit), xmin

    def _up_to_a_gap(self, after: int, rows: Rows) -> Iterator[tuple[Any, ...]]:
        settled = self._settled
        for (before, *_), row in pairwise([(after,), *rows]):
            if before + 1 < row[0] and row[0] - 1 > settled:
                return
            yield row

    def _learn(self, xmin: int) -> None:
        with self._lock:
            if self._asked is not None and self._asked[0] <= xmin:
                self._settled = max(self._settled, self._asked[1])
                self._asked = None

    def _ask(self) -> None:
        """Draw an id behind everyone who may fill a gap below the last position there is now."""
        with self._lock:
            if self._asked is None:
                last: int = self._database.read(lambda session: session.value(log.LAST))
                self._asked = (self._database.write(lambda session: session.value(OWN_ID)), last)

    def _decoded(self, rows: Rows) -> list[Recorded]:
        return [recorded_of(row) for row in rows]
