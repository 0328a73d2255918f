"""A provider that can be asked is asked what became of an attempt, before anybody takes a risk."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from adapters.memory.event_store import MemoryEventStore
from adapters.providers.scripted import Script, ScriptedProvider, parse_script
from adapters.virtual import VirtualClock, VirtualLoop, run_virtually
from application.settings import ProviderSettings
from domain.circuit import CircuitPolicy
from domain.email.events import LateResultObserved, OutcomeUncertain
from domain.email.state import End
from domain.failures import Accepted
from domain.routing import OnUncertain
from tests.application.world import World, settings


class LateIndex(ScriptedProvider):
    """What it took can be found only after some questions; each is counted."""

    def __init__(self, clock: VirtualClock, script: Script, *, blind_for: int = 0) -> None:
        super().__init__(name="one", script=script, sleep=clock.sleep)
        self.asked = 0
        self._blind_for = blind_for

    async def find(self, submission: object) -> Accepted | None:
        self.asked += 1
        return await super().find(submission) if self.asked > self._blind_for else None  # type: ignore[arg-type]


def world_with(clock: VirtualClock, provider: ScriptedProvider, *, lookup: bool = True) -> World:
    one = ProviderSettings(name="one", type="scripted", lookup=lookup)
    return World(clock, settings(one, on_uncertain=OnUncertain.RETRY), {"one": provider})


def test_what_the_provider_has_is_not_sent_again() -> None:
    """The answer was lost, the lookup finds the email a few questions later: sent, one copy, no risk."""

    async def main(clock: VirtualClock) -> None:
        provider = LateIndex(clock, parse_script(["lost"]), blind_for=3)
        world = world_with(clock, provider)
        await world.worker()
        receipt = await world.send()
        view = await world.ended(receipt.email_id)
        (late,) = [one for one in world.events(receipt.email_id) if isinstance(one, LateResultObserved)]

        assert End.SENT is view.email.end
        assert "DuplicateRiskAccepted" not in world.names(receipt.email_id)
        assert (1, 4, (0,)) == (len(provider.received), provider.asked, late.accepted)

    run_virtually(main)


@pytest.mark.parametrize("lookup", [True, False])
def test_not_to_be_found_proves_nothing(lookup: bool) -> None:
    """What can't be found in time is left to the policy, as it is at once where nobody can be asked."""

    async def main(clock: VirtualClock) -> None:
        provider = LateIndex(clock, parse_script(["vanished", "accept"]))
        world = world_with(clock, provider, lookup=lookup)
        await world.worker()
        receipt = await world.send()
        await world.ended(receipt.email_id)
        history = world.history(receipt.email_id)
        doubted, risked = (
            next(one.at for one in history if type(one.event).__name__ == name)
            for name in ("OutcomeUncertain", "DuplicateRiskAccepted")
        )

        assert (risked - doubted >= timedelta(minutes=2)) is lookup
        assert (provider.asked > 3) is lookup
        assert 1 == len(provider.received)

    run_virtually(main)


class Off(VirtualClock):
    """The clock of a machine that is an hour ahead of the database's."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=1)


def test_a_clock_that_is_off_makes_no_difference() -> None:
    """How long it may be asked is the database's time; it is counted, not compared with this machine's."""

    async def main(clock: VirtualClock) -> None:
        provider = LateIndex(clock, parse_script(["lost"]), blind_for=3)
        one = ProviderSettings(name="one", type="scripted", lookup=True)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        store = MemoryEventStore(clock=clock, circuit=CircuitPolicy())
        world = World(Off(loop), settings(one), {"one": provider}, store=store)
        await world.worker()
        receipt = await world.send()
        await world.ended(receipt.email_id)

        assert "DuplicateRiskAccepted" not in world.names(receipt.email_id)
        assert (1, 4) == (len(provider.received), provider.asked)

    run_virtually(main)


def test_nobody_asks_about_what_is_known_by_now() -> None:
    """Once an operator has ended the doubt, the questions end as well."""

    async def main(clock: VirtualClock) -> None:
        provider = LateIndex(clock, parse_script(["vanished", "accept"]))
        world = world_with(clock, provider)
        await world.worker()
        receipt = await world.send()
        await world.until(
            lambda: any(isinstance(e, OutcomeUncertain) for e in world.events(receipt.email_id))
        )
        await world.operator.retry(receipt.id, "ops", accept_duplicate_risk=True)
        await world.ended(receipt.email_id)
        await clock.sleep(600)

        assert provider.asked <= 1

    run_virtually(main)


def test_what_a_dead_worker_left_is_asked_about_too() -> None:
    """The survivor that closes the attempt as lost looks it up."""

    async def main(clock: VirtualClock) -> None:
        provider = LateIndex(clock, parse_script(["accept reply=1h", "accept"]))
        world = world_with(clock, provider)
        await world.worker("first")
        receipt = await world.send()
        await world.until(lambda: len(provider.received) == 1)
        await world.kill("first")
        await world.worker("second")
        view = await world.ended(receipt.email_id)

        assert End.SENT is view.email.end
        assert 1 == len(provider.received)

    run_virtually(main)
