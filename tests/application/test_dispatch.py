"""Getting emails out, in virtual time: retries, fallback, parts, lost answers, dead workers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from adapters.providers.scripted import ScriptedProvider, parse_script
from adapters.virtual import T0, VirtualClock, run_virtually
from application.settings import ProviderSettings
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    DuplicateRiskAccepted,
    Failed,
    FailReason,
    HoldReason,
    OutcomeUncertain,
    PartlySent,
    ProviderSwitched,
    Sent,
    SwitchReason,
)
from domain.email.state import End
from domain.failures import FailureKind
from domain.rate_limit import Rate
from domain.routing import OnUncertain, Route
from tests.application.world import World, settings


def scripted(name: str, clock: VirtualClock, *script: str) -> ScriptedProvider:
    return ScriptedProvider(name=name, script=parse_script(script or ["accept"]), sleep=clock.sleep)


def test_an_email_goes_out_through_the_first_provider() -> None:
    """Accepted, started before the provider is called, sent: three events, one copy."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted("one", clock)
        world = World(clock, settings("one"), {"one": provider})
        await world.worker()
        receipt = await world.send()
        await world.ended(receipt.email_id)

        assert ["Requested", "AttemptStarted", "Sent"] == world.names(receipt.email_id)
        assert 1 == len(provider.received)

    run_virtually(main)


def test_fifty_requests_with_one_id_are_one_email() -> None:
    """The event store decides the race: everyone gets the same answer, one of them made the email."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted("one", clock)
        world = World(clock, settings("one"), {"one": provider})
        await world.worker()
        receipts = await asyncio.gather(*(world.send("same") for _ in range(50)))
        await world.ended(receipts[0].email_id)

        assert 1 == len({receipt.email_id for receipt in receipts})
        assert 49 == sum(receipt.replayed for receipt in receipts)
        assert 1 == len(provider.received)

    run_virtually(main)


def test_a_failing_provider_is_retried_with_backoff_and_then_left() -> None:
    """Two tries on the first (the second after U(1 s, 2 s)), then the other one at once, with the reason."""

    async def main(clock: VirtualClock) -> None:
        first, second = scripted("first", clock, "transient"), scripted("second", clock)
        world = World(clock, settings("first", "second"), {"first": first, "second": second})
        await world.worker()
        receipt = await world.send()
        await world.ended(receipt.email_id)
        history = world.history(receipt.email_id)
        started = [one.at for one in history if isinstance(one.event, AttemptStarted)]
        failed = [one for one in history if isinstance(one.event, AttemptFailed)]

        assert ["first", "first", "second"] == [
            one.event.provider for one in history if isinstance(one.event, AttemptStarted)
        ]
        assert timedelta(seconds=1) <= started[1] - failed[0].at <= timedelta(seconds=2.1)
        assert started[2] - failed[1].at <= timedelta(seconds=0.2)
        (switch,) = [one.event for one in history if isinstance(one.event, ProviderSwitched)]
        assert SwitchReason.ATTEMPT_FAILED is switch.reason

    run_virtually(main)


def test_deferred_recipients_are_tried_again_alone() -> None:
    """A partly accepted email goes on with those who were put off, and nobody gets a second copy."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted("one", clock, "accept defer=1 refuse=2", "accept")
        world = World(clock, settings("one"), {"one": provider})
        await world.worker()
        to = ("a@example.org", "b@example.org", "c@example.org")
        receipt = await world.send(to=to)
        await world.ended(receipt.email_id)
        events = world.events(receipt.email_id)
        (partly,) = [event for event in events if isinstance(event, PartlySent)]
        starts = [event.recipients for event in events if isinstance(event, AttemptStarted)]

        assert ((0,), (1,)) == (partly.accepted, partly.deferred)
        assert [(0, 1, 2), (1,)] == starts

    run_virtually(main)


