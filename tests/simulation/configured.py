"""The configuration that a plan's processes have."""

from __future__ import annotations

from datetime import timedelta

from application.settings import ProviderSettings, Settings
from domain.circuit import CircuitPolicy
from domain.retry import RetryPolicy
from domain.routing import Route
from tests.simulation.plan import Plan


def settings_of(plan: Plan) -> Settings:
    """The configuration of a plan."""
    names = tuple(way.name for way in plan.ways)
    route = Route(name="default", providers=names, on_limit=plan.on_limit)
    urgent = Route(
        name="urgent",
        providers=names[::-1],
        on_limit=plan.on_limit,
        priority=plan.urgency,
        match_tag="urgent",
    )
    return Settings(
        providers={
            way.name: ProviderSettings(
                name=way.name,
                type="simulated",
                rates=way.rates,
                concurrency=way.concurrency,
                key_ttl=None if way.key_ttl_s is None else timedelta(seconds=way.key_ttl_s),
                feedback=way.feedback,
                lookup=way.lookup,
            )
            for way in plan.ways
        },
        routes={"urgent": urgent, "default": route},
        service_rates=plan.service_rates,
        route_rates={"default": plan.route_rates} if plan.route_rates else {},
        retry=RetryPolicy(cap=timedelta(seconds=plan.cap_s), attempts_per_provider=plan.attempts),
        circuit=CircuitPolicy(open_for=timedelta(seconds=10), open_for_max=timedelta(seconds=60)),
        on_uncertain=plan.policy,
        resolve_within=timedelta(seconds=plan.resolve_s),
        lease=timedelta(seconds=plan.lease_s),
        grace=timedelta(seconds=5),
    )
