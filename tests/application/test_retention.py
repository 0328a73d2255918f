"""Retention in virtual time: when content goes, what stays, and how much of the time erasing takes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.memory.event_store import MemoryEventStore
from adapters.memory.retention import MemoryEndedContents
from adapters.providers.scripted import ScriptedProvider, parse_script
from adapters.virtual import SeededIds, VirtualClock, inline, run_virtually
from application.ports import StoreUnavailable
from application.retention import IDLE_S_MAX, RETRY_S, SHARE, EndedContents, Retention, Swept, idle_s
from domain.email.state import End
from domain.errors import KeyErased
from tests.application.world import World, settings

SOON = timedelta(minutes=10)
DAY = timedelta(days=1)
KEPT_FOR = 30 * DAY


def world_with(clock: VirtualClock, *script: str) -> World:
    """A world with one provider that does as it is told."""
    provider = ScriptedProvider(name="one", script=parse_script(script or ["accept"]), sleep=clock.sleep)
    return World(clock, settings("one"), {"one": provider})


def retention_of(world: World, kept_for: timedelta | None = KEPT_FOR) -> Retention:
    """The task that erases from this world's store."""
    assert isinstance(world.store, MemoryEventStore)
    return task(world.clock, MemoryEndedContents(world.store, world.clock), kept_for, world)


def task(clock: VirtualClock, contents: EndedContents, kept_for: timedelta | None, world: World) -> Retention:
    return Retention(
        contents=contents,
        kept_for=kept_for,
        holder="me",
        executor=inline,
        clock=clock,
        ids=SeededIds(),
        logbook=world.logbook,
    )


def test_content_outlives_its_email_s_end_by_as_long_as_it_is_kept() -> None:
    """Counted from each one's own end: what was sent at once, and what expired minutes later."""

    async def main(clock: VirtualClock) -> None:
        world = world_with(clock, "accept")
        await world.worker()
        sent = await world.send("sent")
        first = await world.ended(sent.email_id)
        world.providers["one"].follow(parse_script(["transient"]))
        expired = await world.send("expired", expires_after=SOON)
        second = await world.ended(expired.email_id)
        ends = {one.email_id: one.updated_at for one in (first, second)}
        await world.kill("w1")  # a month of its rounds takes a while even in virtual time
        world.supervisor.start("retention", retention_of(world).run())
        await clock.sleep((KEPT_FOR - DAY).total_seconds())
        gone: dict[str, datetime] = {}
        while len(gone) < 2:
            await clock.sleep(60)
            for email_id in ends.keys() - gone.keys():
                if not world.store.contents([email_id]):
                    gone[email_id] = clock.now()

        for email_id, end in ends.items():
            assert end is not None
            assert KEPT_FOR <= gone[email_id] - end <= KEPT_FOR + timedelta(seconds=IDLE_S_MAX + 60)
        assert End.SENT is world.view(sent.email_id).email.end
        assert End.FAILED is world.view(expired.email_id).email.end

    run_virtually(main)


def test_what_is_erased_can_neither_be_reopened_nor_asked_for_again() -> None:
    """A retry has nothing to send; a repeat of the request can't be told from another one."""

    async def main(clock: VirtualClock) -> None:
        world = world_with(clock, "transient")
        await world.worker()
        receipt = await world.send("once", expires_after=SOON)
        await world.ended(receipt.email_id)
        await world.kill("w1")
        names = world.names(receipt.email_id)
        world.supervisor.start("retention", retention_of(world).run())
        await clock.sleep((KEPT_FOR + DAY).total_seconds())
        with pytest.raises(KeyErased):
            await world.operator.retry("once", "ops")
        with pytest.raises(KeyErased):
            await world.send("once", expires_after=SOON)

        assert names == world.names(receipt.email_id)

    run_virtually(main)


def test_what_is_reopened_is_kept_and_sent() -> None:
    """A day before it would have been erased; afterwards its new end counts."""

    async def main(clock: VirtualClock) -> None:
        world = world_with(clock, "transient")
        await world.worker()
        receipt = await world.send("again", expires_after=SOON)
        await world.ended(receipt.email_id)
        await world.kill("w1")
        world.supervisor.start("retention", retention_of(world).run())
        await clock.sleep((KEPT_FOR - DAY).total_seconds())
        await world.operator.retry("again", "ops")
        await clock.sleep(60)
        world.providers["one"].follow(parse_script(["accept"]))
        await world.worker("w2")
        await world.until(lambda: world.view(receipt.email_id).email.end is End.SENT)
        await world.kill("w2")
        await clock.sleep((KEPT_FOR - DAY).total_seconds())
        kept = world.store.contents([receipt.email_id])
        await clock.sleep((2 * DAY).total_seconds())

        assert kept
        assert {} == world.store.contents([receipt.email_id])

    run_virtually(main)


