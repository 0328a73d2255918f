"""Group commit: together in one transaction, each told for itself, and nobody left waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from adapters.memory.event_store import MemoryEventStore
from adapters.virtual import VirtualClock, run_virtually
from application import committer as committing
from application.committer import Committer, Overloaded
from application.ports import BATCH_MAX, StoreUnavailable
from application.recorded import Committed, Conflict, Unit
from domain.circuit import CircuitPolicy
from tests.application.world import World, settings


class Failing(MemoryEventStore):
    """Counts batches; fails the first `failures` of them."""

    def __init__(self, clock: VirtualClock, failures: int = 0) -> None:
        super().__init__(clock=clock, circuit=CircuitPolicy())
        self.failures = failures
        self.batches: list[int] = []

    def append(self, units: Sequence[Unit]) -> list[Committed | Conflict]:
        self.batches.append(len(units))
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("disk full")
        return super().append(units)


def test_what_waits_is_appended_together() -> None:
    """A thousand requests at once are a few transactions, none larger than the bound."""

    async def main(clock: VirtualClock) -> None:
        store = Failing(clock)
        world = World(clock, settings("one"), {}, store)
        await asyncio.gather(*(world.send(f"k{n}") for n in range(1000)))

        assert 1000 == sum(store.batches)
        assert len(store.batches) <= 4
        assert max(store.batches) <= BATCH_MAX

    run_virtually(main)


def test_a_transaction_that_fails_fails_its_own_callers_and_no_others() -> None:
    """They hear it, nothing of theirs is recorded, and the next request is accepted as if nothing had been."""

    async def main(clock: VirtualClock) -> None:
        world = World(clock, settings("one"), {}, Failing(clock, failures=1))
        first = await asyncio.gather(*(world.send(f"k{n}") for n in range(3)), return_exceptions=True)
        again = await world.send("k0")

        assert [StoreUnavailable] * 3 == [type(one) for one in first]
        assert not again.replayed
        assert ["Requested"] == world.names(again.email_id)
        assert {} == world.supervisor.dead

    run_virtually(main)


def test_too_much_at_once_is_refused_before_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue in memory is bounded: beyond it the answer is no, at once."""

    async def main(clock: VirtualClock) -> None:
        monkeypatch.setattr(committing, "WAITING_MAX", 10)
        world = World(clock, settings("one"), {})
        results = await asyncio.gather(*(world.send(f"k{n}") for n in range(15)), return_exceptions=True)

        assert 10 == sum(not isinstance(one, BaseException) for one in results)
        assert 5 == sum(isinstance(one, Overloaded) for one in results)

    run_virtually(main)


def test_a_committer_that_is_stopped_leaves_nobody_waiting() -> None:
    """Neither whoever was in the transaction under way nor whoever came after it waits for ever."""

    async def main(clock: VirtualClock) -> None:
        loop = asyncio.get_running_loop()
        store = MemoryEventStore(clock=clock, circuit=CircuitPolicy())
        committer = Committer(store, lambda _: loop.create_future(), lambda _: None)
        unit = Unit(at=clock.now(), appends=())
        running = asyncio.create_task(committer.run())
        inside = asyncio.create_task(committer.submit(unit))
        await clock.sleep(1)
        behind = asyncio.create_task(committer.submit(unit))
        await clock.sleep(1)
        running.cancel()
        await asyncio.wait((running, inside, behind))

        assert inside.cancelled()
        assert behind.cancelled()

    run_virtually(main)
