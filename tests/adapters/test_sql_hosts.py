"""PostgreSQL on several hosts: whichever takes writes is found, whoever of them is dead; and servers that change."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from sqlalchemy import URL, make_url

from adapters.sql.dialect import Sql
from adapters.sql.engine import Database
from adapters.sql.migrate import migrate, migration_status
from adapters.sql.postgres_engine import CONNECT_MIN_S, connect_arguments, hosts
from application.ports import StoreUnavailable
from tests.contract.event_store.given import T0

ADD = Sql("INSERT INTO leases (worker, seen_at) VALUES ('w', :now)")
READING = "ALTER DATABASE {} SET default_transaction_read_only = {}"


@pytest.fixture
def silent() -> Iterator[str]:
    """A host that takes connections and never says a word, as one that is frozen."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def dead() -> str:
    """A host that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def behind(first: str, url: str) -> str:
    """The URL of this database with another host before its own."""
    named = make_url(url)
    own = named.query.get("host") or named.host
    assert isinstance(own, str)
    pairs = [*first.split(":"), own, str(named.port or 5432)]
    query = {"host": f"{pairs[0]},{pairs[2]}", "port": f"{pairs[1]},{pairs[3]}"}
    return named.set(host=None, port=None, query=query).render_as_string(hide_password=False)


def test_a_dead_host_before_the_one_that_lives(postgres_url: str, dead: str) -> None:
    """Migrations and transactions find the other one."""
    url = behind(dead, postgres_url)
    migrate(url)
    with closing(Database(url)) as database:
        database.write(lambda session: session.run(ADD, now=T0))

    assert () == migration_status(url).pending


def test_a_silent_host_is_waited_for_once(postgres_url: str, silent: str) -> None:
    """New connections begin with the host that answered last."""
    with closing(Database(behind(silent, postgres_url), stall_s=1)) as database:
        took = []
        for _ in range(2):
            began = time.monotonic()
            with database.connected() as connection:
                connection.invalidate()
            took.append(time.monotonic() - began)

    assert took[0] >= CONNECT_MIN_S - 0.1
    assert took[1] < CONNECT_MIN_S - 0.5


def test_where_nobody_answers_each_host_is_named(dead: str) -> None:
    """The last one alone would lead whoever reads it astray."""
    other = f"127.0.0.2:{dead.partition(':')[2]}"
    with (
        closing(Database(behind(dead, f"postgresql://postgres@{other}/nothing"))) as database,
        pytest.raises(StoreUnavailable) as caught,
    ):
        database.write(lambda session: None)

    assert "\n" not in str(caught.value)
    assert "'127.0.0.1'" in str(caught.value)
    assert "'127.0.0.2'" in str(caught.value)


def test_a_server_that_takes_no_writes_is_left(postgres_url: str) -> None:
    """A session that was opened on a standby, or on a primary that was made one, is not kept for the next."""
    migrate(postgres_url)
    name = make_url(postgres_url).database
    with (
        closing(Database(postgres_url)) as database,
        psycopg.connect(postgres_url, autocommit=True) as admin,
    ):
        admin.execute(READING.format(name, "on").encode())
        with pytest.raises(StoreUnavailable, match="read-only"):
            database.write(lambda session: session.run(ADD, now=T0))
        admin.execute(READING.format(name, "off").encode())

        assert 1 == database.write(lambda session: session.run(ADD, now=T0))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u@a/d", {"connect_timeout": 10, "target_session_attrs": None}),
        ("postgresql://u@/d?host=a:1&host=b:2", {"connect_timeout": 5, "target_session_attrs": "read-write"}),
        (
            "postgresql://u@/d?host=a,b&target_session_attrs=any&connect_timeout=3&application_name=mail",
            {"connect_timeout": None, "target_session_attrs": None, "application_name": None},
        ),
    ],
)
def test_what_the_url_says_stays(url: str, expected: dict[str, object]) -> None:
    """Of several hosts, the one that takes writes; they share the time a connection may take."""
    made = connect_arguments(make_url(url), 10)

    assert expected == {name: made.get(name) for name in expected}


def test_hosts_of_a_url() -> None:
    """In every form; a socket's folder is none that anybody has to wait for, but it is one."""
    named = URL.create("postgresql", query={"host": ("a:1", "b")})

    assert ("a", "b") == hosts(named)
    assert () == hosts(make_url("postgresql:///d"))
    assert ("/run/pg",) == hosts(make_url("postgresql:///d?host=/run/pg"))
