"""How rounds follow each other: no slot idles while an email could use it, nothing spins, nothing stalls for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from adapters.memory.event_store import MemoryEventStore
from adapters.providers.scripted import ScriptedProvider, parse_script
from adapters.virtual import T0, VirtualClock, run_virtually
from application.ports import Decide, Lease, Plan, Transacted
from application.projections.emails import project, view_of
from application.settings import ProviderSettings, Settings
from domain.circuit import CircuitPolicy
from domain.email.events import AttemptStarted, OutcomeUncertain
from domain.email.state import End
from domain.routing import Priority, Route
from tests.application.world import World, settings


def scripted(clock: VirtualClock, *script: str) -> ScriptedProvider:
    return ScriptedProvider(name="one", script=parse_script(script or ["accept"]), sleep=clock.sleep)


def with_route_beside(priority: Priority) -> Settings:
    """One provider with 16 slots; emails tagged `other` take a route, and so a lane, of their own."""
    made = settings(ProviderSettings(name="one", type="scripted", concurrency=16))
    other = Route(name="other", providers=("one",), match_tag="other", priority=priority)
    return replace(made, routes={**made.routes, "other": other})


def test_slots_that_become_free_together_are_filled_at_once() -> None:
    """The outcomes of all open attempts come in one round: the same round claims what follows."""

    async def main(clock: VirtualClock) -> None:
        world = World(
            clock,
            settings(ProviderSettings(name="one", type="scripted", concurrency=16)),
            {"one": scripted(clock, "accept 200ms")},
        )
        receipts = await asyncio.gather(*(world.send(f"k{n}") for n in range(64)))
        await world.worker()
        for one in receipts:
            await world.ended(one.email_id)

        assert clock.monotonic() < 1.5

    run_virtually(main)


@pytest.mark.parametrize("priority", [Priority.HIGH, Priority.NORMAL])
def test_a_short_queue_does_not_keep_the_others_from_its_slots(priority: Priority) -> None:
    """One email in a lane of its own takes one slot of 16, whatever its priority; 15 are for the rest, now."""

    async def main(clock: VirtualClock) -> None:
        world = World(clock, with_route_beside(priority), {"one": scripted(clock, "accept 20s")})
        await world.send("alone", tags=("other",))
        for n in range(40):
            await world.send(f"k{n}")
        dispatcher = await world.worker()
        await clock.sleep(0.1)

        assert 16 == len(dispatcher.holds)

    run_virtually(main)


class Skewed:
    """A database's clock that is not the machine's."""

    def __init__(self, clock: VirtualClock, by_s: float) -> None:
        self._clock, self._by = clock, timedelta(seconds=by_s)

    def now(self) -> datetime:
        return self._clock.now() + self._by

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


class Counting(MemoryEventStore):
    """Counts transactions, and gives up where they don't end."""

    rounds = 0

    def transact(self, plan: Plan, decide: Decide) -> Transacted:
        self.rounds += 1
        assert self.rounds < 2000, "it spins"
        return super().transact(plan, decide)


@pytest.mark.parametrize("by_s", [-60, -3, 0, 3, 60])
def test_a_database_with_another_clock_is_waited_for_and_believed(by_s: float) -> None:
    """Behind or ahead, a scheduled email is waited for without spinning, and its start is not taken for too late."""

    async def main(clock: VirtualClock) -> None:
        store = Counting(clock=Skewed(clock, by_s), circuit=CircuitPolicy())
        provider = scripted(clock)
        world = World(clock, settings("one"), {"one": provider}, store=store)
        await world.worker()
        receipt = await world.send(send_at=T0 + timedelta(seconds=90))
        await clock.sleep(200)

        assert ["Requested", "AttemptStarted", "Sent"] == world.names(receipt.email_id)
        assert 1 == len(provider.received)

    run_virtually(main)


class DeletesLate(MemoryEventStore):
    """Another worker took the lease for dead just before it was renewed, and deletes it just after."""

    done = False

    def renew_lease(self, lease: Lease) -> bool:
        renewed = super().renew_lease(lease)
        if not self.done:
            self.done = True
            self.release_lease(lease)
        return renewed


def test_a_lease_that_goes_while_it_is_renewed_is_lost_and_no_more() -> None:
    """The worker gets another one, and goes on."""

    async def main(clock: VirtualClock) -> None:
        store = DeletesLate(clock=clock, circuit=CircuitPolicy())
        world = World(clock, settings("one"), {"one": scripted(clock)}, store=store)
        await world.worker()
        await clock.sleep(90)
        receipt = await world.send()
        await world.ended(receipt.email_id)

        assert store.done
        assert {} == world.supervisor.dead

    run_virtually(main)


