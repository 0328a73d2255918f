"""Reading `emails`, `attempts` and `gates` for those who ask how things stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from adapters.gate_codec import decode_gate
from adapters.sql import gates
from adapters.sql.dialect import Sql, maybe_time_of, time_of
from adapters.sql.engine import Database, Rows, Session
from application.identity import DIGEST_PREFIX
from application.projections.emails import Status
from application.projections.gates import Gate
from application.queries import AttemptRow, PageKey, StatusRow

# Where the log has only a digest of the client's id, the content store has the id, until it is erased.
SELECT = f"""
    SELECT e.email_id,
        CASE WHEN substr(e.client_id, 1, {len(DIGEST_PREFIX)}) = '{DIGEST_PREFIX}'
            THEN coalesce(c.key, e.client_id) ELSE e.client_id END AS id,
        e.status, e.provider, e.recipients, e.requested_at, e.updated_at, e.route, e.lane, e.due_at,
        e.deadline_at, c.email_id IS NULL AS erased
    FROM emails e LEFT JOIN contents c ON c.email_id = e.email_id
"""
FIND = Sql(SELECT + "WHERE e.email_id = ANY(:email_ids)")
ATTEMPTS = Sql("""
    SELECT email_id, attempt, provider, outcome, kind, code, started_at, finished_at
    FROM attempts WHERE email_id = ANY(:email_ids) ORDER BY email_id, attempt
""")

STORED_AS: Mapping[Status, tuple[str, ...]] = {
    # By time alone a scheduled email becomes queued, and nobody writes that down.
    Status.QUEUED: ("e.status = 'queued'", "e.status = 'scheduled' AND e.due_at <= :now"),
    Status.SCHEDULED: ("e.status = 'scheduled' AND e.due_at > :now",),
}

_recipients_of = msgspec.json.Decoder(tuple[str, ...]).decode


class SqlStatuses:
    """A `StatusReader` (see there for what its methods promise)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, email_ids: Sequence[str], now: datetime) -> list[StatusRow]:
        rows = self._database.read(
            lambda session: _with_attempts(session, session.rows(FIND, email_ids=list(email_ids)), now)
        )
        found = {row.email_id: row for row in rows}
        return [found[one] for one in dict.fromkeys(email_ids) if one in found]

    def page(
        self,
        *,
        now: datetime,
        limit: int,
        status: Status | None = None,
        provider: str | None = None,
        before: PageKey | None = None,
    ) -> list[StatusRow]:
        statement = _page(status, provider is not None, before is not None)
        values: dict[str, Any] = {"limit": limit}
        if status in STORED_AS:
            values["now"] = now
        elif status is not None:
            values["status"] = status.value
        if provider is not None:
            values["provider"] = provider
        if before is not None:
            values |= {"at": before.requested_at, "id": before.email_id}
        return self._database.read(
            lambda session: _with_attempts(session, session.rows(statement, **values), now)
        )

    def gates(self) -> Mapping[str, Gate]:
        rows = self._database.read(lambda session: session.rows(gates.READ))
        return {name: decode_gate(state) for name, state in rows}


@lru_cache(maxsize=64)
def _page(status: Status | None, provider: bool, before: bool) -> Sql:
    """A page of what a filter finds. Each way a status is stored is a walk along an index of its own."""
    ways: tuple[str, ...] = ("1 = 1",)
    if status is not None:
        ways = STORED_AS.get(status, ("e.status = :status",))
    also = (" AND e.provider = :provider" if provider else "") + (
        " AND (e.requested_at, e.email_id) < (:at, :id)" if before else ""
    )
    order = " ORDER BY {0}requested_at DESC, {0}email_id DESC LIMIT :limit"
    walks = [f"SELECT * FROM ({SELECT} WHERE {way}{also}{order.format('e.')}) AS walk" for way in ways]
    return Sql(" UNION ALL ".join(walks) + order.format(""))


def _with_attempts(session: Session, rows: Rows, now: datetime) -> list[StatusRow]:
    attempts: dict[str, list[AttemptRow]] = {row[0]: [] for row in rows}
    if attempts:
        for email_id, attempt in _attempts(session, list(attempts)):
            attempts[email_id].append(attempt)
    return [_status_row(row, tuple(attempts[row[0]]), now) for row in rows]


def _attempts(session: Session, email_ids: list[str]) -> Iterator[tuple[str, AttemptRow]]:
    for row in session.rows(ATTEMPTS, email_ids=email_ids):
        email_id, attempt, provider, outcome, kind, code, started_at, finished_at = row
        yield (
            email_id,
            AttemptRow(
                attempt=attempt,
                provider=provider,
                outcome=outcome,
                kind=kind,
                code=code,
                started_at=time_of(started_at),
                finished_at=maybe_time_of(finished_at),
            ),
        )


def _status_row(row: tuple[Any, ...], attempts: tuple[AttemptRow, ...], now: datetime) -> StatusRow:
    email_id, id, stored, provider, recipients, *times = row
    requested_at, updated_at, route, lane, due_at, deadline_at, erased = times
    status, due_at = Status(stored), maybe_time_of(due_at)
    if status is Status.SCHEDULED and due_at is not None and due_at <= now:
        status = Status.QUEUED
    return StatusRow(
        id=id,
        email_id=email_id,
        status=status,
        provider=provider,
        attempts=attempts,
        recipients=_recipients_of(recipients),
        requested_at=time_of(requested_at),
        updated_at=time_of(updated_at),
        route=route,
        lane=lane,
        next_at=due_at if lane is not None else maybe_time_of(deadline_at),
        erased=bool(erased),
    )
