"""Erasing beside others: who reopens at the same moment, who is about to write, and who is killed in the middle."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from adapters.sql import SqlEventStore, open_store, retention
from adapters.virtual import SeededIds, inline
from application.logbook import Logbook
from application.operate import Operator
from application.ports import Locked, Plan
from application.recorded import Unit, email_stream
from domain.email.events import Failed, FailReason
from domain.errors import KeyErased
from tests.adapters.sql_urls import KINDS, migrated_url
from tests.adapters.test_sql_races import Blocked
from tests.application.world import settings
from tests.contract.event_store.database import execute
from tests.contract.event_store.given import an_id, append, content_of, request, requested, unit
from tests.contract.event_store.test_retention import EXPIRED, REDRIVEN

LOGO = b"\x89PNG" * 100
AT_ONCE = timedelta(microseconds=1)
"""The ends of these tests are of long ago."""
REPOSITORY = Path(__file__).parents[2]
SAME_END = """
    INSERT INTO events (position, event_id, stream, version, type, at, meta, data, hash)
    SELECT %s, 'slow', %s, version, type, at, meta, data, hash FROM events WHERE stream = %s AND version = 2
"""
SWEEPING = """
import sys
from datetime import timedelta
from adapters.sql import open_store
store = open_store(sys.argv[1])
print("ready", flush=True)
while store.retention.sweep(timedelta(microseconds=1), holder="killed", limit=10).more:
    pass
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


def ended(email_id: str, *attached: bytes) -> Unit:
    """An email that was accepted with content, and failed, long ago."""
    failed = Failed(reason=FailReason.EXPIRED, pending=(0, 1), code="")
    events = append(email_stream(email_id), 0, requested(key=email_id), failed)
    return unit(events, content=content_of(email_id, *attached))


def test_who_reopens_first_keeps_the_content(store: SqlEventStore, url: str) -> None:
    """The sweep waits for the email's row, and then finds that this end is not the last word any more."""
    email_id = an_id()
    store.append([ended(email_id)])
    sweeping: list[Blocked] = []

    def reopen(locked: Locked) -> list[Unit]:
        sweeping.append(Blocked(url, lambda: store.retention.sweep(AT_ONCE, holder="me")))
        return [unit(append(email_stream(email_id), 2, REDRIVEN))]

    store.transact(Plan(emails=(email_id,), kept=True), reopen)

    assert 0 == sweeping[0].result().erased
    assert {email_id: content_of(email_id)} == store.contents([email_id])


def test_who_erases_first_leaves_nothing_to_reopen(store: SqlEventStore, url: str) -> None:
    """The retry waits for the email's row, and only then looks whether there is anything left to send."""
    email_id = an_id()
    store.append([ended(email_id, LOGO)])
    operator = Operator(
        store=store,
        executor=inline,
        ids=SeededIds(),
        settings=settings("ses"),
        logbook=Logbook(),
        wake=lambda: None,
    )

    def retry() -> str:
        try:
            asyncio.run(operator.retry(email_id, "ops"))
        except KeyErased:
            return "erased"
        return "reopened"

    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM blobs FOR KEY SHARE")
        sweeping = Blocked(url, lambda: store.retention.sweep(AT_ONCE, holder="me"))
        retrying = Blocked(url, retry, waiting=2)
        other.commit()

    assert (1, "erased") == (sweeping.result().erased, retrying.result())
    assert 2 == len(store.read_stream(email_stream(email_id)))


def test_an_end_that_is_about_to_be_written_is_not_stepped_over(store: SqlEventStore, url: str) -> None:
    """Its position is drawn, and another end behind it is there already: the walk waits for it."""
    slow, quick = an_id(), an_id()
    store.append([request(slow, with_content=True), request(quick, with_content=True)])
    with psycopg.connect(url) as other:
        # As every writer does: first an id for the transaction, then a position.
        other.execute("SELECT pg_current_xact_id()")
        drawn = other.execute("SELECT nextval('events_position_seq')").fetchone()
        store.append([unit(append(email_stream(quick), 1, EXPIRED))])
        before = [store.retention.sweep(AT_ONCE, holder="me").erased for _ in range(3)]
        other.execute(SAME_END, ((drawn or (0,))[0], email_stream(slow), email_stream(quick)))
        other.commit()
    after = [store.retention.sweep(AT_ONCE, holder="me").erased for _ in range(3)]

    assert ([0, 0, 0], 2) == (before, sum(after))
    assert {} == store.contents([slow, quick])


@pytest.mark.parametrize("kind", KINDS)
def test_large_attachments_go_a_few_at_a_time(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction deletes so many octets and no more, but always one email."""
    monkeypatch.setattr(retention, "OCTETS_MAX", 1000)
    store = open_store(migrated_url(kind, request))
    sizes = (400, 400, 400, 5000, 5000, 10)
    store.append([ended(an_id(), bytes(size)) for size in sizes])
    sweeps = [store.retention.sweep(AT_ONCE, holder="me") for _ in range(6)]
    store.close()

    assert [2, 1, 1, 1, 1, 0] == [one.erased for one in sweeps]
    assert [True] * 4 + [False] * 2 == [one.more for one in sweeps]


@pytest.mark.parametrize("kind", KINDS)
def test_killed_in_the_middle_it_goes_on_where_it_was(kind: str, request: pytest.FixtureRequest) -> None:
    """Content is there as a whole or not at all, and none is forgotten."""
    url = migrated_url(kind, request)
    store = open_store(url)
    ids = [an_id() for _ in range(800)]
    for start in range(0, len(ids), 300):
        store.append([ended(one, LOGO, one.encode()) for one in ids[start : start + 300]])
    with subprocess.Popen(
        [sys.executable, "-c", SWEEPING, url], cwd=REPOSITORY, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while len(left(url)) > len(ids) - 50:
            assert process.poll() is None
        process.kill()
    kept = left(url)
    whole = store.contents(kept)
    while (swept := store.retention.sweep(AT_ONCE, holder="killed")).more:
        assert swept.erased
    rest = execute(url, "SELECT (SELECT count(*) FROM contents), (SELECT count(*) FROM blobs)")
    store.close()

    assert 0 < len(kept) < len(ids)
    assert {one: content_of(one, LOGO, one.encode()) for one in kept} == whole
    assert [(0, 0)] == rest


def left(url: str) -> list[str]:
    """The emails whose content is there."""
    return [row[0] for row in execute(url, "SELECT email_id FROM contents ORDER BY email_id")]