def test_a_lost_answer_is_a_risk_that_the_policy_takes() -> None:
    """With `retry`, an attempt that may have been accepted is tried again after DuplicateRiskAccepted."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted("one", clock, "lost", "accept")
        world = World(clock, settings("one"), {"one": provider})
        await world.worker()
        receipt = await world.send()
        await world.ended(receipt.email_id)
        names = world.names(receipt.email_id)

        assert names.index("OutcomeUncertain") < names.index("DuplicateRiskAccepted") < names.index("Sent")
        assert 2 == len(provider.received)

    run_virtually(main)


def test_with_hold_a_lost_answer_waits_for_an_operator() -> None:
    """Held, and then either the operator takes the risk or it expires as outcome_unknown."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted("one", clock, "lost", "accept", "accept")
        world = World(clock, settings("one", on_uncertain=OnUncertain.HOLD), {"one": provider})
        await world.worker()
        first, second = await world.send("a"), await world.send("b")
        await world.until(lambda: any(world.view(one.email_id).email.held for one in (first, second)))
        held = first if world.view(first.email_id).email.held else second

        assert HoldReason.UNCERTAIN is world.view(held.email_id).email.held
        await world.operator.retry(held.id, "ops", accept_duplicate_risk=True)
        await world.ended(held.email_id)
        (risk,) = [one for one in world.events(held.email_id) if isinstance(one, DuplicateRiskAccepted)]
        assert "ops" == risk.by

    run_virtually(main)


def test_who_asks_and_the_route_come_before_the_general_policy() -> None:
    """A route's policy stands in for the configured one, and a request's for both."""

    async def main(clock: VirtualClock) -> None:
        route = Route(name="invoices", providers=("one",), match_tag="invoice", on_uncertain=OnUncertain.HOLD)
        configured = settings("one", on_uncertain=OnUncertain.FAIL)
        configured = replace(configured, routes={**configured.routes, "invoices": route})
        world = World(clock, configured, {"one": scripted("one", clock)})
        general = await world.send("a")
        of_its_route = await world.send("b", tags=("invoice",))
        its_own = await world.send("c", tags=("invoice",), on_uncertain=OnUncertain.RETRY)

        assert [OnUncertain.FAIL, OnUncertain.HOLD, OnUncertain.RETRY] == [
            world.view(one.email_id).email.on_uncertain for one in (general, of_its_route, its_own)
        ]

    run_virtually(main)


def test_an_email_that_nobody_takes_expires() -> None:
    """It is tried with growing pauses until its time is up, and ends as expired, not later."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted("one", clock, "transient")
        world = World(clock, settings("one"), {"one": provider})
        await world.worker()
        receipt = await world.send(expires_after=timedelta(minutes=10))
        view = await world.ended(receipt.email_id)
        failed = world.history(receipt.email_id)[-1]

        assert End.FAILED is view.email.end
        assert isinstance(failed.event, Failed)
        assert FailReason.EXPIRED is failed.event.reason
        assert timedelta(minutes=10) <= failed.at - T0 <= timedelta(minutes=10, seconds=5)
        assert 3 < len(view.email.attempts) < 30

    run_virtually(main)


def test_a_refused_account_opens_the_circuit_for_everybody() -> None:
    """Once the account is refused no further email is started there; all go out through the other provider."""

    async def main(clock: VirtualClock) -> None:
        bad, good = scripted("bad", clock, "account"), scripted("good", clock)
        world = World(clock, settings("bad", "good"), {"bad": bad, "good": good})
        await world.worker()
        first = await world.send("first")
        await world.ended(first.email_id)
        others = [await world.send(f"other{n}") for n in range(20)]
        for one in others:
            await world.ended(one.email_id)
        started = [
            event.provider
            for one in others
            for event in world.events(one.email_id)
            if isinstance(event, AttemptStarted)
        ]

        assert ["good"] * 20 == started
        assert [SwitchReason.CIRCUIT_OPEN] * 20 == [
            event.reason
            for one in others
            for event in world.events(one.email_id)
            if isinstance(event, ProviderSwitched)
        ]

    run_virtually(main)


def test_a_rate_is_kept_over_all_workers() -> None:
    """Three workers on a provider with 10/s: in no second are there more than ten starts."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted("one", clock, "accept 30ms")
        limited = ProviderSettings(name="one", type="scripted", rates=(Rate.parse("10/s"),))
        world = World(clock, settings(limited), {"one": provider})
        for name in ("w1", "w2", "w3"):
            await world.worker(name)
        receipts = [await world.send(f"k{n}") for n in range(60)]
        for one in receipts:
            await world.ended(one.email_id)
        starts = sorted(
            one.at
            for r in receipts
            for one in world.history(r.email_id)
            if isinstance(one.event, AttemptStarted)
        )
        worst = max(sum(1 for at in starts if first <= at < first + timedelta(seconds=1)) for first in starts)

        assert 10 >= worst
        assert starts[-1] - starts[0] <= timedelta(seconds=7)

    run_virtually(main)


