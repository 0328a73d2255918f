"""What the store costs: appending against the bare driver, and claiming as the queue grows.

    python -m benchmarks.store [--waiting 1000000] [--postgres]

Ratios of one run only; what is compared takes turns, so that a busy machine slows both. `--postgres` starts a
server of its own.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import make_url

from adapters.sql import SqlEventStore, open_store, views
from adapters.sql.dialect import Insert
from adapters.sql.engine import Database, Rows, Session, stamping
from adapters.sql.migrate import migrate
from application.ports import Locked, Plan, Share, Waiting
from application.projections.emails import project, view_of
from application.recorded import NewEvent, Recorded, StoredContent, StreamAppend, Unit, email_stream
from benchmarks.results import Measure, in_parts, ratios, told
from domain.content import Address, Content
from domain.email.events import AttemptStarted, Requested, Sent
from domain.routing import Lane, OnUncertain, Priority
from tests.postgres import own_server

T0 = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
MICROSECOND = timedelta(microseconds=1)
CLAIM = 100
FEW = 10_000
WANTED_BATCH = 100
"""Emails in the batch of which something is wanted."""

Statement = tuple[str, Any]


def event_id(number: int) -> str:
    """Ascending with `number`, as time-ordered ids are."""
    return str(UUID(int=0x019A_B000_0000_7000_8000_0000_0000_0000 + number))


def requested(number: int, route: str = "default") -> Requested:
    """An email to one recipient, due at once."""
    at = T0 + number * MICROSECOND
    return Requested(
        key=f"order-{number}",
        digest="d" * 64,
        size=1100,
        recipients=1,
        recipient_domains=("example.com",),
        sender_domain="shop.example",
        route=route,
        priority=Priority.NORMAL,
        tags=(),
        tenant="",
        requested_at=at,
        send_at=None,
        expires_at=at + YEAR,
        on_uncertain=OnUncertain.RETRY,
    )


def accepted(number: int, route: str = "default", first: int = 0) -> Unit:
    """The unit of an email of 1 KB. `first`: behind the ids of events that the database has already."""
    email_id, event = str(uuid4()), requested(number, route)
    content = Content(
        sender=Address(address="shop@shop.example", name="Shop"),
        to=(Address(address="a@example.com"),),
        subject="Your order",
        text="x" * 1000,
    )
    new = NewEvent(event_id=event_id(first + number), event=event, correlation_id=email_id)
    return Unit(
        at=event.requested_at,
        appends=(StreamAppend(stream=email_stream(email_id), expected_version=0, events=(new,)),),
        content=StoredContent(email_id=email_id, key=event.key, salt=b"s" * 16, content=content),
    )


class Recording(Session):
    """A session that keeps what it writes, for the bare driver to write the same."""

    written: list[Statement]

    def insert(self, into: Insert, rows: Rows) -> None:
        if rows:
            self.written.append((into.text[self.kind], into.values(self.kind, rows)))
        super().insert(into, rows)


def appending(folder: Path, batch: int, rounds: int) -> Iterator[Measure]:
    """Append batches to SQLite: the whole call, its writing part, and the bare driver, in turns."""
    names = ("whole", "part", "bare")
    for name in names:
        migrate(f"sqlite:///{folder}/{name}-{batch}.db")
    store = open_store(f"sqlite:///{folder}/whole-{batch}.db")
    part = Database(f"sqlite:///{folder}/part-{batch}.db")
    bare = sqlite3.connect(folder / f"bare-{batch}.db", isolation_level=None)
    for pragma in ("synchronous = FULL", "cache_size = -32000"):
        bare.execute(f"PRAGMA {pragma}")
    took: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        units = [accepted(number * batch + index) for index in range(batch)]
        written = _written(store, units, took["whole"])
        took["part"].append(_timed(lambda: part.write(lambda session: _write(session, written))))  # noqa: B023
        took["bare"].append(_timed(lambda: _write_bare(bare, written)))  # noqa: B023
    store.close()
    part.close()
    bare.close()
    at_least, aim = (0.8, 1.0) if batch == WANTED_BATCH else (None, None)
    written_part = in_parts(ratios(took["bare"], took["part"]))
    yield Measure(
        name=f"store: writing {batch} emails",
        limit="bare driver",
        values=written_part,
        at_least=at_least,
        aim=aim,
    )
    whole = in_parts(ratios(took["bare"], took["whole"]))
    yield Measure(name=f"store: append of {batch} emails, all of it", limit="bare driver", values=whole)
    per_s = tuple(batch / one for one in in_parts(took["whole"]))
    yield Measure(name=f"store: append of {batch} emails", values=per_s, unit="/s")


def _written(store: SqlEventStore, units: Sequence[Unit], took: list[float]) -> list[Statement]:
    """Append; what was written where."""
    import adapters.sql.engine as engine

    Recording.written = []
    engine.Session, before = Recording, engine.Session  # type: ignore[misc]
    try:
        took.append(_timed(lambda: store.append(units)))
    finally:
        engine.Session = before  # type: ignore[misc]
    return Recording.written


def _write(session: Session, written: Sequence[Statement]) -> None:
    for text, rows in written:
        session._connection.exec_driver_sql(text, rows)


def _write_bare(connection: sqlite3.Connection, written: Sequence[Statement]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for text, rows in written:
        connection.executemany(text, rows)
    connection.execute("COMMIT")


def _timed(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


class Queue:
    """A store with emails to claim, and many more that wait behind them or in a lane that nobody serves.

    On a database that has emails already: `route` is one that none of them has, `first` as in `accepted`.
    """

    def __init__(
        self,
        url: str,
        *,
        claimable: int,
        waiting: int = 0,
        blocked: bool = False,
        route: str = "default",
        first: int = 0,
    ) -> None:
        migrate(url)
        self.store = open_store(url)
        self.lease = self.store.acquire_lease("bench")
        self.started = 0
        self.lane = str(Lane("", route))
        self.first = first
        for start in range(0, claimable, 500):
            units = [accepted(number, route, first) for number in range(start, start + 500)]
            self.store.append(units)
        database = Database(url, stall_s=60)
        for start in range(claimable, waiting, 10_000):
            rows = list(_fillers(database.kind, start, min(start + 10_000, waiting), blocked=blocked))
            database.write(lambda session: session.insert(views.EMAILS, rows))  # noqa: B023
        with database.connected() as connection:
            connection.exec_driver_sql("ANALYZE")
        database.close()

    def claim(self) -> float:
        """Claim a batch, start its attempts, and record them as sent; how long the claim took."""
        plan = Plan(lease=self.lease, choose=self._choose, overdue_max=256)
        now = datetime.now(UTC)
        done: list[Recorded] = []

        def start(locked: Locked) -> list[Unit]:
            assert len(locked.claimed) == CLAIM
            return [self._unit(one, 1, now, self._attempt()) for one in locked.claimed]

        took = _timed(lambda: done.extend(self.store.transact(plan, start).recorded))
        ids = [one.stream.removeprefix("email-") for one in done]
        self.store.transact(
            Plan(lease=self.lease, emails=tuple(ids)),
            lambda locked: [self._unit(one, 2, now, SENT) for one in ids],
        )
        return took

    def _attempt(self) -> AttemptStarted:
        return AttemptStarted(
            attempt=1,
            provider="primary",
            route="default",
            recipients=(0,),
            worker=self.lease.worker,
            token=self.lease.token,
            deadline=T0 + YEAR,
            epoch=0,
            probe=None,
            provider_key="f" * 32,
            key_until=None,
            passed_over=(),
        )

    def _unit(self, email_id: str, version: int, at: datetime, event: AttemptStarted | Sent) -> Unit:
        self.started += 1
        new = NewEvent(event_id=event_id(self.first + 10**9 + self.started), event=event)
        stream = email_stream(email_id)
        return Unit(at=at, appends=(StreamAppend(stream=stream, expected_version=version, events=(new,)),))

    def _choose(self, waiting: Sequence[Waiting], gates: object, now: datetime) -> list[Share]:
        here = [one for one in waiting if one.lane == self.lane]
        return [Share(lane=one.lane, priority=one.priority, count=CLAIM) for one in here]


SENT = Sent(attempt=1, provider="primary", message_id="m", accepted=(0,), refused=(), epoch=0, probe=None)


def _fillers(kind: str, start: int, end: int, *, blocked: bool) -> Iterator[tuple[Any, ...]]:
    """Rows of `emails` that are due behind the others, without the events that nobody is going to ask for."""
    stamp = stamping("sqlite" if kind == "sqlite" else "postgresql")
    for number in range(start, end):
        email_id, event = str(uuid4()), requested(number, "blocked" if blocked else "default")
        recorded = Recorded(
            position=number,
            event_id="",
            stream=email_stream(email_id),
            version=1,
            at=event.requested_at,
            event=event,
        )
        yield views.email_row(project(view_of(email_id), recorded), stamp)


def claiming(urls: Iterator[str], waiting: int, rounds: int) -> Iterator[Measure]:
    """Claim from a short queue, a long one, and one behind a lane that is blocked, in turns."""
    claimable = 1000 + CLAIM * rounds - (CLAIM * rounds) % -500
    queues = {
        "short": Queue(next(urls), claimable=claimable, waiting=FEW, blocked=False),
        "long": Queue(next(urls), claimable=claimable, waiting=waiting, blocked=False),
        "behind a blocked lane": Queue(next(urls), claimable=claimable, waiting=waiting, blocked=True),
    }
    took: dict[str, list[float]] = {name: [] for name in queues}
    for _ in range(rounds):
        for name, queue in queues.items():
            took[name].append(queue.claim())
    for queue in queues.values():
        queue.store.close()
    begun = 2 if rounds > 2 else 0  # the first ones find nothing in memory
    short = took["short"][begun:]
    per_s = tuple(CLAIM / one for one in in_parts(short))
    yield Measure(name=f"claimed of {FEW:,} waiting", values=per_s, unit="/s")
    for name, what in (("long", "claim"), ("behind a blocked lane", "claim behind a blocked lane")):
        yield Measure(
            name=f"{what}, {waiting:,} waiting",
            limit=f"{FEW:,} waiting",
            values=in_parts(ratios(took[name][begun:], short)),
            less=True,
            at_least=1.2,
            aim=1.0,
        )


def _files(folder: Path) -> Iterator[str]:
    for number in range(9):
        yield f"sqlite:///{folder}/queue-{number}.db"


def _databases(server: str) -> Iterator[str]:
    import psycopg

    for number in range(9):
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE queue_{number}")
        yield make_url(server).set(database=f"queue_{number}").render_as_string(hide_password=False)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--appended", type=int, default=20_000, help="emails, in batches of each size")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    measures: list[Measure] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stagepost-bench-")))
        if options.postgres:
            urls = _databases(stack.enter_context(own_server(folder)))
        else:
            for batch in (100, 512):
                measures += appending(folder, batch, max(5, options.appended // batch))
            urls = _files(folder)
        measures += claiming(urls, options.waiting, options.rounds)
    kind = "PostgreSQL" if options.postgres else "SQLite"
    conditions = {"database": kind, "waiting": options.waiting}
    print(told("store", conditions=conditions, measures=measures, as_json=options.json))


if __name__ == "__main__":
    main()
