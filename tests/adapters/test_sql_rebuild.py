"""Views made anew: as their events say, beside those who write, with nothing ever missing for those who read."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from adapters.sql import SqlEventStore, open_store, rebuild, tables
from adapters.sql.dialect import Sql
from adapters.sql.engine import Database, Session
from adapters.sql.fold_pool import folded
from adapters.sql.folding import Folder, Wrong, spans
from adapters.sql.rebuild import SqlFolds
from application.ports import Locked, Plan
from application.recorded import Event, Unit, email_stream
from application.replay import Mended
from application.stored import Span
from domain.circuit import CircuitPolicy
from tests.contract.event_store.database import execute
from tests.contract.event_store.given import an_id, append, request, sent, started, unit

VIEWS = (tables.emails, tables.attempts, tables.gates)


def quietly(done: int, whole: int) -> None:
    """Nobody watches."""


@pytest.fixture
def folds(month: str) -> Iterator[SqlFolds]:
    """What makes the month's views anew, in this process."""
    database = Database(month)
    yield SqlFolds(database, CircuitPolicy(), workers=0)
    database.close()


def dump(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the views."""
    return {
        table.name: execute(
            url, f"SELECT * FROM {table.name} ORDER BY {table.primary_key.columns[0].name}, 2"
        )
        for table in VIEWS
    }


def counts(url: str, column: str, table: str) -> dict[str, int]:
    """How many rows have each value."""
    return {
        row[0]: row[1] for row in execute(url, f"SELECT {column}, count(*) FROM {table} GROUP BY {column}")
    }


def mend_all(folds: SqlFolds) -> tuple[Mended, Mended]:
    """Every view; what was done."""
    return folds.mend_emails(quietly), folds.mend_gates(quietly)


def test_a_view_that_is_right_is_left_alone(month: str, folds: SqlFolds) -> None:
    """Not a row is written; all events were folded."""
    before = dump(month)
    emails, gates = mend_all(folds)

    assert (0, 0) == (emails.rows, emails.removed)
    assert (0, 0) == (gates.rows, gates.removed)
    assert emails.events > 600
    assert before == dump(month)


SPOILT = {
    "emptied": ("DELETE FROM emails", "DELETE FROM attempts", "DELETE FROM gates"),
    "without attempts": ("DELETE FROM attempts",),
    "wrong": (
        "UPDATE emails SET status = 'queued', version = version + 100",
        "UPDATE attempts SET outcome = 'open'",
        "UPDATE gates SET open_attempts = 7, state = '{}'",
    ),
    "with too much": (
        "INSERT INTO emails SELECT 'zz' || substr(email_id, 3), "
        + ", ".join(one.name for one in list(tables.emails.columns)[1:])
        + " FROM emails",
        "INSERT INTO attempts SELECT email_id, attempt + 100, "
        + ", ".join(one.name for one in list(tables.attempts.columns)[2:])
        + " FROM attempts",
        "INSERT INTO gates SELECT 'x' || name, "
        + ", ".join(one.name for one in list(tables.gates.columns)[1:])
        + " FROM gates",
    ),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_a_view_that_is_wrong_becomes_right(month: str, folds: SqlFolds, spoilt: str) -> None:
    """Whatever somebody did to its rows."""
    before = dump(month)
    for statement in SPOILT[spoilt]:
        execute(month, statement)
    assert before != dump(month)
    emails, gates = mend_all(folds)

    assert before == dump(month)
    assert len(before["emails"]) == (emails.removed if spoilt == "with too much" else emails.rows)
    assert spoilt == "without attempts" or (gates.rows or gates.removed) > 0


def test_a_row_that_was_only_made_to_be_held_stays(month: str, folds: SqlFolds) -> None:
    """A gate that nothing has moved yet: somebody may be about to lock it."""
    store = open_store(month)
    database = Database(month)
    database.write(lambda session: store._gates.create(session, ["provider/new"]))
    database.close()
    store.close()

    assert Mended(folds.mend_gates(quietly).events, 0, 0) == folds.mend_gates(quietly)


def test_counting_writes_nothing(month: str, folds: SqlFolds) -> None:
    """Events by type as the log has them, emails by status as a fold gives them, whatever the view says."""
    statuses = counts(month, "status", "emails")
    execute(month, "DELETE FROM emails")
    found = folds.count(quietly)

    assert counts(month, "type", "events") == found.types
    assert statuses == found.statuses
    assert counts(month, "outcome", "attempts") == found.outcomes
    assert found.events == execute(month, "SELECT count(*) FROM events")[0][0]
    assert found.gates == execute(month, "SELECT count(*) FROM gates")[0][0]
    assert [] == execute(month, "SELECT 1 FROM emails")


def test_processes_find_what_one_finds(month: str) -> None:
    """The same spans, in processes of their own."""
    execute(month, "DELETE FROM attempts")
    database = Database(month, read_only=True)
    alone, together = (list(folded(database, 700, compare=True, workers=workers)) for workers in (0, 1))
    database.close()

    assert alone == together
    assert len(alone[0].wrong) > 100


def test_spans_leave_nothing_out() -> None:
    """However many there are, each begins where the one before ends."""
    for events in (0, 20_000, 20_001, 400_000, 10**9):
        cut = spans(events)

        assert (None, None) == (cut[0].low, cut[-1].high)
        assert [one.high for one in cut[:-1]] == [one.low for one in cut[1:]]
        assert sorted(one.low or "" for one in cut) == [one.low or "" for one in cut]


def test_a_stream_longer_than_a_page_is_read_whole(month: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No page has half a stream."""
    monkeypatch.setattr("adapters.sql.folding.PAGE", 2)
    database = Database(month, read_only=True)
    found = Folder(database).fold(Span(), compare=True)
    database.close()

    events = execute(month, "SELECT count(*) FROM events WHERE substr(stream, 1, 6) = 'email-'")

    assert [] == found.wrong
    assert [(found.events,)] == events


def step(store: SqlEventStore, email_id: str, version: int, event: Event) -> None:
    """One more event of an email."""

    def decide(locked: Locked) -> list[Unit]:
        return [unit(append(email_stream(email_id), version, event), at=locked.now)]

    store.transact(Plan(emails=(email_id,)), decide)


def test_a_row_that_has_moved_on_is_left_to_whoever_moved_it(month: str) -> None:
    """Between the fold and the write an attempt started: the older row is not written over the newer one."""
    store = open_store(month)
    email_id = an_id()
    store.append([request(email_id)])
    database = Database(month)
    execute(month, "UPDATE emails SET status = 'held' WHERE email_id = ?", email_id)
    (wrong,) = Folder(database).fold(Span(), compare=True).wrong
    step(store, email_id, 1, started(provider="relay"))
    row = execute(month, "SELECT * FROM emails WHERE email_id = ?", email_id)
    again = database.write(partial(rebuild._write, wrong=[wrong]))
    database.close()
    store.close()

    assert {email_id} == again
    assert row == execute(month, "SELECT * FROM emails WHERE email_id = ?", email_id)
    assert 1 == len(execute(month, "SELECT 1 FROM attempts WHERE email_id = ?", email_id))


def test_what_has_moved_on_is_folded_again(
    month: str, folds: SqlFolds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And written, if it is still not as its events say."""
    before = dump(month)
    execute(month, "DELETE FROM emails")
    write = rebuild._write
    turns: list[int] = []

    def too_late_at_first(session: Session, wrong: Sequence[Wrong]) -> set[str]:
        turns.append(len(wrong))
        return {one.email_id for one in wrong[:3]} if len(turns) == 1 else write(session, wrong)

    monkeypatch.setattr(rebuild, "_write", too_late_at_first)
    folds.mend_emails(quietly)

    assert 3 == turns[1]
    assert before["emails"][:3] == dump(month)["emails"]


EMAILS = Sql("SELECT email_id, version FROM emails")
ATTEMPTS = Sql("SELECT email_id, attempt, outcome FROM attempts")


class Reader:
    """Asks every 10 ms, and remembers whatever it should never have seen."""

    def __init__(self, url: str) -> None:
        self._database = Database(url, read_only=True)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.wrong: list[str] = []
        self.asked = 0

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._database.close()

    def _run(self) -> None:
        versions: dict[str, int] = {}
        ended: dict[tuple[str, int], bool] = {}
        while not self._done.wait(0.01):
            rows = {row[0]: row[1] for row in self._database.read(lambda session: session.rows(EMAILS))}
            self.wrong += [one for one, version in versions.items() if rows.get(one, 0) < version]
            versions = rows
            tried = {
                (email_id, attempt): outcome != "open"
                for email_id, attempt, outcome in self._database.read(lambda session: session.rows(ATTEMPTS))
            }
            self.wrong += [
                f"{email_id}/{attempt}"
                for (email_id, attempt), over in ended.items()
                if (email_id, attempt) not in tried or (over and not tried[email_id, attempt])
            ]
            ended = tried
            self.asked += 1


def test_who_reads_and_writes_meanwhile_notices_nothing(month: str, folds: SqlFolds) -> None:
    """Every 10 ms somebody looks: never fewer rows, never an older one. In the end all of them are right."""
    execute(month, "UPDATE emails SET status = 'queued', recipients = '[]'")
    execute(month, "UPDATE attempts SET kind = 'unknown'")
    store = open_store(month, circuit=CircuitPolicy())
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            email_id = an_id()
            store.append([request(email_id)])
            step(store, email_id, 1, started(provider="relay"))
            step(store, email_id, 2, sent(provider="relay"))

    writer = threading.Thread(target=write)
    with Reader(month) as reader:
        writer.start()
        mended = mend_all(folds)
        time.sleep(0.05)
        done.set()
        writer.join()
    store.close()
    right = mend_all(folds)

    assert [] == reader.wrong
    assert reader.asked > 3
    assert mended[0].rows is not None
    assert mended[0].rows > 100
    assert (0, 0) == (right[0].rows, right[1].rows)


class Enough(Exception):
    """Somebody ends it early."""


def test_ended_early_it_goes_on_another_time(month: str, folds: SqlFolds) -> None:
    """What was done is done, and nothing is in the way."""
    before = dump(month)
    execute(month, "DELETE FROM emails")

    def enough(done: int, whole: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        folds.mend_emails(enough)
    left = execute(month, "SELECT count(*) FROM emails")[0][0]
    folds.mend_emails(quietly)

    assert 0 < left <= len(before["emails"])
    assert before == dump(month)


def _mend_slowly(url: str) -> None:
    folds = SqlFolds(Database(url), CircuitPolicy(), workers=0)
    rebuild.MENDED_TOGETHER = 10
    folds.mend_emails(lambda done, whole: time.sleep(0.05))


def names(url: str) -> list[str]:
    """The names of all tables and indexes."""
    text = (
        "SELECT name FROM sqlite_master ORDER BY name"
        if url.startswith("sqlite")
        else "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname"
    )
    return [row[0] for row in execute(url, text)]


def test_killed_it_leaves_nothing_behind(month: str, folds: SqlFolds) -> None:
    """A process that was at it dies; the next one makes the view whole. There is no table that was not there before."""
    before, there = dump(month), names(month)
    execute(month, "DELETE FROM emails")
    process = multiprocessing.get_context("spawn").Process(target=_mend_slowly, args=(month,))
    process.start()
    deadline = time.monotonic() + 20
    while not execute(month, "SELECT 1 FROM emails LIMIT 1"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    (half,) = execute(month, "SELECT count(*) FROM emails")
    folds.mend_emails(quietly)

    assert half[0] < len(before["emails"])
    assert before == dump(month)
    assert there == names(month)
