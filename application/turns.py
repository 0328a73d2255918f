"""Taking turns: who may start next where more emails wait than can start.

At every gate, higher priorities go first, but one start in `LOWER_EVERY` is for each lower priority that waits there.
Within a priority tenants take turns, within a tenant new mail and retries, and within these their lanes. So nobody
waits for more than one turn of each of the others, however many emails those have.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heapreplace
from typing import Any

from domain.frozen import quick
from domain.routing import Lane, Priority

Queue = tuple[str, Priority]
"""Emails of one lane and priority, in the order they became due."""

LOWER_EVERY = 10
"""One start in so many is for a lower priority that waits for the same gate, however much of a higher one does."""

BEHIND_MAX = 64
"""Turns that somebody can make up for: who could not start for an hour doesn't keep the others waiting for the next."""

Path = tuple[Any, ...]
"""Priority, gates, tenant, whether tried, lane: those that share a beginning take turns at what comes next."""

LEVELS = range(2, 6)
"""Lengths of the beginnings of a path at which turns are counted."""

Place = tuple[str, Path]
"""Where those of a priority that take from the same gates wait: at one of these."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A queue that could start now. `gates`: what each start takes from: its provider's, limits', the worker's room."""

    queue: Queue
    gates: tuple[str, ...]
    due_at: datetime
    beginnings: tuple[Path, ...]

    @classmethod
    def of(cls, queue: Queue, lane: Lane, gates: tuple[str, ...], due_at: datetime) -> Contender:
        """The contender that a lane's queue is."""
        path = (queue[1], gates, lane.tenant, lane.tried, queue[0])
        return cls(queue=queue, gates=gates, due_at=due_at, beginnings=tuple(path[:n] for n in LEVELS))

    @property
    def priority(self) -> Priority:
        return self.queue[1]


@quick
@dataclass(frozen=True, slots=True)
class Turns:
    """What is remembered from one round to the next, of those that still wait.

    `taken`: starts, by path. `passed`: by place, starts of other priorities there since its own last one.
    """

    taken: Mapping[Path, int] = field(default_factory=dict)
    passed: Mapping[Place, int] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True)
class Start:
    """One that was given out. `over`: who else waited where it was taken from; `before`: at which of its places it
    went before a higher priority."""

    taker: Contender
    over: tuple[Place, ...] = ()
    before: tuple[Place, ...] = ()


def divide(contenders: Sequence[Contender], left: MutableMapping[str, int], turns: Turns) -> list[Start]:
    """All that can start, one after the other. Takes them from what is `left` of each gate; none is left unused while
    a queue could take it, if all are long enough."""
    if len(contenders) == 1:  # as nearly always: there is nothing to share
        return _all_to(contenders[0], left)
    drawing = _Drawing(contenders, left, turns)
    starts: list[Start] = []
    while (one := drawing.next()) is not None:
        starts.append(one)
    return starts


def _all_to(one: Contender, left: MutableMapping[str, int]) -> list[Start]:
    count = max(0, min(left[gate] for gate in one.gates))
    for gate in one.gates:
        left[gate] -= count
    return [Start(one)] * count


def after(
    turns: Turns,
    waiting: Collection[Queue],
    contenders: Sequence[Contender],
    starts: Iterable[Start],
    claimed: Mapping[Queue, int],
) -> Turns:
    """What to remember once so many of the starts were claimed. Who doesn't wait any more is forgotten."""
    if len(waiting) < 2:
        return Turns()
    taken = {**turns.taken, **_entered(turns, contenders)}
    passed = {**turns.passed}
    left = Counter(claimed)
    for start in starts:
        if left[start.taker.queue] > 0:
            left[start.taker.queue] -= 1
            _count(taken, passed, start)
    leaves = [path for path in taken if len(path) == LEVELS[-1] and (path[-1], path[0]) in waiting]
    kept = {path[:length] for path in leaves for length in LEVELS}
    priorities = {priority for _, priority in waiting}
    return Turns(
        taken={path: count for path, count in taken.items() if path in kept},
        passed={place: count for place, count in passed.items() if place[1][0] in priorities},
    )


