"""A COMMIT whose answer is lost: what is recorded is found to be, and what isn't is not said to be.

Between store and server stands a proxy that loses what it is told to.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum, auto

import pytest
from sqlalchemy import URL, make_url

from adapters.sql import SqlEventStore, open_store
from application.ports import Locked, Plan, StoreUnavailable
from application.recorded import Committed, Unit, email_stream
from tests.adapters.sql_urls import migrated_url
from tests.contract.event_store.given import an_id, append, rescheduled, unit
from tests.contract.event_store.given import request as asked

STALL_S = 2.0
LATE_S = 0.5


class Fate(Enum):
    """What becomes of the next COMMIT."""

    ANSWERED = auto()
    ANSWER_LOST = auto()
    NEVER_ARRIVES = auto()
    ARRIVES_LATE = auto()


class Proxy:
    """Forwards to the server's socket; once, a COMMIT meets its `fate`, and the client is cut off."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.fate = Fate.ANSWERED
        self.refuses = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self.refuses:
                    client.close()
                    continue
                server = self._connect()
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _connect(self) -> socket.socket:
        folder, port = str(self._url.query.get("host", "")), self._url.port or 5432
        if not folder.startswith("/"):
            return socket.create_connection((self._url.host or "127.0.0.1", port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{folder}/.s.PGSQL.{port}")
        return server

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if b"COMMIT" in data and self.fate is not Fate.ANSWERED:
                    self._meet(client, server, data)
                    return
                server.sendall(data)
        _cut(server)

    def _meet(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        fate, self.fate = self.fate, Fate.ANSWERED
        _cut(client)
        if fate is Fate.ARRIVES_LATE:
            time.sleep(LATE_S)
        if fate is not Fate.NEVER_ARRIVES:
            server.sendall(data)
        _cut(server)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        _cut(client)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """A migrated database, reached without the proxy."""
    return migrated_url("postgresql", request)


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    """In front of the server."""
    proxy = Proxy(make_url(url))
    yield proxy
    proxy.close()


@pytest.fixture
def store(url: str, proxy: Proxy) -> Iterator[SqlEventStore]:
    """A store behind the proxy."""
    behind = make_url(url).set(host="127.0.0.1", port=proxy.port).update_query_dict({"sslmode": "disable"})
    behind = behind.difference_update_query(["host"])
    store = open_store(behind.render_as_string(hide_password=False), stall_s=STALL_S)
    store.append([asked(an_id())])
    yield store
    store.close()


@pytest.mark.parametrize("fate", [Fate.ANSWER_LOST, Fate.ARRIVES_LATE])
def test_what_was_committed_is_found(store: SqlEventStore, proxy: Proxy, fate: Fate) -> None:
    """The caller is told as if nothing had been, though the server was still at it when the client was cut off."""
    email_id = an_id()
    proxy.fate = fate
    (answer,) = store.append([asked(email_id, with_content=True)])

    assert isinstance(answer, Committed)
    assert list(answer.recorded) == store.read_stream(email_stream(email_id))
    assert 2 == len(store.read_all(0, 10))


@pytest.mark.parametrize("fate", [Fate.ANSWER_LOST, Fate.ARRIVES_LATE])
def test_a_decision_that_was_committed_is_not_made_again(
    store: SqlEventStore, proxy: Proxy, fate: Fate
) -> None:
    """Or an attempt would be started twice."""
    (first,) = store.read_all(0, 10)
    calls: list[Locked] = []

    def decide(locked: Locked) -> list[Unit]:
        calls.append(locked)
        return [unit(append(first.stream, 1, rescheduled()))]

    proxy.fate = fate
    done = store.transact(Plan(emails=(first.stream.removeprefix("email-"),)), decide)

    assert 1 == len(calls)
    assert [first, *done.recorded] == store.read_all(0, 10)


def test_what_was_not_committed_is_not_said_to_be(store: SqlEventStore, proxy: Proxy) -> None:
    """The request was lost on its way; the next call goes on as if nothing had been."""
    email_id = an_id()
    proxy.fate = Fate.NEVER_ARRIVES
    with pytest.raises(StoreUnavailable):
        store.append([asked(email_id)])
    again = store.append([asked(email_id)])

    assert [Committed] == [type(answer) for answer in again]
    assert 2 == len(store.read_all(0, 10))


def test_a_server_that_stays_away_is_waited_for_only_so_long(store: SqlEventStore, proxy: Proxy) -> None:
    """Then nobody knows what became of it, and the caller hears that it isn't known to be recorded."""
    proxy.refuses = True
    proxy.fate = Fate.ANSWER_LOST
    before = time.monotonic()
    with pytest.raises(StoreUnavailable):
        store.append([asked(an_id())])

    assert STALL_S <= time.monotonic() - before < STALL_S + 5


def test_a_connection_that_breaks_before_the_commit_is_made_anew(store: SqlEventStore, url: str) -> None:
    """The decision is made once more, on what is there by then."""
    import psycopg

    turns: list[int] = []

    def decide(locked: Locked) -> list[Unit]:
        turns.append(len(turns))
        if len(turns) == 1:
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        return [asked(an_id())]

    store.transact(Plan(), decide)

    assert [0, 1] == turns
    assert 2 == len(store.read_all(0, 10))
