"""Plain emails counted together: the gates stand as if each had had its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from adapters.memory.passing_store import PassingEventStore
from adapters.virtual import T0, VirtualClock, VirtualLoop
from application.ports import Waiting
from application.projections import gates
from application.projections.gates import SERVICE, Gate, provider_gate, route_gate
from application.recorded import Recorded, email_stream
from application.settings import ProviderSettings, Settings
from application.simulate_plain import WAIT_S_MAX, Shortcut
from application.simulate_results import Results
from application.simulate_scenario import Arrival, Sample
from application.simulate_tally import Tally
from domain.circuit import Circuit, Phase
from domain.email.events import AttemptStarted, Sent
from domain.rate_limit import Rate
from domain.routing import OnLimit, Priority, Route
from tests.application.world import settings

SAMPLE = Sample("default", 1.0)
TAKES_S = 0.2
LATER = T0 + timedelta(seconds=1)


class Steady:
    """Always takes as long; troubles some emails."""

    def __init__(self, *troubled: int) -> None:
        self._troubled = troubled

    def plain_s(self, email: int, at_s: float) -> float | None:
        return None if email in self._troubled else TAKES_S


class Gates:
    """Gates and a queue of one's own."""

    def __init__(self, *known: Gate, due: Sequence[Waiting] = ()) -> None:
        self.known = {gate.name: gate for gate in known}
        self._due = due

    def gates(self) -> Mapping[str, Gate]:
        return self.known

    def move(self, gate: Gate) -> None:
        self.known[gate.name] = gate

    def due(self, now: datetime) -> Sequence[Waiting]:
        return self._due


class Bench:
    """A shortcut over gates."""

    def __init__(self, configured: Settings, *known: Gate, troubled: Sequence[int] = (), **more: Any) -> None:
        self.gates = Gates(*known, **more)
        self.results = Results(begins=T0, lasts=timedelta(hours=1))
        self.shortcut = Shortcut(
            gates=self.gates,
            settings=configured,
            providers={name: Steady(*troubled) for name in configured.providers},
            tally=Tally(self.results, configured),
            begins=T0,
        )

    def take(self, *at_s: float, route: str = "default") -> list[Arrival]:
        """Let emails come in at these moments; which are given back."""
        coming = [Arrival(number, one, SAMPLE) for number, one in enumerate(at_s, 1)]
        return list(self.shortcut.take(route, coming, T0))

    def gate(self, provider: str = "primary") -> Gate:
        return self.gates.known[provider_gate(provider)]


def two(**changes: Any) -> Settings:
    """A primary with these settings, and a secondary."""
    return settings(ProviderSettings(name="primary", type="smtp", **changes), "secondary")


def opened(provider: str) -> Gate:
    """Its circuit is open for a minute."""
    circuit = Circuit(phase=Phase.OPEN, epoch=1, until=T0 + timedelta(minutes=1))
    return Gate(name=provider_gate(provider), circuit=circuit)


def test_gates_count_plain_emails_as_they_would_their_events() -> None:
    """Every gate, window and circuit, after the starts and after the ends."""
    bench = Bench(two())
    route = bench.take(0.0, 0.0, 0.0)
    after = {name: folded(name, starts=3, ends=0) for name in bench.gates.known}
    begun = {name: replace(gate, position=0) for name, gate in bench.gates.known.items()}
    bench.shortcut.settle(LATER)

    assert [] == route
    assert {provider_gate("primary"), route_gate("default"), SERVICE} == set(after)
    assert after == begun
    assert folded(provider_gate("primary"), starts=3, ends=3).circuit == bench.gate().circuit
    assert 0 == bench.gate().open_attempts


def folded(name: str, *, starts: int, ends: int) -> Gate:
    """The gate as so many events would leave it."""
    gate = Gate(name=name)
    for number in range(starts):
        gate = gates.project(gate, recorded(number, started(), T0))
    for number in range(ends):
        gate = gates.project(gate, recorded(number, sent(), LATER))
    return replace(gate, position=0)


def recorded(number: int, event: AttemptStarted | Sent, at: datetime) -> Recorded:
    return Recorded(
        position=number, event_id="", stream=email_stream(str(number)), version=1, at=at, event=event
    )


def started() -> AttemptStarted:
    return AttemptStarted(
        attempt=1,
        provider="primary",
        route="default",
        recipients=(0,),
        worker="",
        token=1,
        deadline=LATER,
        epoch=0,
        probe=None,
        provider_key="",
        key_until=None,
        passed_over=(),
    )


