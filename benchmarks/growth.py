"""What emails leave in a database, and what they cost there as it grows: room, write-ahead log, dead rows, time.

    python -m benchmarks.growth URL [--emails 20000] [--parts 1]

Takes emails through their lives in transactions as the service makes them: accepted 25 at a time, each round records
the outcomes of the round before and claims anew; one first attempt in ten fails and is repeated. The database may have
a log already (`python -m benchmarks.month URL`): then this is what it costs behind that log. It is for benchmarks only.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
from sqlalchemy import make_url

from adapters.clock import SystemIds
from adapters.sql import open_store
from adapters.sql.migrate import migrate
from application.ports import Locked, Plan, Share, Waiting
from application.projections.emails import email_id_of
from application.recorded import Event, NewEvent, Recorded, StoredContent, StreamAppend, Unit, email_stream
from domain.content import Address, Content
from domain.email.events import AttemptFailed, AttemptStarted, Requested, Sent
from domain.failures import FailureKind
from domain.routing import Lane, OnUncertain, Priority

ROUTE = "growth"
GROUP = 25
"""Emails accepted in one transaction: what gathers under load."""

ROUND = 50
RETRY_AFTER = timedelta(milliseconds=200)
DAY = timedelta(days=1)


class Traffic:
    """Emails on their way through one store."""

    def __init__(self, url: str) -> None:
        self._store = open_store(url)
        self._lease = self._store.acquire_lease("growth")
        self._ids = SystemIds()
        self._open: list[tuple[Recorded, AttemptStarted]] = []
        self.events = 0
        self.ended = 0
        self.accept_s = 0.0
        self.round_s = 0.0

    def part(self, emails: int) -> str:
        """Accept so many, and go on until all of them have ended; how long that took."""
        self.events, self.ended, self.accept_s, self.round_s = 0, 0, 0.0, 0.0
        cpu = time.process_time()
        for number in range(0, emails, GROUP):
            before = time.perf_counter()
            self._store.append([self._accepted(number + index) for index in range(GROUP)])
            self.accept_s += time.perf_counter() - before
            self.events += GROUP
            if number % ROUND:
                self._round()
        while self.ended < emails:
            self._round()
        cpu = time.process_time() - cpu
        return (
            f"{emails} emails, {self.events / emails:.2f} events each; µs an email: accepting"
            f" {self.accept_s / emails * 1e6:.0f}, claiming and recording {self.round_s / emails * 1e6:.0f};"
            f" processor time of ours {cpu / emails * 1e6:.0f}"
        )

    def close(self) -> None:
        """Give back the lease, and let go of the database."""
        self._store.release_lease(self._lease)
        self._store.close()

    def _round(self) -> None:
        ended, self._open = self._open, []
        plan = Plan(
            lease=self._lease,
            emails=tuple(email_id_of(one.stream) for one, _ in ended),
            choose=_choose,
            overdue_max=256,
        )

        def decide(locked: Locked) -> list[Unit]:
            outcomes = [self._unit(locked, one.stream, self._outcome(locked, one, of)) for one, of in ended]
            starts = [
                self._unit(locked, email_stream(one), self._start(locked, one)) for one in locked.claimed
            ]
            return outcomes + starts

        before = time.perf_counter()
        done = self._store.transact(plan, decide)
        self.round_s += time.perf_counter() - before
        self.events += len(done.recorded)
        self.ended += sum(1 for one in done.recorded if isinstance(one.event, Sent))
        self._open = [(one, one.event) for one in done.recorded if isinstance(one.event, AttemptStarted)]

    def _accepted(self, number: int) -> Unit:
        email_id, now = str(uuid4()), datetime.now(UTC)
        event = Requested(
            key=f"order-{email_id[:8]}",
            digest=email_id.replace("-", "") * 2,
            size=1100,
            recipients=1,
            recipient_domains=("example.com",),
            sender_domain="shop.example",
            route=ROUTE,
            priority=Priority.NORMAL,
            tags=(),
            tenant="",
            requested_at=now,
            send_at=None,
            expires_at=now + DAY,
            on_uncertain=OnUncertain.RETRY,
        )
        content = Content(
            sender=Address(address="shop@shop.example", name="Shop"),
            to=(Address(address=f"someone{number}@example.com"),),
            subject="Your order",
            text="All work and no play. " * 45,
        )
        stored = StoredContent(email_id=email_id, key=event.key, salt=os.urandom(16), content=content)
        new = self._new(event, now, email_id)
        append = StreamAppend(stream=email_stream(email_id), expected_version=0, events=(new,))
        return Unit(at=now, appends=(append,), content=stored)

    def _unit(self, locked: Locked, stream: str, event: Event) -> Unit:
        view = locked.emails[email_id_of(stream)]
        new = self._new(event, locked.now, view.correlation_id)
        append = StreamAppend(stream=stream, expected_version=view.version, events=(new,))
        return Unit(at=locked.now, appends=(append,))

    def _new(self, event: Event, now: datetime, correlation_id: str) -> NewEvent:
        cause = self._ids.new_id(now)  # as long as the id of the event before
        return NewEvent(
            event_id=self._ids.new_id(now), event=event, correlation_id=correlation_id, causation_id=cause
        )

    def _start(self, locked: Locked, email_id: str) -> AttemptStarted:
        return AttemptStarted(
            attempt=len(locked.emails[email_id].email.attempts) + 1,
            provider="primary",
            route=ROUTE,
            recipients=(0,),
            worker=self._lease.worker,
            token=self._lease.token,
            deadline=locked.now + DAY,
            epoch=0,
            probe=None,
            provider_key=email_id.replace("-", ""),
            key_until=None,
            passed_over=(),
        )

    def _outcome(self, locked: Locked, started: Recorded, attempt: AttemptStarted) -> Sent | AttemptFailed:
        if attempt.attempt == 1 and int(started.event_id[-4:], 16) % 10 == 0:
            return AttemptFailed(
                attempt=1,
                provider="primary",
                kind=FailureKind.TRANSIENT,
                code="421 4.3.2",
                detail="service not available",
                refused=(),
                deferred=(),
                retry_at=locked.now + RETRY_AFTER,
                spent=False,
                not_before=None,
                reset_at=None,
                epoch=0,
                probe=None,
            )
        return Sent(
            attempt=attempt.attempt,
            provider="primary",
            message_id=f"<{attempt.provider_key}@mx.example>",
            accepted=(0,),
            refused=(),
            epoch=0,
            probe=None,
        )


def _choose(waiting: Sequence[Waiting], gates: object, now: datetime) -> list[Share]:
    return [
        Share(lane=one.lane, priority=one.priority, count=ROUND)
        for one in waiting
        if Lane.parse(one.lane).route == ROUTE
    ]


@dataclass(frozen=True, slots=True)
class Seen:
    """A database at one moment: octets by table and index, and the counters named."""

    octets: dict[str, int]
    counters: dict[str, int]


PG_OCTETS = """
    SELECT c.relname, CASE c.relkind WHEN 'r' THEN pg_table_size(c.oid) ELSE pg_relation_size(c.oid) END
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'i')
"""
PG_COUNTERS = """
    SELECT relname || ' ' || name, value FROM pg_stat_user_tables, LATERAL (VALUES
        ('inserted', n_tup_ins), ('updated', n_tup_upd), ('of that in place', n_tup_hot_upd),
        ('deleted', n_tup_del), ('vacuums', autovacuum_count + vacuum_count)
    ) AS t(name, value)
    UNION ALL SELECT 'blocks read from outside the buffers', sum(heap_blks_read + idx_blks_read)
    FROM pg_statio_user_tables
    UNION ALL SELECT 'WAL octets', (pg_current_wal_insert_lsn() - '0/0')::bigint
    UNION ALL SELECT 'WAL page images', wal_fpi FROM pg_stat_wal
    UNION ALL SELECT 'transactions', xact_commit FROM pg_stat_database WHERE datname = current_database()
