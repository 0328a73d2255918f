"""Bringing a database up to date. Safe to run many times, and by many at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url

import migrations
from adapters.sql.dialect import MIGRATING
from adapters.sql.engine import Database
from application.ports import StoreUnavailable

PATIENCE_S = 600.0
"""How long a migration waits for the locks it needs: another one may be under way."""

_ONE_AT_A_TIME = Lock()
"""Within a process: Alembic keeps the migration under way in a global."""

BEGIN = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": f"BEGIN; SELECT pg_advisory_xact_lock({MIGRATING})",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """`current`: the migration the database is at, None before the first. `pending`: those it lacks, in order."""

    current: str | None
    head: str
    pending: tuple[str, ...]


def migrate(url: str) -> None:
    """Apply every pending migration, all or none of them.

    Raises StoreUnavailable, also where a newer version of the code has been at the database.
    """
    with _ONE_AT_A_TIME, _connected(url) as connection:
        config = _config()
        config.attributes["connection"] = connection
        connection.exec_driver_sql(BEGIN[connection.dialect.name])
        _refuse_newer(_current(connection))
        command.upgrade(config, "head")
        connection.exec_driver_sql("COMMIT")


def migration_status(url: str) -> MigrationStatus:
    """How far the database is; changes nothing. Raises StoreUnavailable, as `migrate` does."""
    current = None
    if _is_there(url):
        with _connected(url, read_only=True) as connection:
            current = _current(connection)
    _refuse_newer(current)
    steps = _steps()
    behind = 0 if current is None else steps.index(current) + 1
    return MigrationStatus(current=current, head=steps[-1], pending=steps[behind:])


def pending(url: str) -> bool:
    """Whether the database lacks a migration. Raises StoreUnavailable."""
    return bool(migration_status(url).pending)


def _steps() -> tuple[str, ...]:
    """Every migration there is, in order."""
    walk = ScriptDirectory.from_config(_config()).walk_revisions()
    return tuple(one.revision for one in reversed(list(walk)))


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(current: str | None) -> None:
    if current is not None and current not in _steps():
        raise StoreUnavailable(f"the database is at migration {current}, of a newer version than this one")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    return config


def _is_there(url: str) -> bool:
    """Whether there is anything to connect to: only a file can be known not to be."""
    named = make_url(url)
    return named.get_backend_name() != "sqlite" or Path(named.database or "").exists()


@contextmanager
def _connected(url: str, *, read_only: bool = False) -> Iterator[Connection]:
    database = Database(url, stall_s=PATIENCE_S, read_only=read_only)
    try:
        with database.connected() as connection:
            yield connection
    finally:
        database.close()
