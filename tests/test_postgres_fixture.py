"""The PostgreSQL that tests get is real, new, their own, and durable."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from tests.postgres import PostgresServer, crash, own_server


def run(url: str, statement: str) -> object:
    """Run one statement on a connection of its own; the first value it returns, if any."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


def test_it_is_a_supported_server_that_we_reach_through_psycopg(postgres_url: str) -> None:
    """A plain postgresql:// URL means psycopg 3, and the server is 15 or later."""
    engine = create_engine(postgres_url)

    assert "postgresql" == make_url(postgres_url).drivername
    assert "psycopg" == engine.driver
    assert int(str(run(postgres_url, "SHOW server_version_num"))) >= 150_000


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_starts_with_an_empty_database(postgres_url: str, turn: int) -> None:
    """The second of two tests that make the same table finds none."""
    run(postgres_url, "CREATE TABLE seen (turn int)")

    assert 0 == run(postgres_url, "SELECT count(*) FROM seen")


def test_commits_are_durable(postgres_url: str) -> None:
    """What the tests say about durability would mean nothing without these."""
    assert "on" == run(postgres_url, "SHOW fsync")
    assert "on" == run(postgres_url, "SHOW synchronous_commit")


def test_a_database_can_be_a_copy_of_another(postgres_server: PostgresServer) -> None:
    """A schema that was migrated once serves as the template of many databases."""
    template = postgres_server.create()
    run(template, "CREATE TABLE seen AS SELECT 7 AS n")

    copy = postgres_server.create(template)

    assert 7 == run(copy, "SELECT n FROM seen")
    postgres_server.drop(copy)
    postgres_server.drop(template)


def test_dropping_ends_connections_that_are_still_open(postgres_server: PostgresServer) -> None:
    """A test that leaks a connection leaves no database behind."""
    url = postgres_server.create()
    leaking = create_engine(url)
    with leaking.connect():
        postgres_server.drop(url)

    with pytest.raises(OperationalError, match="does not exist"):
        run(url, "SELECT 1")
    leaking.dispose()


def test_a_server_can_crash_and_come_back_with_what_was_committed() -> None:
    """Fault tests start a server of their own, kill it, and start it again."""
    with TemporaryDirectory() as folder:
        with own_server(Path(folder)) as url:
            run(url, "CREATE TABLE seen AS SELECT 7 AS n")
            crash(Path(folder))
        with own_server(Path(folder)) as url:
            assert 7 == run(url, "SELECT n FROM seen")


async def test_an_async_test_needs_no_decorator(anyio_backend_name: str) -> None:
    """`async def` is enough, and asyncio is what runs it."""
    assert "asyncio" == anyio_backend_name
