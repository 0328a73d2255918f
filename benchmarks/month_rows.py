"""Rows as the stores write them, many at a time and without their safety: the database is for one benchmark only.

Secondary indexes and triggers are taken away while the rows go in, and put back as they were.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from adapters.content_codec import encode_content
from adapters.gate_codec import encode_gate
from adapters.ledger import Entry
from adapters.sql import content_store, gates, log, views
from adapters.sql.dialect import Insert, Sql
from adapters.sql.engine import Database, Session, stamping
from adapters.sql.log import BEGINNING, Head
from adapters.sql.plain import Plain
from application.projections.emails import EmailView
from application.projections.gates import Gate
from application.recorded import StoredContent, email_stream
from application.stored import Row

FLUSH_ROWS = 20_000
PATIENCE_S = 600.0
ERASED_TOGETHER = 500

PARTS = {
    "sqlite": Sql("""
        SELECT type, name, sql, NULL FROM sqlite_master
        WHERE (type = 'index' AND sql IS NOT NULL) OR type = 'trigger'
    """),
    "postgresql": Sql("""
        SELECT 'index', indexname, indexdef, NULL FROM pg_indexes
        WHERE schemaname = current_schema()
        AND indexname NOT IN (SELECT conname FROM pg_constraint)
    """),
}
LEASE = Sql("INSERT INTO leases (token, worker, seen_at) VALUES (:token, :worker, :now)")
SEQUENCES = Sql("""
    SELECT setval('events_position_seq', (SELECT max(position) FROM events)),
        setval(pg_get_serial_sequence('leases', 'token'), (SELECT max(token) FROM leases))
""")


class Rows:
    """Collects rows and writes them. Everything is there once the block has ended."""

    def __init__(self, url: str) -> None:
        self._database = Database(url, stall_s=PATIENCE_S)
        self._kind = self._database.kind
        self._stamp = stamping(self._kind)
        self._plain = Plain(self._kind)
        self._heads: dict[str, Head] = {}
        self._streams: dict[str, list[Row]] = {}
        self._blobs: set[str] = set()
        self._waiting: dict[str, tuple[Insert, list[tuple[Any, ...]]]] = {}
        self._count = 0
        self._erased: set[str] = set()

    def __enter__(self) -> Rows:
        with self._database.connected() as connection:
            if self._kind == "sqlite":
                for pragma in ("synchronous = OFF", "cache_size = -400000", "wal_autocheckpoint = 20000"):
                    connection.exec_driver_sql(f"PRAGMA {pragma}")
            else:
                connection.exec_driver_sql("ALTER TABLE events DISABLE TRIGGER ALL")
        self._parts = self._database.read(lambda session: session.rows(PARTS[self._kind]))
        for kind, name, _, _ in self._parts:
            self._run(f"DROP {kind} {name}")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()
            self._erase()
            for _, _, text, _ in self._parts:
                self._run(text)
            if self._kind == "postgresql":
                self._database.write(lambda session: session.rows(SEQUENCES))
                self._run("ALTER TABLE events ENABLE TRIGGER ALL")
                self._run("ALTER TABLE events ENABLE ALWAYS TRIGGER events_append_only")
            self._run("ANALYZE")
        self._database.close()

    def event(self, position: int, entry: Entry) -> None:
        """An event at its place."""
        row = log._row(position, entry, self._heads.get(entry.stream, BEGINNING), self._stamp)
        self._heads[entry.stream] = Head(entry.version, row[-1])
        self.put("events", log.INSERT, row)
        # As `plain` reads them.
        self._streams.setdefault(entry.stream, []).append((*row[2:8], position))

    def plain(self, email_id: str) -> tuple[Row, list[Row]] | None:
        """The rows of an email, where they can be made without a fold."""
        return self._plain.rows(email_id, self._streams[email_stream(email_id)])

    def email(self, email_id: str, view: EmailView | None) -> str:
        """The last state of an email, and of its attempts; its status. `view`: None where it is plain."""
        found = self.plain(email_id)
        if view is not None:
            folded = views.email_row(view, self._stamp), views.attempt_rows(None, view, self._stamp)
            assert found in (None, folded)
            found = folded
        assert found is not None
        self.put("emails", views.EMAILS, found[0])
        for row in found[1]:
            self.put("attempts", views.ATTEMPTS, row)
        del self._streams[email_stream(email_id)], self._heads[email_stream(email_id)]
        return str(found[0][4])

    def content(self, kept: StoredContent) -> None:
        """What an email says."""
        text, blobs = encode_content(kept)
        self.put("contents", content_store.INSERT, (kept.email_id, kept.key, len(blobs), text))
        for digest, data in blobs:
            if digest not in self._blobs:
                self._blobs.add(digest)
                self.put("blobs", content_store.INSERT_BLOBS, (digest, data))
            self.put("content_blobs", content_store.REFER, (kept.email_id, digest))

    def erase(self, email_id: str) -> None:
        """Somebody had the content of this email erased."""
        self._erased.add(email_id)

    def gates(self, folded: Collection[Gate]) -> None:
        """Every gate as it stands at the end."""
        for gate in folded:
            self.put("gates", gates.STORE, gates.row(gate, encode_gate(gate), self._stamp))

    def lease(self, token: int, worker: str, now: datetime) -> None:
        """The lease of the worker that has the open attempts."""
        self._database.write(lambda session: session.run(LEASE, token=token, worker=worker, now=now))

    def put(self, table: str, into: Insert, row: tuple[Any, ...]) -> None:
        """Any row, as the table's columns are ordered."""
        self._waiting.setdefault(table, (into, []))[1].append(row)
        self._count += 1
        if self._count >= FLUSH_ROWS:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting, self._count = self._waiting, {}, 0

        def write(session: Session) -> None:
            for into, rows in waiting.values():
                session.insert(into, sorted(rows))

        self._database.write(write)

    def _erase(self) -> None:
        ids = sorted(self._erased)
        for start in range(0, len(ids), ERASED_TOGETHER):
            batch = ids[start : start + ERASED_TOGETHER]
            self._database.write(lambda session: content_store.erase(session, batch))  # noqa: B023

    def _run(self, text: str) -> None:
        with self._database.connected() as connection:
            connection.exec_driver_sql(text)
