"""A provider's circuit breaker: one stream per provider, shared by all workers.

Its stream holds only what changes it (opened, half-opened, probes, closed, paused). Ordinary outcomes stay in
the emails' streams; whoever folds them into a `Circuit` calls `seen` for each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum, unique
from typing import assert_never

from domain.failures import COUNTS_AS_ANSWER, COUNTS_AS_FAILURE, GIVES_PROBE_BACK, OPENS_AT_ONCE, FailureKind
from domain.frozen import quick
from domain.rate_limit import Window
from domain.replace import replace


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitOpened:
    """No attempt starts here until `until`, then only probes. `failures` of `calls` were seen in the window."""

    epoch: int
    reason: str
    failures: int
    calls: int
    until: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitHalfOpened:
    """The open time is over: a few probes may find out whether the provider is back."""

    epoch: int


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePassed:
    """Probe `n` brought a definite answer."""

    epoch: int
    n: int


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFailed:
    """Probe `n` failed, was lost, or went unanswered."""

    epoch: int
    n: int


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitClosed:
    """The provider is in use again: all probes passed, or an operator (`by`) said so."""

    epoch: int
    by: str = ""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPaused:
    """An operator took the provider out of use, until it is resumed."""

    by: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderResumed:
    """An operator put the provider back into use."""

    by: str


CircuitEvent = (
    CircuitOpened
    | CircuitHalfOpened
    | ProbePassed
    | ProbeFailed
    | CircuitClosed
    | ProviderPaused
    | ProviderResumed
)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitPolicy:
    """When a circuit opens, for how long, and how many probes close it again."""

    window: timedelta = timedelta(seconds=60)
    min_calls: int = 10
    failure_rate: float = 0.5
    consecutive: int = 5
    open_for: timedelta = timedelta(seconds=30)
    open_for_max: timedelta = timedelta(minutes=15)
    probes: int = 3


JITTER = 0.2
"""Open times vary by ±20 %, so that circuits that opened together do not probe together."""


@unique
class Phase(StrEnum):
    """Where a circuit stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """A circuit as it stands.

    `opened` counts openings since it was last closed. Probes of this epoch: `granted` in all, `out` without an
    answer yet, `passed`. `calls` and `failures` are the sliding window, `in_a_row` the failures since the last
    call that did not fail; only results of the current epoch are in them.
    """

    phase: Phase = Phase.CLOSED
    epoch: int = 0
    until: datetime | None = None
    opened: int = 0
    paused: bool = False
    granted: int = 0
    out: frozenset[int] = frozenset()
    passed: int = 0
    calls: Window = field(default=Window(timedelta(seconds=60)))
    failures: Window = field(default=Window(timedelta(seconds=60)))
    in_a_row: int = 0

    def may_probe(self, policy: CircuitPolicy, now: datetime) -> bool:
        """Whether a probe may start now: the open time is over, and fewer than all probes are out or passed."""
        if self.phase is Phase.OPEN:
            return self.until is not None and now >= self.until
        return self.phase is Phase.HALF_OPEN and len(self.out) + self.passed < policy.probes

    def started(self, *, epoch: int, probe: int | None) -> Circuit:
        """The circuit after an attempt started; only probes matter to it."""
        if probe is None or epoch != self.epoch:
            return self
        return replace(self, granted=max(self.granted, probe), out=self.out | {probe})

    def seen(self, *, kind: FailureKind | None, epoch: int, probe: int | None, at: datetime) -> Circuit:
        """The circuit after an attempt ended with `kind` (None: accepted). Older epochs do not count."""
        if epoch != self.epoch:
            return self
        circuit = self if probe is None else replace(self, out=self.out - {probe})
        if circuit.phase is not Phase.CLOSED:
            return circuit
        if kind in COUNTS_AS_FAILURE:
            return replace(
                circuit,
                calls=circuit.calls.started(at),
                failures=circuit.failures.started(at),
                in_a_row=circuit.in_a_row + 1,
            )
        if kind is None or kind in COUNTS_AS_ANSWER:
            return replace(circuit, calls=circuit.calls.started(at), in_a_row=0)
        return circuit


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class HalfOpen:
    """A worker wants to start an attempt here although the circuit is open."""

    now: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveResult:
    """An attempt ended with `kind` (None: accepted). `reset_at`: when a used-up quota is said to come back."""

    kind: FailureKind | None
    epoch: int
    probe: int | None
    now: datetime
    chance: float
    reset_at: datetime | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """An operator takes the provider out of use."""

    by: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """An operator puts the provider back into use."""

    by: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """An operator knows that the provider is back: close the circuit without waiting for probes."""

    by: str


CircuitCommand = HalfOpen | ObserveResult | Pause | Resume | Reset


