"""Gates: all that decides whether a provider, a route or the whole service may start an attempt now.

A gate is folded from the whole log, not from one stream: `AttemptStarted` fills its windows, outcomes empty
its open attempts and feed its circuit. It counts in a second, a minute, an hour and a day whatever is
configured, so that changing a rate needs no new counting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from application.recorded import CIRCUIT_PREFIX, Recorded
from application.settings import ProviderSettings, Settings
from domain.circuit import Circuit, CircuitEvent, CircuitPolicy, Phase
from domain.circuit import evolve as evolve_circuit
from domain.email.events import AttemptFailed, AttemptStarted, EmailEvent, OutcomeUncertain, PartlySent, Sent
from domain.failures import FailureKind
from domain.frozen import quick
from domain.rate_limit import UNITS, Rate, Window
from domain.replace import replace
from domain.routing import Blocked, Opening

SERVICE = "service"
WINDOWS = tuple(Window(length) for length in UNITS.values())


def provider_gate(name: str) -> str:
    """The gate of a provider."""
    return f"provider/{name}"


def route_gate(name: str) -> str:
    """The gate of a route."""
    return f"route/{name}"


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate at one position of the log.

    `windows`: starts in the last second, minute, hour and day. `burst`: of starts at one moment, how many are not in
    the windows yet; a gate at rest has none. `last_at`: no later start may be earlier.
    `version`: of the circuit's stream. Only a provider's gate has a circuit that moves.
    """

    name: str
    position: int = 0
    last_at: datetime | None = None
    windows: tuple[Window, ...] = WINDOWS
    burst: tuple[datetime, int] | None = None
    open_attempts: int = 0
    not_before: datetime | None = None
    circuit: Circuit = field(default_factory=Circuit)
    version: int = 0

    def used(self, rate: Rate, now: datetime) -> int:
        """Starts that count against `rate` now."""
        return self._window(rate).used(now)

    def free_at(self, rate: Rate, now: datetime) -> datetime:
        """When `rate` allows one more start."""
        return self._window(rate).free_at(rate.limit, now)

    def _window(self, rate: Rate) -> Window:
        window = next(window for window in self.windows if window.window == rate.window)
        return window if self.burst is None else window.started(*self.burst)

    def at_rest(self) -> Gate:
        """The gate with all of its starts in its windows."""
        if self.burst is None:
            return self
        at, count = self.burst
        return replace(self, windows=tuple(one.started(at, count) for one in self.windows), burst=None)

    def room(self, rates: Iterable[Rate], now: datetime) -> tuple[int | None, datetime | None]:
        """How many starts all `rates` allow now (None: no rate at all), and when there is room if that is 0."""
        room: int | None = None
        until: datetime | None = None
        for rate in rates:
            left = max(0, rate.limit - self.used(rate, now))
            if left == 0:
                free = self.free_at(rate, now)
                until = free if until is None else max(until, free)
            room = left if room is None else min(room, left)
        return room, until


def touched_by(recorded: Recorded) -> tuple[str, ...]:
    """The names of the gates that an event moves."""
    event = recorded.event
    if isinstance(event, CircuitEvent):
        return (provider_gate(recorded.stream.removeprefix(CIRCUIT_PREFIX)),)
    if isinstance(event, AttemptStarted):
        return provider_gate(event.provider), route_gate(event.route), SERVICE
    if isinstance(event, AttemptFailed | PartlySent | OutcomeUncertain):
        return (provider_gate(event.provider),)
    if isinstance(event, Sent) and event.provider is not None:
        return (provider_gate(event.provider),)
    return ()


def project(gate: Gate, recorded: Recorded) -> Gate:
    """The gate after one more event that `touched_by` names it for, at rest."""
    return in_burst(gate, recorded).at_rest()


def in_burst(gate: Gate, recorded: Recorded) -> Gate:
    """The same, with the starts of one moment counted together: a transaction has hundreds, each in three gates of
    four windows, which were a tenth of a busy worker's computing."""
    at, event = recorded.at, recorded.event
    last_at = at if gate.last_at is None else max(gate.last_at, at)
    if isinstance(event, AttemptStarted):
        if gate.burst is not None and gate.burst[0] == at:
            burst = (at, gate.burst[1] + 1)
        else:
            gate, burst = gate.at_rest(), (at, 1)
        if gate.name != provider_gate(event.provider):
            return replace(gate, position=recorded.position, last_at=last_at, burst=burst)
        return replace(
            gate,
            position=recorded.position,
            last_at=last_at,
            burst=burst,
            open_attempts=gate.open_attempts + 1,
            circuit=gate.circuit.started(epoch=event.epoch, probe=event.probe),
        )
    if isinstance(event, CircuitEvent):
        circuit, version = evolve_circuit(gate.circuit, event), recorded.version
        return replace(gate, position=recorded.position, last_at=last_at, circuit=circuit, version=version)
    return replace(
        gate,
        position=recorded.position,
        last_at=last_at,
        not_before=_pause(gate, event),
        open_attempts=gate.open_attempts - 1,
        circuit=_seen(gate.circuit, event, at),
    )


