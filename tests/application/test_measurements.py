"""What is counted of what a store records: every acceptance, attempt, end and risk once, by names that are known."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from adapters.memory.event_store import MemoryEventStore
from adapters.providers.scripted import ScriptedProvider, parse_script
from adapters.virtual import T0, VirtualClock, run_virtually
from application.measured_store import MeasuredStore
from application.measurements import GONE, OUTCOMES, Histogram, Measurements, Totals, Transaction
from application.ports import Decide, Plan, StoreUnavailable
from application.recorded import Committed, Conflict, Unit
from domain.circuit import CircuitPolicy
from domain.rate_limit import Rate
from domain.routing import OnUncertain
from tests.application.world import World, settings
from tests.contract.event_store.given import an_id, failed, request, started, unit
from tests.contract.event_store.given import append as append_to


class Measured:
    """A world whose store is measured."""

    def __init__(self, clock: VirtualClock, *script: str, **changes: Any) -> None:
        configured = settings("one", **changes)
        self.measurements = Measurements(configured.providers)
        self.store = MemoryEventStore(clock=clock, circuit=CircuitPolicy())
        provider = ScriptedProvider(name="one", script=parse_script(script), sleep=clock.sleep)
        measured = MeasuredStore(self.store, clock, self.measurements)
        self.world = World(clock, configured, {"one": provider}, measured)

    @property
    def totals(self) -> Totals:
        return self.measurements.read()

    @property
    def attempts(self) -> dict[str, int]:
        """How often an attempt at the one provider ended how; what never happened is left out."""
        counts = self.totals.attempts.items()
        return {outcome: n for (provider, outcome), n in counts if provider == "one" and n}

    @property
    def ended(self) -> dict[tuple[str, str], int]:
        return {key: n for key, n in self.totals.ended.items() if n}


class Ticking:
    """A clock that is looked at outside of any loop: each look at `monotonic` is a second later."""

    def __init__(self) -> None:
        self.looks = 0

    def now(self) -> Any:
        return T0

    def monotonic(self) -> float:
        self.looks += 1
        return float(self.looks)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def test_before_anything_happens_everything_is_zero() -> None:
    """A rate can be computed from the first increment on only if there was a zero before it."""
    totals = Measurements(["one", "two"]).read()

    assert {(name, outcome): 0 for name in ("one", "two") for outcome in OUTCOMES} == totals.attempts
    assert {"sent", "failed", "cancelled"} == {status for status, _ in totals.ended}
    assert {0} == {*totals.ended.values(), *totals.risks.values(), totals.accepted, *totals.delay.counts}


def test_an_email_that_is_sent_counts_once_each() -> None:
    """Acceptance, the failed attempt and the good one, the end, and how long it took."""

    async def main(clock: VirtualClock) -> None:
        measured = Measured(clock, "transient", "accept 3s")
        await measured.world.worker()
        receipt = await measured.world.send()
        view = await measured.world.ended(receipt.email_id)
        took = (view.times[-1][1] or T0) - (view.email.requested_at or T0)

        assert 1 == measured.totals.accepted
        assert {"transient": 1, "sent": 1} == measured.attempts
        assert {("sent", ""): 1} == measured.ended
        assert (1, took.total_seconds()) == (sum(measured.totals.delay.counts), measured.totals.delay.total)

    run_virtually(main)


def test_the_delay_of_a_scheduled_email_begins_with_its_time() -> None:
    """What was asked for in an hour is not an hour late."""

    async def main(clock: VirtualClock) -> None:
        measured = Measured(clock, "accept 2s")
        await measured.world.worker()
        receipt = await measured.world.send(send_at=T0 + timedelta(hours=1))
        await measured.world.ended(receipt.email_id)

        assert 2 == pytest.approx(measured.totals.delay.total, abs=0.1)

    run_virtually(main)


@pytest.mark.parametrize(
    ("script", "policy", "attempts", "ended", "risks"),
    [
        (("vanished", "accept"), OnUncertain.RETRY, {"uncertain": 1, "sent": 1}, ("sent", ""), 1),
        (("vanished",), OnUncertain.FAIL, {"uncertain": 1}, ("failed", "outcome_unknown"), 0),
        (("recipient",), OnUncertain.RETRY, {"recipient": 1}, ("failed", "rejected"), 0),
        (("content",), OnUncertain.RETRY, {"content": 1}, ("failed", "rejected"), 0),
    ],
)
def test_each_way_to_end_has_its_name(
    script: tuple[str, ...], policy: OnUncertain, attempts: dict[str, int], ended: tuple[str, str], risks: int
) -> None:
    """By outcome, by reason; and a risk by who took it."""

    async def main(clock: VirtualClock) -> None:
        measured = Measured(clock, *script, on_uncertain=policy)
        await measured.world.worker()
        receipt = await measured.world.send()
        await measured.world.ended(receipt.email_id)

        assert attempts == measured.attempts
        assert {ended: 1} == measured.ended
        assert {"policy": risks, "operator": 0} == measured.totals.risks

    run_virtually(main)


def test_what_operators_do_counts() -> None:
    """A risk that a person takes is theirs; a cancelled email has ended."""

    async def main(clock: VirtualClock) -> None:
        measured = Measured(clock, "vanished", "accept", on_uncertain=OnUncertain.FAIL)
        world = measured.world
        await world.worker()
        doubtful = await world.send("k1")
        await world.ended(doubtful.email_id)
        await world.operator.retry(doubtful.email_id, "ann", accept_duplicate_risk=True)
        await world.ended(doubtful.email_id)
        later = await world.send("k2", send_at=clock.now() + timedelta(hours=1))
        await world.operator.cancel(later.email_id, "ann")

        assert {"policy": 0, "operator": 1} == measured.totals.risks
        assert {("failed", "outcome_unknown"): 1, ("sent", ""): 1, ("cancelled", ""): 1} == measured.ended

    run_virtually(main)


def test_a_provider_that_is_gone_has_no_name() -> None:
    """The log of years may name any number of providers: a label has those that are configured, and one more."""
    clock = Ticking()
    measurements = Measurements(["ses"])
    store = MeasuredStore(MemoryEventStore(clock, CircuitPolicy()), clock, measurements)
    for provider in ("ses", "pigeon", "raven"):
        email_id = an_id()
        store.append([request(email_id)])
        events = (started(provider=provider), failed(provider=provider))
        happened = unit(append_to(f"email-{email_id}", 1, *events))
        store.transact(Plan(emails=(email_id,)), lambda locked, happened=happened: [happened])  # type: ignore[misc]
    counts = {key: n for key, n in measurements.read().attempts.items() if n}

    assert {("ses", "transient"): 1, (GONE, "transient"): 2} == counts


def test_a_transaction_is_measured_once_with_all_it_held() -> None:
    """One look at the clock before, one after; what is refused, and what records nothing, is none."""
    clock = Ticking()
    measurements = Measurements([])
    store = MeasuredStore(MemoryEventStore(clock, CircuitPolicy()), clock, measurements)
    taken = an_id()
    store.append([request(an_id()), request(taken)])
    assert isinstance(store.append([request(taken)])[0], Conflict)
    store.transact(Plan(emails=(taken,)), lambda locked: [])
    totals = measurements.read()

    assert {Transaction.ACCEPT: 2.0, Transaction.DECIDE: 0.0} == {k: v.total for k, v in totals.units.items()}
    assert {Transaction.ACCEPT: 1.0, Transaction.DECIDE: 0.0} == {
        k: v.total for k, v in totals.seconds.items()
    }
    assert 2 == totals.accepted


def test_a_decision_that_was_made_again_counts_as_it_was_recorded() -> None:
    """The callback of a transaction may run again, where another writer got in between."""

    class Twice(MemoryEventStore):
        def transact(self, plan: Plan, decide: Decide) -> Any:
            decide(super().transact(plan, lambda locked: []).locked)
            return super().transact(plan, decide)

    clock = Ticking()
    measurements = Measurements(["ses"])
    store = MeasuredStore(Twice(clock, CircuitPolicy()), clock, measurements)
    email_id = an_id()
    store.append([request(email_id)])
    begun = unit(append_to(f"email-{email_id}", 1, started()))
    store.transact(Plan(emails=(email_id,)), lambda locked: [begun])

    assert 1 == measurements.read().units[Transaction.DECIDE].total


def test_what_was_not_recorded_is_not_counted() -> None:
    """The store failed: nobody was told that anything was accepted."""

    class Full(MemoryEventStore):
        def append(self, units: Sequence[Unit]) -> list[Committed | Conflict]:
            raise StoreUnavailable("disk full")

    clock = Ticking()
    measurements = Measurements([])
    store = MeasuredStore(Full(clock, CircuitPolicy()), clock, measurements)
    with pytest.raises(StoreUnavailable):
        store.append([request(an_id())])

    assert Measurements([]).read() == measurements.read()


def test_a_value_on_a_bound_is_within_it() -> None:
    """Prometheus' `le` is "less or equal"."""
    histogram = Histogram((1, 5))
    for value in (0.5, 1, 1.1, 5, 6):
        histogram.add(value)

    assert (2, 2, 1) == histogram.read().counts
    assert 13.6 == pytest.approx(histogram.read().total)


def test_limits_do_not_spend_attempts_that_count() -> None:
    """An email that waits for a rate has no outcome yet."""

    async def main(clock: VirtualClock) -> None:
        measured = Measured(clock, "accept", service_rates=(Rate.parse("1/h"),))
        await measured.world.worker()
        first, _ = await measured.world.send("k1"), await measured.world.send("k2")
        await measured.world.ended(first.email_id)
        await clock.sleep(60)

        assert {"sent": 1} == measured.attempts
        assert 2 == measured.totals.accepted

    run_virtually(main)
