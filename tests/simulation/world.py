"""One run: processes over one store, providers, clients and operators, as the plan has them, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from adapters.memory.event_store import MemoryEventStore
from adapters.memory.retention import MemoryEndedContents
from adapters.sql import SqlEventStore
from adapters.virtual import SeededIds, VirtualClock
from application.accept import Receipt
from application.identity import email_id_of
from application.ports import Clock, EventStore
from application.retention import EndedContents
from domain.circuit import CircuitPolicy
from domain.failures import Outcome
from tests.simulation.audit import Audit
from tests.simulation.configured import settings_of
from tests.simulation.node import Node, owned
from tests.simulation.people import Client, People, given_of
from tests.simulation.plan import Fault, Mail, Plan, Point, Trouble, chance
from tests.simulation.provider import Call, Copy, SimulatedProvider
from tests.simulation.violated import Violated

AUDIT_EVERY_S = 5.0
QUIET_S = 30.0
"""For whoever stood still, or was cut off: until it has said what it knows."""

LIFETIME_MAX_S = 2 * 3600.0
"""Every email of every plan has ended long before."""

CALLS_MAX = 200
"""For one email; with ten seconds between two at most, and ten minutes to live, there can't be more."""

OpenStore = Callable[[Clock, CircuitPolicy], EventStore]


BUGS = ("task_died", "provider_bug", "lookup_bug")
"""What is logged only where the program is wrong."""


class Lines:
    """The logger of all processes: what is logged is looked at in the end."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.bugs: list[str] = []

    def _add(self, word: str, **fields: Any) -> None:
        self.lines.append((word, fields))
        if word in BUGS:
            self.bugs.append(f"{word}: {fields}")

    debug = info = warning = error = _add


@dataclass(slots=True)
class Evidence:
    """What is known besides the log: what clients were told, and what providers were asked and took."""

    receipts: list[tuple[Mail, bytes, Receipt]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    unannounced: list[Call] = field(default_factory=list)
    """Calls of attempts that the log didn't have when they came."""
    gone: dict[int, int] = field(default_factory=dict)
    """Behind which position a lease was gone, by its token."""
    told: dict[tuple[str, int], tuple[Node, Outcome]] = field(default_factory=dict)
    """What a process was told of an attempt (email id, number)."""


