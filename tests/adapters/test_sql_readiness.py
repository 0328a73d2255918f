"""Whether a database can be written is found out by writing to it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from adapters.sql import event_store, open_store
from adapters.sql.dialect import Sql
from adapters.sql.migrate import migrate
from application.ports import Plan, StoreUnavailable
from tests.contract.event_store.given import an_id, request

FRESH_S = 0.05
REFUSED_S = 0.3
WRITTEN = Sql("SELECT at FROM checks WHERE name = 'writable'")


def test_a_round_that_found_nothing_to_do_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that polls an idle queue writes nothing; whoever asks then gets an answer from a real write."""
    monkeypatch.setattr(event_store, "FRESH_S", FRESH_S)
    url = f"sqlite:///{tmp_path / 'stagepost.db'}"
    migrate(url)
    store = open_store(url)
    store.acquire_lease("w")  # a commit: for a moment it speaks for itself
    store.check()
    before = store._database.read(lambda session: session.value(WRITTEN))
    time.sleep(2 * FRESH_S)
    store.transact(Plan(), lambda _: [])
    store.check()

    assert before is None
    assert store._database.read(lambda session: session.value(WRITTEN)) is not None
    store.close()


def test_what_was_refused_a_moment_ago_counts_until_something_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that takes no room may be changed on a full disk as well; that nobody asks any more proves nothing soon."""
    monkeypatch.setattr(event_store, "REFUSED_S", REFUSED_S)
    file = tmp_path / "stagepost.db"
    migrate(f"sqlite:///{file}")
    store = open_store(f"sqlite:///{file}", stall_s=0.05)

    def refused() -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable):
                store.append([request(an_id())])
        with pytest.raises(StoreUnavailable):
            store.check()

    refused()
    store.append([request(an_id())])
    store.check()
    refused()
    time.sleep(REFUSED_S)
    store.check()
    store.close()
