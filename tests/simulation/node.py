"""A process of the simulation: the real use cases on a clock, an executor and a store of its own, which may fail it.

Everything that a process starts is known to be its own, so that it can be killed as `kill -9` would, or stand still
in the middle of anything: between any two awaits, before and behind a transaction, around a provider's call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from application.accept import Acceptor
from application.committer import Committer
from application.dispatch import Dispatcher
from application.lease import LeaseKeeper
from application.logbook import Logbook
from application.lookups import Lookups
from application.operate import Operator
from application.ports import EventStore, Ids, StoreUnavailable
from application.recorded import Recorded
from application.settings import Settings
from application.supervise import Supervisor
from tests.simulation.plan import Fault, Point, Trouble, chance
from tests.simulation.surroundings import FaultyStore, NodeClock, Wire

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")

NODE: ContextVar[Node | None] = ContextVar("node", default=None)
"""The process that whatever runs belongs to."""


CALLS_MAX = 400
"""Of the database in a second: with two dozen emails only somebody who spins has so many."""


STOPPING_MAX_S = 10.0
"""What recording the last outcomes may take on top of the grace time."""


def owned(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T], **how: Any) -> asyncio.Task[T]:
    """A task factory: a process knows its tasks."""
    task = asyncio.Task(coro, loop=loop, **how)
    node = NODE.get()
    if node is not None:
        node.tasks[task] = None
        task.add_done_callback(node.forget)
    return task


class Node:
    """One process with a worker, which takes emails in as well. `start` it inside a task of its own context."""

    def __init__(self, world: World, index: int, life: int, step: timedelta) -> None:
        """`life`: how often it was started before. `step`: how far its machine's clock is off."""
        self.world = world
        self.index = index
        self.name = f"w{index}"
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.dead = False
        self.ready = False
        self.troubled_at_s = world.loop.time()
        self.step_of_clock = step
        self.armed: list[Fault] = []
        self._rng = chance(world.plan.seed, self.name, life)
        self._frozen_until_s = 0.0
        self._cut_off_until_s = 0.0
        self._asleep_s = 0.0
        self._calls = (0, 0)
        self.logbook = Logbook(world.lines)
        self.supervisor = Supervisor(self.logbook)
        self.settings = world.settings if (index + life) % 2 == 0 else world.lesser_settings
        self._wire(self.settings, world.ids)

    def _wire(self, settings: Settings, ids: Ids) -> None:
        store = cast(EventStore, FaultyStore(self, self.world.store))
        clock = NodeClock(self, self.world.clock)
        common: dict[str, Any] = {"store": store, "executor": self.execute, "ids": ids, "settings": settings}
        logged: dict[str, Any] = {**common, "logbook": self.logbook}
        self.committer = Committer(store, self.execute, self._committed)
        self.acceptor = Acceptor(committer=self.committer, clock=clock, **common)
        self.operator = Operator(wake=self._wake, **logged)
        providers = {name: Wire(self, self.world.providers[name]) for name in settings.providers}
        self.lookups = Lookups(
            clock=clock,
            providers={name: one for name, one in providers.items() if settings.providers[name].lookup},
            wake=self._wake,
            **logged,
        )
        self.keeper = LeaseKeeper(worker=self.name, clock=clock, observe=self._observed, **logged)
        self.dispatcher = Dispatcher(
            clock=clock,
            providers=providers,
            lease=self.keeper,
            observe=self._observed,
            poll_s=self.world.plan.poll_s,
            **logged,
        )

    # --- life and death --------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something as a part of this process."""
        before = NODE.set(self)
        try:
            return asyncio.get_running_loop().create_task(work)
        finally:
            NODE.reset(before)

    def forget(self, task: asyncio.Task[Any]) -> None:
        """A task of this process is over."""
        self.tasks.pop(task, None)

    def start(self) -> None:
        """Come up, as a service does. A database that doesn't answer then ends it, and it is started again."""
        self.spawn(self._start()).add_done_callback(self._started)

    async def _start(self) -> None:
        self.supervisor.start("committer", self.committer.run())
        if self.world.plan.alone:
            await self.keeper.recover(timedelta(0))
        await self.keeper.acquire()
        self.supervisor.start("lease", self.keeper.run(lambda: self.dispatcher.holds))
        self.supervisor.start("dispatcher", self.dispatcher.run())
        self.ready = True
        self.troubled_at_s = self.world.loop.time()

    def _started(self, task: asyncio.Task[None]) -> None:
        if self.dead or task.cancelled():
            return
        error = task.exception()
        if isinstance(error, StoreUnavailable):
            self.world.died(self, back_in_s=2.0)
        elif error is not None:
            self.world.bugs.append(f"start: {type(error).__name__}: {error}")

    def kill(self) -> None:
        """End at once, wherever it is: nothing is recorded any more."""
        self.dead, self.ready = True, False
        for task in tuple(self.tasks):
            task.cancel()

    async def stop(self) -> None:
        """End in order, as a service does (`entrypoints.service`)."""
        self.ready = False
        drained = asyncio.gather(self.dispatcher.drain(), self.supervisor.ended("dispatcher"))
        with suppress(TimeoutError):
            await asyncio.wait_for(drained, self.world.settings.grace.total_seconds() + STOPPING_MAX_S)
        await self.supervisor.stop()
        await self.lookups.close()
        await self.keeper.release()

    def calm_down(self) -> None:
        """What hasn't happened by now doesn't happen any more."""
        self.armed.clear()

    @property
    def healthy_since_s(self) -> float:
        """Since when nothing has been the matter with it; never, if something is."""
        hit = not self.ready or max(self._frozen_until_s, self._cut_off_until_s) > self.world.loop.time()
        return float("inf") if hit or self.armed else self.troubled_at_s

    # --- trouble ---------------------------------------------------------------------------------------

    def arm(self, fault: Fault) -> None:
        """From now on this may happen."""
        self.troubled_at_s = max(self.troubled_at_s, self.world.loop.time() + fault.for_s)
        if fault.trouble in (Trouble.STEP, Trouble.CUT_OFF, Trouble.STOP):
            self.world.struck.add((fault.trouble, fault.point))
        match fault.trouble:
            case Trouble.STEP:
                self.world.steps[self.index] = self.step_of_clock = timedelta(seconds=fault.by_s)
            case Trouble.CUT_OFF:
                self._cut_off_until_s = self.world.loop.time() + fault.for_s
            case Trouble.STOP:
                if self.ready:
                    self.spawn(self._stopped(fault.for_s))
            case Trouble.NOT_COMMITTED | Trouble.UNANSWERED:
                self.armed.append(fault)
            case _ if fault.point is Point.NOW:
                self._strike(fault)
            case _:
                self.armed.append(fault)

    async def _stopped(self, for_s: float) -> None:
        with suppress(StoreUnavailable):
            await self.stop()
        self.world.died(self, back_in_s=for_s)

    def _strike(self, fault: Fault) -> None:
        now_s = self.world.loop.time()
        self.world.struck.add((fault.trouble, fault.point))
        if fault.trouble is Trouble.CRASH:
            self.world.died(self, back_in_s=fault.for_s)
            return
        self._frozen_until_s = max(self._frozen_until_s, now_s + fault.for_s)
        self.troubled_at_s = self._frozen_until_s
        if fault.trouble is Trouble.SUSPEND:
            self._asleep_s += fault.for_s

    async def pass_by(self, point: Point) -> None:
        """Come to a point where something may happen, and take a moment in any case."""
        for fault in self.armed:
            if fault.point is point:
                self.armed.remove(fault)
                self._strike(fault)
                break
        luck = self._rng.random()
        if luck > 0.9:
            await asyncio.sleep(self._rng.uniform(0, 0.3 if luck > 0.98 else 0.02))
        elif luck > 0.6 or self.dead:
            await asyncio.sleep(0)
        await self.thawed()

    async def thawed(self) -> None:
        """While it is frozen nothing of it goes on."""
        while self._frozen_until_s > (now_s := self.world.loop.time()):
            await asyncio.sleep(self._frozen_until_s - now_s)

    def monotonic(self) -> float:
        return self.world.loop.time() - self._asleep_s

    async def execute(self, call: Callable[[], T], /) -> T:
        """The `Executor` port."""
        await self.pass_by(Point.BEFORE)
        if self._cut_off_until_s > self.world.loop.time():
            await asyncio.sleep(0.1)
            raise StoreUnavailable("simulated: cut off")
        assert not self.dead, "what is dead doesn't write"
        self._count_call()
        result = call()
        await self.pass_by(Point.AFTER)
        return result

    def meets(self, trouble: Trouble) -> bool:
        """Whether this happens to the transaction under way."""
        fault = next((one for one in self.armed if one.trouble is trouble), None)
        if fault is None:
            return False
        self.armed.remove(fault)
        self.world.struck.add((fault.trouble, fault.point))
        return True

    def decides_again(self) -> bool:
        """Whether a transaction's first turn is lost to somebody else's."""
        return self._rng.random() < 0.03

    def _count_call(self) -> None:
        second = int(self.world.loop.time())
        self._calls = (second, self._calls[1] + 1 if self._calls[0] == second else 1)
        if self._calls[1] > CALLS_MAX:
            self.world.bugs.append(f"{self.name} asks the database {self._calls[1]} times in a second")

    # --- what its parts tell each other -----------------------------------------------------------------

    def _committed(self, events: Iterable[Recorded]) -> None:
        self.logbook.recorded(events)
        self._wake()

    def _observed(self, events: Sequence[Recorded]) -> None:
        self.logbook.recorded(events)
        self.lookups.observe(events)

    def _wake(self) -> None:
        self.dispatcher.wake()
