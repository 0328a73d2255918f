"""How the queue stands, in a few numbers: for gauges, and for whoever examines a service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from application.ports import Clock, Executor, StoreUnavailable
from application.projections.gates import Gate
from domain.routing import Priority

T = TypeVar("T")

COUNTED_MAX = 10_000
"""Overdue, held and uncertain emails are counted up to here: after an outage there may be a million."""

LATE_AFTER = timedelta(seconds=10)
"""A deadline that passed longer ago should have been acted on: workers look once a second or more often."""

FRESH_S = 1.0
"""How long numbers are used again, however often somebody asks."""

SHARE = 0.02
"""Of the time, at most so much is spent counting: with a million waiting a count takes a while."""

PATIENCE_S = 2.0
"""How long a reader waits for new numbers before it takes the last ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is wrong or waits, at `now` by the store's clock.

    `oldest`: since when the longest waiting due email of a priority has been due; absent: none is. `overdue`:
    emails whose deadline has passed by more than LATE_AFTER. `held`, `uncertain`: emails of that status. These
    three are counted up to COUNTED_MAX. `gates`: as committed, by name.
    """

    now: datetime
    oldest: Mapping[Priority, datetime]
    overdue: int
    held: int
    uncertain: int
    gates: Mapping[str, Gate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How many emails of each priority wait for an attempt: those that are due, and those whose time is yet to come."""

    due: Mapping[Priority, int]
    later: Mapping[Priority, int]


class StandingReader(Protocol):
    """Counts in the views, each call in one snapshot. Blocks; never writes. Raises StoreUnavailable."""

    def standing(self) -> Standing:
        """How things stand. Costs a few looks into indexes, however many emails wait."""

    def depth(self) -> Depth:
        """How many wait, each priority named. Walks an index over all of them, so it costs more the more there are."""


class Kept(Generic[T]):
    """An answer that is asked for anew when it has grown old, by one question at a time."""

    def __init__(self, ask: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._question: asyncio.Task[None] | None = None
        self._fresh_until = float("-inf")
        self._answer: T | None = None

    async def get(self) -> T | None:
        """The answer; an older one where the new one takes its time; None: there is none, or the last try failed."""
        if self._question is None and self._clock.monotonic() >= self._fresh_until:
            self._question = asyncio.get_running_loop().create_task(self._renew())
        if self._question is not None:
            answered, _ = await asyncio.wait((self._question,), timeout=PATIENCE_S)
            for one in answered:
                one.result()  # raises what is a bug of ours
        return self._answer

    async def _renew(self) -> None:
        began = self._clock.monotonic()
        pause_s = FRESH_S
        try:
            self._answer = await self._ask()
            pause_s = max(FRESH_S, (self._clock.monotonic() - began) / SHARE)
        except StoreUnavailable:
            self._answer = None
        finally:
            self._fresh_until = self._clock.monotonic() + pause_s
            self._question = None


class Standings:
    """The numbers for everybody who asks this process, asked for as seldom as they allow."""

    def __init__(self, *, reader: StandingReader, executor: Executor, clock: Clock) -> None:
        self._standing = Kept(lambda: executor(reader.standing), clock)
        self._depth = Kept(lambda: executor(reader.depth), clock)

    async def read(self) -> tuple[Standing | None, Depth | None]:
        """How things stand, and how many wait. None: the database gave no answer."""
        standing, depth = await asyncio.gather(self._standing.get(), self._depth.get())
        return standing, depth
