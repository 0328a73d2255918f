"""Gates broken on purpose: limits, circuits, pauses, and what a gate counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapters.memory.event_store import MemoryEventStore
from application import lanes
from application.ports import Locked, Plan
from application.projections import gates
from application.projections.gates import Gate
from application.recorded import Recorded
from domain import circuit as breaker
from domain import rate_limit
from domain.circuit import Circuit
from domain.email.events import LateResultObserved, OutcomeUncertain
from domain.failures import GIVES_PROBE_BACK, FailureKind
from domain.rate_limit import Window

Patch = pytest.MonkeyPatch


def late_result_counted_twice(patch: Patch) -> None:
    """An attempt that was lost is taken off the gate again when its worker brings the outcome."""
    right_touched, right_moved = gates.touched_by, gates.in_burst

    def touched(recorded: Recorded) -> tuple[str, ...]:
        if isinstance(recorded.event, LateResultObserved):
            return (gates.provider_gate(recorded.event.provider),)
        return right_touched(recorded)

    def moved(gate: Gate, recorded: Recorded) -> Gate:
        if isinstance(recorded.event, LateResultObserved):
            return replace(gate, open_attempts=gate.open_attempts - 1)
        return right_moved(gate, recorded)

    patch.setattr(gates, "touched_by", touched)
    patch.setattr("adapters.memory.event_store.touched_by", touched)
    patch.setattr(gates, "in_burst", moved)


def sixty_buckets(patch: Patch) -> None:
    """The oldest bucket is dropped while part of it is still within the window."""

    def used(self: Window, now: Any) -> int:
        oldest = self.bucket(now) - rate_limit.BUCKETS_PER_WINDOW + 1
        return sum(count for bucket, count in self.counts if bucket >= oldest)

    patch.setattr(Window, "used", used)
    patch.setattr(rate_limit, "BUCKETS_KEPT", rate_limit.BUCKETS_PER_WINDOW)


def gate_read_before_its_lock(patch: Patch) -> None:
    """What a worker decides on is as old as its last look."""
    right = MemoryEventStore._locked
    seen: dict[Any, Any] = {}

    def wrong(self: Any, plan: Plan) -> Locked:
        locked = right(self, plan)
        if plan.lease is None:
            return locked
        old = seen.get((self, plan.lease), {})
        seen[self, plan.lease] = locked.gates
        stale = {
            name: replace(old[name], circuit=gate.circuit, version=gate.version) if name in old else gate
            for name, gate in locked.gates.items()
        }
        return replace(locked, gates=stale)

    patch.setattr(MemoryEventStore, "_locked", wrong)


def probe_leak(patch: Patch) -> None:
    """A probe that proves nothing is never given back."""
    right = Circuit.seen

    def wrong(self: Circuit, *, kind: Any, epoch: int, probe: int | None, at: Any) -> Circuit:
        after = right(self, kind=kind, epoch=epoch, probe=probe, at=at)
        return replace(after, out=self.out) if kind in GIVES_PROBE_BACK else after

    patch.setattr(Circuit, "seen", wrong)


def half_open_lets_all_through(patch: Patch) -> None:
    """As soon as the open time is over everybody may try."""

    def wrong(self: Circuit, policy: Any, now: Any) -> bool:
        return self.phase is breaker.Phase.HALF_OPEN or (self.until is not None and now >= self.until)

    patch.setattr(Circuit, "may_probe", wrong)
    patch.setattr(
        lanes, "capacity", lambda gate, provider, *others: provider.concurrency - gate.open_attempts
    )


def open_circuit_ignored(patch: Patch) -> None:
    """The breaker breaks nothing."""
    right = gates._blocked

    def wrong(gate: Gate, *others: Any) -> Any:
        closed = replace(gate.circuit, phase=breaker.Phase.CLOSED)
        return right(replace(gate, circuit=closed), *others)

    patch.setattr(gates, "_blocked", wrong)


def pause_ignored(patch: Patch) -> None:
    """A provider that an operator took out of use is used."""
    right = gates._blocked

    def wrong(gate: Gate, *others: Any) -> Any:
        return right(replace(gate, circuit=replace(gate.circuit, paused=False)), *others)

    patch.setattr(gates, "_blocked", wrong)


def gate_misses_the_lost(patch: Patch) -> None:
    """The row of a gate isn't written where an attempt was lost."""
    right = MemoryEventStore._record

    def wrong(self: Any, admitted: Any) -> list[Recorded]:
        before = dict(self._gates)
        recorded = right(self, admitted)
        for one in recorded:
            if isinstance(one.event, OutcomeUncertain) and one.event.kind is FailureKind.LOST:
                name = gates.provider_gate(one.event.provider)
                self._gates[name] = before[name]
        return recorded

    patch.setattr(MemoryEventStore, "_record", wrong)


def concurrency_ignored(patch: Patch) -> None:
    """As many attempts as there are emails."""
    right_blocked, right_capacity = gates._blocked, gates.capacity
    patch.setattr(
        gates, "_blocked", lambda gate, *others: right_blocked(replace(gate, open_attempts=0), *others)
    )
    patch.setattr(
        lanes, "capacity", lambda gate, *others: right_capacity(replace(gate, open_attempts=0), *others)
    )
