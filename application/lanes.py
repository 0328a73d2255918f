"""From which lanes to claim: only from those that a provider has room for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from application.ports import Share, Waiting
from application.projections.gates import Gate, capacity, openings, provider_gate, shared_rooms
from application.settings import Settings
from application.turns import Contender, Queue, Start, Turns, after, divide
from domain.routing import Lane, Opening, walk

NO_TURNS = Turns()
ROOM = "room"
"""What a worker can take on is a gate as well: those who wait for nothing else in common wait for it."""
ALL: Mapping[str, int] = {}
Rooms = tuple[tuple[str, int, datetime | None], ...]


class Shares:
    """Divides `room` among the waiting lanes. Afterwards `granted` is how many emails may be claimed in all, and
    `until` when a lane that was left out may have room."""

    def __init__(
        self,
        settings: Settings,
        room: int,
        *,
        freed: Mapping[str, int],
        without: frozenset[Queue],
        turns: Turns = NO_TURNS,
        at_most: Mapping[str, int] = ALL,
    ) -> None:
        """`freed`: attempts at each provider that are recorded as ended before any is started, so that the gates
        still count them. `without`: queues that are left out. `turns`: what earlier rounds gave. `at_most`: starts
        at a provider that this worker may take, where others are to have the rest."""
        self._settings = settings
        self._room = room
        self._freed = freed
        self._without = without
        self._turns = turns
        self._at_most = at_most
        self._begin()

    def _begin(self) -> None:
        """A transaction that is repeated chooses anew."""
        self._left: dict[str, int] = {ROOM: self._room}  # what may start, by gate
        self._routes: dict[str, tuple[Rooms, tuple[Opening, ...]]] = {}
        self._waiting: set[Queue] = set()
        self._contenders: list[Contender] = []
        self._starts: list[Start] = []
        self._shares: Counter[Queue] = Counter()
        self._bounded: dict[str, int] = {}
        self.until: datetime | None = None
        self.granted = 0

    def choose(self, waiting: Sequence[Waiting], gates: Mapping[str, Gate], now: datetime) -> Sequence[Share]:
        """Shares in the order they are to be claimed."""
        self._begin()
        gates = self._without_freed(gates)
        self._waiting = {(one.lane, one.priority) for one in waiting}
        found = (
            self._contender(one, gates, now)
            for one in waiting
            if (one.lane, one.priority) not in self._without
        )
        self._contenders = [one for one in found if one is not None]
        self._starts = divide(self._contenders, self._left, self._turns)
        self._shares = Counter(start.taker.queue for start in self._starts)
        self.granted = self._shares.total()
        return [
            Share(lane=lane, priority=priority, count=count)
            for (lane, priority), count in self._shares.items()
        ]

    def fell_short(self, claimed: Iterable[Queue]) -> frozenset[Queue]:
        """Queues to leave out in a round that follows at once, since they had less than their share while others
        could have used the rest; none: all that can start now does. How long a queue is, nobody knows before."""
        counts = Counter(claimed)
        short = {queue for queue, count in self._shares.items() if counts[queue] < count}
        spare = Counter(self._left)
        for one in self._contenders:
            if one.queue in short:
                for gate in one.gates:
                    spare[gate] += self._shares[one.queue] - counts[one.queue]
        hungry = any(
            all(spare[gate] > 0 for gate in one.gates) for one in self._contenders if one.queue not in short
        )
        return self._without | short if short and hungry else frozenset()

    def turns(self, claimed: Iterable[Queue]) -> Turns:
        """What the next round is to know of this one."""
        return after(self._turns, self._waiting, self._contenders, self._starts, Counter(claimed))

    def held_back(self, claimed: Iterable[Queue]) -> frozenset[str]:
        """The providers of which this worker would have taken more, had it not left the rest to others."""
        counts, taken = Counter(claimed), Counter[str]()
        for one in self._contenders:
            taken[one.gates[0]] += counts[one.queue]
        return frozenset(name for name, most in self._bounded.items() if taken[provider_gate(name)] >= most)

    def _without_freed(self, gates: Mapping[str, Gate]) -> Mapping[str, Gate]:
        changed = dict(gates)
        for name, count in self._freed.items():
            gate = gates.get(provider_gate(name))
            if gate is not None:
                changed[gate.name] = replace(gate, open_attempts=max(0, gate.open_attempts - count))
        return changed

    def _contender(self, waiting: Waiting, gates: Mapping[str, Gate], now: datetime) -> Contender | None:
        """The queue with all that a start takes from, if there is room for one."""
        lane = Lane.parse(waiting.lane)
        if lane.route not in self._routes:
            rooms = tuple(shared_rooms(gates, self._settings, lane.route, now))
            self._routes[lane.route] = rooms, openings(gates, self._settings, lane.route, now)
        rooms, seen = self._routes[lane.route]
        untils = [until for _, room, until in rooms if room == 0 and until is not None]
        if untils:
            self._not_before(max(untils))
            return None
        found = walk(seen, lane, self._settings.route(lane.route).on_limit)
        if found.chosen is None:
            self._not_before(found.until)
            return None
        provider = provider_gate(found.chosen.provider)
        if provider not in self._left:
            self._left[provider] = self._slots(found.chosen.provider, gates, now)
        if self._left[provider] <= 0:
            return None
        self._left.update((limit, left) for limit, left, _ in rooms)
        taken = (provider, *(limit for limit, _, _ in rooms), ROOM)
        return Contender.of((waiting.lane, waiting.priority), lane, taken, waiting.due_at)

    def _slots(self, name: str, gates: Mapping[str, Gate], now: datetime) -> int:
        """How many attempts this worker may start at the provider."""
        gate = gates.get(provider_gate(name)) or Gate(name=provider_gate(name))
        free = capacity(gate, self._settings.providers[name], self._settings.circuit, now)
        mine = min(free, self._at_most.get(name, free))
        if mine < free:
            self._bounded[name] = mine
        return mine

    def _not_before(self, until: datetime | None) -> None:
        if until is not None:
            self.until = until if self.until is None else min(self.until, until)
