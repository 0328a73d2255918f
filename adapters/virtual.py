"""Virtual time: an event loop that never sleeps but moves its clock, so that a day passes in milliseconds.

For tests and simulations: the `Clock`, `Ids` and `Executor` ports where everything is repeatable.
"""

from __future__ import annotations

import asyncio
import math
import random
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

T0 = datetime(2026, 1, 1, tzinfo=UTC)
"""When virtual time begins."""


class Stuck(Exception):
    """Nothing is left to happen, and somebody still waits."""


class _Skipping(selectors.SelectSelector):
    """Where a real loop would sleep, the time is simply moved on.

    Nothing is ever read from a socket, so the system isn't asked. (A thread that calls in is heard all the same.)
    """

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Stuck
        if timeout > 0:
            # What is added is rounded twice. The loop runs what lies *before* its time, so that one that falls short
            # of the next timer, or just meets it, would stand still for ever: from some 97 days on, it did.
            elapsed_s = self.loop.elapsed_s + timeout
            self.loop.elapsed_s = elapsed_s + 2 * math.ulp(elapsed_s)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time. One thread, no I/O: what it runs is the same every time."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0
        selector = _Skipping()
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        return self.elapsed_s


class VirtualClock:
    """The `Clock` port on a virtual loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return T0 + timedelta(microseconds=round(self._loop.elapsed_s * 1e6))

    def monotonic(self) -> float:
        return self._loop.elapsed_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SeededIds:
    """The `Ids` port from one seed: readable ids in the order they were asked for."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._count = 0

    def new_id(self, now: datetime) -> str:
        self._count += 1
        return f"00000000-0000-7000-8000-{self._count:012x}"

    def salt(self) -> bytes:
        return self._random.randbytes(16)

    def chance(self) -> float:
        return self._random.random()


def inline(call: Callable[[], T], /) -> Awaitable[T]:
    """The `Executor` port without threads: the call is made at once."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    try:
        future.set_result(call())
    except Exception as error:
        future.set_exception(error)
    return future


def run_virtually(main: Callable[[VirtualClock], Coroutine[Any, Any, T]]) -> T:
    """Run `main` on a loop of its own, in virtual time."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(VirtualClock(loop)))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
