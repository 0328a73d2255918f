"""From which lanes to claim: only from those that a provider has room for, high priority first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from application.ports import Share, Waiting
from application.projections.gates import Gate, capacity, openings, provider_gate, shared_rooms
from application.settings import Settings
from domain.routing import Lane, Priority, walk

Queue = tuple[str, Priority]
"""Emails of one lane and priority, in the order they became due."""


class Shares:
    """Divides `room` among the waiting lanes. Afterwards `granted` is how many emails may be claimed in all, and
    `until` when a lane that was left out may have room."""

    def __init__(
        self, settings: Settings, room: int, *, freed: Mapping[str, int], without: frozenset[Queue]
    ) -> None:
        """`freed`: attempts at each provider that are recorded as ended before any is started, so that the gates
        still count them. `without`: queues that are left out."""
        self._settings = settings
        self._room = room
        self._freed = freed
        self._without = without
        self._left: dict[str, int] = {}
        self._shared: dict[str, int] = {}  # what limits leave that lanes share, by gate
        self._limits: dict[Queue, tuple[str, ...]] = {}
        self._left_out = False
        self._takers: dict[Queue, str] = {}
        self._shares: dict[Queue, int] = {}
        self.until: datetime | None = None
        self.granted = 0

    def choose(self, waiting: Sequence[Waiting], gates: Mapping[str, Gate], now: datetime) -> Sequence[Share]:
        """Shares in the order they are to be claimed. Within a priority every lane of a provider gets its part,
        so that no lane keeps the others waiting; what the division leaves goes to the longest due."""
        for kept in (self._left, self._shared, self._limits, self._takers, self._shares):
            kept.clear()
        self.until = None
        self._left_out = False
        gates = self._without_freed(gates)
        room = self._room
        shares: list[Share] = []
        for priority in Priority:
            lanes = [
                one
                for one in waiting
                if one.priority is priority and (one.lane, one.priority) not in self._without
            ]
            takers = [(one, name) for one in lanes if (name := self._provider(one, gates, now)) is not None]
            for one, name in sorted(takers, key=lambda taker: taker[0].due_at):
                self._takers[one.lane, one.priority] = name
                rivals = sum(1 for _, other in takers if other == name)
                limits = self._limits[one.lane, one.priority]
                most = min([room, self._left[name], *(self._shared[limit] for limit in limits)])
                count = min(most, max(1, -(-self._left[name] // rivals)))
                if count <= 0:
                    continue
                for limit in limits:
                    self._shared[limit] -= count
                self._shares[one.lane, one.priority] = count
                shares.append(Share(lane=one.lane, priority=one.priority, count=count))
                self._left[name] -= count
                room -= count
        self.granted = self._room - room
        return shares

    def fell_short(self, claimed: Iterable[Queue]) -> frozenset[Queue]:
        """Queues to leave out in a round that follows at once, since they had less than their share while others
        could have used the rest; none: all that can start now does. How long a queue is, nobody knows before."""
        counts = Counter(claimed)
        short = {queue for queue, count in self._shares.items() if counts[queue] < count}
        spare = Counter(self._left)
        for queue in short:
            spare[self._takers[queue]] += self._shares[queue] - counts[queue]
        hungry = self._left_out or any(
            spare[name] > 0 for queue, name in self._takers.items() if queue not in short
        )
        return self._without | short if short and hungry else frozenset()

    def _without_freed(self, gates: Mapping[str, Gate]) -> Mapping[str, Gate]:
        changed = dict(gates)
        for name, count in self._freed.items():
            gate = gates.get(provider_gate(name))
            if gate is not None:
                changed[gate.name] = replace(gate, open_attempts=max(0, gate.open_attempts - count))
        return changed

    def _provider(self, waiting: Waiting, gates: Mapping[str, Gate], now: datetime) -> str | None:
        """The provider that emails of this lane would take now, if any has room for one."""
        lane = Lane.parse(waiting.lane)
        rooms = tuple(shared_rooms(gates, self._settings, lane.route, now))
        untils = [until for _, room, until in rooms if room == 0 and until is not None]
        if untils:
            self._not_before(max(untils))
            return None
        if any(self._shared.setdefault(limit, left) == 0 for limit, left, _ in rooms):
            self._left_out = True  # those before were granted all of it, which they may not need
            return None
        self._limits[waiting.lane, waiting.priority] = tuple(limit for limit, _, _ in rooms)
        route = self._settings.route(lane.route)
        found = walk(openings(gates, self._settings, lane.route, now), lane, route.on_limit)
        if found.chosen is None:
            self._not_before(found.until)
            return None
        name = found.chosen.provider
        if name not in self._left:
            gate = gates.get(provider_gate(name)) or Gate(name=provider_gate(name))
            self._left[name] = capacity(gate, self._settings.providers[name], self._settings.circuit, now)
        return name

    def _not_before(self, until: datetime | None) -> None:
        if until is not None:
            self.until = until if self.until is None else min(self.until, until)
