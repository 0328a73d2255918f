"""Following the log: everything behind a position, in order, nothing twice and nothing left out, as it is recorded."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from application.bell import HEARING_POLL_S, never
from application.ports import EventStore, Executor, StoreUnavailable
from application.recorded import Recorded
from application.selection import EVERYTHING, Wanted, chosen

POLL_S = 0.25
"""How often the log is looked at where nobody says that there is something new: other processes write it too."""

GATHER_S = 0.02
"""After a hint: what is recorded meanwhile is read with it, so that a busy service is not read to death."""

TROUBLE_S = 1.0
"""Pause between looks at a database that does not answer."""

PAGE = 256
"""Events read at a time: what one reader holds at most, and what nobody else waits for long."""

LOOKED_AT_MAX = 100_000
"""Events that are looked at, from the end, for the last ones of a kind: half a second's work or so."""

RECENT_MAX = 2 * PAGE
"""Events kept for those who are a little behind the others."""

ANY_POSITION = 2**62
"""No log is so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Wanted events in the order of the log. Up to `position` there are no others but those given before."""

    events: tuple[Recorded, ...]
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Last:
    """The last wanted events, in the order of the log. Whoever goes on behind `position` misses none.

    `is_cut`: there may be more of them than were found, beyond the `looked_at` events that were looked at.
    """

    events: tuple[Recorded, ...]
    position: int
    looked_at: int
    is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recent:
    """The events behind `after` up to where the log was last read: at `at` (the loop's time), after so many hints.

    `is_end`: there was nothing behind them then.
    """

    after: int
    events: tuple[Recorded, ...] = ()
    at: float = -math.inf
    hints: int = 0
    is_end: bool = False

    @property
    def last(self) -> int:
        return self.events[-1].position if self.events else self.after

    def behind(self, position: int) -> tuple[Recorded, ...]:
        """Those behind a position that is not in front of them all."""
        return tuple(one for one in self.events if one.position > position)

    def read(self, after: int, events: Sequence[Recorded], at: float, hints: int) -> _Recent:
        """With what lies behind `after`, as now read; the oldest fall out. What lies further back changes nothing."""
        joined = (*self.events, *events) if after == self.last else tuple(events)
        if after != self.last and (events[-1].position if events else after) < self.last:
            return self
        dropped = max(0, len(joined) - RECENT_MAX)
        begin = joined[dropped - 1].position if dropped else self.after if after == self.last else after
        return _Recent(after=begin, events=joined[dropped:], at=at, hints=hints, is_end=len(events) < PAGE)


