"""Workers and readers that hear others look more rarely by themselves, and tell others what they leave to them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

from adapters.memory.event_store import MemoryEventStore
from adapters.providers.scripted import ScriptedProvider, parse_script
from adapters.virtual import T0, VirtualClock, inline, run_virtually
from application import feed as feed_module
from application.bell import HEARING_POLL_S, News, news_of
from application.dispatch import Dispatcher
from application.feed import Feed
from application.lease import LeaseKeeper
from application.ports import Decide, Plan, Transacted
from application.recorded import Recorded
from application.settings import ProviderSettings
from domain.circuit import CircuitPolicy, ProviderPaused
from tests.application.world import World, settings

POLL_S = 0.05


class Counting(MemoryEventStore):
    """Counts transactions and pages read."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock=clock, circuit=CircuitPolicy())
        self.rounds = 0
        self.reads = 0

    def transact(self, plan: Plan, decide: Decide) -> Transacted:
        self.rounds += plan.choose is not None
        return super().transact(plan, decide)

    def read_all(self, after: int, limit: int) -> list[Recorded]:
        self.reads += 1
        return super().read_all(after, limit)


def of_one_provider(clock: VirtualClock, store: Counting, concurrency: int = 4) -> World:
    """A world whose emails take 1 s each."""
    one = ScriptedProvider(name="one", script=parse_script(["accept 1s"]), sleep=clock.sleep)
    made = settings(ProviderSettings(name="one", type="scripted", concurrency=concurrency))
    return World(clock, made, {"one": one}, store)


async def a_worker(world: World, **given: Any) -> Dispatcher:
    """A worker that looks every 50 ms where it hears nobody."""
    common: dict[str, Any] = {
        "store": world.store,
        "executor": inline,
        "clock": world.clock,
        "ids": world.ids,
        "settings": world.settings,
        "logbook": world.logbook,
        "observe": lambda events: None,
    }
    keeper = LeaseKeeper(worker="w1", **common)
    dispatcher = Dispatcher(providers=world.providers, lease=keeper, poll_s=POLL_S, **common, **given)
    await keeper.acquire()
    world.supervisor.start("w1", dispatcher.run())
    return dispatcher


@pytest.mark.parametrize(("hears", "pause_s"), [(False, POLL_S), (True, HEARING_POLL_S)])
def test_an_idle_worker_looks_more_rarely_while_it_hears_others(hears: bool, pause_s: float) -> None:
    """And as often as before once it doesn't: it asks anew after each round."""

    async def main(clock: VirtualClock) -> int:
        store = Counting(clock)
        await a_worker(of_one_provider(clock, store), hears=lambda: hears)
        await clock.sleep(20.0)
        return store.rounds

    assert 20.0 / pause_s == pytest.approx(run_virtually(main), rel=0.02, abs=1)


def test_what_is_due_at_a_known_time_is_not_waited_for_longer() -> None:
    """However rarely it looks, a retry begins when it is due."""

    async def main(clock: VirtualClock) -> float:
        world = of_one_provider(clock, Counting(clock))
        one = ScriptedProvider(name="one", script=parse_script(["transient", "accept"]), sleep=clock.sleep)
        world.providers = {"one": one}
        worker = await a_worker(world, hears=lambda: True)
        receipt = await world.send()
        worker.wake()
        await world.ended(receipt.email_id)
        history = world.history(receipt.email_id)
        due_at = next(at for one in history if (at := getattr(one.event, "retry_at", None)) is not None)
        late: timedelta = history[-2].at - due_at
        return late.total_seconds()

    assert 0.0 <= run_virtually(main) < POLL_S


def test_a_worker_that_leaves_says_that_it_makes_room() -> None:
    """It starts nothing with the slots that its last outcomes free; the others can't know that they are free."""

    async def main(clock: VirtualClock) -> None:
        world = of_one_provider(clock, Counting(clock), concurrency=1)
        told: list[float] = []
        worker = await a_worker(world, hears=lambda: True, leaves=lambda: told.append(clock.monotonic()))
        first, second = await world.send("k1"), await world.send("k2")
        worker.wake()
        await clock.sleep(0.5)
        assert [] == told
        worker.leave()
        await clock.sleep(5.0)

        assert ["Requested", "AttemptStarted", "Sent"] == world.names(first.email_id)
        assert ["Requested"] == world.names(second.email_id)
        assert [1.0] == pytest.approx(told, abs=0.1)

    run_virtually(main)


@pytest.mark.parametrize("hears", [False, True])
def test_a_reader_of_the_log_looks_more_rarely_while_it_hears_others(hears: bool) -> None:
    """A hint is as quick as ever."""

    async def main(clock: VirtualClock) -> tuple[int, float]:
        store = Counting(clock)
        world = of_one_provider(clock, store)
        feed = Feed(store=store, executor=inline, troubled=lambda error: None, hears=lambda: hears)
        async with aclosing(feed.follow(0)) as batches:
            waiting = asyncio.ensure_future(anext(batches))
            await clock.sleep(60.1)
            looked = store.reads
            await world.send()
            feed.wake()
            told_at = clock.monotonic()
            await waiting
            return looked, clock.monotonic() - told_at

    looked, took_s = run_virtually(main)

    assert 60.1 / (HEARING_POLL_S if hears else feed_module.POLL_S) == pytest.approx(looked, abs=2)
    assert took_s == pytest.approx(feed_module.GATHER_S)


def test_a_circuit_that_moves_is_work_for_all() -> None:
    """What emails need next, the worker that recorded their events does itself."""

    paused = ProviderPaused(by="ann")
    moved = Recorded(position=1, event_id="e", stream="circuit-one", version=1, at=T0, event=paused)

    assert News.WORK is news_of([moved])
    assert News.RECORDED is news_of([])
