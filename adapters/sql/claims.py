"""What a transaction takes: due emails of chosen lanes, overdue ones, attempts of a lease that ran out.

Lanes are found by jumping along the queue's index from one to the next, so that a lane nobody can serve costs
the same however many emails wait in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice

from adapters.sql.dialect import Sql, maybe_time_of, time_of
from adapters.sql.engine import Session
from application.ports import Plan, Share, Waiting
from application.projections.emails import EmailView
from domain.routing import Priority

LANES = f"""
    WITH RECURSIVE lanes(lane) AS (
        SELECT min(lane) FROM emails WHERE lane IS NOT NULL
        UNION ALL
        SELECT (SELECT min(e.lane) FROM emails e WHERE e.lane > lanes.lane)
        FROM lanes WHERE lanes.lane IS NOT NULL
    ),
    queues(lane, priority) AS (
        SELECT lane, priority
        FROM lanes, ({" UNION ALL ".join(f"SELECT {one:d} AS priority" for one in Priority)}) AS priorities
        WHERE lane IS NOT NULL
    )
"""
FIRST = "(SELECT min(e.due_at) FROM emails e WHERE e.lane = q.lane AND e.priority = q.priority{behind})"
DUE = Sql(
    LANES + "SELECT lane, priority, due_at FROM"
    f" (SELECT lane, priority, {FIRST.format(behind='')} AS due_at FROM queues q) AS firsts"
    " WHERE due_at <= :now ORDER BY priority, due_at, lane"
)
NEXT = Sql(
    LANES + f"SELECT min({FIRST.format(behind=' AND e.due_at > :now')}),"
    " (SELECT min(deadline_at) FROM emails WHERE deadline_at > :now) FROM queues q"
)
CLAIM = Sql("""
    SELECT email_id FROM emails
    WHERE lane = :lane AND priority = :priority AND due_at <= :now
    ORDER BY due_at, email_id LIMIT :count FOR UPDATE SKIP LOCKED
""")
OVERDUE = Sql("""
    SELECT email_id FROM emails WHERE deadline_at <= :now
    ORDER BY deadline_at, email_id LIMIT :count FOR UPDATE SKIP LOCKED
""")
OPEN = Sql("""
    SELECT email_id, attempt FROM attempts
    WHERE worker = :worker AND token = :token AND outcome = 'open' ORDER BY email_id, attempt
""")

Attempts = tuple[tuple[str, int], ...]


def open_attempts(session: Session, plan: Plan) -> Attempts:
    """The attempts that the plan takes over, before their emails are held."""
    lease = plan.takes_over
    if lease is None:
        return ()
    rows = session.rows(OPEN, worker=lease.worker, token=lease.token)
    found = ((row[0], row[1]) for row in rows)
    left = (one for one in found if plan.keep is None or one not in plan.keep)
    return tuple(islice(left, plan.open_max))


def still_open(attempts: Attempts, emails: Mapping[str, EmailView]) -> Attempts:
    """Those of the attempts that are open now that their emails are held."""
    return tuple(
        (email_id, number)
        for email_id, number in attempts
        if (view := emails.get(email_id)) is not None
        and view.email.open_attempt is not None
        and view.email.open_attempt.number == number
    )


def waiting(session: Session, now: datetime) -> list[Waiting]:
    """Lanes with an email that is due, by priority, then by age."""
    return [
        Waiting(lane=lane, priority=Priority(priority), due_at=time_of(due_at))
        for lane, priority, due_at in session.rows(DUE, now=now)
    ]


def claim(session: Session, shares: Sequence[Share], now: datetime) -> tuple[str, ...]:
    """Hold up to its count of due emails for each share, but none that another transaction holds."""
    claimed: dict[tuple[str, Priority], list[str]] = {}
    for share in shares:
        before = claimed.setdefault((share.lane, share.priority), [])
        rows = session.rows(
            CLAIM,
            lane=share.lane,
            priority=int(share.priority),
            now=now,
            count=len(before) + share.count,  # what we hold is found again
        )
        before += [row[0] for row in rows if row[0] not in before]
    return tuple(email_id for found in claimed.values() for email_id in found)


def overdue(session: Session, now: datetime, count: int) -> tuple[str, ...]:
    """Hold up to `count` emails whose deadline has passed."""
    if count <= 0:
        return ()
    return tuple(row[0] for row in session.rows(OVERDUE, now=now, count=count))


def next_at(session: Session, now: datetime) -> datetime | None:
    """When, after `now`, the next email is due or the next deadline passes; None: nothing waits for a time."""
    ((due_at, deadline_at),) = session.rows(NEXT, now=now)
    times = [at for at in (maybe_time_of(due_at), maybe_time_of(deadline_at)) if at is not None]
    return min(times, default=None)