"""
PG_LEFT = """
    SELECT relname, n_live_tup, n_dead_tup, n_mod_since_analyze FROM pg_stat_user_tables
    WHERE n_dead_tup > 0 ORDER BY relname
"""


def seen(url: str) -> Seen:
    """The database at `url` as it is now."""
    if url.startswith("sqlite"):
        path = make_url(url).database or ""
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            octets = dict(connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"))
        wal = Path(f"{path}-wal")
        return Seen(octets, {"WAL file octets": wal.stat().st_size if wal.exists() else 0})
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
        return Seen(
            dict(connection.execute(PG_OCTETS).fetchall()),
            {name: int(value) for name, value in connection.execute(PG_COUNTERS).fetchall()},
        )


def lines(before: Seen, after: Seen, emails: int) -> Iterator[str]:
    """What `emails` emails left, in octets for each, and what was counted."""
    grown = {name: octets - before.octets.get(name, 0) for name, octets in after.octets.items()}
    for name, octets in sorted(grown.items(), key=lambda one: -one[1]):
        if octets > emails:
            yield f"  {name:28} {octets / emails:8.0f} octets an email ({after.octets[name] / 1e6:.1f} MB in all)"
    yield f"  {'together':28} {sum(grown.values()) / emails:8.0f}"
    for name, value in after.counters.items():
        if (more := value - before.counters.get(name, 0)) > 0:
            yield f"  {name}: {more} ({more / emails:.2f} an email)"


def main() -> None:
    """Run, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("url")
    parser.add_argument("--emails", type=int, default=20_000)
    parser.add_argument("--parts", type=int, default=1, help="tell the times after each of so many parts")
    options = parser.parse_args()
    migrate(options.url)
    before = seen(options.url)
    traffic = Traffic(options.url)
    for _ in range(options.parts):
        print(traffic.part(options.emails // options.parts))
    traffic.close()
    print("\n".join(lines(before, seen(options.url), options.emails)))


if __name__ == "__main__":
    main()
