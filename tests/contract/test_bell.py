"""What every bell promises: others hear what is rung, and whoever can't hear them knows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
import pytest

from adapters.clock import Daemons, Threads
from adapters.memory.bell import Belfry, MemoryBell
from adapters.sql import SqlEventStore, open_store
from application.bell import Bell, News

WITHIN_S = 20.0
QUIET_S = 0.1
"""What hasn't come by then isn't coming."""


@dataclass
class Process:
    """One of those that ring; what it has heard."""

    bell: Bell
    heard: list[News] = field(default_factory=list)

    async def hears(self, news: News) -> None:
        """Wait until it has heard this."""
        await until(lambda: news in self.heard)


@dataclass
class Subject:
    """`join` makes one more process. `cut` parts all who listen from the others, for a moment."""

    join: Callable[[], Bell]
    cut: Callable[[], None]

    @asynccontextmanager
    async def listening(self, count: int) -> AsyncIterator[list[Process]]:
        """So many that hear each other, and have heard nothing yet."""
        processes = [Process(self.join()) for _ in range(count)]
        tasks = [asyncio.create_task(one.bell.listen(one.heard.append)) for one in processes]
        await until(lambda: all(one.bell.hears for one in processes))
        for one in processes:
            one.heard.clear()
        yield processes
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for one in processes:
            await one.bell.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.fixture(params=["memory", "postgres"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Each kind of bell."""
    if request.param == "memory":
        belfry = Belfry()

        def apart() -> None:
            belfry.cut(is_cut=True)
            asyncio.get_running_loop().call_later(0.05, lambda: belfry.cut(is_cut=False))

        yield Subject(lambda: MemoryBell(belfry), apart)
        return
    url: str = request.getfixturevalue("postgres_url")
    threads = Threads(4)
    stores: list[SqlEventStore] = []

    def join() -> Bell:
        stores.append(open_store(url))
        return stores[-1].bell(executor=threads, connecting=Daemons(), deaf=lambda reason: None)

    yield Subject(join, lambda: end_listeners(url))
    threads.close()
    for store in stores:
        store.close()


def end_listeners(url: str) -> None:
    """Have the server close every connection that listens."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )


async def test_all_others_hear_what_one_rings(subject: Subject) -> None:
    """And it doesn't hear itself: whoever rings knows already."""
    async with subject.listening(3) as (first, *others):
        first.bell.ring(News.RECORDED)
        for one in others:
            await one.hears(News.RECORDED)
        await asyncio.sleep(QUIET_S)

        assert [[News.RECORDED]] * 2 == [one.heard for one in others]
        assert [] == first.heard


async def test_what_is_rung_together_is_at_least_its_most(subject: Subject) -> None:
    """Work is never told as less, whatever is rung before it and behind it; and there are no more rings than were."""
    async with subject.listening(2) as (first, second):
        for news in (News.RECORDED, News.RECORDED, News.WORK, News.RECORDED):
            first.bell.ring(news)
        await second.hears(News.WORK)
        await asyncio.sleep(QUIET_S)

        assert 1 <= second.heard.count(News.WORK) <= len(second.heard) <= 4


async def test_it_hears_from_when_it_listens_to_when_it_is_cut_off(subject: Subject) -> None:
    """Both are told as work: something may have been missed, and from now on one has to look oneself."""
    silent = subject.join()
    async with subject.listening(2) as (first, second):
        assert not silent.hears
        subject.cut()
        await until(lambda: not second.bell.hears)
        assert [News.WORK] == second.heard
        first.bell.ring(News.WORK)  # it may be lost, and is no error
        second.heard.clear()
        await until(lambda: second.bell.hears and first.bell.hears)
        await second.hears(News.WORK)
        second.heard.clear()
        first.bell.ring(News.RECORDED)
        await second.hears(News.RECORDED)

    assert not second.bell.hears
    await silent.close()


async def test_what_is_rung_just_before_the_end_is_told(subject: Subject) -> None:
    """A command acts and is gone. It need not have listened."""
    async with subject.listening(1) as (stays,):
        goes = subject.join()
        for _ in range(3):
            goes.ring(News.RECORDED)
        await asyncio.sleep(0)
        goes.ring(News.WORK)
        await goes.close()
        await stays.hears(News.WORK)
        stays.heard.clear()
        goes.ring(News.WORK)
        await asyncio.sleep(QUIET_S)

        assert [] == stays.heard
