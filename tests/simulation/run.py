"""Running a plan: what it leaves behind, or the invariant that it breaks."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field

from adapters.memory.event_store import MemoryEventStore
from adapters.virtual import Stuck, VirtualClock, run_virtually
from application.ports import Clock, EventStore
from domain.circuit import CircuitPolicy
from tests.simulation import checks
from tests.simulation.plan import Plan, Point, Trouble
from tests.simulation.violated import Violated
from tests.simulation.world import OpenStore, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`log`: line by line. `invariant`: the first that was broken, and `what` was wrong; empty: all hold.

    `types`: of events. `struck`: the faults that really came. `elapsed_s`: of virtual time.
    """

    log: tuple[str, ...] = field(repr=False)
    invariant: str = ""
    what: str = ""
    types: frozenset[str] = frozenset()
    struck: frozenset[tuple[Trouble, Point]] = frozenset()
    second_copies: int = 0
    elapsed_s: float = 0.0

    @property
    def digest(self) -> str:
        """The same for the same log."""
        return hashlib.sha256("\n".join(self.log).encode()).hexdigest()


def in_memory(clock: Clock, circuit: CircuitPolicy) -> EventStore:
    """The store that most runs are on."""
    return MemoryEventStore(clock=clock, circuit=circuit)


def run(plan: Plan, open_store: OpenStore = in_memory) -> Outcome:
    """Live through a plan, and check everything."""
    worlds: list[World] = []

    async def main(clock: VirtualClock) -> None:
        world = World(plan, clock, open_store)
        worlds.append(world)
        await world.live()
        checks.check(world)

    invariant = what = ""
    try:
        run_virtually(main)
    except Violated as violated:
        invariant, what = violated.invariant, str(violated)
    except Stuck:
        invariant, what = "bug", "nothing is left to happen, and somebody still waits"
    except Exception as error:
        invariant, what = "bug", f"{type(error).__name__}: {error}"
    (world,) = worlds
    copies = Counter((copy.email_id, index) for copy in world.copies for index in copy.accepted)
    return Outcome(
        log=tuple(checks.text_of(world.audit.log)),
        invariant=invariant,
        what=what,
        types=frozenset(type(one.event).__name__ for one in world.audit.log),
        struck=frozenset(world.struck),
        second_copies=sum(count - 1 for count in copies.values()),
        elapsed_s=world.loop.time(),
    )
