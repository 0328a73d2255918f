"""Following the log: nothing twice, nothing left out, whoever else reads and however slowly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import pytest

from adapters.memory.event_store import MemoryEventStore
from adapters.virtual import VirtualClock, inline, run_virtually
from application import feed as module
from application.feed import Batch, Feed
from application.ports import StoreUnavailable
from application.recorded import Recorded
from application.selection import Wanted
from domain.circuit import CircuitPolicy
from tests.contract.event_store.given import ManualClock, an_id, append, request, rescheduled, unit

T = TypeVar("T")
WITHIN_S = 100.0
RESCHEDULED = Wanted(types=frozenset({"Rescheduled"}))


class Watched(MemoryEventStore):
    """Counts what is read of it, and does not answer while it is `down`."""

    def __init__(self) -> None:
        super().__init__(clock=ManualClock(), circuit=CircuitPolicy())
        self.reads: list[int] = []
        self.looks: list[tuple[int, int]] = []
        self.down = False

    def read_all(self, after: int, limit: int) -> list[Recorded]:
        if self.down:
            raise StoreUnavailable("gone")
        self.reads.append(after)
        return super().read_all(after, limit)

    def read_back(self, before: int, limit: int) -> list[Recorded]:
        self.looks.append((before, limit))
        return super().read_back(before, limit)

    def add(self, count: int = 1) -> None:
        """Record so many requests."""
        self.append([request(an_id()) for _ in range(count)])

    def reschedule(self) -> None:
        """Record one event of another type."""
        email_id = an_id()
        self.append([request(email_id)])
        self.append([unit(append(f"email-{email_id}", 1, rescheduled()))])


def fed(store: Watched, executor: Any = inline) -> tuple[Feed, list[StoreUnavailable]]:
    """A feed, and what it complains of."""
    troubles: list[StoreUnavailable] = []
    return Feed(store=store, executor=executor, troubled=troubles.append), troubles


def positions(batches: list[Batch]) -> list[int]:
    return [one.position for batch in batches for one in batch.events]


async def taken(batches: AsyncGenerator[Batch, None], count: int) -> list[int]:
    """The positions of the next `count` events."""
    found: list[int] = []
    async with asyncio.timeout(WITHIN_S):
        while len(found) < count:
            batch = await anext(batches)
            found += [one.position for one in batch.events]
    return found


def virtually(main: Callable[[VirtualClock], Awaitable[T]]) -> T:
    async def run(clock: VirtualClock) -> T:
        async with asyncio.timeout(WITHIN_S):
            return await main(clock)

    return run_virtually(run)


@pytest.mark.parametrize("after", [0, 1, 254, 255, 256, 257, 511, 512, 599, 600])
def test_from_every_position_comes_all_that_lies_behind_it(after: int) -> None:
    """Over the edges of pages, and up to where it was asked for."""
    store = Watched()
    store.add(600)
    feed, _ = fed(store)

    async def main(clock: VirtualClock) -> list[Batch]:
        return [batch async for batch in feed.follow(after, until=600)]

    assert list(range(after + 1, 601)) == positions(virtually(main))


def test_a_reader_that_waits_hears_at_once_what_this_process_records() -> None:
    """The hint wakes it long before it would have looked by itself."""
    store = Watched()
    feed, _ = fed(store)

    async def main(clock: VirtualClock) -> float:
        async with aclosing(feed.follow(0)) as batches:
            waiting = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(0.1)
            store.add()
            feed.wake()
            told_at = clock.monotonic()
            await waiting
            return clock.monotonic() - told_at

    assert virtually(main) == pytest.approx(module.GATHER_S)


def test_a_hint_while_the_log_is_read_is_not_lost() -> None:
    """What was recorded just after the look has nobody else to tell of it."""
    store = Watched()

    def late(call: Callable[[], T]) -> Awaitable[T]:
        answer = inline(call)
        if store.reads == [0]:
            store.add()
            feed.wake()
        return answer

    feed, _ = fed(store, late)

    async def main(clock: VirtualClock) -> float:
        async with aclosing(feed.follow(0)) as batches:
            await taken(batches, 1)
            return clock.monotonic()

    assert virtually(main) < module.POLL_S


def test_what_other_processes_record_is_seen_without_a_hint() -> None:
    """Within one poll, and never more often looked for than that."""
    store = Watched()
    feed, _ = fed(store)

    async def main(clock: VirtualClock) -> float:
        async with aclosing(feed.follow(0)) as batches:
            waiting = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(10.1)
            looked = len(store.reads)
            store.add()
            told_at = clock.monotonic()
            await waiting
            assert looked <= 10.1 / module.POLL_S + 1
            return clock.monotonic() - told_at

    assert virtually(main) <= module.POLL_S


def test_a_crowd_at_the_end_reads_no_more_than_one() -> None:
    """Each gets everything, once and in order; the log is read for all of them together."""
    store = Watched()
    feed, _ = fed(store)

    async def main(clock: VirtualClock) -> list[list[int]]:
        followers = [feed.follow(0) for _ in range(50)]
        work = [asyncio.ensure_future(taken(one, 200)) for one in followers]
        for _ in range(100):
            store.add(2)
            feed.wake()
            await asyncio.sleep(0.01)
        found = await asyncio.gather(*work)
        for one in followers:
            await one.aclose()
        return list(found)

    assert [list(range(1, 201))] * 50 == virtually(main)
    # A look in each GATHER_S of the second that it took.
    assert len(store.reads) <= 1.0 / module.GATHER_S + 10


def test_whoever_is_far_behind_does_not_disturb_those_at_the_end() -> None:
    """It reads its own pages until it has caught up; both get everything."""
    store = Watched()
    store.add(1000)
    feed, _ = fed(store)

    async def main(clock: VirtualClock) -> list[list[int]]:
        late, early = feed.follow(0), feed.follow(1000)
        work = [asyncio.ensure_future(taken(late, 1010)), asyncio.ensure_future(taken(early, 10))]
        for _ in range(10):
            await asyncio.sleep(0.03)
            store.add()
            feed.wake()
        found = await asyncio.gather(*work)
        await late.aclose()
        await early.aclose()
        return list(found)

    assert [list(range(1, 1011)), list(range(1001, 1011))] == virtually(main)


def test_a_slow_reader_holds_one_page_and_keeps_nobody() -> None:
    """It is read for only as it takes; the other has everything long before."""
    store = Watched()
    store.add(2000)
    feed, _ = fed(store)

    async def main(clock: VirtualClock) -> tuple[list[int], list[int], int]:
        async with aclosing(feed.follow(0)) as slow, aclosing(feed.follow(0)) as fast:
            first = await anext(slow)
            everything = await taken(fast, 2000)
            read = len(store.reads)
            await asyncio.sleep(60)
            rest = await taken(slow, 2000 - len(first.events))
            return positions([first]) + rest, everything, read

    found, everything, read = virtually(main)

    assert list(range(1, 2001)) == found == everything
    assert len(store.reads) > read


def test_only_what_is_wanted_is_given_and_the_position_goes_on() -> None:
    """A batch of nothing says how far it has come, when nothing was told for long."""
    store = Watched()
    feed, _ = fed(store)

    async def main(clock: VirtualClock) -> list[Batch]:
        async with aclosing(feed.follow(0, RESCHEDULED, idle_s=15)) as batches:
            store.add(5)
            idle = await anext(batches)
            store.reschedule()
            return [idle, await anext(batches), await anext(batches)]

    idle, told, again = virtually(main)

    assert ((), 5) == (idle.events, idle.position)
    assert [7] == positions([told])
    assert ((), 7) == (again.events, again.position)


def test_a_database_that_is_gone_is_waited_for() -> None:
    """Whoever follows is told nothing twice for it, and somebody hears of it once."""
    store = Watched()
    store.add(3)
    feed, troubles = fed(store)

    async def main(clock: VirtualClock) -> list[int]:
        async with aclosing(feed.follow(0)) as batches:
            first = await taken(batches, 3)
            store.down = True
            waiting = asyncio.ensure_future(taken(batches, 2))
            await asyncio.sleep(30)
            store.down = False
            store.add(2)
            return first + await waiting

    assert [1, 2, 3, 4, 5] == virtually(main)
    assert 1 == len(troubles)


def test_where_nothing_is_waited_for_a_database_that_is_gone_is_an_error() -> None:
    """Whoever asked for what there is must not take an error for its end."""
    store = Watched()
    store.add(3)
    store.down = True
    feed, _ = fed(store)

    async def main(clock: VirtualClock) -> None:
        async for _ in feed.follow(0, until=3):
            pass

    with pytest.raises(StoreUnavailable):
        virtually(main)


def test_leaving_ends_all_who_follow_at_once() -> None:
    """Those that wait, and those that are in the middle of the log."""
    store = Watched()
    store.add(1000)
    feed, _ = fed(store)

    async def main(clock: VirtualClock) -> float:
        async with aclosing(feed.follow(0)) as reading, aclosing(feed.follow(1000)) as waiting:
            await anext(reading)
            end = asyncio.ensure_future(anext(waiting, None))
            await asyncio.sleep(0.1)
            feed.leave()
            told_at = clock.monotonic()
            assert await end is None
            assert await anext(reading, None) is None
            return clock.monotonic() - told_at

    assert 0.0 == virtually(main)
    assert feed.is_over


def test_the_last_ones_are_found_from_the_end() -> None:
    """In the order of the log, with where to go on; no more is read than is needed."""
    store = Watched()
    store.add(1000)
    store.reschedule()
    feed, _ = fed(store)

    async def main(clock: VirtualClock) -> None:
        last = await feed.last(3)
        assert [1000, 1001, 1002] == [one.position for one in last.events]
        assert (1002, False) == (last.position, last.is_cut)
        assert [(1003, 3)] == store.looks

        one = await feed.last(5, RESCHEDULED)
        assert [1002] == [each.position for each in one.events]
        assert (1002, 1002, False) == (one.position, one.looked_at, one.is_cut)

        assert () == (await feed.last(0)).events
        assert 1002 == (await feed.last(0)).position

    virtually(main)


def test_a_search_for_what_is_not_there_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says that there may be more."""
    monkeypatch.setattr(module, "LOOKED_AT_MAX", 512)
    store = Watched()
    store.reschedule()
    store.add(1000)
    feed, _ = fed(store)

    async def main(clock: VirtualClock) -> None:
        last = await feed.last(1, RESCHEDULED)
        assert ((), 512, True) == (last.events, last.looked_at, last.is_cut)

    virtually(main)


async def test_an_empty_log_has_a_beginning() -> None:
    """Position 0, from which everything follows."""
    store = Watched()
    feed, _ = fed(store)

    assert (0, 0) == (await feed.end(), await feed.highest())
    assert () == (await feed.last(10)).events
    store.add()
    assert (1, 1) == (await feed.end(), await feed.highest())


async def test_reading_does_not_stop_the_loop() -> None:
    """Histories are read where everything else of the database is: in the executor."""
    store = Watched()
    email_id = an_id()
    store.append([request(email_id)])
    in_threads: list[bool] = []

    def elsewhere(call: Callable[[], T]) -> Awaitable[T]:
        in_threads.append(True)
        return asyncio.to_thread(call)

    feed, _ = fed(store, elsewhere)
    wanted = Wanted(types=frozenset({"Requested"}))
    async with aclosing(feed.follow(0, wanted)) as batches:
        assert [1] == await taken(batches, 1)

    assert [True] == in_threads
