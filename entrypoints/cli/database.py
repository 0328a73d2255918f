"""How commands get at the database, and what they say where they can't."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from application.ports import StoreUnavailable
from entrypoints import lockfile
from entrypoints.bootstrap import DatabaseMissing, NotMigrated
from entrypoints.cli.output import CannotDo
from entrypoints.config import Config

LOCK_WAIT_S = 5.0
"""The owner of a SQLite database has this long to let go of it, or to say where it listens."""


@contextmanager
def database_errors() -> Iterator[None]:
    """Whatever keeps us from the database becomes CannotDo."""
    try:
        yield
    except (DatabaseMissing, NotMigrated, lockfile.Locked) as error:
        raise CannotDo(str(error)) from error
    except StoreUnavailable as error:
        raise CannotDo(f"the database can't be used: {error}") from error
    except OSError as error:
        if error.filename is None:
            raise
        raise CannotDo(f"{error.filename}: {error.strerror}") from error


def acquire_lock(config: Config) -> lockfile.Lock | None:
    """The lock of a SQLite database; none on PostgreSQL. Raises Locked once LOCK_WAIT_S is over, and OSError."""
    path = config.sqlite_path()
    return None if path is None else lockfile.acquire(path, wait_s=LOCK_WAIT_S)


def lock_or_url(database: Path) -> lockfile.Lock | str:
    """The lock, or, as soon as it is known, where its owner listens. Raises Locked and OSError."""
    try:
        return lockfile.acquire(database, wait_s=LOCK_WAIT_S, or_url=True)
    except lockfile.Locked as error:
        if error.url is None:
            raise
        return error.url


def require_database(config: Config) -> None:
    """Raises DatabaseMissing where a SQLite database isn't there, which looking at it would make."""
    path = config.sqlite_path()
    if path is not None and not path.exists():
        raise DatabaseMissing(f"there is no database at {path}; `stagepost serve` makes one")
