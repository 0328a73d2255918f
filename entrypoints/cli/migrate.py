"""`migrate` and `migrate status`: the database's tables, brought to this version or looked at."""

from __future__ import annotations

from contextlib import nullcontext

from cyclopts import App

from entrypoints.bootstrap import MigrationStatus, migrate, migration_status
from entrypoints.cli.database import acquire_lock, database_errors, require_database
from entrypoints.cli.options import AsJson, ConfigFile, configuration
from entrypoints.cli.output import FINE, NOT, print_json
from entrypoints.shapes import Shape

app = App(name="migrate")


@app.default
def migrate_now(*, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Bring the database to this version. Safe to run many times, at once as well."""
    loaded = configuration(config)
    with database_errors():
        before = migration_status(loaded)
        if before.pending:
            with acquire_lock(loaded) or nullcontext():
                migrate(loaded)
    head = before.head
    if as_json:
        print_json({"before": before.current, "now": head})
    else:
        print(f"migrated to {head}" if before.pending else f"nothing to do: the database is at {head}")


@app.command
def status(*, config: ConfigFile = None, as_json: AsJson = False) -> int:
    """Show whether the database is at this version; exit code 1: it isn't."""
    loaded = configuration(config)
    with database_errors():
        require_database(loaded)
        found = migration_status(loaded)
    if as_json:
        print_json(_shape(found))
    elif found.pending:
        print(f"pending: the database is {_at(found.current)}, this version works with {found.head}")
    else:
        print(f"fine: the database is {_at(found.current)}")
    return NOT if found.pending else FINE


def _shape(found: MigrationStatus) -> Shape:
    return {"current": found.current, "head": found.head, "pending": list(found.pending)}


def _at(revision: str | None) -> str:
    return "empty" if revision is None else f"at {revision}"
