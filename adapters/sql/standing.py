"""How the queue stands on either database: looks into the queue's indexes, and one walk along them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from adapters.gate_codec import decode_gate
from adapters.sql import gates
from adapters.sql.claims import FIRST, LANES
from adapters.sql.dialect import Sql, time_of
from adapters.sql.engine import Database, Session
from application.projections.emails import Status
from application.standing import COUNTED_MAX, LATE_AFTER, Depth, Standing
from domain.routing import Priority

Now = Callable[[Session], datetime]

OLDEST = Sql(
    LANES + "SELECT priority, min(due_at) FROM"
    f" (SELECT q.priority, {FIRST.format(behind='')} AS due_at FROM queues q) AS firsts"
    " WHERE due_at <= :now GROUP BY priority"
)
COUNT = f"SELECT count(*) FROM (SELECT 1 FROM emails WHERE {{which}} LIMIT {COUNTED_MAX}) AS counted"
OVERDUE = Sql(COUNT.format(which="deadline_at <= :late"))
STATUS = Sql(COUNT.format(which="status = :status"))

WAITING = (
    "(SELECT count(*) FROM emails e WHERE e.lane = q.lane AND e.priority = q.priority AND e.due_at {} :now)"
)
# Range by range: grouping all of it by priority takes six times as long.
DEPTH = Sql(LANES + f"SELECT q.priority, {WAITING.format('<=')}, {WAITING.format('>')} FROM queues q")


class SqlStandings:
    """A `StandingReader` (see there for what its methods promise). `now` asks the database's clock."""

    def __init__(self, database: Database, now: Now) -> None:
        self._database = database
        self._now = now

    def standing(self) -> Standing:
        return self._database.read(self._standing)

    def _standing(self, session: Session) -> Standing:
        now = self._now(session)
        return Standing(
            now=now,
            oldest={
                Priority(priority): time_of(due_at) for priority, due_at in session.rows(OLDEST, now=now)
            },
            overdue=session.value(OVERDUE, late=now - LATE_AFTER),
            held=session.value(STATUS, status=Status.HELD.value),
            uncertain=session.value(STATUS, status=Status.UNCERTAIN.value),
            gates={name: decode_gate(state) for name, state in session.rows(gates.READ)},
        )

    def depth(self) -> Depth:
        return self._database.read(self._depth)

    def _depth(self, session: Session) -> Depth:
        due, later = dict.fromkeys(Priority, 0), dict.fromkeys(Priority, 0)
        for priority, so_many, so_many_later in session.rows(DEPTH, now=self._now(session)):
            due[Priority(priority)] += so_many
            later[Priority(priority)] += so_many_later
        return Depth(due=due, later=later)
