"""What can be seen of a database's own health: its version, its settings, the triggers that guard the log."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from adapters.sql.dialect import Sql, maybe_time_of
from adapters.sql.engine import Database, Session
from adapters.sql.postgres_engine import POOL_SIZE, hosts
from application.doctor import Finding, failed, passed, warned

SQLITE_MIN, SQLITE_MIN_WHY = (3, 35, 0), "RETURNING"
POSTGRESQL_MIN = 150_000
POSTGRESQL_MAJOR = 10_000

WAL_RESET_SINCE, WAL_RESET_FIXED = (3, 7, 0), (3, 51, 3)
WAL_RESET_BACKPORTS = ((3, 44, 6), (3, 50, 7))
"""Releases of older lines that have the repair, as all later ones of their line."""

TOO_SHORT_MS = 10_000
"""A limit of the server's under this cuts off what may take a while, like a count or a page of the log."""

CONNECTIONS = 2 * POOL_SIZE
"""What one more process of ours may open."""

LAST_EVENT = Sql("SELECT at FROM events ORDER BY position DESC LIMIT 1")
CLOCK = Sql("SELECT clock_timestamp()")
REACHED = Sql("SELECT 1 FROM sqlite_master LIMIT 1")
SQLITE_TRIGGERS = Sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'")
JOURNAL_MODE = Sql("PRAGMA journal_mode")
POSTGRESQL_TRIGGERS = Sql("""
    SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = to_regclass('events') AND NOT tgisinternal
""")
SETTINGS = Sql("""
    SELECT name, setting FROM pg_settings WHERE name IN (
        'server_version', 'server_version_num', 'fsync', 'full_page_writes', 'synchronous_commit',
        'statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'max_connections'
    )
""")
STANDBY = Sql("SELECT pg_is_in_recovery()")
CONNECTED = Sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")

GUARDS = {
    "sqlite": ("events_no_delete", "events_no_replace", "events_no_update"),
    "postgresql": ("events_append_only",),
}
ALWAYS, NEVER = "A", "D"
"""How PostgreSQL says that a trigger fires, whoever the session claims to be, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """`apart`: how far the database's clock is ahead of this machine's, known to `within`; `now` is the database's."""

    apart: timedelta
    within: timedelta
    now: datetime
    last_event_at: datetime | None


class DatabaseHealth:
    """Looks at one database. Every call blocks, only reads, and raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reached(self) -> list[Finding]:
        """Whether it answers, and what it is."""
        if self._database.kind == "sqlite":
            self._database.read(lambda session: session.rows(REACHED))
            return [passed("database", f"SQLite file {self._database.url.database}")]
        settings = self._database.read(_settings)
        named = " or ".join(hosts(self._database.url)) or "a local socket"
        where = f"{named}, database {self._database.url.database}"
        return [passed("database", f"PostgreSQL {settings['server_version'].split()[0]} at {where}")]

    def version(self) -> list[Finding]:
        """Whether its version is one we work with, and which faults it is known to have."""
        if self._database.kind == "sqlite":
            return [judge_sqlite(sqlite3.sqlite_version_info)]
        return [judge_postgresql(int(self._database.read(_settings)["server_version_num"]))]

    def guards(self) -> list[Finding]:
        """Whether the triggers that keep the log append-only are at work."""
        statement = SQLITE_TRIGGERS if self._database.kind == "sqlite" else POSTGRESQL_TRIGGERS
        found: dict[str, str] = dict(self._database.read(lambda session: session.rows(statement)))
        return [judge_guards(self._database.kind, found)]

    def durability(self) -> list[Finding]:
        """Whether what is committed survives a power cut."""
        if self._database.kind == "sqlite":
            return [judge_journal(self._database.read(lambda session: session.value(JOURNAL_MODE)))]
        return [judge_durability(self._database.read(_settings))]

    def sessions(self) -> list[Finding]:
        """PostgreSQL: whether it lets us write, for long enough, and as many of us as there are."""

        def look(session: Session) -> list[Finding]:
            settings, standby = _settings(session), session.value(STANDBY)
            return [judge_sessions(settings, standby=standby, connected=session.value(CONNECTED))]

        return self._database.read(look)

    def clocks(self) -> Clocks:
        """This machine's clock against the database's."""

        def look(session: Session) -> Clocks:
            last = maybe_time_of(session.value(LAST_EVENT))
            before, began = datetime.now(UTC), time.monotonic()
            if session.kind == "sqlite":
                return Clocks(apart=timedelta(0), within=timedelta(0), now=before, last_event_at=last)
            now: datetime = session.value(CLOCK)
            half = timedelta(seconds=(time.monotonic() - began) / 2)
            return Clocks(apart=now - before - half, within=half, now=now, last_event_at=last)

        return self._database.read(look)

    def close(self) -> None:
        """Let go of every connection."""
        self._database.close()


def judge_sqlite(version: tuple[int, ...]) -> Finding:
    """The library's version: old enough to lack something, or to have the WAL-reset fault."""
    named = "SQLite " + ".".join(map(str, version))
    if version < SQLITE_MIN:
        needed = ".".join(map(str, SQLITE_MIN))
        return failed(
            "version", f"{named} has no {SQLITE_MIN_WHY}", f"use a Python with SQLite {needed} or newer"
        )
    repaired = any(version[:2] == line[:2] and version >= line for line in WAL_RESET_BACKPORTS)
    if repaired or not WAL_RESET_SINCE <= version < WAL_RESET_FIXED:
        return passed("version", named)
    return warned(
        "version",
        f"{named} has the WAL-reset fault: where two connections write or checkpoint at the same moment the file"
        " may be corrupted. Stagepost writes and checkpoints on one connection only, so it doesn't happen here",
        "let no other program open the file for writing while a service runs, a shell included; 3.51.3, 3.50.7"
        " and 3.44.6 are repaired",
    )


