"""Whether a database can be written is found out by writing to it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from adapters.sql import event_store, open_store
from adapters.sql.dialect import Sql
from adapters.sql.migrate import migrate
from application.ports import Plan

FRESH_S = 0.05
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
