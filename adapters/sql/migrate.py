"""Bringing a database up to date. Safe to run many times, and by many at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

import migrations
from adapters.sql.dialect import MIGRATING
from adapters.sql.engine import Database

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
    """Apply every pending migration, all or none of them. Raises StoreUnavailable."""
    with _connected(url) as connection:
        config = _config()
        config.attributes["connection"] = connection
        connection.exec_driver_sql(BEGIN[connection.dialect.name])
        command.upgrade(config, "head")
        connection.exec_driver_sql("COMMIT")


def migration_status(url: str) -> MigrationStatus:
    """How far the database is. Raises StoreUnavailable."""
    script = ScriptDirectory.from_config(_config())
    with _connected(url) as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    steps = [one.revision for one in script.walk_revisions()]
    pending = steps[: steps.index(current)] if current in steps else steps
    return MigrationStatus(current=current, head=steps[0], pending=tuple(reversed(pending)))


def pending(url: str) -> bool:
    """Whether the database lacks a migration. Raises StoreUnavailable."""
    return bool(migration_status(url).pending)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    return config


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    database = Database(url)
    try:
        with database.connected() as connection:
            yield connection
    finally:
        database.close()