def judge_postgresql(version: int) -> Finding:
    """`version` as `server_version_num` has it."""
    named = f"PostgreSQL {version // POSTGRESQL_MAJOR}.{version % POSTGRESQL_MAJOR}"
    if version < POSTGRESQL_MIN:
        least = POSTGRESQL_MIN // POSTGRESQL_MAJOR
        return failed("version", f"{named} is too old", f"use PostgreSQL {least} or newer")
    return passed("version", named)


def judge_guards(kind: str, found: Mapping[str, str]) -> Finding:
    """`found`: the triggers on the log; on PostgreSQL with how each fires, on SQLite with what it does."""
    missing = [name for name in GUARDS[kind] if name not in found or not _guards(kind, found[name])]
    if missing:
        told = f"without {', '.join(missing)} the log can be changed, and nobody would refuse it"
        to_do = "find out who took it away, make it again as migrations/versions/0001 does, and run `stagepost verify`"
        return failed("append-only", told, to_do)
    weak = [name for name in GUARDS[kind] if kind == "postgresql" and found[name] != ALWAYS]
    if weak:
        told = f"{', '.join(weak)} does not fire in every session (session_replication_role)"
        return warned("append-only", told, f"ALTER TABLE events ENABLE ALWAYS TRIGGER {weak[0]}")
    return passed("append-only", "the log refuses changes")


def _guards(kind: str, does: str) -> bool:
    return does != NEVER if kind == "postgresql" else "RAISE(ABORT" in does


def judge_journal(mode: str) -> Finding:
    """SQLite: `mode` is of the file; the connection that writes sets WAL, and waits for the disk (FULL)."""
    if mode == "wal":
        return passed("durability", "write-ahead log; every commit waits for the disk (synchronous=FULL)")
    return warned(
        "durability",
        f"journal_mode is {mode}, not wal: another program changed it",
        "start `stagepost serve`, which sets it again; keep other programs from writing to the file",
    )


def judge_durability(settings: Mapping[str, str]) -> Finding:
    """PostgreSQL's settings, as a session of ours has them."""
    if settings["fsync"] != "on":
        return failed("durability", "fsync is off: a power cut may corrupt everything", "set fsync = on")
    if settings["synchronous_commit"] == "off":
        told = "synchronous_commit is off, even in our sessions: what was accepted may be lost"
        return failed("durability", told, "set synchronous_commit = on for our role")
    if settings["full_page_writes"] != "on":
        told = "full_page_writes is off: right only where the disk writes whole pages or none"
        return warned("durability", told, "set full_page_writes = on, unless you know that it does")
    return passed("durability", f"fsync, and synchronous_commit = {settings['synchronous_commit']}")


def judge_sessions(settings: Mapping[str, str], *, standby: bool, connected: int) -> Finding:
    """Whether sessions can do their work."""
    if standby:
        return failed(
            "sessions", "this server is a standby, which takes no writes", "name the primary in `database`"
        )
    short = [
        f"{name} = {settings[name]} ms"
        for name in ("statement_timeout", "transaction_timeout")
        if 0 < int(settings.get(name, "0")) < TOO_SHORT_MS
    ]
    if short:
        told = f"{', '.join(short)}: what takes longer is cut off"
        return warned("sessions", told, "ALTER ROLE … SET it to 0, or to a minute, for our role")
    if settings["idle_in_transaction_session_timeout"] == "0":
        told = "idle_in_transaction_session_timeout, which we set in each session, isn't set"
        return warned("sessions", told, "connect to PostgreSQL itself, or through a pooler in session mode")
    free = int(settings["max_connections"]) - connected
    told = f"{connected} of {settings['max_connections']} connections in use"
    if free < CONNECTIONS:
        return warned(
            "sessions", told, f"raise max_connections: each of our processes may open {CONNECTIONS}"
        )
    return passed("sessions", told)


def _settings(session: Session) -> dict[str, str]:
    return dict(session.rows(SETTINGS))
