"""`GET /metrics`, in the formats of Prometheus and OpenMetrics: what this process did, and how the queue stands."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TypeVar

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from application.measurements import Distribution, Totals
from application.projections.gates import SERVICE, Gate, provider_gate, route_gate
from application.queries import provider_status
from application.reports import Lag
from application.settings import Settings
from application.standing import Depth, Standing
from domain.circuit import Phase
from domain.rate_limit import Rate
from domain.routing import Priority
from entrypoints.service import Service

S = TypeVar("S", bound=str)
T = TypeVar("T", bound=tuple[str, ...])


OPENMETRICS = "application/openmetrics-text"


class Metrics:
    """The endpoint. Nothing is registered anywhere: each answer is made from what the service says at that moment."""

    def __init__(self, service: Service, version: str) -> None:
        self._service = service
        self._build = {"version": version, "python": platform.python_version()}
        self._process = ProcessCollector(registry=None)

    async def get(self, request: Request) -> Response:
        """GET /metrics"""
        standing, depth = await self._service.standings.read()
        seen = _Seen(
            [
                InfoMetricFamily("stagepost_build", "What runs here; always 1.", value=self._build),
                *_counted(self._service.measurements.read()),
                *_queue(standing, depth),
                *_providers(standing, self._service.settings),
                *_limits(standing, self._service.settings),
                *_lag(self._service.reports.lag),
                *self._process.collect(),
            ]
        )
        if OPENMETRICS in request.headers.get("accept", ""):
            return await self._answer(openmetrics.generate_latest, seen, openmetrics.CONTENT_TYPE_LATEST)
        return await self._answer(generate_latest, seen, CONTENT_TYPE_PLAIN_0_0_4)

    async def _answer(
        self, encode: Callable[[Collector], bytes], seen: Collector, content_type: str
    ) -> Response:
        # Some 20 µs for each of hundreds of lines: nobody else shall wait for them.
        text = await self._service.executor(lambda: encode(seen))
        return Response(text, headers={"Content-Type": content_type})


class _Seen:
    """The metrics of one answer, as the encoders want them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _counted(totals: Totals) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "stagepost_emails_accepted_total",
        "Emails this process accepted; each id counts once.",
        value=totals.accepted,
    )
    yield _counter(
        "stagepost_attempts_total",
        "Attempts this process recorded the end of: sent, partly_sent, or the kind of failure or uncertainty.",
        ("provider", "outcome"),
        totals.attempts,
    )
    yield _counter(
        "stagepost_emails_ended_total",
        "Ends of emails that this process recorded; one that is retried by an operator ends again.",
        ("status", "reason"),
        totals.ended,
    )
    yield _counter(
        "stagepost_duplicate_risks_total",
        "Decisions to go on although an attempt may have been accepted.",
        ("by",),
        {(by,): count for by, count in totals.risks.items()},
    )
    yield _histogram(
        "stagepost_delivery_delay_seconds",
        "From acceptance, or send_at where that is later, to sent.",
        {"": totals.delay},
    )
    yield _histogram(
        "stagepost_batch_units",
        "Emails accepted, or decisions recorded, in one transaction.",
        totals.units,
    )
    yield _histogram(
        "stagepost_commit_seconds",
        "A transaction that recorded something, from its beginning to the answer of its commit.",
        totals.seconds,
    )


def _queue(standing: Standing | None, depth: Depth | None) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "stagepost_database_up",
        "Whether the database answered; if it did not, what is read from it is absent.",
        value=standing is not None,
    )
    emails = _gauge(
        "stagepost_queue_emails",
        "Emails that wait for an attempt: due now, or later (scheduled, or between tries).",
        "priority",
        "state",
    )
    oldest = _gauge(
        "stagepost_queue_oldest_seconds", "How long the longest waiting email has been due.", "priority"
    )
    overdue = _gauge(
        "stagepost_overdue_emails", "Emails whose deadline passed, and nothing decided about them."
    )
    held = _gauge("stagepost_held_emails", "Emails that wait for an operator.")
    uncertain = _gauge("stagepost_uncertain_emails", "Emails that may have been sent, and wait for evidence.")
    for priority in Priority:
        name = priority.name.lower()
        if depth is not None:
            emails.add_metric((name, "due"), depth.due[priority])
            emails.add_metric((name, "later"), depth.later[priority])
        if standing is not None:
            since = standing.oldest.get(priority, standing.now)
            oldest.add_metric((name,), (standing.now - since).total_seconds())
    if standing is not None:
        overdue.add_metric((), standing.overdue)
        held.add_metric((), standing.held)
        uncertain.add_metric((), standing.uncertain)
    yield from (emails, oldest, overdue, held, uncertain)