def test_for_ever_is_for_ever() -> None:
    """Nothing is erased, and the task is not even there."""

    async def main(clock: VirtualClock) -> None:
        world = world_with(clock)
        await world.worker()
        receipt = await world.send()
        await world.ended(receipt.email_id)
        await world.kill("w1")
        world.supervisor.start("retention", retention_of(world, None).run())
        await world.supervisor.ended("retention")
        await clock.sleep((60 * DAY).total_seconds())

        assert world.store.contents([receipt.email_id])
        assert {} == world.supervisor.dead

    run_virtually(main)


class Told:
    """An `EndedContents` that does as it is told, and remembers when it was asked."""

    def __init__(self, clock: VirtualClock, *does: Swept | Exception, takes_s: float = 0.0) -> None:
        self.clock, self.does, self.takes_s = clock, list(does), takes_s
        self.asked: list[float] = []

    def sweep(self, kept_for: timedelta, *, holder: str, limit: int = 200) -> Swept:
        self.asked.append(self.clock.monotonic())
        self.clock._loop.elapsed_s += self.takes_s
        now = self.does.pop(0) if self.does else Swept(erased=0, more=False)
        if isinstance(now, Exception):
            raise now
        return now


def asked(
    *does: Swept | Exception, takes_s: float = 0.0, hours: float = 1.0
) -> tuple[list[float], list[Any]]:
    """When a task that was told this asked for more (s), and what it logged."""

    async def main(clock: VirtualClock) -> tuple[list[float], list[Any]]:
        world = world_with(clock)
        told = Told(clock, *does, takes_s=takes_s)
        with capture_logs() as lines:
            world.supervisor.start("retention", task(clock, told, KEPT_FOR, world).run())
            await clock.sleep(hours * 3600)
        assert {} == world.supervisor.dead
        return told.asked, lines

    return run_virtually(main)


def pauses(times: Sequence[float]) -> list[float]:
    return [round(after - before, 3) for before, after in pairwise(times)]


def test_much_to_erase_takes_a_fifth_of_the_time() -> None:
    """The rest is for those who send; one line says how much it was, once it is done."""
    times, lines = asked(*[Swept(erased=200, more=True)] * 9, Swept(erased=7, more=False), takes_s=0.1)

    assert 0 < times[0] <= IDLE_S_MAX
    assert [0.5] * 9 == pauses(times)[:9] == [0.1 / SHARE] * 9
    assert IDLE_S_MAX <= pauses(times)[9] < IDLE_S_MAX + 1
    assert [{"event": "contents_erased", "emails": 1807, "log_level": "info"}] == lines


def test_a_failure_is_told_and_tried_again() -> None:
    """A database that does not answer is a line; what can only be a bug is an alert."""
    times, lines = asked(StoreUnavailable("gone"), RuntimeError("broken"), Swept(erased=1, more=False))

    assert [RETRY_S, RETRY_S] == pauses(times)[:2]
    assert ["retention_stands_still", "retention_stands_still", "contents_erased"] == [
        line["event"] for line in lines
    ]
    assert [None, True, None] == [line.get("alert") for line in lines]
    assert "RuntimeError" == lines[1]["error"]


@pytest.mark.parametrize(
    ("kept_for", "seconds"),
    [(timedelta(milliseconds=200), 1.0), (timedelta(hours=1), 36.0), (DAY, 300.0), (36_500 * DAY, 300.0)],
)
def test_how_late_content_goes(kept_for: timedelta, seconds: float) -> None:
    """A hundredth of how long it is kept, but five minutes at most."""
    assert seconds == idle_s(kept_for)


def test_not_all_machines_begin_at_the_same_moment() -> None:
    """The first look comes after half of the usual pause, or later."""
    begins: set[float] = set()
    for seed in range(5):

        async def main(clock: VirtualClock, seed: int = seed) -> None:
            world = world_with(clock)
            told = Told(clock)
            made = task(clock, told, KEPT_FOR, world)
            made._ids = SeededIds(seed)
            world.supervisor.start("retention", made.run())
            await clock.sleep(IDLE_S_MAX + 1)
            begins.add(told.asked[0])

        run_virtually(main)

    assert 5 == len(begins)
    assert all(IDLE_S_MAX / 2 <= one <= IDLE_S_MAX for one in begins)
