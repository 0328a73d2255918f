"""Playing a scenario: emails come in as it says, the use cases deal with them, and all of it is counted.

Nothing here knows that time is virtual and providers are simulated: that is the adapters' business.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from application.accept import Acceptor, QueueFull, SendRequest
from application.ports import Clock
from application.settings import Settings
from application.simulate_plain import Gates, Shortcut
from application.simulate_scenario import Arrival, Sample, Scenario, arrivals
from application.simulate_tally import Tally
from domain.content import Address, Content

SLICE_S_MIN, SLICE_S_MAX = 0.1, 1.0
SLICE_EMAILS = 16
"""About so many emails come in during a slice, as far as its bounds allow: looking at the gates has its price."""

LOOK_EVERY_S = 1.0
"""How often limits and the queue are looked at."""

DRAIN_LOOK_S_MAX = 60.0
"""And how often at most when nothing comes in any more: a few emails may wait for hours."""

INSTANT_S = 1e-6
"""The shortest time that a clock tells."""

AT_ONCE_MAX = 4096
"""Emails of a burst handed in at a time: the committer takes no more than twice that."""

Told = Callable[[str, int, int | None], None]
"""Hears what is being done, how far it is, and how far it will go, where that is known."""


class Waits(Gates, Protocol):
    """What a simulation sees of the store."""

    def waiting(self) -> int:
        """How many emails have not reached an end."""


class Simulation:
    """One scenario with one configuration. With a `shortcut`, plain emails are counted together."""

    def __init__(
        self,
        *,
        scenario: Scenario,
        settings: Settings,
        clock: Clock,
        store: Waits,
        acceptor: Acceptor,
        tally: Tally,
        shortcut: Shortcut | None,
        wake: Callable[[], None],
        told: Told,
    ) -> None:
        self._scenario = scenario
        self._settings = settings
        self._clock = clock
        self._store = store
        self._acceptor = acceptor
        self._tally = tally
        self._shortcut = shortcut
        self._wake = wake
        self._told = told
        self._begins = clock.now()
        self._looked_s = -LOOK_EVERY_S

    async def run(self) -> None:
        """Let everything come in, and wait until all has ended but what an operator would have to decide."""
        slice_s = SLICE_S_MAX
        if self._scenario.per_s:
            slice_s = min(SLICE_S_MAX, max(SLICE_S_MIN, SLICE_EMAILS / self._scenario.per_s))
        lasts_s = self._scenario.lasts.total_seconds()
        for number, coming in enumerate(_slices(arrivals(self._scenario), slice_s, lasts_s)):
            if not (coming or self._store.waiting() or (self._shortcut and self._shortcut.open)):
                continue
            begins_s = number * slice_s
            await self._sleep_until(begins_s)
            self._settle()
            if self._look(LOOK_EVERY_S):  # as long as gates count no start that is yet to come
                await self._acceptor.count_waiting()
                self._told("simulated seconds", int(begins_s), int(lasts_s))
            for one in self._without_plain(coming):
                await self._sleep_until(one[0].at_s)
                await self._hand_in(one)
        await self._drain()
        self._tally.end(self._clock.now())

    def _without_plain(self, coming: Sequence[Arrival]) -> Iterator[Sequence[Arrival]]:
        """Emails that go through the use cases, those of one moment together."""
        if self._shortcut is not None and self._store.waiting() < self._settings.queue_max:
            by_route: dict[str, list[Arrival]] = defaultdict(list)
            for one in coming:
                by_route[self._route(one.sample)].append(one)
            now, take = self._clock.now(), self._shortcut.take
            left = [one for route, them in by_route.items() for one in take(route, them, now)]
            coming = sorted(left, key=lambda one: (one.at_s, one.number))
        together: list[Arrival] = []
        for one in coming:
            if together and (one.at_s != together[0].at_s or len(together) == AT_ONCE_MAX):
                yield together
                together = []
            together.append(one)
        if together:
            yield together

    def _route(self, sample: Sample) -> str:
        return self._settings.route_for(tags=sample.tags, from_domain=sample.from_domain).name

    async def _hand_in(self, together: Sequence[Arrival]) -> None:
        if len(together) == 1:
            await self._accept(together[0])
        else:
            await asyncio.gather(*map(self._accept, together))

    async def _accept(self, one: Arrival) -> None:
        try:
            await self._acceptor.accept(_request(one))
        except QueueFull:
            self._tally.refused()

    def _settle(self) -> None:
        now = self._clock.now()
        if self._shortcut and self._shortcut.settle(now) and self._shortcut.anybody_could_start(now):
            self._wake()

    def _look(self, every_s: float) -> bool:
        now_s = self._seconds()
        if now_s - self._looked_s < every_s:
            return False
        self._looked_s = now_s
        under_way = 0 if self._shortcut is None else self._shortcut.open
        self._tally.look(self._store.gates(), self._clock.now(), self._store.waiting() + under_way)
        return True

    async def _drain(self) -> None:
        every_s = LOOK_EVERY_S
        await self._sleep_until(self._scenario.lasts.total_seconds())
        while True:
            self._settle()
            self._look(0.0)
            waiting = self._store.waiting() - self._tally.held
            if waiting <= 0 and not (self._shortcut and self._shortcut.open):
                return
            self._told("emails still waiting", waiting, None)
            await self._clock.sleep(every_s)
            every_s = min(DRAIN_LOOK_S_MAX, every_s * 1.02)

    async def _sleep_until(self, at_s: float) -> None:
        """While somebody waits, every slot that gets free is offered at once."""
        while (left_s := at_s - self._seconds()) > 0:
            if self._shortcut is not None and self._store.due(self._clock.now()):
                left_s = min(left_s, self._shortcut.next_end_s - self._seconds())
            await self._clock.sleep(max(left_s, INSTANT_S))
            self._settle()

    def _seconds(self) -> float:
        return (self._clock.now() - self._begins).total_seconds()


def _slices(coming: Iterator[Arrival], slice_s: float, lasts_s: float) -> Iterator[list[Arrival]]:
    """What comes in, by slices of time; none is left out."""
    following = next(coming, None)
    number = 0
    while number * slice_s < lasts_s or following is not None:
        number += 1
        found: list[Arrival] = []
        while following is not None and following.at_s < number * slice_s:
            found.append(following)
            following = next(coming, None)
        yield found


def _request(one: Arrival) -> SendRequest:
    """The smallest email of its kind; its subject is its number."""
    content = Content(
        sender=Address(address=f"shop@{one.sample.from_domain}"),
        to=(Address(address="reader@example.org"),),
        subject=str(one.number),
        text="",
    )
    return SendRequest(key=str(one.number), content=content, given=b"", size=0, tags=one.sample.tags)
