"""The stores under test: `subject` is each of them in turn, empty and on its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.memory.event_store import MemoryEventStore
from adapters.memory.passing_store import PassingEventStore
from adapters.sql import open_store
from adapters.sql.migrate import migrate
from application.ports import EventStore
from domain.circuit import CircuitPolicy
from tests.contract.event_store.given import ManualClock
from tests.postgres import PostgresServer

CIRCUIT = CircuitPolicy(window=timedelta(seconds=30), min_calls=4, consecutive=3)
"""Not the default: a store that didn't count in this window would be found out."""


@dataclass
class Subject:
    """A store, its clock, and (for SQL) the database under it. `open` gives one more store on the same log,
    with `stall_s` or another option of `open_store`."""

    kind: str
    clock: ManualClock
    open: Callable[..., EventStore]
    url: str = ""
    store: EventStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = self.open()

    @property
    def one_writer_at_a_time(self) -> bool:
        """Whether transactions wait for each other as a whole."""
        return self.kind != "postgres"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database file."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> Iterator[str]:
    """A migrated, empty database to copy."""
    url = postgres_server.create()
    migrate(url)
    yield url
    postgres_server.drop(url)


@pytest.fixture(params=["memory", "passing", "sqlite", "postgres"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """An empty store of each kind."""
    with ExitStack() as stack:
        yield _subject(request.param, request, stack)


@pytest.fixture(params=["sqlite", "postgres"])
def sql_subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """An empty store of each kind that has a database to look into."""
    with ExitStack() as stack:
        yield _subject(request.param, request, stack)


@pytest.fixture(params=["postgres"])
def postgres_subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """An empty store on PostgreSQL, where writers run side by side."""
    with ExitStack() as stack:
        yield _subject(request.param, request, stack)


def _subject(kind: str, request: pytest.FixtureRequest, stack: ExitStack) -> Subject:
    clock = ManualClock()
    if kind == "memory":
        store = MemoryEventStore(clock, CIRCUIT)
        return Subject(kind=kind, clock=clock, open=lambda **options: store)
    if kind == "passing":
        passing = PassingEventStore(clock, CIRCUIT, forgets=False)
        return Subject(kind="memory", clock=clock, open=lambda **options: passing)
    if kind == "sqlite":
        path = request.getfixturevalue("tmp_path") / "stagepost.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        url = f"sqlite:///{path}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.create(request.getfixturevalue("postgres_template"))
        stack.callback(server.drop, url)

    def opened(**options: Any) -> EventStore:
        chosen: dict[str, Any] = {"clock": clock, "circuit": CIRCUIT, **options}
        store = open_store(url, **chosen)
        stack.callback(store.close)
        return store

    return Subject(kind=kind, clock=clock, open=opened, url=url)
