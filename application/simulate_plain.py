"""Emails to which nothing happens, counted together: they are most of a simulation.

Such an email comes in while nobody waits for its provider, is under every limit, and is taken at the first try. Where
it goes the domain decides, on one like it and the gates as they stand; the gates then count it as they would by its
events. All others go through the use cases one by one. A slice of time is decided on at its beginning, so that plain
emails see a circuit open, or a slot get free, up to a slice late.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush
from typing import Protocol

from application.ports import Waiting
from application.projections.gates import (
    SERVICE,
    Gate,
    openings,
    provider_gate,
    route_gate,
    shared_room,
)
from application.settings import Settings
from application.simulate_scenario import Arrival
from application.simulate_slots import Slots
from application.simulate_tally import Tally
from domain.email.commands import Circumstances, StartAttempt
from domain.email.decide import decide
from domain.email.events import AttemptStarted, ProviderSwitched, Requested
from domain.email.evolve import evolve
from domain.email.state import NEVER, UNREQUESTED, Email
from domain.replace import replace
from domain.routing import Lane, OnLimit, OnUncertain, Opening, Priority, walk

WITHOUT_LIMIT = 1_000_000_000
"""Starts that are allowed where no rate is configured."""


WAIT_S_MAX = 1.0
"""A plain email may wait so long for a slot. Whoever waits longer is part of a queue, and of interest."""


class Gates(Protocol):
    """The gates and the queue of a store, to be seen and moved beside its events."""

    def gates(self) -> Mapping[str, Gate]:
        """All gates, as a transaction would find them now."""

    def move(self, gate: Gate) -> None:
        """Have a gate stand like this, without any event that says so."""

    def due(self, now: datetime) -> Sequence[Waiting]:
        """The lanes with an email that is due."""


class Foresees(Protocol):
    """A provider that is simulated."""

    def plain_s(self, email: int, at_s: float) -> float | None:
        """How long the first attempt at an email takes if nothing at all goes wrong; None: something does.

        A time is a promise: the call counts as made.
        """


@dataclass(frozen=True, slots=True)
class _Way:
    """Where emails of a route go now, and how many may."""

    started: AttemptStarted
    switched: ProviderSwitched | None
    within_limits: int
    open: int
    open_max: int
    overflows: bool


class Shortcut:
    """Counts plain emails. `open`: attempts of theirs that are under way."""

    def __init__(
        self,
        *,
        gates: Gates,
        settings: Settings,
        providers: Mapping[str, Foresees],
        tally: Tally,
        begins: datetime,
    ) -> None:
        self._gates = gates
        self._settings = settings
        self._providers = providers
        self._tally = tally
        self._begins = begins
        self._likes = {name: _one_like_it(name, begins) for name in settings.routes}
        self._under_way: list[tuple[float, str, int]] = []

    @property
    def open(self) -> int:
        return len(self._under_way)

    @property
    def next_end_s(self) -> float:
        """When the first of them ends (s)."""
        return self._under_way[0][0] if self._under_way else math.inf

    def settle(self, now: datetime) -> bool:
        """End the attempts whose time is over; whether there were any."""
        now_s = (now - self._begins).total_seconds()
        ended: Counter[tuple[str, int]] = Counter()
        while self._under_way and self._under_way[0][0] <= now_s:
            _, provider, epoch = heappop(self._under_way)
            ended[provider, epoch] += 1
        for (provider, epoch), count in ended.items():
            gate = self._gates.gates()[provider_gate(provider)]
            circuit = gate.circuit.seen(kind=None, epoch=epoch, probe=None, at=now)
            if circuit.calls is not gate.circuit.calls:  # then it counts the others as well
                circuit = replace(circuit, calls=circuit.calls.started(now, count - 1))
            self._gates.move(replace(gate, circuit=circuit, open_attempts=gate.open_attempts - count))
        return bool(ended)

    def take(self, route: str, coming: Sequence[Arrival], now: datetime) -> Sequence[Arrival]:
        """Count those of a slice's emails for a route that are plain; the others are given back.

        Where all of them join a queue, they do so together.
        """
        way = self._way(route, now) if coming else None
        if way is None:
            return _together(coming)
        if way.within_limits < len(coming):
            return coming
        provider = way.started.provider
        foresee = self._providers[provider].plain_s
        slots = self._slots(provider, way)
        left: list[Arrival] = []
        for number, arrival in enumerate(coming):
            starts_s = slots.free_s(arrival.at_s)
            if starts_s > arrival.at_s + (0.0 if way.overflows else WAIT_S_MAX):
                left += coming[number:]  # those behind it wait as well
                break
            takes_s = foresee(arrival.number, starts_s)
            if takes_s is None:
                slots.take(math.inf)
                left.append(arrival)
                continue
            ends_s = starts_s + takes_s
            slots.take(ends_s)
            heappush(self._under_way, (ends_s, provider, way.started.epoch))
            self._tally.plain(way.started, way.switched, arrival.at_s, ends_s - arrival.at_s)
        self._count(way.started, len(coming) - len(left), now)
        return left

    def _slots(self, provider: str, way: _Way) -> Slots:
        ends = [ends_s for ends_s, other, _ in self._under_way if other == provider]
        return Slots(ends + [math.inf] * (way.open - len(ends)), way.open_max)

    def _way(self, route: str, now: datetime) -> _Way | None:
        """None: an email of this route would wait for others."""
        settings = self._settings
        overflows = settings.route(route).on_limit is OnLimit.OVERFLOW
        gates = self._gates.gates() if overflows else self._without_plain()
        switched, started = self._decided(route, openings(gates, settings, route, now), now)
        if started is None or started.provider in self._wanted(gates, now):
            return None
        name = provider_gate(started.provider)
        provider = settings.providers[started.provider]
        gate = gates.get(name) or Gate(name=name)
        rooms = (
            gate.room(provider.rates, now)[0],
            shared_room(gates, settings, route, now)[0],
            WITHOUT_LIMIT,
        )
        within = min(room for room in rooms if room is not None) if started.probe is None else 0
        open_now = self._gates.gates()[name].open_attempts if name in gates else 0
        return _Way(started, switched, within, open_now, provider.concurrency, overflows)

    def _without_plain(self) -> Mapping[str, Gate]:
        """The gates as if no plain attempt was open: whoever waits for one of those is served in time."""
        gates = dict(self._gates.gates())
        for provider, count in Counter(provider for _, provider, _ in self._under_way).items():
            gate = gates[provider_gate(provider)]
            gates[gate.name] = replace(gate, open_attempts=gate.open_attempts - count)
        return gates

    def _decided(
        self, route: str, seen: tuple[Opening, ...], now: datetime
    ) -> tuple[ProviderSwitched | None, AttemptStarted | None]:
        settings = self._settings
        start = StartAttempt(email_id="", worker="", token=1, begin_within=settings.lease)
        given = Circumstances(
            now=now, openings=seen, on_limit=settings.route(route).on_limit, retry=settings.retry
        )
        events = decide(start, self._likes[route], given)
        switched = next((one for one in events if isinstance(one, ProviderSwitched)), None)
        return switched, next((one for one in events if isinstance(one, AttemptStarted)), None)

    def anybody_could_start(self, now: datetime) -> bool:
        """Whether one who waits could take a provider now."""
        return any(self._wanted(self._gates.gates(), now))

    def _wanted(self, gates: Mapping[str, Gate], now: datetime) -> Iterator[str]:
        """Providers that those who wait would take."""
        settings = self._settings
        for waiting in self._gates.due(now):
            lane = Lane.parse(waiting.lane)
            seen = openings(gates, settings, lane.route, now)
            chosen = walk(seen, lane, settings.route(lane.route).on_limit).chosen
            if chosen is not None:
                yield chosen.provider

    def _count(self, started: AttemptStarted, count: int, now: datetime) -> None:
        """Have the gates count so many starts, as `gates.project` would."""
        if not count:
            return
        gates, own = self._gates.gates(), provider_gate(started.provider)
        for name in (own, route_gate(started.route), SERVICE):
            gate = gates.get(name) or Gate(name=name)
            gate = replace(
                gate,
                windows=tuple(window.started(now, count) for window in gate.at_rest().windows),
                burst=None,
                last_at=now if gate.last_at is None else max(gate.last_at, now),
            )
            if name == own:
                gate = replace(gate, open_attempts=gate.open_attempts + count)
            self._gates.move(gate)


def _together(coming: Sequence[Arrival]) -> Sequence[Arrival]:
    """The emails as if all had come in at their mean moment."""
    if len(coming) < 2:
        return coming
    at_s = sum(one.at_s for one in coming) / len(coming)
    return [one._replace(at_s=at_s) for one in coming]


def _one_like_it(route: str, begins: datetime) -> Email:
    """An email that nothing has happened to, due ever since."""
    requested = Requested(
        key="",
        digest="",
        size=0,
        recipients=1,
        recipient_domains=("",),
        sender_domain="",
        route=route,
        priority=Priority.NORMAL,
        tags=(),
        tenant="",
        requested_at=begins,
        send_at=None,
        expires_at=NEVER,
        on_uncertain=OnUncertain.RETRY,
    )
    return evolve(UNREQUESTED, requested)
