"""Following a real log while many write it at once, and some give up or take their time."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from contextlib import aclosing

import psycopg

from adapters.clock import Threads
from adapters.sql import SqlEventStore, open_store
from adapters.sql.migrate import migrate
from application.feed import Feed
from application.recorded import Recorded
from application.selection import EVERYTHING, Wanted
from tests.contract.event_store.given import an_id, append, request, rescheduled, unit
from tests.contract.event_store.test_log import COPY, NEXT_POSITION, OWN_ID

WRITERS = 4
ROUNDS = 40
WITHIN_S = 30.0
RESCHEDULED = Wanted(types=frozenset({"Rescheduled"}))


def write(store: SqlEventStore, seed: int) -> None:
    """Record many small things, some of them in streams that exist."""
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        ids = [an_id() for _ in range(dice.randint(1, 4))]
        store.append([request(one) for one in ids])
        if dice.random() < 0.5:
            store.append([unit(append(f"email-{ids[0]}", 1, rescheduled()))])


def dawdle(url: str, seed: int) -> None:
    """Draw positions, take a moment, and then record something there or don't: gaps that fill late, or never."""
    dice = random.Random(seed)
    with psycopg.connect(url) as connection:
        for _ in range(ROUNDS):
            connection.execute(OWN_ID)
            row = connection.execute(NEXT_POSITION).fetchone()
            assert row is not None
            threading.Event().wait(dice.uniform(0, 0.03))
            if dice.random() < 0.5:
                connection.execute(COPY, (row[0], an_id(), f"email-{an_id()}"))
                connection.commit()
            else:
                connection.rollback()


async def follow(
    feed: Feed, after: int, wanted: Wanted, is_done: Callable[[list[Recorded]], bool]
) -> list[Recorded]:
    """What a reader is given until it has seen enough."""
    found: list[Recorded] = []
    async with aclosing(feed.follow(after, wanted, idle_s=0.1)) as batches:
        async for batch in batches:
            found += batch.events
            if is_done(found):
                return found
    return found


async def test_no_reader_misses_or_repeats_anything(postgres_url: str) -> None:
    """Two processes, two readers in each, one of them choosy; the order is that of the log for all."""
    migrate(postgres_url)
    stores = [open_store(postgres_url) for _ in range(3)]
    stores[0].append([request(an_id())])  # what the dawdlers copy
    pools = [Threads(4), Threads(4)]
    feeds = [
        Feed(store=store, executor=pool, troubled=print)
        for store, pool in zip(stores[1:], pools, strict=True)
    ]
    ended = threading.Event()
    last = 0

    def is_done(found: list[Recorded]) -> bool:
        return ended.is_set() and bool(found) and found[-1].position >= last

    def is_over(found: list[Recorded]) -> bool:
        return ended.is_set() and len(found) == rescheduled_count

    rescheduled_count = -1
    readers = [
        asyncio.ensure_future(follow(feed, 0, wanted, done))
        for feed in feeds
        for wanted, done in ((EVERYTHING, is_done), (RESCHEDULED, is_over))
    ]
    writers = [threading.Thread(target=write, args=(stores[0], seed)) for seed in range(WRITERS)]
    writers += [threading.Thread(target=dawdle, args=(postgres_url, seed)) for seed in range(2)]
    for one in writers:
        one.start()
    while any(one.is_alive() for one in writers):
        feeds[0].wake()
        await asyncio.sleep(0.005)
    log = stores[0].read_back(2**62, 10_000)[::-1]
    last, rescheduled_count = log[-1].position, sum(one.version == 2 for one in log)
    ended.set()
    async with asyncio.timeout(WITHIN_S):
        found = await asyncio.gather(*readers)
    positions = [one.position for one in log]

    assert positions[-1] > len(positions)  # there are gaps
    for everything, some in (found[:2], found[2:]):
        assert positions == [one.position for one in everything]
        assert [one.position for one in log if one.version == 2] == [one.position for one in some]

    for after in range(0, last, 7):
        batches = feeds[1].follow(after, until=last)
        behind = [one.position async for batch in batches for one in batch.events]
        assert [one for one in positions if one > after] == behind

    for pool in pools:
        pool.close()
    for store in stores:
        store.close()