def _providers(standing: Standing | None, settings: Settings) -> Iterator[Metric]:
    circuit = _gauge(
        "stagepost_provider_circuit_state", "1 for the state that the circuit is in.", "provider", "state"
    )
    paused = _gauge("stagepost_provider_paused", "1 where an operator paused the provider.", "provider")
    attempts = _gauge("stagepost_provider_open_attempts", "Attempts under way, of all workers.", "provider")
    if standing is not None:
        for provider in settings.providers.values():
            one = provider_status(provider, standing.gates, settings, standing.now)
            for phase in Phase:
                circuit.add_metric((one.name, phase.value), one.circuit is phase)
            paused.add_metric((one.name,), one.paused)
            attempts.add_metric((one.name,), one.open_attempts)
    yield from (circuit, paused, attempts)


def _limits(standing: Standing | None, settings: Settings) -> Iterator[Metric]:
    """Every configured rate, and what counts against it: of providers, of routes, of the service."""
    providers = {(one.name,): (provider_gate(one.name), one.rates) for one in settings.providers.values()}
    routes = {(name,): (route_gate(name), rates) for name, rates in settings.route_rates.items()}
    yield from _limits_of("provider", ("provider",), providers, standing)
    yield from _limits_of("route", ("route",), routes, standing)
    yield from _limits_of("service", (), {(): (SERVICE, settings.service_rates)}, standing)


def _limits_of(
    kind: str,
    labels: tuple[str, ...],
    rates: Mapping[T, tuple[str, tuple[Rate, ...]]],
    standing: Standing | None,
) -> Iterator[Metric]:
    """`rates`: the gate that counts, and its rates, by what tells it apart."""
    limit = _gauge(f"stagepost_{kind}_limit", "Attempts that may start in the rate's time.", *labels, "rate")
    used = _gauge(f"stagepost_{kind}_limit_used", "Attempts that count against it now.", *labels, "rate")
    for names, (gate, own) in rates.items():
        for rate in own:
            limit.add_metric((*names, str(rate)), rate.limit)
            if standing is not None:
                count = standing.gates.get(gate, Gate(name=gate)).used(rate, standing.now)
                used.add_metric((*names, str(rate)), count)
    yield from (limit, used)


def _lag(lag: Lag) -> Iterator[Metric]:
    events = _gauge(
        "stagepost_projection_lag_events", "Events that are not in the projection yet, at most.", "projection"
    )
    seconds = _gauge("stagepost_projection_lag_seconds", "The age of the first one of them.", "projection")
    events.add_metric(("reports",), lag.events)
    seconds.add_metric(("reports",), lag.seconds)
    yield from (events, seconds)


def _gauge(name: str, says: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, says, labels=labels)


def _counter(name: str, says: str, labels: tuple[str, ...], counts: Mapping[T, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, says, labels=labels)
    for key, count in sorted(counts.items()):
        family.add_metric(key, count)
    return family


def _histogram(name: str, says: str, by_transaction: Mapping[S, Distribution]) -> HistogramMetricFamily:
    """`by_transaction`: under an empty name where they are not told apart."""
    labels = ("transaction",) if any(by_transaction) else ()
    family = HistogramMetricFamily(name, says, labels=labels)
    for transaction, one in by_transaction.items():
        bounds = [*(str(float(bound)) for bound in one.bounds), "+Inf"]
        family.add_metric((transaction,), list(zip(bounds, accumulate(one.counts), strict=True)), one.total)
    return family
