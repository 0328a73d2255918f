"""Erasing content whose email has ended, by walking along the log's ends behind a checkpoint of its own.

Each end is an event, and comes up once, when it is old enough; so no index, no column, and no second look at
millions of emails that have nothing left to erase. Of an email that was reopened, the end that counts comes later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from adapters.codec import TYPES
from adapters.sql import content_store
from adapters.sql.dialect import Sql, time_of
from adapters.sql.engine import Database, Session
from adapters.sql.follow import Follower
from adapters.sql.views import LOCK
from application.projections.emails import email_id_of
from application.recorded import email_stream
from application.retention import OCTETS_MAX, STANDS_ASIDE, SWEEP_MAX, Swept
from domain.email.events import Cancelled, Failed, Redriven, Sent

Now = Callable[[Session], datetime]

NAME = "retention"
"""Of the checkpoint: every end up to its position was looked at."""

SPAN = 2000
"""Positions read at a time: where few of them are ends, a look still costs some milliseconds only."""


def _names(*classes: type) -> str:
    return ", ".join(f"'{stored}'" for stored, cls in TYPES.items() if cls in classes)


PROGRESS = Sql(f"SELECT position, holder, at FROM checkpoints WHERE name = '{NAME}'")
BEGIN = Sql(f"""
    INSERT INTO checkpoints (name, position, at, build, holder) VALUES ('{NAME}', 0, :now, 0, '')
    ON CONFLICT (name) DO NOTHING
""")
ENDS = Sql(f"""
    SELECT position, stream, at FROM events
    WHERE position > :after AND position <= :until AND type IN ({_names(Sent, Failed, Cancelled)})
    ORDER BY position LIMIT :limit
""")
# Whoever comes second finds no row, and nobody waits.
HOLD = Sql(f"""
    SELECT 1 FROM checkpoints WHERE name = '{NAME}' AND position = :position FOR UPDATE SKIP LOCKED
""")
MOVE = Sql(f"UPDATE checkpoints SET position = :to, at = :now, holder = :holder WHERE name = '{NAME}'")
LAST = Sql(f"""
    SELECT stream, max(position) FROM events
    WHERE stream = ANY(:streams) AND type IN ({_names(Sent, Failed, Cancelled, Redriven)}) GROUP BY stream
""")


@dataclass(frozen=True, slots=True)
class _Batch:
    """Emails with the position of an end of theirs that is old enough; with it, everything up to `to` is done."""

    after: int
    to: int
    ends: dict[str, int]
    more: bool


class SqlEndedContents:
    """`EndedContents` (see there for what it promises). `now` asks the database's clock."""

    def __init__(self, database: Database, follower: Follower, now: Now) -> None:
        self._database = database
        self._follower = follower
        self._now = now
        self._settled = 0  # nothing is recorded up to here any more

    def sweep(self, kept_for: timedelta, *, holder: str, limit: int = SWEEP_MAX) -> Swept:
        begun = self._begun(holder)
        if begun is None:
            return Swept(erased=0, more=False)
        until = self._until(begun)
        batch = self._database.read(lambda session: self._next(session, begun, until, kept_for, limit))
        if batch.to == begun:
            return Swept(erased=0, more=False)
        erased = self._database.write(lambda session: self._erase(session, batch, holder))
        if erased is None:
            return Swept(erased=0, more=False)
        return Swept(erased=erased, more=batch.more)

    def _begun(self, holder: str) -> int | None:
        """Where the walk is; None: somebody else is at it."""

        def look(session: Session) -> tuple[int, str, timedelta] | None:
            rows = session.rows(PROGRESS)
            return (rows[0][0], rows[0][1], self._now(session) - time_of(rows[0][2])) if rows else None

        found = self._database.read(look)
        if found is None:
            self._database.write(lambda session: session.run(BEGIN, now=self._now(session)))
            return 0
        position, before, idle = found
        return None if before not in ("", holder) and idle < STANDS_ASIDE else position

    def _until(self, after: int) -> int:
        """How far to look: not past a gap that somebody may still fill with an end."""
        if self._settled < after + SPAN:
            self._settled = self._follower.end()
        return max(after, min(after + SPAN, self._settled))

    def _next(self, session: Session, after: int, until: int, kept_for: timedelta, limit: int) -> _Batch:
        oldest = self._now(session) - kept_for
        rows = session.rows(ENDS, after=after, until=until, limit=limit)
        old = list(takewhile(lambda row: time_of(row[2]) <= oldest, rows))
        taken = old[: self._bearable(session, [email_id_of(row[1]) for row in old])]
        if len(taken) < len(rows):
            # Up to the one that has to wait, so that nothing before it is ever read again.
            to, more = rows[len(taken)][0] - 1, len(taken) < len(old)
        else:
            to, more = (rows[-1][0], True) if len(rows) == limit else (until, until < self._settled)
        return _Batch(after, to, {email_id_of(row[1]): row[0] for row in taken}, more)

    def _bearable(self, session: Session, email_ids: Sequence[str]) -> int:
        """How many of them, in their order, can go in one transaction, whatever is attached to them."""
        attached = content_store.attached(session, email_ids) if email_ids else {}
        total, count = 0, 0
        for email_id in email_ids:
            total += attached.get(email_id, 0)
            if count and total > OCTETS_MAX:
                break
            count += 1
        return count

    def _erase(self, session: Session, batch: _Batch, holder: str) -> int | None:
        """How many; None: somebody else was quicker."""
        if not session.rows(HOLD, position=batch.after):
            return None
        ids = sorted(batch.ends)
        erased = 0
        if ids:
            if session.kind == "postgresql":
                session.rows(LOCK, email_ids=ids)
            # Behind the lock: whoever reopens an email holds its row.
            rows = session.rows(LAST, streams=[email_stream(one) for one in ids])
            over = [one for stream, last in rows if last == batch.ends[one := email_id_of(stream)]]
            erased = content_store.erase(session, over)
        session.run(MOVE, to=batch.to, now=self._now(session), holder=holder)
        return erased