def initial(policy: CircuitPolicy) -> Circuit:
    """A closed circuit that counts in the policy's window."""
    return Circuit(calls=Window(policy.window), failures=Window(policy.window))


def evolve(circuit: Circuit, event: CircuitEvent) -> Circuit:
    """The circuit after `event`. Whatever changes its phase empties the counts."""
    match event:
        case CircuitOpened(epoch=epoch, until=until):
            return replace(
                _emptied(circuit), phase=Phase.OPEN, epoch=epoch, until=until, opened=circuit.opened + 1
            )
        case CircuitHalfOpened():
            return replace(_emptied(circuit), phase=Phase.HALF_OPEN, until=None)
        case ProbePassed(n=n):
            return replace(circuit, out=circuit.out - {n}, passed=circuit.passed + 1)
        case ProbeFailed(n=n):
            return replace(circuit, out=circuit.out - {n})
        case CircuitClosed():
            return replace(_emptied(circuit), phase=Phase.CLOSED, until=None, opened=0)
        case ProviderPaused():
            return replace(circuit, paused=True)
        case ProviderResumed():
            return replace(circuit, paused=False)
        case _:
            assert_never(event)


def _emptied(circuit: Circuit) -> Circuit:
    return replace(
        circuit,
        granted=0,
        out=frozenset(),
        passed=0,
        calls=replace(circuit.calls, counts=()),
        failures=replace(circuit.failures, counts=()),
        in_a_row=0,
    )


def decide(command: CircuitCommand, circuit: Circuit, policy: CircuitPolicy) -> tuple[CircuitEvent, ...]:
    """What follows from `command`. Nothing is ever refused: what already holds needs no event."""
    match command:
        case HalfOpen(now=now):
            if circuit.phase is Phase.OPEN and circuit.may_probe(policy, now):
                return (CircuitHalfOpened(epoch=circuit.epoch),)
            return ()
        case ObserveResult():
            return _observe(command, circuit, policy)
        case Pause(by=by):
            return () if circuit.paused else (ProviderPaused(by=by),)
        case Resume(by=by):
            return (ProviderResumed(by=by),) if circuit.paused else ()
        case Reset(by=by):
            return () if circuit.phase is Phase.CLOSED else (CircuitClosed(epoch=circuit.epoch, by=by),)
        case _:
            assert_never(command)


def _observe(result: ObserveResult, circuit: Circuit, policy: CircuitPolicy) -> tuple[CircuitEvent, ...]:
    if result.epoch != circuit.epoch or circuit.phase is Phase.OPEN:
        return ()
    if circuit.phase is Phase.HALF_OPEN:
        return _observe_probe(result, circuit, policy)
    if result.kind not in COUNTS_AS_FAILURE and result.kind not in OPENS_AT_ONCE:
        return ()
    after = circuit.seen(kind=result.kind, epoch=result.epoch, probe=None, at=result.now)
    calls, failures = after.calls.used(result.now), after.failures.used(result.now)
    if result.kind in OPENS_AT_ONCE:
        reason = str(result.kind)
    elif calls >= policy.min_calls and failures >= policy.failure_rate * calls:
        reason = "failure_rate"
    elif calls < policy.min_calls and after.in_a_row >= policy.consecutive:
        reason = "consecutive"
    else:
        return ()
    return (_opened(result, circuit, policy, reason, failures, calls),)


def _observe_probe(
    result: ObserveResult, circuit: Circuit, policy: CircuitPolicy
) -> tuple[CircuitEvent, ...]:
    n, kind = result.probe, result.kind
    if n is None or n not in circuit.out or kind in GIVES_PROBE_BACK:
        return ()
    if kind is None or kind in COUNTS_AS_ANSWER:
        passed = ProbePassed(epoch=circuit.epoch, n=n)
        if circuit.passed + 1 < policy.probes:
            return (passed,)
        return passed, CircuitClosed(epoch=circuit.epoch)
    reason = str(kind) if kind in OPENS_AT_ONCE else "probe_failed"
    failed = ProbeFailed(epoch=circuit.epoch, n=n)
    return failed, _opened(result, circuit, policy, reason, failures=1, calls=circuit.passed + 1)


def _opened(
    result: ObserveResult, circuit: Circuit, policy: CircuitPolicy, reason: str, failures: int, calls: int
) -> CircuitOpened:
    longest = min(policy.open_for * 2 ** min(circuit.opened, 20), policy.open_for_max)
    until = result.now + longest * (1 + JITTER * (2 * result.chance - 1))
    if result.reset_at is not None:
        until = max(until, result.reset_at)
    return CircuitOpened(epoch=circuit.epoch + 1, reason=reason, failures=failures, calls=calls, until=until)