def sent() -> Sent:
    return Sent(attempt=1, provider="primary", message_id="", accepted=(0,), refused=(), epoch=0, probe=None)


def test_what_goes_wrong_is_given_back() -> None:
    """Only that; the others are counted."""
    bench = Bench(two(), troubled=[2])
    left = bench.take(0.0, 0.1, 0.2)

    assert [2] == [one.number for one in left]
    assert (2, 2) == (bench.results.plain, bench.results.providers["primary"].sent)


def test_an_open_circuit_is_passed_over_and_that_is_a_switch() -> None:
    """As the domain decides on a first attempt."""
    bench = Bench(two(), opened("primary"))
    left = bench.take(0.0, 0.0)

    assert [] == left
    assert {("primary", "secondary", "circuit_open"): 2} == bench.results.switches
    assert 2 == bench.gate("secondary").open_attempts


def test_a_probe_is_nobody_s_shortcut() -> None:
    """A circuit that may be probed is worth looking at, email by email."""
    circuit = Circuit(phase=Phase.OPEN, epoch=1, until=T0)
    bench = Bench(two(), Gate(name=provider_gate("primary"), circuit=circuit))

    assert [1, 2] == [one.number for one in bench.take(0.0, 0.5)]


def test_no_more_are_counted_than_a_limit_allows() -> None:
    """Near it, the rules look at each."""
    bench = Bench(two(rates=(Rate.parse("5/m"),)))

    assert [] == bench.take(0.0, 0.1, 0.2, 0.3)
    assert [1, 2] == [one.number for one in bench.take(0.4, 0.5)]


def test_with_all_slots_taken_the_next_one_waits_for_the_first_to_get_free() -> None:
    """First come, first served, and the wait is part of the delay."""
    bench = Bench(two(concurrency=2))
    left = bench.take(0.0, 0.05, 0.1)

    assert [] == left
    assert bench.results.whole.delays.longest == timedelta(seconds=TAKES_S - 0.1 + TAKES_S)


def test_whoever_would_wait_long_joins_the_queue_and_so_do_those_behind() -> None:
    """Then it is of interest when they get their turn."""
    bench = Bench(two(concurrency=1))
    many = int(WAIT_S_MAX / TAKES_S) + 4
    left = bench.take(*[0.0] * many)

    assert [*range(many - len(left) + 1, many + 1)] == [one.number for one in left]
    assert 0 < len(left) < many


def test_on_a_route_that_overflows_nobody_waits_for_a_slot() -> None:
    """The rules send it elsewhere."""
    configured = two(concurrency=1)
    route = replace(configured.routes["default"], on_limit=OnLimit.OVERFLOW)
    bench = Bench(replace(configured, routes={"default": route}))

    assert [2] == [one.number for one in bench.take(0.0, 0.05)]


@pytest.mark.parametrize(("route", "left"), [("default", [1, 2]), ("other", [])])
def test_nobody_overtakes_who_waits_for_the_same_provider(route: str, left: list[int]) -> None:
    """They join the queue together; emails for another provider pass."""
    configured = two()
    other = Route(name="other", providers=("secondary",), match_tag="other")
    waiting = Waiting(lane='["","default",[],[],null]', priority=Priority.NORMAL, due_at=T0)
    bench = Bench(replace(configured, routes={**configured.routes, "other": other}), due=[waiting])
    back = bench.take(0.0, 0.5, route=route)

    assert left == [one.number for one in back]
    assert {0.25} >= {one.at_s for one in back}


def test_a_result_of_an_older_epoch_does_not_count() -> None:
    """An attempt that ends after its circuit has opened."""
    bench = Bench(two())
    bench.take(0.0)
    gate = bench.gate()
    bench.gates.move(replace(gate, circuit=replace(opened("primary").circuit, calls=gate.circuit.calls)))
    bench.shortcut.settle(LATER)

    assert 0 == bench.gate().circuit.calls.used(LATER)
    assert 0 == bench.gate().open_attempts


def test_a_store_can_be_seen_and_moved() -> None:
    """The one that simulations use, beside its events."""
    configured = two()
    store = PassingEventStore(VirtualClock(VirtualLoop()), configured.circuit, forgets=True)
    store.move(opened("primary"))

    assert {provider_gate("primary"): opened("primary")} == store.gates()
    assert [] == list(store.due(T0))
