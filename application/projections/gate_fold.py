"""Gates folded in place: what `gates.project` makes of a whole log, in a twentieth of the time.

For making views anew, where a million frozen gates would be copied only to be thrown away. It is fed what gates
depend on of each event, by position; `tests/application/test_gate_fold.py` compares the two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta

from application.projections.gates import SERVICE, WINDOWS, Gate, provider_gate, route_gate
from application.recorded import CIRCUIT_PREFIX, Recorded
from domain.circuit import Circuit, CircuitEvent, Phase
from domain.circuit import evolve as evolve_circuit
from domain.email.events import AttemptFailed, AttemptStarted, OutcomeUncertain, PartlySent, Sent
from domain.failures import COUNTS_AS_ANSWER, COUNTS_AS_FAILURE
from domain.rate_limit import BUCKETS_KEPT, BUCKETS_PER_WINDOW, EPOCH, MICROSECOND, Window
from domain.replace import replace

Closing = AttemptFailed | PartlySent | OutcomeUncertain | Sent
LENGTHS_US = tuple(window.window // MICROSECOND for window in WINDOWS)


class _Counts:
    """A `Window` that is added to."""

    __slots__ = ("counts", "length_us")

    def __init__(self, length_us: int) -> None:
        self.length_us = length_us
        self.counts: deque[list[int]] = deque()

    def add(self, bucket: int) -> None:
        counts = self.counts
        last = counts[-1][0] if counts else -1
        if last == bucket:
            counts[-1][1] += 1
            return
        while counts and counts[0][0] <= bucket - BUCKETS_KEPT:
            counts.popleft()
        if not counts or last < bucket:
            counts.append([bucket, 1])
        else:  # a clock was behind
            self._put(bucket)

    def _put(self, bucket: int) -> None:
        for one in self.counts:
            if one[0] == bucket:
                one[1] += 1
                return
        self.counts = deque(sorted([*self.counts, [bucket, 1]]))

    def bucket(self, at_us: int) -> int:
        return at_us * BUCKETS_PER_WINDOW // self.length_us

    def window(self) -> Window:
        length = timedelta(microseconds=self.length_us)
        return Window(length, tuple([(bucket, n) for bucket, n in self.counts]))


class _Folding:
    """A `Gate` that is changed. The counts of its circuit stand beside it while it is closed."""

    __slots__ = (
        "calls",
        "circuit",
        "failures",
        "in_a_row",
        "last_us",
        "name",
        "not_before",
        "open_attempts",
        "position",
        "version",
        "windows",
    )

    def __init__(self, name: str, window_us: int) -> None:
        self.name = name
        self.position = 0
        self.last_us: int | None = None
        self.windows = tuple(map(_Counts, LENGTHS_US))
        self.open_attempts = 0
        self.not_before: datetime | None = None
        self.circuit = Circuit()
        self.calls = _Counts(window_us)
        self.failures = _Counts(window_us)
        self.in_a_row = 0
        self.version = 0

    def moved(self, position: int, at_us: int) -> None:
        self.position = position
        if self.last_us is None or at_us > self.last_us:
            self.last_us = at_us

    def started(self, buckets: tuple[int, ...]) -> None:
        for window, bucket in zip(self.windows, buckets):  # noqa: B905 - there are as many
            window.add(bucket)

    def seen(self, kind: str | None, epoch: int, probe: int | None, at_us: int) -> None:
        """As `Circuit.seen`."""
        circuit = self.circuit
        if epoch != circuit.epoch:
            return
        if probe is not None:
            circuit = self.circuit = replace(circuit, out=circuit.out - {probe})
        if circuit.phase is not Phase.CLOSED:
            return
        if kind in COUNTS_AS_FAILURE:
            self.failures.add(self.failures.bucket(at_us))
            self.in_a_row += 1
        elif kind is None or kind in COUNTS_AS_ANSWER:
            self.in_a_row = 0
        else:
            return
        self.calls.add(self.calls.bucket(at_us))

    def circuit_now(self) -> Circuit:
        counted = {"calls": self.calls.window(), "failures": self.failures.window()}
        return replace(self.circuit, in_a_row=self.in_a_row, **counted)  # type: ignore[arg-type]

    def evolve(self, event: CircuitEvent) -> None:
        self.circuit = circuit = evolve_circuit(self.circuit_now(), event)
        self.in_a_row = circuit.in_a_row
        for counts, window in ((self.calls, circuit.calls), (self.failures, circuit.failures)):
            counts.counts = deque(list(one) for one in window.counts)

    def gate(self) -> Gate:
        return Gate(
            name=self.name,
            position=self.position,
            last_at=None if self.last_us is None else EPOCH + timedelta(microseconds=self.last_us),
            windows=tuple(one.window() for one in self.windows),
            open_attempts=self.open_attempts,
            not_before=self.not_before,
            circuit=self.circuit_now(),
            version=self.version,
        )


class GateFold:
    """All gates at one position of the log. Times are µs since 1970.

    Circuits count in `window`; those of the gates that `windows` names in a window of their own.
    """

    def __init__(self, window: timedelta, windows: Mapping[str, timedelta] = {}) -> None:
        self._window = window
        self._windows = windows
        self._gates: dict[str, _Folding] = {}
        self._providers: dict[str, _Folding] = {}
        self._routes: dict[str, _Folding] = {}

    def started(
        self, position: int, at_us: int, *, provider: str, route: str, epoch: int, probe: int | None
    ) -> None:
        """An attempt started."""
        buckets = tuple([at_us * BUCKETS_PER_WINDOW // length_us for length_us in LENGTHS_US])
        gate = self._provider(provider)
        for one in (gate, self._routes.get(route) or self._route(route), self._gate(SERVICE)):
            one.moved(position, at_us)
            one.started(buckets)
        gate.open_attempts += 1
        if probe is not None:
            gate.circuit = gate.circuit.started(epoch=epoch, probe=probe)

    def ended(
        self,
        position: int,
        at_us: int,
        *,
        provider: str,
        kind: str | None,
        epoch: int,
        probe: int | None,
        not_before: datetime | None = None,
    ) -> None:
        """An attempt ended, with `kind` where it was not accepted."""
        gate = self._provider(provider)
        gate.moved(position, at_us)
        gate.open_attempts -= 1
        gate.seen(kind, epoch, probe, at_us)
        if not_before is not None and (gate.not_before is None or not_before > gate.not_before):
            gate.not_before = not_before

    def circuit(self, position: int, at_us: int, *, provider: str, version: int, event: CircuitEvent) -> None:
        """A circuit changed."""
        gate = self._provider(provider)
        gate.moved(position, at_us)
        gate.version = version
        gate.evolve(event)

    def at(self, name: str) -> _Folding:
        """One of them, as it stands; it begins if it isn't there."""
        return self._gate(name)

    def apply(self, recorded: Recorded) -> None:
        """The next event of the log, whatever it is."""
        event, position, at_us = recorded.event, recorded.position, (recorded.at - EPOCH) // MICROSECOND
        if isinstance(event, AttemptStarted):
            self.started(
                position,
                at_us,
                provider=event.provider,
                route=event.route,
                epoch=event.epoch,
                probe=event.probe,
            )
        elif isinstance(event, Closing) and event.provider is not None:
            self.ended(
                position,
                at_us,
                provider=event.provider,
                kind=event.kind if isinstance(event, AttemptFailed | OutcomeUncertain) else None,
                epoch=event.epoch,
                probe=event.probe,
                not_before=event.not_before if isinstance(event, AttemptFailed) else None,
            )
        elif isinstance(event, CircuitEvent):
            provider = recorded.stream.removeprefix(CIRCUIT_PREFIX)
            self.circuit(position, at_us, provider=provider, version=recorded.version, event=event)

    def gates(self) -> dict[str, Gate]:
        """Those that anything has moved so far."""
        return {name: one.gate() for name, one in self._gates.items() if one.last_us is not None}

    def _gate(self, name: str) -> _Folding:
        gate = self._gates.get(name)
        if gate is None:
            window = self._windows.get(name, self._window)
            gate = self._gates[name] = _Folding(name, window // MICROSECOND)
        return gate

    def _provider(self, provider: str) -> _Folding:
        gate = self._providers.get(provider)
        if gate is None:
            gate = self._providers[provider] = self._gate(provider_gate(provider))
        return gate

    def _route(self, route: str) -> _Folding:
        gate = self._routes[route] = self._gate(route_gate(route))
        return gate
