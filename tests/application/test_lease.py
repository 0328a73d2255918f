"""Who may be taken for dead, and when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapters.memory.event_store import MemoryEventStore
from adapters.providers.scripted import ScriptedProvider, parse_script
from adapters.virtual import VirtualClock, run_virtually
from application.ports import StoreUnavailable
from domain.circuit import CircuitPolicy
from domain.email.events import OutcomeUncertain, Sent
from tests.application.world import World, settings

RENEWED_EVERY_S = 10.0
OUTAGE_S = 66.0
"""More than two leases; after it, the worker that started half a turn later is the first to renew its own."""


class ComingAndGoing:
    """A database that may be away: then every call says so."""

    def __init__(self, clock: VirtualClock) -> None:
        self.store = MemoryEventStore(clock=clock, circuit=CircuitPolicy())
        self.away = False

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise StoreUnavailable("away")
        return getattr(self.store, name)


async def through_an_outage(clock: VirtualClock, *, killed: bool) -> World:
    """One worker has an attempt in flight while the database is away, and may die; the other is back before it."""
    database: Any = ComingAndGoing(clock)
    provider = ScriptedProvider(name="one", script=parse_script(["accept 2m"]), sleep=clock.sleep)
    world = World(clock, settings("one"), {"one": provider}, store=database)
    await world.send()
    busy = await world.worker("busy")
    await world.until(lambda: bool(busy.holds))
    await clock.sleep(RENEWED_EVERY_S / 2)
    await world.worker("idle")
    database.away = True
    if killed:
        await world.kill("busy")
    await clock.sleep(OUTAGE_S)
    database.away = False
    return world


def types(world: World) -> list[type]:
    """Of all events that were recorded."""
    return [type(one.event) for one in world.store.read_all(0, 1000)]


def test_after_an_outage_nobody_living_is_taken_for_dead() -> None:
    """No lease could be renewed: whoever is back first gives the others time to show themselves."""

    async def main(clock: VirtualClock) -> None:
        world = await through_an_outage(clock, killed=False)
        await world.until(lambda: Sent in types(world))

        assert OutcomeUncertain not in types(world)

    run_virtually(main)


def test_after_an_outage_the_dead_are_found() -> None:
    """A lease later than without one."""

    async def main(clock: VirtualClock) -> None:
        world = await through_an_outage(clock, killed=True)
        await world.until(lambda: OutcomeUncertain in types(world), within=timedelta(seconds=60))

        assert 1 == types(world).count(OutcomeUncertain)

    run_virtually(main)


@pytest.mark.parametrize("away_s", [0.0, RENEWED_EVERY_S])
def test_a_worker_that_begins_waits_for_a_lease_before_it_takes_anybody_for_dead(away_s: float) -> None:
    """It doesn't know what was before: perhaps the database was away, and it is the first to be back. Where it is
    away once more meanwhile, the wait begins anew."""

    async def main(clock: VirtualClock) -> None:
        database: Any = ComingAndGoing(clock)
        provider = ScriptedProvider(name="one", script=parse_script(["accept 2m"]), sleep=clock.sleep)
        world = World(clock, settings("one"), {"one": provider}, store=database)
        await world.send()
        busy = await world.worker("busy")
        await world.until(lambda: bool(busy.holds))
        await world.kill("busy")
        await clock.sleep(OUTAGE_S)
        await world.worker("new")
        await clock.sleep(RENEWED_EVERY_S / 2)
        database.away = away_s > 0
        await clock.sleep(away_s)
        database.away = False
        await clock.sleep(RENEWED_EVERY_S * 2)
        before = types(world)
        await clock.sleep(RENEWED_EVERY_S)

        assert OutcomeUncertain not in before
        assert OutcomeUncertain in types(world)

    run_virtually(main)
