"""What only happens when others write at the same moment, made to happen: another client holds the row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from adapters.sql import SqlEventStore, open_store
from adapters.sql import views as kept
from application.ports import Locked, Plan, Share, Waiting
from application.recorded import StoredContent, Unit, email_stream
from domain.email.events import Cancelled
from tests.adapters.sql_urls import KINDS, migrated_url
from tests.contract.event_store.given import (
    T0,
    an_id,
    append,
    content_of,
    failed,
    request,
    requested,
    rescheduled,
    started,
    unit,
)

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
LOGO = b"\x89PNG" * 100
OPEN_ATTEMPT = """
    INSERT INTO attempts (email_id, attempt, provider, outcome, worker, token, recipients, started_at)
    VALUES ('1', 1, 'ses', 'open', %s, %s, '[]', now())
"""


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """A migrated database on PostgreSQL, where writers run side by side."""
    return migrated_url("postgresql", request)


@pytest.fixture
def store(url: str) -> Iterator[SqlEventStore]:
    """The store on it."""
    store = open_store(url)
    yield store
    store.close()


class Blocked:
    """A call that waits for a lock that `other` holds; `result` is what it gives once that is let go.

    `waiting`: how many wait by then, those before it included.
    """

    def __init__(self, url: str, call: Callable[[], Any], waiting: int = 1) -> None:
        self._answer: list[Any] = []
        self._thread = threading.Thread(target=lambda: self._answer.append(call()))
        self._thread.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        deadline = time.monotonic() + 10
        with psycopg.connect(url, autocommit=True) as looking:
            while looking.execute(waits).fetchone() != (waiting,):
                assert self._thread.is_alive(), "it did not wait"
                assert time.monotonic() < deadline, "it does not wait"
                time.sleep(0.01)

    def result(self) -> Any:
        self._thread.join(10)
        return self._answer[0]


def with_logo(email_id: str) -> tuple[Unit, StoredContent]:
    """A unit that accepts an email with the attachment, and its content."""
    content = content_of(email_id, LOGO)
    return unit(append(email_stream(email_id), 0, requested()), content=content), content


def test_a_blob_that_is_just_being_used_is_not_erased(store: SqlEventStore, url: str) -> None:
    """The other email's reference can't be seen yet; the row of the blob is held until it can."""
    first, second = an_id(), an_id()
    store.append([with_logo(first)[0]])
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM blobs FOR KEY SHARE")
        other.execute("INSERT INTO content_blobs SELECT %s, digest FROM blobs", (second,))
        erasing = Blocked(url, lambda: store.erase(first))
        other.commit()
    erasing.result()
    with psycopg.connect(url) as looking:
        blobs = looking.execute("SELECT data FROM blobs").fetchall()

    assert [(LOGO,)] == blobs


def test_a_blob_that_is_just_being_erased_is_kept_anew(store: SqlEventStore, url: str) -> None:
    """Whoever needs it waits for the end of the erasure, and brings it again."""
    first, second = an_id(), an_id()
    store.append([with_logo(first)[0]])
    brings, content = with_logo(second)
    with psycopg.connect(url) as other:
        other.execute("DELETE FROM content_blobs")
        other.execute("DELETE FROM blobs")
        appending = Blocked(url, lambda: store.append([brings]))
        other.commit()
    appending.result()

    assert {second: content} == store.contents([second])


def test_content_that_goes_while_it_is_read_is_gone(store: SqlEventStore, url: str) -> None:
    """Between an email's text and its attachments somebody erased it: then it has no content, not half of it."""
    email_id = an_id()
    store.append([with_logo(email_id)[0]])
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("DELETE FROM blobs")

    assert {} == store.contents([email_id])


def test_a_lease_is_not_released_over_an_attempt_that_just_started(store: SqlEventStore, url: str) -> None:
    """The claim holds the lease; only after it can be seen whether there is anything open."""
    lease = store.acquire_lease("w")
    with psycopg.connect(url) as claiming:
        claiming.execute("SELECT 1 FROM leases FOR SHARE")
        releasing = Blocked(url, lambda: store.release_lease(lease))
        claiming.execute(OPEN_ATTEMPT, (lease.worker, lease.token))
        claiming.commit()
    releasing.result()

    assert store.renew_lease(lease)