def _count(taken: dict[Path, int], passed: dict[Place, int], start: Start) -> None:
    for path in start.taker.beginnings:
        taken[path] += 1
    for place in start.over:
        passed[place] = min(LOWER_EVERY - 1, passed.get(place, 0) + 1)
    for place in start.before:
        passed[place] = 0


def _entered(turns: Turns, contenders: Iterable[Contender]) -> dict[Path, int]:
    """Turns taken so far. Who is new has had as many as the last of the others; nobody is too far behind."""
    siblings: dict[Path, set[Path]] = defaultdict(set)
    for one in contenders:
        for above, path in zip((one.beginnings[0][:1], *one.beginnings), one.beginnings, strict=False):
            siblings[above].add(path)
    taken: dict[Path, int] = {}
    for among in siblings.values():
        known = [turns.taken[path] for path in among if path in turns.taken]
        least = max(min(known), max(known) - BEHIND_MAX) if known else 0
        taken.update((path, max(turns.taken.get(path, least), least)) for path in among)
    return taken


class _Group:
    """Contenders of one priority that take from the same gates: whoever has had the fewest turns is first."""

    def __init__(self, path: Path, contenders: Iterable[Contender], taken: Mapping[Path, int]) -> None:
        self.path = path
        self.priority: Priority = path[0]
        self.gates: tuple[str, ...] = path[1]
        self._taken = taken
        self._heap = [(self._key(one), one.due_at, one.queue, one) for one in contenders]
        heapify(self._heap)

    @property
    def first(self) -> Contender:
        """Turns only grow, so that a key which is still right is the least of all."""
        while True:
            key, due_at, queue, one = self._heap[0]
            now = self._key(one)
            if key == now:
                return one
            heapreplace(self._heap, (now, due_at, queue, one))

    def _key(self, one: Contender) -> tuple[int, ...]:
        return tuple([self._taken[path] for path in one.beginnings[1:]])


class _Drawing:
    """One start after the other, as they are due to the contenders."""

    def __init__(self, contenders: Sequence[Contender], left: MutableMapping[str, int], turns: Turns) -> None:
        self._left = left
        self._taken = _entered(turns, contenders)
        self._passed = {**turns.passed}
        members: dict[Path, list[Contender]] = defaultdict(list)
        for one in contenders:
            members[one.beginnings[0]].append(one)
        self._groups = [_Group(path, those, self._taken) for path, those in sorted(members.items())]
        self._close()
        # Who has no room any more at another gate is passed over all the same.
        self._all = tuple((gate, group.path) for group in self._groups for gate in group.gates)

    def next(self) -> Start | None:
        """Whose start is next; None: nobody is left for whom there is room."""
        if not self._groups:
            return None
        group = min(self._groups, key=self._rank)
        one = group.first
        over = tuple(
            place for place in self._all if place[0] in one.gates and place[1][0] is not one.priority
        )
        start = Start(one, over, tuple((gate, group.path) for gate in self._contested(group)))
        _count(self._taken, self._passed, start)
        for gate in one.gates:
            self._left[gate] -= 1
        if any(self._left[gate] <= 0 for gate in one.gates):
            self._close()
        return start

    def _close(self) -> None:
        """Leave out those for whom a gate has nothing left."""
        left = self._left
        self._groups = [group for group in self._groups if all(left[gate] > 0 for gate in group.gates)]
        self._places = {(gate, group.priority) for group in self._groups for gate in group.gates}

    def _contested(self, group: _Group) -> list[str]:
        """The gates at which a higher priority waits as well."""
        higher = [one for one in Priority if one < group.priority]
        return [gate for gate in group.gates if any((gate, one) in self._places for one in higher)]

    def _rank(self, group: _Group) -> tuple[int, Priority, int]:
        """First whoever was passed over long enough at each gate where higher ones wait, then by priority."""
        contested = self._contested(group)
        owed = contested and all(
            self._passed.get((gate, group.path), 0) >= LOWER_EVERY - 1 for gate in contested
        )
        return (0 if owed else 1, group.priority, self._taken[group.path])
