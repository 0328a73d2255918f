"""What stands between a process and the world: its clock, its view of the store, its lines to providers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from adapters.virtual import VirtualClock
from application.ports import Decide, Decision, EventStore, Lease, Locked, Plan, StoreUnavailable, Transacted
from application.provider_port import Submission
from application.recorded import Committed, Conflict, Unit
from domain.failures import Accepted, Outcome
from tests.simulation.plan import Point, Trouble
from tests.simulation.provider import SimulatedProvider

if TYPE_CHECKING:
    from tests.simulation.node import Node

T = TypeVar("T")


class NodeClock:
    """The `Clock` port of a machine: it may be set, and stand still."""

    def __init__(self, node: Node, clock: VirtualClock) -> None:
        self._node = node
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now() + self._node.step_of_clock

    def monotonic(self) -> float:
        return self._node.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._node.thawed()


class FaultyStore:
    """The store as one process sees it. What it doesn't touch goes straight through."""

    def __init__(self, node: Node, store: EventStore) -> None:
        self._node = node
        self._store = store

    def append(self, units: Sequence[Unit]) -> list[Committed | Conflict]:
        self._may_be_refused()
        return self._answered(self._store.append(units))

    def transact(self, plan: Plan, decide: Decide) -> Transacted:
        refused, again = self._node.meets(Trouble.NOT_COMMITTED), self._node.decides_again()

        def deciding(locked: Locked) -> Sequence[Unit] | Decision:
            decision = decide(locked)
            if refused:
                raise StoreUnavailable("simulated: not committed")
            return decide(locked) if again else decision

        return self._answered(self._store.transact(plan, deciding))

    def acquire_lease(self, worker: str) -> Lease:
        self._may_be_refused()
        return self._answered(self._store.acquire_lease(worker))

    def renew_lease(self, lease: Lease) -> bool:
        self._may_be_refused()
        return self._answered(self._store.renew_lease(lease))

    def release_lease(self, lease: Lease) -> None:
        self._store.release_lease(lease)
        if lease not in self._store.stale_leases(timedelta(0)):  # all there are
            self._node.world.evidence.gone.setdefault(lease.token, self._store.end())

    def _may_be_refused(self) -> None:
        if self._node.meets(Trouble.NOT_COMMITTED):
            raise StoreUnavailable("simulated: not committed")

    def _answered(self, answer: T) -> T:
        if self._node.meets(Trouble.UNANSWERED):
            raise StoreUnavailable("simulated: committed, which nobody could look up in time")
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Wire:
    """A provider as one process sees it: between the two, the process may die or stand still."""

    def __init__(self, node: Node, provider: SimulatedProvider) -> None:
        self._node = node
        self._provider = provider
        self.name, self.type, self.key_ttl = provider.name, provider.type, provider.key_ttl

    async def send(self, submission: Submission) -> Outcome:
        await self._node.pass_by(Point.CALL)
        outcome = await self._provider.send(submission)
        await self._node.pass_by(Point.ANSWER)
        self._node.world.evidence.told[submission.email_id, submission.attempt] = (self._node, outcome)
        return outcome

    async def find(self, submission: Submission) -> Accepted | None:
        found = await self._provider.find(submission)
        await self._node.thawed()
        return found

    async def check(self) -> str:
        return await self._provider.check()

    async def close(self) -> None:
        await self._provider.close()
