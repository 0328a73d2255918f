"""What a look at the queue costs: the same however many emails wait where nobody can serve them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from adapters.sql import standing
from adapters.sql.claims import CLAIM, DUE, NEXT, OVERDUE
from adapters.sql.dialect import Sql, stamp
from adapters.sql.engine import Database
from adapters.sql.migrate import migrate
from adapters.sql.statuses import _page
from adapters.sql.views import EMAILS, email_row
from application.projections.emails import Status, project, view_of
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
    "oldest": (standing.OLDEST, {"now": T0 + MINUTE}),
    "late": (standing.OVERDUE, {"late": T0 + MINUTE}),
    "held": (standing.STATUS, {"status": "held"}),
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
    if database.kind == "postgresql":  # nobody gathers statistics for SQLite: there it has to do without
        with database.connected() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE emails")
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


Costs = Callable[[Sql, dict[str, Any]], tuple[int, int]]
COSTS: dict[str, Callable[[str, Sql, dict[str, Any]], int]] = {
    "sqlite": steps_of_sqlite,
    "postgresql": pages_of_postgresql,
}


@pytest.fixture(params=COSTS, scope="module")
def costs(request: pytest.FixtureRequest) -> Costs:
    """What a statement costs where few wait, and where many do. Nobody changes anything in them: made once."""
    if request.param == "sqlite":
        folder = request.getfixturevalue("tmp_path_factory").mktemp("queue")
        urls = [f"sqlite:///{folder}/{name}.db" for name in ("few", "many")]
        for url in urls:
            migrate(url)
    else:
        urls = [migrated_url(request.param, request) for _ in range(2)]
    fill(urls[0], FEW)
    fill(urls[1], MANY)
    cost = COSTS[request.param]
    return lambda *look: (cost(urls[0], *look), cost(urls[1], *look))


def test_emails_that_can_not_be_served_cost_nothing(costs: Costs) -> None:
    """Forty times as many waiting: a level of an index more, at most."""
    for name, look in LOOKS.items():
        few, many = costs(*look)

        assert many <= 1.5 * few + 40, name


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("status", [None, Status.QUEUED, Status.SCHEDULED, Status.SENT])
def test_a_page_costs_the_same_however_many_emails_there_are(
    costs: Costs, status: Status | None, before: bool
) -> None:
    """Whether or not there is anything to find, from the first page on."""
    values: dict[str, Any] = {"limit": 20, "now": T0, "status": "sent"}
    if before:
        values |= {"at": T0 + MINUTE, "id": "x"}
    few, many = costs(_page(status, provider=False, before=before), values)

    assert many <= 1.5 * few + 40
