"""Databases to measure: made when they are first asked for, and kept where somebody says so."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from adapters.sql.dialect import Sql
from adapters.sql.engine import Database
from tests.postgres import own_server

SENT = Sql("SELECT count(*) FROM emails WHERE status = 'sent' AND requested_at >= :since")
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
ANY = Sql("SELECT email_id FROM emails WHERE email_id >= :above ORDER BY email_id LIMIT 1")


class Shelf:
    """Databases by name: files in `folder`, or on a server. What is half made is made again."""

    def __init__(self, folder: Path, server: str | None) -> None:
        self._folder = folder
        self._server = server

    def url(self, name: str, make: Callable[[str], object]) -> str:
        """The database of that name (letters, digits and `_`), which `make` fills at first."""
        return self._file(name, make) if self._server is None else self._on(self._server, name, make)

    def _file(self, name: str, make: Callable[[str], object]) -> str:
        path, part = self._folder / f"{name}.db", self._folder / f"{name}.part.db"
        if not path.exists():
            for old in self._folder.glob(f"{part.name}*"):
                old.unlink()
            make(f"sqlite:///{part}")
            part.rename(path)
        return f"sqlite:///{path}"

    def _on(self, server: str, name: str, make: Callable[[str], object]) -> str:
        part = f"{name}_part"
        with psycopg.connect(server, autocommit=True) as admin:
            if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
                admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(part)))
                admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(part)))
                make(make_url(server).set(database=part).render_as_string(hide_password=False))
                admin.execute(
                    sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                        sql.Identifier(part), sql.Identifier(name)
                    )
                )
        return make_url(server).set(database=name).render_as_string(hide_password=False)


@contextmanager
def shelf(keep: Path | None, *, postgres: bool) -> Iterator[Shelf]:
    """A shelf in that folder, which stays as it is, or one that is gone with the block. `postgres`: on a server of
    its own, whose data lie in the folder."""
    with ExitStack() as stack:
        if keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stagepost-bench-")))
        else:
            folder = keep.resolve()
            folder.mkdir(parents=True, exist_ok=True)
        server = stack.enter_context(own_server(folder / "postgres")) if postgres else None
        yield Shelf(folder, server)


def sent(url: str, since: datetime = LONG_AGO) -> int:
    """How many emails of the database are sent, of those accepted since then."""
    database = Database(url)
    count: int = database.read(lambda session: session.value(SENT, since=since))
    database.close()
    return count


def some_ids(url: str, count: int, seed: int) -> list[str]:
    """Ids of emails all over the database; some twice, where there are few."""
    chance, database = Random(seed), Database(url)

    def one() -> str:
        above = f"{chance.getrandbits(32):08x}"
        rows = database.read(lambda session: session.rows(ANY, above=above))
        rows = rows or database.read(lambda session: session.rows(ANY, above=""))
        return str(rows[0][0])

    found = [one() for _ in range(count)]
    database.close()
    return found
