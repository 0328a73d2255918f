"""What a look at the queue costs: the same however many emails wait where nobody can serve them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from adapters.sql.claims import CLAIM, DUE, NEXT, OVERDUE
from adapters.sql.dialect import Sql, stamp
from adapters.sql.engine import Database
from adapters.sql.views import EMAILS, email_row
from application.projections.emails import project, view_of
from application.recorded import Recorded, email_stream
from domain.routing import Lane
from tests.adapters.sql_urls import migrated_url
from tests.contract.event_store.given import DAY, MINUTE, T0, an_id, requested

FEW, MANY = 300, 12_000
BLOCKED, OPEN = "blocked", "default"

LOOKS: dict[str, tuple[Sql, dict[str, Any]]] = {
    "due": (DUE, {"now": T0 + MINUTE}),
    "next": (NEXT, {"now": T0 + MINUTE}),
    "claim": (CLAIM, {"lane": str(Lane("", OPEN)), "priority": 1, "now": T0 + MINUTE, "count": 20}),
    "overdue": (OVERDUE, {"now": T0 + MINUTE, "count": 20}),
}


def fill(url: str, waiting: int) -> None:
    """So many emails in a lane that is blocked, and fifty in another."""
    database = Database(url)

    def put(count: int, route: str) -> None:
        rows = []
        for _ in range(count):
            email_id = an_id()
            event = requested(route=route, expires_at=T0 + DAY)
            recorded = Recorded(
                position=1, event_id="", stream=email_stream(email_id), version=1, at=T0, event=event
            )
            view = project(view_of(email_id), recorded)
            rows.append(email_row(view, stamp if database.kind == "sqlite" else lambda at: at))
        database.write(lambda session: session.insert(EMAILS, rows))

    put(waiting, BLOCKED)
    put(50, OPEN)
    with database.connected() as connection:
        connection.exec_driver_sql("ANALYZE" if database.kind == "sqlite" else "VACUUM ANALYZE emails")
    database.close()


def steps_of_sqlite(url: str, statement: Sql, values: dict[str, Any]) -> int:
    """Instructions of its virtual machine."""
    count = 0

    def one() -> int:
        nonlocal count
        count += 1
        return 0

    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.set_progress_handler(one, 1)
    plain = {name: stamp(value) if hasattr(value, "tzinfo") else value for name, value in values.items()}
    connection.execute(statement.text["sqlite"], plain).fetchall()
    connection.close()
    return count


def pages_of_postgresql(url: str, statement: Sql, values: dict[str, Any]) -> int:
    """Pages looked at."""
    with psycopg.connect(url) as connection:
        explain: Any = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement.text["postgresql"]
        row = connection.execute(explain, values).fetchone()
        assert row is not None
        plan = row[0] if isinstance(row[0], list) else json.loads(row[0])
        hit: int = plan[0]["Plan"]["Shared Hit Blocks"]
        read: int = plan[0]["Plan"]["Shared Read Blocks"]
        return hit + read


COSTS: dict[str, Callable[[str, Sql, dict[str, Any]], int]] = {
    "sqlite": steps_of_sqlite,
    "postgresql": pages_of_postgresql,
}


@pytest.mark.parametrize("kind", COSTS)
def test_emails_that_can_not_be_served_cost_nothing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    """Forty times as many waiting: a level of an index more, at most."""
    if kind == "sqlite":
        from adapters.sql.migrate import migrate

        urls = [f"sqlite:///{tmp_path_factory.mktemp('queue')}/q.db" for _ in range(2)]
        for url in urls:
            migrate(url)
    else:
        urls = [migrated_url(kind, request) for _ in range(2)]
    fill(urls[0], FEW)
    fill(urls[1], MANY)
    cost = COSTS[kind]
    costs = {name: (cost(urls[0], *look), cost(urls[1], *look)) for name, look in LOOKS.items()}

    for few, many in costs.values():
        assert many <= 1.5 * few + 40, costs