class StoreClock:
    """The database's clock. Where one process has the database to itself, both are on one machine."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> datetime:
        now = self._world.clock.now()
        return now + self._world.steps.get(0, timedelta(0)) if self._world.plan.alone else now

    def monotonic(self) -> float:
        return self._world.clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._world.clock.sleep(seconds)


class World:
    """A run of a plan. `live` through it; then `checks` has the last word."""

    def __init__(self, plan: Plan, clock: VirtualClock, open_store: OpenStore) -> None:
        self.plan = plan
        self.clock = clock
        self.loop = asyncio.get_running_loop()
        self.loop.set_task_factory(owned)  # type: ignore[arg-type] # typeshed wants one that takes no context
        self.loop.set_exception_handler(self._unhandled)
        self.settings = settings_of(plan)
        self.steps: dict[int, timedelta] = {}
        self.store_clock = StoreClock(self)
        self.store = open_store(self.store_clock, self.settings.circuit)
        self.ids = SeededIds(plan.seed)
        self.lines = Lines()
        self.evidence = Evidence()
        self.bugs: list[str] = []
        self.struck: set[tuple[Trouble, Point]] = set()
        self._mails: Mapping[str, Mail] = {email_id_of("", mail.key): mail for mail in plan.mails}
        self._lives: dict[int, int] = {}
        self.nodes: dict[int, Node] = {}
        self.lesser_settings = (
            settings_of(replace(plan, ways=plan.ways[:-1])) if plan.rolls else self.settings
        )
        self.audit = Audit(self.store, self.settings, self.lesser_settings)
        self.people = People(self)
        self.providers = {
            way.name: SimulatedProvider(way, plan, self._mails.__getitem__, self._called, self.people.took)
            for way in plan.ways
        }

    @property
    def is_calm(self) -> bool:
        return self.loop.time() >= self.plan.calm_s

    @property
    def copies(self) -> Iterator[Copy]:
        """All that was really taken."""
        return (copy for provider in self.providers.values() for copy in provider.received)

    # --- processes --------------------------------------------------------------------------------------

    def start(self, index: int) -> None:
        """Start a process, again."""
        life = self._lives[index] = self._lives.get(index, -1) + 1
        node = self.nodes[index] = Node(self, index, life, self.steps.get(index, timedelta(0)))
        node.start()

    def died(self, node: Node, back_in_s: float) -> None:
        """A process is gone, and somebody will start it again."""
        if node.dead:
            return
        node.kill()
        self.bugs += [f"died: {name}: {why}" for name, why in node.supervisor.dead.items()]
        self.loop.call_later(
            min(back_in_s, max(1.0, self.plan.calm_s - self.loop.time())), self.start, node.index
        )

    def _trouble(self, fault: Fault) -> None:
        node = self.nodes.get(fault.node)
        if node is not None and not node.dead:
            node.arm(fault)

    # --- the run ----------------------------------------------------------------------------------------

    async def live(self) -> None:
        """From the start of the first process to the end of the last email, and a while longer."""
        for index in range(self.plan.nodes):
            self.loop.call_later(index * 0.3, self.start, index)
        for fault in self.plan.faults:
            self.loop.call_later(fault.at_s, self._trouble, fault)
        for act in self.plan.acts:
            self.loop.call_later(act.at_s, self.people.begin, act)
        clients = [Client(self, mail, given_of(mail)).send() for mail in self.plan.mails]
        every = asyncio.gather(*clients)
        if self.plan.kept_s is not None:
            kept_for = timedelta(seconds=self.plan.kept_s)
            erasing = self.loop.create_task(self.people.erase(self._ended_contents(), kept_for))
            erasing.add_done_callback(self._erasing_ended)
        await self._until_calm()
        self.people.calm_down()
        for node in self.nodes.values():
            node.calm_down()
        await every
        await self._audited(AUDIT_EVERY_S)
        while not self._is_over():  # what had ended may be reopened, by somebody who stood still
            await self._until_ended()
            await self._audited(AUDIT_EVERY_S)

    def _is_over(self) -> bool:
        """Whether nothing is left to do, and every process has had time to say what it knows."""
        now_s = self.loop.time()
        if now_s < max((act.at_s for act in self.plan.acts), default=0.0):
            return False
        quiet_since_s = max(self.plan.calm_s, *(node.healthy_since_s for node in self.nodes.values()))
        return now_s - quiet_since_s > QUIET_S and self.audit.all_ended and not self.people.busy

    def _ended_contents(self) -> EndedContents:
        if isinstance(self.store, MemoryEventStore):
            return MemoryEndedContents(self.store, self.store_clock)
        assert isinstance(self.store, SqlEventStore)
        return self.store.retention

    def _erasing_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.bugs.append(f"retention: {task.exception()!r}")

    async def _until_calm(self) -> None:
        while not self.is_calm:
            await self._audited(AUDIT_EVERY_S)

    async def _until_ended(self) -> None:
        while not self.audit.all_ended or self.people.busy:
            if self.loop.time() > self.plan.calm_s + LIFETIME_MAX_S:
                raise Violated("I2", f"not ended: {self.audit.waiting}")
            await self._audited(AUDIT_EVERY_S)

    async def _audited(self, for_s: float) -> None:
        until_s = self.loop.time() + for_s
        while self.loop.time() < until_s:
            await asyncio.sleep(min(AUDIT_EVERY_S, until_s - self.loop.time()))
            self._look_at_bugs()
            self.audit.look(self.store_clock.now(), self._healthy_for_s())

    def _healthy_for_s(self) -> float:
        """For how long some worker, at least, has been well."""
        since_s = min((node.healthy_since_s for node in self.nodes.values()), default=float("inf"))
        return self.loop.time() - since_s

    def _look_at_bugs(self) -> None:
        for node in self.nodes.values():
            self.bugs += [f"died: {name}: {why}" for name, why in node.supervisor.dead.items()]
        self.bugs += self.lines.bugs
        if self.bugs:
            raise Violated("bug", "; ".join(self.bugs))

    def _unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "handle" in context:
            self.bugs.append(f"callback: {context.get('exception')!r}")

    def _called(self, call: Call) -> None:
        self.evidence.calls.append(call)
        if not self.audit.knows_start(call.email_id, call.attempt):
            self.evidence.unannounced.append(call)
        if len(self.evidence.calls) > CALLS_MAX * len(self.plan.mails):
            self.bugs.append("it sends for ever")

    def rng(self, *names: object) -> Any:
        return chance(self.plan.seed, *names)