def test_what_a_dead_worker_left_is_made_up_for() -> None:
    """Its lease runs out, its attempt is uncertain (lost), and another worker goes on."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted("one", clock, "accept 20s", "accept")
        world = World(clock, settings("one"), {"one": provider})
        await world.worker("doomed")
        receipt = await world.send()
        await world.until(lambda: "AttemptStarted" in world.names(receipt.email_id))
        await world.kill("doomed")
        await world.worker("heir")
        view = await world.ended(receipt.email_id)
        (lost,) = [one for one in world.events(receipt.email_id) if isinstance(one, OutcomeUncertain)]

        assert FailureKind.LOST is lost.kind
        assert End.SENT is view.email.end
        assert 2 == len(view.email.attempts)

    run_virtually(main)


def test_a_worker_that_stops_in_order_leaves_nothing_open() -> None:
    """Draining lets the attempt in flight end and records it; nothing is uncertain."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted("one", clock, "accept 5s")
        world = World(clock, settings("one"), {"one": provider})
        dispatcher = await world.worker()
        receipt = await world.send()
        await world.until(lambda: "AttemptStarted" in world.names(receipt.email_id))
        await dispatcher.drain()
        await world.supervisor.ended("w1")

        assert ["Requested", "AttemptStarted", "Sent"] == world.names(receipt.email_id)
        assert isinstance(world.events(receipt.email_id)[-1], Sent)

    run_virtually(main)


def test_what_cannot_end_in_time_is_recorded_truthfully() -> None:
    """An attempt cut off at the end of the grace time may have been accepted: it is uncertain."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted("one", clock, "accept 90s")
        world = World(clock, settings("one", on_uncertain=OnUncertain.HOLD), {"one": provider})
        dispatcher = await world.worker()
        receipt = await world.send()
        await world.until(lambda: "AttemptStarted" in world.names(receipt.email_id))
        await dispatcher.drain()
        await world.supervisor.ended("w1")

        assert ["Requested", "AttemptStarted", "OutcomeUncertain", "Held"] == world.names(receipt.email_id)

    run_virtually(main)


def test_what_is_cut_off_is_recorded_in_the_order_of_its_start() -> None:
    """The same run gives the same log, wherever tasks lie in memory."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted("one", clock, "accept 90s")
        world = World(clock, settings("one", on_uncertain=OnUncertain.HOLD), {"one": provider})
        dispatcher = await world.worker()
        receipts = [await world.send(f"k{n}") for n in range(12)]
        await world.until(lambda: len(dispatcher.holds) == len(receipts))
        await dispatcher.drain()
        await world.supervisor.ended("w1")
        log = world.store.read_all(0, 1000)
        started, cut_off = (
            [one.stream for one in log if isinstance(one.event, kind)]
            for kind in (AttemptStarted, OutcomeUncertain)
        )

        assert len(receipts) == len(started)
        assert started == cut_off

    run_virtually(main)
