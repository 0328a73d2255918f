"""Numbers that are kept: asked for no more often than they allow, by one question at a time."""

from __future__ import annotations

import asyncio

import pytest

from adapters.virtual import VirtualClock, run_virtually
from application.ports import StoreUnavailable
from application.standing import FRESH_S, PATIENCE_S, SHARE, Kept


class Counting:
    """Answers with how often it was asked, after `took_s`."""

    def __init__(self, clock: VirtualClock, took_s: float = 0.0) -> None:
        self.took_s = took_s
        self.asked = 0
        self.fails: Exception | None = None
        self._clock = clock

    async def __call__(self) -> int:
        self.asked += 1
        mine = self.asked
        await self._clock.sleep(self.took_s)
        if self.fails is not None:
            raise self.fails
        return mine


def test_who_asks_often_hears_the_same() -> None:
    """Until the answer is FRESH_S old."""

    async def main(clock: VirtualClock) -> None:
        kept = Kept(ask := Counting(clock), clock)
        answers = [await kept.get() for _ in range(5)]
        await clock.sleep(FRESH_S)
        answers.append(await kept.get())

        assert [1, 1, 1, 1, 1, 2] == answers
        assert 2 == ask.asked

    run_virtually(main)


def test_a_question_that_takes_long_is_asked_seldom() -> None:
    """With a million waiting, counting takes no more than its share of the time."""

    async def main(clock: VirtualClock) -> None:
        kept = Kept(ask := Counting(clock, took_s=0.5), clock)
        while clock.monotonic() < 600:
            await kept.get()
            await clock.sleep(1)

        assert ask.asked * 0.5 <= 600 * SHARE + 0.5
        assert ask.asked > 10

    run_virtually(main)


def test_all_who_ask_at_once_share_one_question() -> None:
    """Two Prometheus servers cost no more than one."""

    async def main(clock: VirtualClock) -> None:
        kept = Kept(ask := Counting(clock, took_s=0.5), clock)
        answers = await asyncio.gather(*(kept.get() for _ in range(10)))

        assert ([1] * 10, 1) == (answers, ask.asked)

    run_virtually(main)


def test_nobody_waits_longer_than_patience_allows() -> None:
    """The last answer then; the new one is there when it comes. A reader that gives up doesn't end the question."""

    async def main(clock: VirtualClock) -> None:
        kept = Kept(ask := Counting(clock), clock)
        assert 1 == await kept.get()
        ask.took_s = 60
        await clock.sleep(FRESH_S)
        begun = clock.monotonic()
        first = await kept.get()
        waited = clock.monotonic() - begun
        hasty = asyncio.create_task(kept.get())
        await clock.sleep(0.1)
        hasty.cancel()
        await clock.sleep(60)

        assert 1 == first
        assert pytest.approx(PATIENCE_S) == waited
        assert 2 == await kept.get()
        assert 2 == ask.asked

    run_virtually(main)


def test_a_failure_is_no_answer_and_is_soon_forgotten() -> None:
    """Old numbers would look like new ones. However long it took to fail, it is tried again at once."""

    async def main(clock: VirtualClock) -> None:
        kept = Kept(ask := Counting(clock), clock)
        await kept.get()
        ask.took_s, ask.fails = 1.5, StoreUnavailable("gone")
        await clock.sleep(FRESH_S)
        assert await kept.get() is None
        ask.took_s, ask.fails = 0, None
        await clock.sleep(FRESH_S)

        assert 3 == await kept.get()

    run_virtually(main)


def test_a_bug_is_told_to_who_asked() -> None:
    """And the next one may ask again."""

    async def main(clock: VirtualClock) -> None:
        kept = Kept(ask := Counting(clock), clock)
        ask.fails = KeyError("no such column")
        with pytest.raises(KeyError):
            await kept.get()
        ask.fails = None
        await clock.sleep(FRESH_S)

        assert 2 == await kept.get()

    run_virtually(main)
