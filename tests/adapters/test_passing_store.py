"""The store of simulations: what it forgets. What it keeps is under the contract of all stores."""

from __future__ import annotations

from datetime import timedelta

from adapters.memory.passing_store import DOUBTFUL_KEPT, PassingEventStore
from adapters.providers.scripted import Behaviour, Fate, ScriptedProvider
from adapters.virtual import VirtualClock, run_virtually
from domain.circuit import CircuitPolicy
from tests.application.world import World, settings


async def world(clock: VirtualClock, *script: Behaviour) -> World:
    """One provider, one worker, on a store that forgets."""
    store = PassingEventStore(clock, CircuitPolicy(), forgets=True)
    provider = ScriptedProvider(name="primary", script=script, sleep=clock.sleep)
    made = World(clock, settings("primary"), {"primary": provider}, store)
    await made.worker()
    return made


def test_an_email_is_forgotten_once_it_has_ended() -> None:
    """Its events and its content; one that waits is kept, and the log is nowhere."""

    async def main(clock: VirtualClock) -> None:
        made = await world(clock, Behaviour(delay_s=1.0))
        receipt = await made.send()
        await clock.sleep(0.5)
        under_way = (made.names(receipt.email_id), len(made.store.contents([receipt.email_id])))
        await clock.sleep(1.0)

        assert (["Requested", "AttemptStarted"], 1) == under_way
        assert [] == made.history(receipt.email_id)
        assert {} == made.store.contents([receipt.email_id])
        assert 0 == made.store.waiting()
        assert [] == made.store.read_all(0, 10)

    run_virtually(main)


def test_one_that_was_in_doubt_is_kept_for_a_while() -> None:
    """Whoever looks it up still finds it."""

    async def main(clock: VirtualClock) -> None:
        made = await world(clock, Behaviour(fate=Fate.LOST), Behaviour())
        receipt = await made.send()
        await clock.sleep(60.0)
        kept = made.names(receipt.email_id)
        await clock.sleep(DOUBTFUL_KEPT / timedelta(seconds=1) + 60.0)
        await made.send("k2")
        await clock.sleep(60.0)

        assert "Sent" == kept[-1]
        assert [] == made.history(receipt.email_id)

    run_virtually(main)
