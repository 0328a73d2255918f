"""Counting what happens in a simulation: from the events as they are recorded, and from how gates stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from application.histogram import bucket_of
from application.projections.emails import email_id_of
from application.projections.gates import SERVICE, Gate, provider_gate, route_gate
from application.recorded import CIRCUIT_PREFIX, Recorded
from application.settings import Settings
from application.simulate_results import CHANGES_MAX, Change, Line, Results, Step, Use
from domain.circuit import CircuitClosed, CircuitEvent, CircuitHalfOpened, CircuitOpened, Phase
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    DuplicateRiskAccepted,
    EmailEvent,
    Failed,
    Held,
    OutcomeUncertain,
    ProviderSwitched,
    Requested,
    Sent,
)
from domain.rate_limit import Rate

PHASES: Mapping[type, Phase] = {
    CircuitOpened: Phase.OPEN,
    CircuitHalfOpened: Phase.HALF_OPEN,
    CircuitClosed: Phase.CLOSED,
}
"""The events after which a circuit stands otherwise."""


class Tally:
    """Counts into `results`."""

    def __init__(self, results: Results, settings: Settings) -> None:
        self.results = results
        self._step_s = results.step_s
        self._live: dict[str, tuple[datetime, str]] = {}
        self._held: set[str] = set()
        self._open_since: dict[str, float] = {}
        self._limits = tuple(_limits(settings))
        results.uses = [use for use, _, _ in self._limits]
        results.providers = {name: Line() for name in settings.providers}

    @property
    def held(self) -> int:
        """Emails that wait for an operator."""
        return len(self._held)

    def observe(self, events: Iterable[Recorded]) -> None:
        """Count what was recorded."""
        for one in events:
            if isinstance(one.event, CircuitEvent):
                self._on_circuit(one.stream.removeprefix(CIRCUIT_PREFIX), one.at, one.event)
            else:
                self._on_email(email_id_of(one.stream), one.at, one.event)

    def plain(
        self, started: AttemptStarted, switched: ProviderSwitched | None, at_s: float, delay_s: float
    ) -> None:
        """An email came in at `at_s` and was sent by its first attempt, without events of its own."""
        results, provider = self.results, started.provider
        results.plain += 1
        results.steps[int(at_s / self._step_s)].requested += 1
        results.steps[int((at_s + delay_s) / self._step_s)].sent[provider] += 1
        if switched is not None:
            self._switched(switched)
        line, route, whole = results.providers[provider], self._route(started.route), results.whole
        line.attempts += 1
        whole.attempts += 1
        whole.requested += 1
        route.requested += 1
        delay = timedelta(seconds=delay_s)
        bucket = bucket_of(delay)
        for each in (line, route, whole):
            each.sent += 1
            each.delays.add(bucket, delay)

    def refused(self) -> None:
        """An email was not let in: too many wait."""
        self.results.refused += 1

    def look(self, gates: Mapping[str, Gate], now: datetime, waiting: int) -> None:
        """See how far limits are used, and how many emails have not ended."""
        results = self.results
        results.waiting_most = max(results.waiting_most, waiting)
        step = self._step(now)
        step.waiting = max(step.waiting, waiting)
        for use, name, rate in self._limits:
            gate = gates.get(name)
            if gate is not None:
                use.look(min(use.of, gate.open_attempts if rate is None else gate.used(rate, now)))

    def end(self, now: datetime) -> None:
        """Nothing more is to come."""
        results = self.results
        results.ended_s = self._seconds(now)
        results.held = len(self._held)
        for provider, since_s in self._open_since.items():
            self._was_open(provider, results.ended_s - since_s)
        self._open_since.clear()

    def _on_email(self, email_id: str, at: datetime, event: EmailEvent) -> None:
        results, whole = self.results, self.results.whole
        match event:
            case Requested():
                self._live[email_id] = (at, event.route)
                whole.requested += 1
                self._route(event.route).requested += 1
                self._step(at).requested += 1
            case AttemptStarted():
                whole.attempts += 1
                self._provider(event.provider).attempts += 1
            case AttemptFailed():
                for line in (whole, self._provider(event.provider)):
                    line.attempts_failed[event.kind.value] += 1
            case OutcomeUncertain():
                for line in (whole, self._provider(event.provider)):
                    line.uncertain += 1
            case DuplicateRiskAccepted():
                results.risks += 1
            case ProviderSwitched():
                self._switched(event)
            case Held():
                self._held.add(email_id)
            case Sent():
                self._sent(email_id, at, event)
            case Failed():
                _, route = self._over(email_id)
                results.reasons[event.reason.value] += 1
                self._step(at).failed += 1
                for line in (whole, self._route(route)):
                    line.failed += 1

    def _switched(self, event: ProviderSwitched) -> None:
        self.results.switches[event.from_provider, event.to_provider, event.reason.value] += 1

    def _sent(self, email_id: str, at: datetime, event: Sent) -> None:
        requested_at, route = self._over(email_id)
        lines = [self.results.whole, self._route(route)]
        if event.provider is not None:
            lines.append(self._provider(event.provider))
            self._step(at).sent[event.provider] += 1
        delay = at - requested_at
        for line in lines:
            line.sent += 1
            line.delays.add(bucket_of(delay), delay)

    def _over(self, email_id: str) -> tuple[datetime, str]:
        self._held.discard(email_id)
        return self._live.pop(email_id)

    def _on_circuit(self, provider: str, at: datetime, event: CircuitEvent) -> None:
        phase, at_s = PHASES.get(type(event)), self._seconds(at)
        if phase is None:
            return
        results = self.results
        reason = event.reason if isinstance(event, CircuitOpened) else ""
        if len(results.changes) < CHANGES_MAX:
            results.changes.append(Change(at_s, provider, phase, reason))
        if phase is Phase.OPEN:
            results.opened[provider] += 1
            self._open_since.setdefault(provider, at_s)
        elif phase is Phase.CLOSED:
            self._was_open(provider, at_s - self._open_since.pop(provider, at_s))

    def _was_open(self, provider: str, seconds: float) -> None:
        self.results.open_s[provider] = self.results.open_s.get(provider, 0.0) + seconds

    def _provider(self, name: str) -> Line:
        return self.results.providers[name]

    def _route(self, name: str) -> Line:
        line = self.results.routes.get(name)
        if line is None:
            line = self.results.routes[name] = Line()
        return line

    def _step(self, at: datetime) -> Step:
        return self.results.steps[int(self._seconds(at) / self._step_s)]

    def _seconds(self, at: datetime) -> float:
        return (at - self.results.begins).total_seconds()


def _limits(settings: Settings) -> Iterator[tuple[Use, str, Rate | None]]:
    """Every limit there is, the gate that counts for it, and its rate; none: open attempts."""
    for rate in settings.service_rates:
        yield Use("service", str(rate), of=rate.limit), SERVICE, rate
    for route, rates in settings.route_rates.items():
        for rate in rates:
            yield Use(f"route {route}", str(rate), of=rate.limit), route_gate(route), rate
    for name, provider in settings.providers.items():
        for rate in provider.rates:
            yield Use(name, str(rate), of=rate.limit), provider_gate(name), rate
        at_a_time = f"{provider.concurrency} at a time"
        yield Use(name, at_a_time, of=provider.concurrency), provider_gate(name), None
