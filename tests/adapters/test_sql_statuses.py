"""Reading the views: every filter and page against a plain list of the same emails."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import product

import pytest

from adapters.sql import SqlEventStore, open_store
from application.identity import DIGEST_PREFIX
from application.ports import Locked, Plan, StoreUnavailable
from application.projections.emails import Status
from application.projections.gates import SERVICE, Gate, provider_gate, route_gate
from application.queries import AttemptRow, PageKey, StatusRow
from application.recorded import Event, Unit, email_stream
from domain.email.events import Cancelled, Failed, FailReason, Held, HoldReason
from tests.adapters.sql_urls import KINDS, migrated_url
from tests.contract.event_store.given import (
    DAY,
    LANE,
    MINUTE,
    T0,
    an_id,
    append,
    content_of,
    failed,
    request,
    requested,
    sent,
    started,
    unit,
)

SECOND = timedelta(seconds=1)
STORIES: dict[str, Callable[[str], tuple[Event, ...]]] = {
    "queued": lambda _: (),
    "sending": lambda provider: (started(provider=provider),),
    "retrying": lambda provider: (started(provider=provider), failed(provider=provider)),
    "held": lambda _: (Held(reason=HoldReason.OPERATOR),),
    "sent": lambda provider: (started(provider=provider), sent(provider=provider)),
    "failed": lambda _: (Failed(reason=FailReason.EXPIRED, pending=(0, 1), code=""),),
    "cancelled": lambda _: (Cancelled(by="me"),),
}


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[SqlEventStore]:
    """An empty store of each kind."""
    store = open_store(migrated_url(request.param, request))
    yield store
    store.close()


def record(store: SqlEventStore, email_id: str, version: int, *events: Event, at: datetime = T0) -> None:
    """Append to an email, gates and all."""
    store.transact(Plan(), lambda _: [unit(append(email_stream(email_id), version, *events), at=at)])


def many(store: SqlEventStore, count: int) -> None:
    """Emails of every status, some at the same moment, some with a time to be sent at."""
    chance = random.Random(1)
    for index in range(count):
        email_id, at = an_id(), T0 + chance.randrange(8) * SECOND
        send_at = at + chance.choice([-1, 1]) * chance.randrange(1, 5) * MINUTE if index % 3 == 0 else None
        store.append([request(email_id, requested_at=at, send_at=send_at)])
        events = STORIES[chance.choice(list(STORIES))](chance.choice(["ses", "postmark"]))
        if events:
            record(store, email_id, 1, *events)


def pages(
    store: SqlEventStore, now: datetime, limit: int, status: Status | None = None, provider: str | None = None
) -> list[StatusRow]:
    """All pages of a filter, one behind the other."""
    rows: list[StatusRow] = []
    before: PageKey | None = None
    while page := store.statuses.page(now=now, limit=limit, status=status, provider=provider, before=before):
        assert len(page) <= limit
        rows += page
        before = PageKey(page[-1].requested_at, page[-1].email_id)
    return rows


def test_pages_give_what_a_list_would(store: SqlEventStore) -> None:
    """Newest first, each row once, for every filter, as time goes by."""
    many(store, 90)
    for now in (T0, T0 + 2 * MINUTE, T0 + DAY):
        everything = store.statuses.page(now=now, limit=100)
        key = [(row.requested_at, row.email_id) for row in everything]

        assert 90 == len(everything)
        assert sorted(key, reverse=True) == key
        for status, provider in product([None, *Status], [None, "ses", "postmark", "gone"]):
            expected = [
                row
                for row in everything
                if (status is None or row.status is status) and (provider is None or row.provider == provider)
            ]
            assert expected == pages(store, now, 7, status, provider), (now, status, provider)


def test_every_status_is_found(store: SqlEventStore) -> None:
    """What the test above compares has some of each."""
    many(store, 90)
    seen = {row.status for row in store.statuses.page(now=T0, limit=100)}

    assert set(Status) - {Status.UNCERTAIN} == seen


def test_a_scheduled_email_reads_as_queued_once_it_is_due(store: SqlEventStore) -> None:
    """By time alone: on the dot, in `find` as in `page`."""
    email_id, due = an_id(), T0 + MINUTE
    store.append([request(email_id, send_at=due)])
    for now, status, other in (
        (due - timedelta(microseconds=1), Status.SCHEDULED, Status.QUEUED),
        (due, Status.QUEUED, Status.SCHEDULED),
    ):
        (row,) = store.statuses.find([email_id], now)

        assert status is row.status
        assert [row] == store.statuses.page(now=now, limit=5, status=status)
        assert [] == store.statuses.page(now=now, limit=5, status=other)


def test_a_row_says_all_there_is_to_say(store: SqlEventStore) -> None:
    """Attempts in order, recipients by index, times to the microsecond."""
    email_id = an_id()
    store.append([request(email_id, with_content=True, key="order-1")])
    record(store, email_id, 1, started(), at=T0 + SECOND)
    record(store, email_id, 2, failed(code="421"), at=T0 + 2 * SECOND)
    record(store, email_id, 3, started(2, "postmark"), at=T0 + 2 * MINUTE)
    (row,) = store.statuses.find([email_id], T0 + DAY)

    assert row == StatusRow(
        id="order-1",
        email_id=email_id,
        status=Status.SENDING,
        provider="postmark",
        attempts=(
            AttemptRow(
                attempt=1,
                provider="ses",
                outcome="failed",
                kind="transient",
                code="421",
                started_at=T0 + SECOND,
                finished_at=T0 + 2 * SECOND,
            ),
            AttemptRow(
                attempt=2,
                provider="postmark",
                outcome="open",
                kind=None,
                code=None,
                started_at=T0 + 2 * MINUTE,
                finished_at=None,
            ),
        ),
        recipients=("pending", "pending"),
        requested_at=T0,
        updated_at=T0 + 2 * MINUTE,
        route="default",
        lane=None,
        next_at=None,
    )


def test_what_comes_next(store: SqlEventStore) -> None:
    """Its turn, where it waits in a lane; its deadline, where it waits for a person; nothing after its end."""
    waits, held, over = an_id(), an_id(), an_id()
    store.append([request(one, send_at=T0 + MINUTE, expires_at=T0 + DAY) for one in (waits, held, over)])
    record(store, held, 1, Held(reason=HoldReason.OPERATOR))
    record(store, over, 1, Cancelled(by="me"))
    rows = store.statuses.find([waits, held, over], T0)

    assert [(LANE, T0 + MINUTE), (None, T0 + DAY), (None, None)] == [(row.lane, row.next_at) for row in rows]


def test_find_keeps_the_order_it_was_asked_in(store: SqlEventStore) -> None:
    """Absent ones are left out, and nobody is there twice."""
    ids = [an_id() for _ in range(5)]
    store.append([request(one) for one in ids])
    asked = [ids[3], an_id(), ids[0], ids[3], ids[4]]

    assert [ids[3], ids[0], ids[4]] == [row.email_id for row in store.statuses.find(asked, T0)]
    assert [] == store.statuses.find([], T0)
    assert [] == store.statuses.find([an_id()], T0)


def test_the_clients_id_comes_from_the_content_where_the_log_has_a_digest(store: SqlEventStore) -> None:
    """Until the content is erased; then the digest is all that is left."""
    email_id, plain = an_id(), an_id()
    digest = f"{DIGEST_PREFIX}{'0' * 64}"
    store.append(
        [
            unit(append(email_stream(one), 0, requested(key=key)), content=content_of(one))
            for one, key in ((email_id, digest), (plain, "order-1"))
        ]
    )
    before = [row.id for row in store.statuses.find([email_id, plain], T0)]
    store.erase(email_id)
    after = [row.id for row in store.statuses.find([email_id, plain], T0)]

    assert ([content_of(email_id).key, "order-1"], [digest, "order-1"]) == (before, after)


def test_gates_are_read_as_committed(store: SqlEventStore) -> None:
    """Without holding up anybody."""
    email_id = an_id()
    store.append([request(email_id)])
    before = store.statuses.gates()
    record(store, email_id, 1, started())
    inside: list[Mapping[str, Gate]] = []

    def look(locked: Locked) -> list[Unit]:
        inside.append(store.statuses.gates())
        return []

    store.transact(Plan(), look)
    after = store.statuses.gates()

    assert {} == before
    assert {provider_gate("ses"), route_gate("default"), SERVICE} == set(after)
    assert [after] == inside
    assert 1 == after[provider_gate("ses")].open_attempts


def test_a_reader_without_a_database_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As the store does."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('empty')}/none.db")
    for ask in (
        lambda: store.statuses.find(["1"], T0),
        lambda: store.statuses.page(now=T0, limit=1),
        store.statuses.gates,
    ):
        with pytest.raises(StoreUnavailable):
            ask()
    store.close()