def test_a_claim_waits_for_whoever_takes_its_lease_over(store: SqlEventStore, url: str) -> None:
    """And then starts nothing: the lease is gone."""
    lease = store.acquire_lease("w")
    store.append([request(an_id())])
    with psycopg.connect(url) as recovering:
        recovering.execute("SELECT 1 FROM leases FOR UPDATE")
        plan = Plan(lease=lease, choose=lambda waiting, gates, now: pytest.fail("it chose"))
        claiming = Blocked(url, lambda: store.transact(plan, lambda locked: []))
        recovering.execute("DELETE FROM leases")
        recovering.commit()
    locked: Locked = claiming.result().locked

    assert (False, ()) == (locked.lease_alive, locked.claimed)


def test_a_claim_passes_over_what_another_holds(store: SqlEventStore, url: str) -> None:
    """Without waiting for it: due emails and overdue ones."""
    first, second = an_id(), an_id()
    store.append(
        [request(one, at=LONG_AGO, requested_at=LONG_AGO, expires_at=LONG_AGO) for one in (first, second)]
    )
    plan = Plan(lease=store.acquire_lease("w"), choose=everything, overdue_max=10)
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM emails WHERE email_id = %s FOR UPDATE", (first,))
        meanwhile = store.transact(plan, lambda locked: []).locked
    after = store.transact(plan, lambda locked: []).locked

    assert ((second,), (second,)) == (meanwhile.claimed, meanwhile.overdue)
    assert ({first, second}, {first, second}) == (set(after.claimed), set(after.overdue))


def everything(waiting: Sequence[Waiting], gates: object, now: datetime) -> list[Share]:
    """All there is."""
    return [Share(lane=one.lane, priority=one.priority, count=10) for one in waiting]


def test_only_what_is_still_open_is_taken_over(store: SqlEventStore, url: str) -> None:
    """The attempt's outcome is just being recorded, and the next attempt, of somebody else, has begun."""
    lease, email_id = store.acquire_lease("w"), an_id()
    stream = email_stream(email_id)
    store.append([request(email_id)])
    store.transact(Plan(), lambda locked: [unit(append(stream, 1, started(token=lease.token)))])
    held, go_on = threading.Event(), threading.Event()

    def records(locked: Locked) -> list[Unit]:
        held.set()
        go_on.wait(10)
        return [unit(append(stream, 2, failed(), started(2, token=lease.token + 1)))]

    recording = threading.Thread(target=lambda: store.transact(Plan(emails=(email_id,)), records))
    recording.start()
    held.wait(10)
    taking = Blocked(url, lambda: store.transact(Plan(takes_over=lease), lambda locked: []))
    go_on.set()
    recording.join()

    assert () == taking.result().locked.taken_over


def test_a_decision_sees_a_gate_as_it_is_once_it_is_held(store: SqlEventStore, url: str) -> None:
    """Not as it was when the transaction began to wait for it; and the time is taken after it."""
    email_id = an_id()
    store.append([request(email_id)])
    start = unit(append(email_stream(email_id), 1, started()), at=LONG_AGO)
    store.transact(Plan(), lambda locked: [start])
    with psycopg.connect(url) as other:
        other.execute("UPDATE gates SET state = replace(state, '\"open_attempts\":1', '\"open_attempts\":7')")
        waiting = Blocked(url, lambda: store.transact(Plan(), lambda locked: []))
        row = other.execute("SELECT clock_timestamp()").fetchone()
        other.commit()
    locked: Locked = waiting.result().locked

    assert 7 in {gate.open_attempts for gate in locked.gates.values()}
    assert row is not None
    assert row[0] < locked.now


