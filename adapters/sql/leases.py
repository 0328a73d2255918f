"""Leases: rows of their own, not a view, since they say who is alive now."""

from __future__ import annotations

from datetime import datetime, timedelta

from adapters.sql.dialect import Sql, time_of
from adapters.sql.engine import Session
from application.ports import Lease, LeaseLost, Plan

ACQUIRE = Sql("INSERT INTO leases (worker, seen_at) VALUES (:worker, :now) RETURNING token")
RENEW = Sql("UPDATE leases SET seen_at = :now WHERE worker = :worker AND token = :token")
SHARE = Sql("SELECT 1 FROM leases WHERE worker = :worker AND token = :token FOR SHARE")
TAKE = Sql("SELECT seen_at FROM leases WHERE worker = :worker AND token = :token FOR UPDATE")
# Behind TAKE, not within it: only a new statement sees what whoever held the row before has written.
RELEASE = Sql("""
    DELETE FROM leases WHERE worker = :worker AND token = :token
    AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.worker = :worker AND a.token = :token AND a.outcome = 'open')
""")
STALE = Sql("SELECT worker, token FROM leases WHERE seen_at <= :limit ORDER BY token")
ALL = Sql("SELECT worker, token FROM leases ORDER BY token")


def acquire(session: Session, worker: str, now: datetime) -> Lease:
    """A new lease, with a token no lease ever had."""
    return Lease(worker=worker, token=session.value(ACQUIRE, worker=worker, now=now))


def renew(session: Session, lease: Lease, now: datetime) -> bool:
    """Whether the lease was still there to be marked as seen."""
    return session.run(RENEW, worker=lease.worker, token=lease.token, now=now) == 1


def release(session: Session, lease: Lease) -> None:
    """Delete the lease unless it has open attempts."""
    session.rows(TAKE, worker=lease.worker, token=lease.token)
    session.run(RELEASE, worker=lease.worker, token=lease.token)


def stale(session: Session, unseen_for: timedelta, now: datetime) -> list[Lease]:
    """Leases not seen for so long, the oldest first; with zero all of them, whatever the clock says."""
    rows = session.rows(STALE, limit=now - unseen_for) if unseen_for else session.rows(ALL)
    return [Lease(worker=worker, token=token) for worker, token in rows]


def hold(session: Session, plan: Plan, now: datetime | None) -> bool:
    """Hold the leases that the plan names; whether its own is alive. Raises LeaseLost for the other.

    `now`: needed where the plan says `unseen_for`. That one may have been renewed since it was seen to be stale: only
    behind the lock it can be told.

    The lower token first, as every other worker: two that take each other's over don't wait in a circle.
    """
    alive = plan.lease is None
    named = {lease for lease in (plan.lease, plan.takes_over) if lease is not None}
    for lease in sorted(named, key=lambda one: one.token):
        statement = TAKE if lease == plan.takes_over else SHARE
        rows = session.rows(statement, worker=lease.worker, token=lease.token)
        found = bool(rows)
        if lease == plan.takes_over:
            if not found:
                raise LeaseLost(f"the lease {lease.token} of {lease.worker} is gone")
            if plan.unseen_for and now is not None and time_of(rows[0][0]) > now - plan.unseen_for:
                raise LeaseLost(f"the lease {lease.token} of {lease.worker} has been renewed")
        if lease == plan.lease:
            alive = found
    return alive
