"""Virtual time: nobody waits for it, however far it goes."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from adapters.virtual import T0, Stuck, VirtualClock, run_virtually

YEAR_S = 365 * 86_400.0


@pytest.mark.parametrize("days", [0, 1, 97, 98, 1000, 36_500])
def test_time_goes_on_from_wherever_it_is(days: int) -> None:
    """Where a float no longer tells nanoseconds apart, timers still come to be due: it stood still from 97 days on."""

    async def main(clock: VirtualClock) -> timedelta:
        await clock.sleep(days * 86_400.0)
        begun = clock.now()
        for _ in range(200):
            await clock.sleep(0.0123456)
        return clock.now() - begun

    passed = run_virtually(main)

    assert abs(passed - timedelta(seconds=200 * 0.0123456)) < timedelta(milliseconds=1)


def test_a_sleep_is_never_short() -> None:
    """What was waited for has come: no clock shows a time before it."""

    async def main(clock: VirtualClock) -> list[bool]:
        enough = []
        for n in range(1, 300):
            until = clock.now() + timedelta(microseconds=n * 977)
            await clock.sleep((until - clock.now()).total_seconds())
            enough.append(clock.now() >= until)
        return enough

    assert all(run_virtually(main))


def test_timers_run_in_their_order() -> None:
    """Those that start first at one moment run first; a year passes in no time."""

    async def main(clock: VirtualClock) -> list[str]:
        order: list[str] = []

        async def after(seconds: float, name: str) -> None:
            await clock.sleep(seconds)
            order.append(name)

        await asyncio.gather(after(YEAR_S, "year"), after(2, "b"), after(1, "a"), after(2, "c"))
        assert clock.now() - T0 >= timedelta(seconds=YEAR_S)
        return order

    assert ["a", "b", "c", "year"] == run_virtually(main)


def test_waiting_for_nothing_is_noticed() -> None:
    """No timer, nothing ready, and somebody waits: an error, not a hang."""

    async def main(clock: VirtualClock) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck):
        run_virtually(main)


def test_a_thread_that_calls_in_is_heard() -> None:
    """Nothing is read from sockets, but a thread's call is in the loop's own queue."""

    async def main(clock: VirtualClock) -> str:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(future.set_result, "heard"))
        thread.start()
        thread.join()
        return await future

    assert "heard" == run_virtually(main)
