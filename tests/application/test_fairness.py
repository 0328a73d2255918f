"""Nobody waits for ever: retries and new mail, tenants, priorities, routes and workers beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from adapters.providers.scripted import Behaviour, Fate, Script, ScriptedProvider
from adapters.virtual import VirtualClock, run_virtually
from application.provider_port import Submission
from application.recorded import Recorded
from application.settings import ProviderSettings, Settings
from domain.circuit import CircuitPolicy
from domain.email.events import AttemptStarted, Requested
from domain.routing import Priority, Route
from tests.application.world import World, settings

NEVER_OPENS = CircuitPolicy(min_calls=100_000, consecutive=100_000)


def narrow(name: str, slots: int) -> ProviderSettings:
    """A provider with few slots, so that emails wait for each other."""
    return ProviderSettings(name=name, type="scripted", concurrency=slots)


def routed(*routes: Route, providers: tuple[ProviderSettings, ...]) -> Settings:
    """Settings with these routes beside the default one."""
    made = settings(*providers, circuit=NEVER_OPENS)
    return settings(
        *providers, circuit=NEVER_OPENS, routes={**made.routes, **{route.name: route for route in routes}}
    )


def providers(clock: VirtualClock, scripts: Mapping[str, Script]) -> dict[str, ScriptedProvider]:
    """One provider for each script."""
    return {
        name: ScriptedProvider(name=name, script=script, sleep=clock.sleep)
        for name, script in scripts.items()
    }


def starts(world: World) -> list[Recorded]:
    """Every start of an attempt, in the order of the log."""
    return [one for one in world.store.read_all(0, 100_000) if isinstance(one.event, AttemptStarted)]


def order(world: World, streams: set[str]) -> list[int]:
    """At which places among all starts these streams had theirs."""
    return [place for place, one in enumerate(starts(world)) if one.stream in streams]


def test_retries_and_new_mail_take_turns() -> None:
    """Behind 200 emails that are to be tried again, ten new ones start every other time."""

    async def main(clock: VirtualClock) -> list[int]:
        def first_ones_fail(submission: Submission, call: int) -> Behaviour:
            return Behaviour(
                fate=Fate.REFUSE if call < 200 else Fate.ACCEPT, delay_s=0.5 if call >= 200 else 0
            )

        world = World(
            clock,
            settings(narrow("one", 2), circuit=NEVER_OPENS),
            providers(clock, {"one": first_ones_fail}),
        )
        await world.worker()
        for number in range(200):
            await world.send(f"old-{number}")
        await world.until(lambda: len(starts(world)) > 220)
        begun = len(starts(world))
        fresh = {f"email-{(await world.send(f'new-{number}')).email_id}" for number in range(10)}
        await world.until(lambda: len(order(world, fresh)) == 10)
        return [place - begun for place in order(world, fresh)]

    places = run_virtually(main)

    assert 10 == len(places)
    assert max(places) <= 24


def test_a_tenant_does_not_wait_for_the_backlog_of_another() -> None:
    """One email, behind the 300 of somebody else: it is the next or the one after."""

    async def main(clock: VirtualClock) -> tuple[int, int]:
        world = World(
            clock,
            settings(narrow("one", 2), circuit=NEVER_OPENS),
            providers(clock, {"one": [Behaviour(delay_s=1)]}),
        )
        await world.worker()
        for number in range(300):
            await world.send(f"big-{number}", tenant="big")
        await clock.sleep(10)
        begun = len(starts(world))
        small = {f"email-{(await world.send('small', tenant='small')).email_id}"}
        await world.until(lambda: bool(order(world, small)))
        return order(world, small)[0] - begun, len(starts(world))

    after, total = run_virtually(main)

    assert after <= 2
    assert total < 300


def test_bulk_gets_through_under_more_high_priority_than_there_is_room_for() -> None:
    """One start in ten; the high ones have all others."""

    async def main(clock: VirtualClock) -> Counter[Priority]:
        high = Route(name="urgent", providers=("one",), match_tag="urgent", priority=Priority.HIGH)
        bulk = Route(name="news", providers=("one",), match_tag="news", priority=Priority.BULK)
        configured = routed(high, bulk, providers=(narrow("one", 2),))
        world = World(clock, configured, providers(clock, {"one": [Behaviour(delay_s=1)]}))
        for number in range(300):
            await world.send(f"high-{number}", tags=("urgent",))
            await world.send(f"bulk-{number}", tags=("news",))
        await world.worker()
        await clock.sleep(100)
        asked = {
            one.stream: one.event.priority
            for one in world.store.read_all(0, 100_000)
            if isinstance(one.event, Requested)
        }
        return Counter(asked[one.stream] for one in starts(world))

    counts = run_virtually(main)

    assert 190 <= counts.total() <= 202
    assert counts.total() // 10 - 1 <= counts[Priority.BULK] <= counts.total() // 10 + 2


def test_a_slow_provider_holds_only_its_own_mail() -> None:
    """A hundred emails wait for one that takes half a minute; those of another route are gone at once."""

    async def main(clock: VirtualClock) -> float:
        slow = Route(name="slow", providers=("slow",), match_tag="slow")
        quick = Route(name="quick", providers=("quick",), match_tag="quick")
        configured = routed(slow, quick, providers=(narrow("slow", 16), narrow("quick", 2)))
        scripts: dict[str, Script] = {"slow": [Behaviour(delay_s=30)], "quick": [Behaviour(delay_s=0.01)]}
        world = World(clock, configured, providers(clock, scripts))
        await world.worker()
        for number in range(100):
            await world.send(f"slow-{number}", tags=("slow",))
        await clock.sleep(1)
        began_s = clock.monotonic()
        ids = [(await world.send(f"quick-{number}", tags=("quick",))).email_id for number in range(20)]
        await world.until(lambda: all(world.view(one).email.end is not None for one in ids))
        return clock.monotonic() - began_s

    assert run_virtually(main) < 2


def test_work_spreads_over_the_workers_that_are_there() -> None:
    """None of three gets less than half of its part, and together they keep every slot busy."""

    async def main(clock: VirtualClock) -> tuple[Counter[str], float]:
        world = World(
            clock,
            settings(narrow("one", 9), circuit=NEVER_OPENS),
            providers(clock, {"one": [Behaviour(delay_s=0.2)]}),
        )
        await _three_workers(world, clock)
        began_s = clock.monotonic()
        ids = [(await world.send(f"k-{number}")).email_id for number in range(450)]
        await world.until(lambda: all(world.view(one).email.end is not None for one in ids[-20:]))
        return Counter(_worker(one) for one in starts(world)), clock.monotonic() - began_s

    counts, took_s = run_virtually(main)

    assert {"w1", "w2", "w3"} == set(counts)
    assert min(counts.values()) >= counts.total() / 3 / 2
    assert took_s < 1.2 * 450 / 9 * 0.2


async def _three_workers(world: World, clock: VirtualClock) -> None:
    """All of them there for a while, so that each knows of the others."""
    for name in ("w1", "w2", "w3"):
        await world.worker(name)
    await clock.sleep(world.settings.lease.total_seconds())


def _worker(one: Recorded) -> str:
    assert isinstance(one.event, AttemptStarted)
    return one.event.worker