def test_a_claim_that_finds_nothing_waits_for_nobody_s_gates(store: SqlEventStore, url: str) -> None:
    """Every hint wakes all idle workers: they neither wait for the busy one nor hold it up."""
    email_id = an_id()
    store.append([request(email_id)])
    store.transact(Plan(), lambda locked: [unit(append(email_stream(email_id), 1, started()), at=LONG_AGO)])
    plan = Plan(lease=store.acquire_lease("w"), choose=everything, overdue_max=10)
    with psycopg.connect(url) as other:
        other.execute("SET lock_timeout = '5s'; SELECT 1 FROM gates FOR UPDATE")
        locked = store.transact(plan, lambda locked: []).locked

    assert ((), (), True) == (locked.claimed, locked.overdue, locked.lease_alive)
    assert 1 in {gate.open_attempts for gate in locked.gates.values()}


def test_writers_wait_for_the_swap_of_a_view(store: SqlEventStore, url: str) -> None:
    """Whoever rebuilt one holds the lock exclusively while the old one gives way to the new."""
    from adapters.sql.dialect import REBUILDING

    with psycopg.connect(url) as swapping:
        swapping.execute("SELECT pg_advisory_xact_lock(%s)", (REBUILDING,))
        appending = Blocked(url, lambda: store.append([request(an_id())]))
        swapping.execute("ALTER TABLE emails RENAME TO emails_old")
        swapping.execute("CREATE TABLE emails (LIKE emails_old INCLUDING ALL)")
        swapping.execute("DROP TABLE emails_old")
        swapping.commit()

    assert 1 == len(appending.result())
    assert 1 == store.waiting()


# Views that are kept in memory, while others write.


@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_view_is_not_used_once_another_process_wrote(
    request: pytest.FixtureRequest, kind: str
) -> None:
    """Its stream ends with another hash by then."""
    url = migrated_url(kind, request)
    one, other = open_store(url), open_store(url)
    email_id = an_id()
    plan = Plan(emails=(email_id,))
    one.append([request_of(email_id)])
    one.transact(plan, lambda locked: [])
    other.transact(plan, lambda locked: [unit(append(email_stream(email_id), 1, rescheduled(5)))])
    view = one.transact(plan, lambda locked: []).locked.emails[email_id]
    same = other.transact(plan, lambda locked: []).locked.emails[email_id]
    one.close()
    other.close()

    assert 2 == view.version
    assert same == view


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_of_what_was_rolled_back_is_not_used(request: pytest.FixtureRequest, kind: str) -> None:
    """It was kept, but its last event's hash is in no log."""
    store = open_store(migrated_url(kind, request))
    email_id = an_id()
    plan = Plan(emails=(email_id,))
    store.append([request_of(email_id)])
    first = unit(append(email_stream(email_id), 1, rescheduled(5)))
    with pytest.raises(ValueError, match="moves gates"):
        store.transact(
            Plan(emails=(email_id,), gates=False),
            lambda locked: [first, unit(append(email_stream(email_id), 2, started()))],
        )
    view = store.transact(plan, lambda locked: []).locked.emails[email_id]
    store.close()

    assert (1, T0) == (view.version, view.email.due_at)


@pytest.mark.parametrize("kind", KINDS)
def test_only_so_many_views_are_kept(
    request: pytest.FixtureRequest, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest make room, those that have ended are not kept at all; every one is found all the same."""
    monkeypatch.setattr(kept, "KEPT_MAX", 3)
    store = open_store(migrated_url(kind, request))
    ids = [an_id() for _ in range(10)]
    store.append([request_of(one) for one in ids])
    store.append([request_of(an_id())])
    found = store.transact(Plan(emails=tuple(ids)), lambda locked: []).locked.emails
    cached = store._transactions._views._kept
    before = len(cached)
    store.append([unit(append(email_stream(one), 1, Cancelled(by="me"))) for one in ids])
    store.close()

    assert set(ids) == set(found)
    assert (3, 1) == (before, len(cached))


def request_of(email_id: str) -> Unit:
    """The unit that accepts an email (`request` is pytest's name for something else here)."""
    return request(email_id)
