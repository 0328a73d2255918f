"""A database that is gone: every call says so, nothing of it is recorded, and all is well once it is back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from application.ports import EventStore, Plan, StoreUnavailable
from tests.contract.event_store.conftest import Subject
from tests.contract.event_store.database import execute
from tests.contract.event_store.given import an_id, request
from tests.postgres import PostgresServer

CALLS: dict[str, Callable[[EventStore], Any]] = {
    "append": lambda store: store.append([request(an_id())]),
    "transact": lambda store: store.transact(Plan(), lambda locked: [request(an_id())]),
    "read_stream": lambda store: store.read_stream("email-1"),
    "read_all": lambda store: store.read_all(0, 1),
    "contents": lambda store: store.contents(["1"]),
    "erase": lambda store: store.erase("1"),
    "acquire_lease": lambda store: store.acquire_lease("w"),
    "stale_leases": lambda store: store.stale_leases(timedelta(0)),
    "waiting": lambda store: store.waiting(),
    "check": lambda store: store.check(),
}


@contextmanager
def gone(subject: Subject, server: PostgresServer) -> Iterator[None]:
    """While inside, nobody gets into the database, and whoever was is thrown out."""
    name = make_url(subject.url).database
    with psycopg.connect(server.admin_url.render_as_string(hide_password=False), autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            yield
        finally:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_gone_is_unavailable(
    postgres_subject: Subject, postgres_server: PostgresServer, call: str
) -> None:
    """Whatever is asked of it; the same store goes on when it is back, as if nothing had been."""
    store = postgres_subject.store
    store.append([request(an_id())])
    with gone(postgres_subject, postgres_server), pytest.raises(StoreUnavailable):
        CALLS[call](store)
    after = store.read_all(0, 10)
    store.append([request(an_id())])

    assert 1 == len(after)
    assert 2 == len(store.read_all(0, 10))


@pytest.mark.parametrize("call", ["append", "transact", "erase", "acquire_lease", "check"])
def test_connections_that_were_cut_are_made_anew(
    postgres_subject: Subject, postgres_server: PostgresServer, call: str
) -> None:
    """A server that was started anew meanwhile: nobody notices."""
    store = postgres_subject.store
    store.append([request(an_id())])
    with gone(postgres_subject, postgres_server):
        pass
    CALLS[call](store)

    assert 1 <= len(store.read_all(0, 10))


@pytest.mark.parametrize("sql_subject", ["sqlite"], indirect=True)
def test_a_file_that_somebody_else_has_locked_is_unavailable(sql_subject: Subject) -> None:
    """After a bounded wait; reading goes on meanwhile."""
    store = sql_subject.open(stall_s=0.5)
    store.append([request(an_id())])
    other = sqlite3.connect(str(make_url(sql_subject.url).database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreUnavailable):
            store.append([request(an_id())])
        meanwhile = store.read_all(0, 10)
    finally:
        other.close()
    store.append([request(an_id())])

    assert 1 == len(meanwhile)
    assert 2 == len(store.read_all(0, 10))


def test_a_database_that_is_not_migrated_is_unavailable(sql_subject: Subject) -> None:
    """Said by `check`, before the first email finds out."""
    sql_subject.store.check()
    execute(sql_subject.url, "DROP TABLE leases")

    with pytest.raises(StoreUnavailable):
        sql_subject.store.check()


def test_check_finds_nothing_wrong(subject: Subject) -> None:
    """With an empty store as with a full one."""
    subject.store.check()
    subject.store.append([request(an_id())])
    subject.store.check()
