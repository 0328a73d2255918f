"""A circuit with a past, and given → when for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce

from domain.circuit import (
    Circuit,
    CircuitCommand,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitPolicy,
    ObserveResult,
    decide,
    evolve,
    initial,
)
from domain.failures import FailureKind

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
POLICY = CircuitPolicy()
TRANSIENT, UNCERTAIN, LOST = FailureKind.TRANSIENT, FailureKind.UNCERTAIN, FailureKind.LOST
OPEN_FOR = timedelta(seconds=30)


def at(seconds: float) -> datetime:
    """So many seconds after T0."""
    return T0 + timedelta(seconds=seconds)


def opened(epoch: int = 1, until: datetime | None = None, reason: str = "consecutive") -> CircuitOpened:
    """After five failures in a row; the chance of these tests is the middle one."""
    return CircuitOpened(epoch=epoch, reason=reason, failures=5, calls=5, until=until or T0 + OPEN_FOR)


HALF_OPENED = CircuitHalfOpened(epoch=1)


@dataclass(frozen=True)
class Given:
    """A circuit with a past."""

    circuit: Circuit

    def seen(self, *kinds: FailureKind | None, now: datetime = T0, epoch: int = 0) -> Given:
        """Attempts of that epoch that ended like this, while nothing followed from it."""
        circuit = self.circuit
        for kind in kinds:
            circuit = circuit.seen(kind=kind, epoch=epoch, probe=None, at=now)
        return Given(circuit)

    def probing(self, *numbers: int) -> Given:
        """These probes have started."""
        circuit = self.circuit
        for n in numbers:
            circuit = circuit.started(epoch=circuit.epoch, probe=n)
        return Given(circuit)

    def when(self, command: CircuitCommand) -> tuple[CircuitEvent, ...]:
        """What follows."""
        return decide(command, self.circuit, POLICY)


def given(*events: CircuitEvent) -> Given:
    """A circuit that these events happened to."""
    return Given(reduce(evolve, events, initial(POLICY)))


def result(
    kind: FailureKind | None,
    *,
    epoch: int = 0,
    probe: int | None = None,
    now: datetime = T0,
    chance: float = 0.5,
    reset_at: datetime | None = None,
) -> ObserveResult:
    """An attempt ended."""
    return ObserveResult(kind=kind, epoch=epoch, probe=probe, now=now, chance=chance, reset_at=reset_at)
