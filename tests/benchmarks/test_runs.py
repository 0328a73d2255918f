"""Each benchmark once, as small as it gets: that it runs, and that what it finds has its shape. Nothing is timed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adapters.codec import GENESIS, chain, micros
from adapters.sql import open_store
from adapters.sql.dialect import time_of
from adapters.sql.migrate import migrate
from benchmarks import backlog, latency, long_log, overload, store
from benchmarks.databases import Shelf, some_ids
from benchmarks.month_copies import COPIES_MAX, fill_long, multiply
from benchmarks.results import Measure
from benchmarks.waiting import fill_waiting

MONTH = 300
"""Events of a month that is copied: the fewest that take any time to come by."""


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with a month, and two copies of it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('long') / 'log.db'}"
    fill_long(url, 3 * MONTH, month_events=MONTH)
    return url


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """What a statement returns."""
    with closing(sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)) as connection:
        return connection.execute(statement).fetchall()


def names(measures: Iterator[Measure] | list[Measure]) -> set[str]:
    """What was measured."""
    return {one.name for one in measures}


def test_a_copied_log_is_a_log(long: str) -> None:
    """Other emails under their own ids, in contiguous versions, with hashes that chain, and views that are right."""
    count = "SELECT count(*) FROM events WHERE stream LIKE 'email-%'"
    (month,) = rows(long, f"{count} AND position <= (SELECT max(position) / 3 FROM events)")[0]
    versions: dict[str, int] = {}
    hashes: dict[str, bytes] = {}
    columns = "stream, version, event_id, type, at, meta, data, hash"
    for stream, version, event_id, kind, at, meta, data, digest in rows(
        long, f"SELECT {columns} FROM events ORDER BY position"
    ):
        at_us = micros(time_of(at))
        previous = hashes.get(stream, GENESIS)
        texts = {"event_id": event_id, "type": kind, "meta": meta, "data": data}
        hashes[stream] = chain(previous, stream=stream, version=version, at=at_us, **texts)
        assert versions.get(stream, 0) + 1 == version
        assert digest == hashes[stream]
        versions[stream] = version
    with closing(open_store(long)) as opened:
        mended = opened.folds.mend_emails(lambda done, whole: None)

    assert [(3 * month,)] == rows(long, count)
    assert (0, 0) == (mended.rows, mended.removed)
    assert [(0,)] == rows(long, "SELECT count(*) FROM emails WHERE email_id != correlation_id")


def test_there_are_only_so_many_copies(long: str) -> None:
    """Beyond that two of them would have the same ids."""
    with pytest.raises(ValueError, match=f"at most {COPIES_MAX}"):
        multiply(long, COPIES_MAX + 1)


def test_a_database_is_made_once(tmp_path: Path) -> None:
    """And again where it was left half made."""
    shelf, made = Shelf(tmp_path, None), []

    def make(url: str) -> None:
        made.append(url)
        migrate(url)
        if len(made) == 1:
            raise RuntimeError("the power went out")

    with pytest.raises(RuntimeError):
        shelf.url("some", make)

    assert shelf.url("some", make) == shelf.url("some", make)
    assert 2 == len(made)


def test_whoever_waits_can_be_claimed(tmp_path: Path) -> None:
    """All of them are due, each with its content; and ids can be drawn from among them."""
    url = f"sqlite:///{tmp_path / 'waiting.db'}"
    fill_waiting(url, 50)

    assert [("queued", 50)] == rows(url, "SELECT status, count(*) FROM emails GROUP BY status")
    assert [(50,)] == rows(url, "SELECT count(*) FROM contents JOIN emails USING (email_id)")
    assert [(1,)] == rows(url, "SELECT count(*) FROM checkpoints WHERE position = 50")
    assert 7 == len(some_ids(url, 7, seed=1))


def test_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing beside the bare driver, and claiming from queues of several lengths."""
    monkeypatch.setattr(store, "FEW", 1600)
    urls = (f"sqlite:///{tmp_path / str(number)}.db" for number in range(3))
    found = [*store.appending(tmp_path, 100, 2), *store.claiming(urls, 1700, 3)]

    assert {"store: writing 100 emails", "claim, 1,700 waiting", "claimed of 1,600 waiting"} < names(found)
    assert [0.8] == [one.at_least for one in found if one.name == "store: writing 100 emails"]


def test_overload() -> None:
    """All that arrive are answered or refused, and none that was acknowledged is lost."""
    found = overload.measured(50, 0.2, (1, 2), deliver=False, connections=50)
    measures = overload.measures([found], (1, 2))

    assert {"1", "2"} == set(found["offered"])
    assert {"good answers at 1×", "accepted at 2×, p99", "memory under overload"} < names(measures)
    assert [0] == [seen["lost"] for one, seen in found["offered"].items() if one == "2"]


def test_an_answer_that_is_in_no_database_counts_as_lost(tmp_path: Path) -> None:
    """Of those that got a 202."""
    url, keys = f"sqlite:///{tmp_path / 'waiting.db'}", tmp_path / "keys"
    fill_waiting(url, 3)
    keys.write_text("waiting-0\nwaiting-1\ngone", encoding="ascii")

    assert 1 == overload.lost(tmp_path / "waiting.db", keys)


def test_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a backlog is sent; and what is shown of it, by load too."""
    monkeypatch.setattr(latency, "accept_and_deliver", lambda requests: {"per_s": 100.0})
    monkeypatch.setattr(latency, "STARTED", 1)
    monkeypatch.setattr(latency, "BACKLOG_PER_S", 50)
    monkeypatch.setattr(latency, "CONNECTIONS", 20)
    seen = latency.while_sending(50, 0.2)
    rounds = [{"by_load": {"offered": {"0.5": seen}}, "while_sending": seen}]
    measures = latency.measures(rounds, (0.5,))

    assert {"accept at 50% of what is accepted, p99", "accept under full dispatch, p99"} < names(measures)


def test_backlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepts, asks, sends as many, and leaves the provider paused for the next round."""
    monkeypatch.setattr(backlog, "QUESTIONS", 5)
    url = backlog.database(Shelf(tmp_path, None), 100)
    found = backlog.measured(url, 10, number=1)
    measures = backlog.measures([dict.fromkeys((100, 200), found)], 100, 200)

    assert {"memory, 200 waiting", "sent a second, 200 waiting"} < names(measures)
    assert [(1,)] == rows(url, "SELECT paused FROM gates WHERE name LIKE '%sink'")


def test_long_log(long: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is measured on a log; here it is compared with itself."""
    monkeypatch.setattr(long_log, "QUESTIONS", 5)
    monkeypatch.setattr(long_log, "CLAIMS", 5)
    found = {**long_log.measured(long, 20, 1), "rebuilt_per_s": 1.0}
    measures = long_log.measures([dict.fromkeys(("long", "empty", "short"), found)], 900, 900)

    assert {(1.0,)} == {one.values for one in measures}
    assert "claim of 100 emails, a log of 900 events" in names(measures)
