"""The store on SQLite for a run: a file of its own, in memory where the machine has a place for such files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.sql import SqlEventStore, open_store
from adapters.sql.migrate import migrate
from application.ports import Clock
from application.verify import Verdict, verify
from domain.circuit import CircuitPolicy

SHARED_MEMORY = Path("/dev/shm")
"""Without disks: thousands of commits that wait for one would take hours, and prove nothing here."""


@dataclass(slots=True)
class SqliteStores:
    """Opens a new database for each run. `folder`: theirs alone. `last`: the one of the last run, closed."""

    folder: Path
    last: str = ""
    _opened: SqlEventStore | None = None

    def open(self, clock: Clock, circuit: CircuitPolicy) -> SqlEventStore:
        """A store on an empty database. The one before is gone."""
        self.close()
        template, path = self.folder / "template.db", self.folder / "run.db"
        if not template.exists():
            migrate(f"sqlite:///{template}")
        for old in self.folder.glob("run.db*"):
            old.unlink()
        shutil.copyfile(template, path)
        self._opened = open_store(f"sqlite:///{path}", clock=clock, circuit=circuit)
        return self._opened

    def verify(self) -> Verdict:
        """What `stagepost verify` says of the last run's database: hashes, invariants, every view."""
        assert self._opened is not None
        return verify(
            self._opened.stored,
            forms=lambda requested, stored: None,
            told=lambda what, done, whole: None,
        )

    def close(self) -> None:
        """Let go of the last run's database."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None


@contextmanager
def sqlite_stores() -> Iterator[SqliteStores]:
    """Databases that are gone afterwards."""
    where = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        stores = SqliteStores(Path(folder))
        try:
            yield stores
        finally:
            stores.close()