def _pause(gate: Gate, event: EmailEvent) -> datetime | None:
    asked = event.not_before if isinstance(event, AttemptFailed) else None
    if asked is None or (gate.not_before is not None and asked <= gate.not_before):
        return gate.not_before
    return asked


def _seen(circuit: Circuit, event: EmailEvent, at: datetime) -> Circuit:
    match event:
        case Sent() | PartlySent():
            kind: FailureKind | None = None
        case AttemptFailed() | OutcomeUncertain():
            kind = event.kind
        case _:
            raise TypeError(f"{type(event).__name__} moves no gate")
    return circuit.seen(kind=kind, epoch=event.epoch, probe=event.probe, at=at)


def counting_in(gate: Gate, policy: CircuitPolicy) -> Gate:
    """The gate with its circuit counting in the window that is configured now; counts of another are dropped."""
    circuit = gate.circuit
    if circuit.calls.window == policy.window:
        return gate
    empty = Window(policy.window)
    return replace(gate, circuit=replace(circuit, calls=empty, failures=empty))


def capacity(gate: Gate, provider: ProviderSettings, policy: CircuitPolicy, now: datetime) -> int:
    """How many attempts may start at the provider now."""
    if opening(gate, provider, policy, now).blocked is not None:
        return 0
    room = provider.concurrency - gate.open_attempts
    if gate.circuit.phase is not Phase.CLOSED:
        room = min(room, policy.probes - len(gate.circuit.out) - gate.circuit.passed)
    within, _ = gate.room(provider.rates, now)
    return room if within is None else min(room, within)


def opening(gate: Gate, provider: ProviderSettings, policy: CircuitPolicy, now: datetime) -> Opening:
    """The provider as a walk sees it: free, or blocked by the first of pause, circuit, throttling, limits."""
    blocked, until = _blocked(gate, provider, policy, now)
    circuit = gate.circuit
    half_open = blocked is None and circuit.phase is not Phase.CLOSED
    fresh = circuit.phase is Phase.OPEN
    return Opening(
        provider=provider.name,
        blocked=blocked,
        until=until,
        epoch=circuit.epoch,
        probe=(1 if fresh else circuit.granted + 1) if half_open else None,
        key_ttl=provider.key_ttl,
        tells=provider.feedback or provider.lookup,
    )


def _blocked(
    gate: Gate, provider: ProviderSettings, policy: CircuitPolicy, now: datetime
) -> tuple[Blocked | None, datetime | None]:
    circuit = gate.circuit
    if circuit.paused:
        return Blocked.PAUSED, None
    if circuit.phase is not Phase.CLOSED and not circuit.may_probe(policy, now):
        return Blocked.CIRCUIT_OPEN, circuit.until
    if gate.not_before is not None and now < gate.not_before:
        return Blocked.NOT_BEFORE, gate.not_before
    room, until = gate.room(provider.rates, now)
    if room == 0:
        return Blocked.AT_LIMIT, until
    if gate.open_attempts >= provider.concurrency:
        return Blocked.AT_LIMIT, None
    return None, None


def openings(gates: Mapping[str, Gate], settings: Settings, route: str, now: datetime) -> tuple[Opening, ...]:
    """The providers of a route in its order. One that is gone from the configuration counts as paused."""
    found: list[Opening] = []
    for name in settings.route(route).providers:
        provider = settings.providers.get(name)
        gate = gates.get(provider_gate(name)) or Gate(name=provider_gate(name))
        if provider is None:
            found.append(Opening(provider=name, blocked=Blocked.PAUSED))
        else:
            found.append(opening(gate, provider, settings.circuit, now))
    return tuple(found)


def shared_rooms(
    gates: Mapping[str, Gate], settings: Settings, route: str, now: datetime
) -> Iterator[tuple[str, int, datetime | None]]:
    """What the limits of the service and of the route leave, each by the name of its gate, and when there is more if
    that is 0. One without a limit is left out."""
    for name, rates in (
        (SERVICE, settings.service_rates),
        (route_gate(route), settings.route_rates.get(route, ())),
    ):
        room, until = (gates.get(name) or Gate(name=name)).room(rates, now)
        if room is not None:
            yield name, room, until


def shared_room(
    gates: Mapping[str, Gate], settings: Settings, route: str, now: datetime
) -> tuple[int | None, datetime | None]:
    """The least of `shared_rooms` (None: no limit), and when there is more if that is 0."""
    rooms = tuple(shared_rooms(gates, settings, route, now))
    untils = [until for _, _, until in rooms if until is not None]
    return min([room for _, room, _ in rooms], default=None), max(untils, default=None)
