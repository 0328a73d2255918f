"""The background task: it follows the log, says how far behind it is, and outlives every failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

from adapters.memory.event_store import MemoryEventStore
from adapters.memory.reports import MemoryReports
from adapters.virtual import VirtualClock, inline, run_virtually
from application.logbook import Logbook
from application.ports import StoreUnavailable
from application.report_ports import REPORTS
from application.reports import PAGE, POLL_S, RETRY_S, Lag, Projector, ReportRunner
from domain.circuit import CircuitPolicy
from tests.contract.event_store.given import an_id, request


class Lines:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def error(self, word: str, **fields: Any) -> None:
        self.told.append((word, fields))


class Scene:
    """A runner on a store in memory; `trouble` is what the projector runs into, if anything."""

    def __init__(self, clock: VirtualClock, holder: str = "me") -> None:
        self.clock, self.lines = clock, Lines()
        self.log = MemoryEventStore(clock, CircuitPolicy())
        self.reports = MemoryReports(self.log, clock)
        self.trouble: Exception | None = None
        self.steps = 0
        self.runner = self.another(holder)

    def another(self, holder: str) -> ReportRunner:
        """A runner of another process."""
        projector = Projector(log=self.log, reports=self.reports, name=REPORTS, holder=holder)
        whole = projector.step

        def step() -> Any:
            self.steps += 1
            if self.trouble is not None:
                raise self.trouble
            return whole()

        projector.step = step  # type: ignore[method-assign]
        return ReportRunner(
            projector=projector, executor=inline, clock=self.clock, logbook=Logbook(self.lines)
        )

    def accept(self, emails: int) -> None:
        """So many emails come in."""
        self.log.append([request(an_id(), at=self.clock.now()) for _ in range(emails)])

    @property
    def position(self) -> int:
        found = self.reports.progress(REPORTS)
        assert found is not None
        return found.position


def play(act: Callable[[Scene], Awaitable[None]]) -> Scene:
    """Run a scene in virtual time, with its runner beside it."""

    async def main(clock: VirtualClock) -> Scene:
        scene = Scene(clock)
        task = asyncio.ensure_future(scene.runner.run())
        await act(scene)
        assert not task.done()
        task.cancel()
        return scene

    return run_virtually(main)


def test_it_follows_the_log() -> None:
    """What comes in is in the reports a poll later."""

    async def act(scene: Scene) -> None:
        for total in (3, 6):
            scene.accept(3)
            await asyncio.sleep(2 * POLL_S)

            assert total == scene.position
            assert Lag() == scene.runner.lag

    play(act)


def test_a_long_way_is_gone_page_by_page() -> None:
    """Without waiting for a poll between them, and the lag is seen while it lasts."""
    lags: list[Lag] = []

    async def act(scene: Scene) -> None:
        scene.accept(3 * PAGE)
        clock: Any = scene.clock
        clock.sleep = slept(scene, lags)
        await asyncio.sleep(4 * POLL_S)

        assert 3 * PAGE == scene.position

    play(act)

    assert [0, 2 * PAGE, PAGE, 0] == [lag.events for lag in lags][:4]


def slept(scene: Scene, lags: list[Lag]) -> Callable[[float], Coroutine[Any, Any, None]]:
    """A sleep that notes the lag before it."""

    async def sleep(seconds: float) -> None:
        lags.append(scene.runner.lag)
        await asyncio.sleep(seconds)

    return sleep


def test_failures_are_logged_and_tried_again() -> None:
    """A database that is gone, a mistake of ours: reports stand still, are seen to, and go on."""

    async def act(scene: Scene) -> None:
        scene.accept(2)
        scene.trouble = StoreUnavailable("the disk is full")
        await asyncio.sleep(RETRY_S + 2 * POLL_S)
        scene.trouble = KeyError("?")
        await asyncio.sleep(2 * RETRY_S)
        behind = scene.runner.lag
        scene.trouble = None
        await asyncio.sleep(2 * RETRY_S)

        assert 2 == behind.events
        assert behind.seconds >= RETRY_S
        assert 2 == scene.position
        assert Lag() == scene.runner.lag

    scene = play(act)

    assert {"reports_stand_still"} == {word for word, _ in scene.lines.told}
    assert {"the disk is full", "KeyError"} == {
        fields.get("reason") or fields["error"] for _, fields in scene.lines.told
    }
    assert len(scene.lines.told) <= 5


def test_of_several_one_is_at_work_and_all_know_the_lag() -> None:
    """If that one stops, another goes on within seconds."""

    async def act(scene: Scene) -> None:
        other = scene.another("other")
        task = asyncio.ensure_future(other.run())
        for _ in range(20):
            scene.accept(1)
            await asyncio.sleep(POLL_S)
        holder = scene.reports.progress(REPORTS)
        scene.trouble = StoreUnavailable("both stand still")
        scene.accept(1)
        await asyncio.sleep(RETRY_S)
        scene.trouble = None
        scene.accept(1)
        await asyncio.sleep(RETRY_S + timedelta(seconds=3).total_seconds())

        assert holder is not None
        assert holder.holder in ("me", "other")
        assert 22 == scene.position
        assert Lag() == scene.runner.lag == other.lag
        task.cancel()

    play(act)
