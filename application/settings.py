"""What the configuration means to the use cases: policies, routes and limits, with every default resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from domain.circuit import CircuitPolicy
from domain.rate_limit import Rate
from domain.retry import RetryPolicy
from domain.routing import OnUncertain, Route

DEFAULT_ROUTE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """What deciding needs to know of a provider. `rates`: all of them hold. `concurrency`: open attempts.

    `feedback`: it tells us later what became of an email; `lookup`: it can be asked.
    """

    name: str
    type: str
    rates: tuple[Rate, ...] = ()
    concurrency: int = 16
    key_ttl: timedelta | None = None
    feedback: bool = False
    lookup: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that accepting, dispatching and erasing depend on.

    `content_kept_for`: after an email's end; none: forever.
    """

    providers: Mapping[str, ProviderSettings]
    routes: Mapping[str, Route]
    service_rates: tuple[Rate, ...] = ()
    route_rates: Mapping[str, tuple[Rate, ...]] = field(default_factory=dict)
    queue_max: int = 1_000_000
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    circuit: CircuitPolicy = field(default_factory=CircuitPolicy)
    on_uncertain: OnUncertain = OnUncertain.RETRY
    resolve_within: timedelta = timedelta(minutes=2)
    lease: timedelta = timedelta(seconds=30)
    grace: timedelta = timedelta(seconds=30)
    content_kept_for: timedelta | None = timedelta(days=30)

    def route(self, name: str) -> Route:
        """The route of that name; one that is gone from the configuration means the default."""
        return self.routes.get(name) or self.routes[DEFAULT_ROUTE]

    def route_for(self, *, tags: Iterable[str], from_domain: str) -> Route:
        """The first route, as written, that matches; else the default."""
        tags = tuple(tags)
        for route in self.routes.values():
            if route.matches(tags=tags, from_domain=from_domain):
                return route
        return self.routes[DEFAULT_ROUTE]