def test_a_provider_that_hangs_does_not_keep_an_email_for_ever() -> None:
    """Whatever its own timeouts promised: after an hour the attempt is uncertain."""

    async def main(clock: VirtualClock) -> None:
        world = World(clock, settings("one"), {"one": scripted(clock, "hang", "accept")})
        await world.worker()
        receipt = await world.send()
        view = await world.ended(receipt.email_id)
        history = world.history(receipt.email_id)
        (lost,) = [one for one in history if isinstance(one.event, OutcomeUncertain)]

        assert End.SENT is view.email.end
        assert lost.at - T0 <= timedelta(hours=1, seconds=5)

    run_virtually(main)


def test_what_an_outage_left_to_expire_ends_without_pauses() -> None:
    """More than one round takes, and nothing that would wake another one: they follow each other at once."""

    async def main(clock: VirtualClock) -> None:
        world = World(clock, settings("one"), {"one": scripted(clock)})
        receipts = [await world.send(f"k{n}", expires_after=timedelta(minutes=1)) for n in range(1000)]
        await world.operator.pause("one", "ops")
        await clock.sleep(61)
        await world.worker()
        await clock.sleep(0.1)

        assert {End.FAILED} == {world.view(one.email_id).email.end for one in receipts}

    run_virtually(main)


class FullDisk:
    """A logger whose every line fails."""

    def __getattr__(self, level: str) -> Callable[..., None]:
        def write(word: str, **fields: Any) -> None:
            raise OSError(28, "No space left on device")

        return write


def test_a_log_that_cannot_be_written_costs_its_lines_only() -> None:
    """An email is accepted, answered and sent, and every task lives on."""

    async def main(clock: VirtualClock) -> None:
        world = World(clock, settings("one"), {"one": scripted(clock)})
        world.logbook._log = FullDisk()
        await world.worker()
        receipt = await asyncio.wait_for(world.send(), 1)
        await world.ended(receipt.email_id)

        assert {} == world.supervisor.dead

    run_virtually(main)


def test_who_is_to_leave_starts_nothing_more() -> None:
    """An attempt under way goes on, and what comes in meanwhile waits for another worker."""

    async def main(clock: VirtualClock) -> None:
        world = World(clock, settings("one"), {"one": scripted(clock, "accept 2s")})
        dispatcher = await world.worker()
        first = await world.send("first")
        await clock.sleep(1)
        dispatcher.leave()
        later = await world.send("later")
        await clock.sleep(10)

        assert ["Requested", "AttemptStarted", "Sent"] == world.names(first.email_id)
        assert ["Requested"] == world.names(later.email_id)

    run_virtually(main)


@pytest.mark.parametrize("is_known", [False, True])
def test_an_outcome_of_which_the_log_has_lost_the_attempt_holds_nobody(*, is_known: bool) -> None:
    """A standby that lagged behind took over: with the email as it was before the attempt, or without it."""

    async def main(clock: VirtualClock) -> None:
        store = MemoryEventStore(clock=clock, circuit=CircuitPolicy())
        world = World(clock, settings("one"), {"one": scripted(clock, "accept 2s")}, store)
        lines = Lines()
        world.logbook._log = lines
        await world.worker()
        lost = (await world.send("lost")).email_id
        await clock.sleep(1)
        del store._emails[lost]
        if is_known:
            store._emails[lost] = project(view_of(lost), world.history(lost)[0])
        later = await world.send("later")
        await world.ended(later.email_id)

        assert {} == world.supervisor.dead
        assert ("attempt_not_in_the_log", {"email_id": lost, "attempt": 1}) in lines.kept

    run_virtually(main)


class Broken(ScriptedProvider):
    async def send(self, submission: Any) -> Any:
        raise RuntimeError("a bug")


class Lines:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda word, **fields: self.kept.append((word, fields))


def test_a_provider_s_bug_is_said_with_the_email_it_met() -> None:
    """Like every line about an email: its id, the attempt, the provider, and what it belongs to."""

    async def main(clock: VirtualClock) -> None:
        world = World(clock, settings("one"), {"one": Broken(name="one")})
        lines = world.logbook._log = Lines()
        await world.worker()
        receipt = await world.send(correlation_id="c1", expires_after=timedelta(seconds=1))
        await world.ended(receipt.email_id)
        fields = next(fields for word, fields in lines.kept if word == "provider_bug")

        assert any(isinstance(event, AttemptStarted) for event in world.events(receipt.email_id))
        assert (receipt.email_id, 1, "one", "c1") == (
            fields["email_id"],
            fields["attempt"],
            fields["provider"],
            fields["correlation_id"],
        )

    run_virtually(main)