class Feed:
    """Gives any number of readers the log. Each reads at its own pace, and no transaction is open while it waits.

    Those near the end of the log share what was read last, and never more than one page is read at a time: a
    crowd of readers costs the writers little more than one.
    """

    def __init__(
        self,
        *,
        store: EventStore,
        executor: Executor,
        troubled: Callable[[StoreUnavailable], None],
        hears: Callable[[], bool] = never,
    ) -> None:
        """`troubled` hears, once, when the database stops answering whoever follows; they wait until it does.

        `hears`: whether other processes hint now at what they record; then it is looked for more rarely.
        """
        self._hears = hears
        self._store = store
        self._executor = executor
        self._troubled = troubled
        self._turn = asyncio.Lock()
        self._recent = _Recent(after=0)
        self._hints = 0
        self._waiting: set[asyncio.Event] = set()
        self._is_over = False
        self._in_trouble = False

    def wake(self) -> None:
        """Hint that something was recorded."""
        self._hints += 1
        for one in self._waiting:
            one.set()

    def leave(self) -> None:
        """Let everybody who follows come to an end."""
        self._is_over = True
        self.wake()

    @property
    def is_over(self) -> bool:
        """Whether nobody may begin to follow any more."""
        return self._is_over

    async def end(self) -> int:
        """The position to follow from for what is recorded from now on. Raises StoreUnavailable."""
        return await self._executor(self._store.end)

    async def highest(self) -> int:
        """The highest position anybody may have been given. Raises StoreUnavailable."""
        events = await self._executor(lambda: self._store.read_back(ANY_POSITION, 1))
        return events[0].position if events else 0

    async def last(self, count: int, wanted: Wanted = EVERYTHING) -> Last:
        """The last `count` wanted events, looking at LOOKED_AT_MAX at most. Raises StoreUnavailable."""
        end = await self.end()
        before, looked_at = end + 1, 0
        found: list[Recorded] = []
        page: Sequence[Recorded] = ()
        while len(found) < count and looked_at < LOOKED_AT_MAX:
            limit = min(PAGE, count - len(found)) if wanted == EVERYTHING else PAGE
            page = await self._executor(partial(self._store.read_back, before, limit))
            if not page:
                break
            found += await self._chosen(page, wanted)
            looked_at += len(page)
            before = page[-1].position
        is_cut = len(found) < count and bool(page)
        events = tuple(found[:count][::-1])
        return Last(events=events, position=end, looked_at=looked_at, is_cut=is_cut)

    async def follow(
        self,
        after: int,
        wanted: Wanted = EVERYTHING,
        *,
        until: int | None = None,
        idle_s: float = math.inf,
    ) -> AsyncGenerator[Batch, None]:
        """Everything wanted behind `after`, for ever; with `until`, to that position, where nothing is waited for.

        A batch without events comes once nothing was to be told for `idle_s`. With `until` it raises StoreUnavailable.
        """
        position, told_at = after, _now()
        while not self._is_over and (until is None or position < until):
            hints = self._hints
            try:
                page = await self._next(position)
                events = await self._chosen(page, wanted)
            except StoreUnavailable as error:
                if until is not None:
                    raise
                await self._trouble(error)
                page, events = (), ()
            position = page[-1].position if page else position
            if events or _now() - told_at >= idle_s:
                yield Batch(events=events, position=position)
                told_at = _now()
            if until is not None:
                if not page:
                    return
            elif not page or self._is_at_end(position):
                await self._news(hints, self._poll_s())

    async def _next(self, after: int) -> tuple[Recorded, ...]:
        """The events behind `after`; none: there are none yet."""
        async with self._turn:
            recent = self._recent
            if recent.after <= after < recent.last:
                return recent.behind(after)
            is_fresh = recent.hints == self._hints and _now() - recent.at < self._poll_s() / 2
            if self._is_at_end(after) and is_fresh:
                return ()
            hints, at = self._hints, _now()
            events = await self._executor(lambda: self._store.read_all(after, PAGE))
            self._in_trouble = False
            self._recent = recent.read(after, events, at, hints)
            return tuple(events)

    def _poll_s(self) -> float:
        return max(POLL_S, HEARING_POLL_S) if self._hears() else POLL_S

    def _is_at_end(self, position: int) -> bool:
        return self._recent.is_end and position == self._recent.last

    async def _chosen(self, page: Sequence[Recorded], wanted: Wanted) -> tuple[Recorded, ...]:
        if wanted == EVERYTHING:
            return tuple(page)
        verdicts = [wanted.sees(one) for one in page]
        if None in verdicts:
            async with self._turn:
                return tuple(await self._executor(lambda: chosen(page, wanted, self._store.read_stream)))
        return tuple(one for one, is_seen in zip(page, verdicts, strict=True) if is_seen)

    async def _news(self, hints: int, seconds: float) -> None:
        """Wait for a hint beyond the first `hints`, so long at most."""
        hinted = asyncio.Event()
        if self._hints != hints:
            hinted.set()
        self._waiting.add(hinted)
        try:
            async with asyncio.timeout(seconds):
                await hinted.wait()
        except TimeoutError:
            return
        finally:
            self._waiting.discard(hinted)
        if not self._is_over:
            await asyncio.sleep(GATHER_S)

    async def _trouble(self, error: StoreUnavailable) -> None:
        if not self._in_trouble:
            self._in_trouble = True
            self._troubled(error)
        await self._news(self._hints, TROUBLE_S)


def _now() -> float:
    return asyncio.get_running_loop().time()
