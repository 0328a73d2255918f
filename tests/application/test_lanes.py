"""How what may start is divided among the lanes that wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.virtual import T0
from application.lanes import Shares
from application.ports import Waiting
from application.projections.gates import SERVICE, Gate, route_gate
from application.settings import ProviderSettings, Settings
from domain.rate_limit import Rate
from domain.routing import Lane, Priority, Route
from tests.application.world import settings

MINUTE = timedelta(minutes=1)


def two_routes() -> Settings:
    """Two routes over one provider that has room for sixteen."""
    made = settings(ProviderSettings(name="one", type="scripted", concurrency=16))
    return replace(made, routes={**made.routes, "other": Route(name="other", providers=("one",))})


def waiting(*routes: str, priority: Priority = Priority.NORMAL) -> list[Waiting]:
    return [Waiting(lane=str(Lane("", one)), priority=priority, due_at=T0) for one in routes]


def granted(configured: Settings, routes: list[Waiting], gates: dict[str, Gate]) -> list[int]:
    shares = Shares(configured, 100, freed={}, without=frozenset())
    counts = [one.count for one in shares.choose(routes, gates, T0)]
    assert sum(counts) == shares.granted
    return counts


def started(name: str, count: int) -> Gate:
    """A gate behind which so many attempts started a moment ago."""
    gate = Gate(name=name)
    return replace(gate, windows=tuple(window.started(T0, count) for window in gate.windows))


@pytest.mark.parametrize(("used", "expected"), [(0, [5, 5]), (7, [2, 1]), (10, [])])
def test_no_more_is_claimed_than_the_service_may_start(used: int, expected: list[int]) -> None:
    """Lanes share a limit as they share a provider: nothing is claimed in vain."""
    configured = replace(two_routes(), service_rates=(Rate(10, MINUTE),))
    gates = {SERVICE: started(SERVICE, used)}

    assert expected == granted(configured, waiting("default", "other"), gates)


def test_a_route_s_limit_is_shared_by_its_lanes_alone() -> None:
    """High and normal priority of a route are two lanes within one limit; the other route has none."""
    configured = replace(two_routes(), route_rates={"default": (Rate(5, MINUTE),)})
    lanes = [*waiting("default", priority=Priority.HIGH), *waiting("default"), *waiting("other")]

    assert [5, 11] == granted(configured, lanes, {route_gate("default"): started(route_gate("default"), 0)})


def test_what_one_lane_does_not_need_of_a_limit_is_for_the_next_at_once() -> None:
    """How long a queue is, nobody knows before: one that fell short of all that a limit left is left out next."""
    configured = replace(two_routes(), service_rates=(Rate(10, MINUTE),))
    high, normal = waiting("other", priority=Priority.HIGH), waiting("default")
    shares = Shares(configured, 100, freed={}, without=frozenset())

    assert [9, 1] == [one.count for one in shares.choose([*high, *normal], {}, T0)]
    assert {(high[0].lane, Priority.HIGH)} == shares.fell_short(
        [(high[0].lane, Priority.HIGH), (normal[0].lane, Priority.NORMAL)]
    )
