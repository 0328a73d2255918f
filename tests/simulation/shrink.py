"""The smallest plan that still breaks the same invariant: what doesn't matter is left out, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from domain.rate_limit import Rate
from tests.simulation.plan import Mood, Plan, Way

RUNS_MAX = 400
"""Some twenty seconds' worth."""

Breaks = Callable[[Plan], bool]
"""Whether a plan breaks it still."""

NO_RATES: tuple[Rate, ...] = ()


def shrunk(plan: Plan, breaks: Breaks) -> Plan:
    """A smaller plan that breaks the same. Every step is tried again until none helps any more."""
    left = RUNS_MAX
    smaller = True
    while smaller and left > 0:
        smaller = False
        for candidate in _smaller(plan):
            if left <= 0:
                break
            left -= 1
            if breaks(candidate):
                plan, smaller = candidate, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Plans with less in them, the boldest first."""
    for field in ("mails", "faults", "acts"):
        for kept in _parts(getattr(plan, field), least=field == "mails"):
            yield _changed(plan, **{field: kept})
    if plan.nodes > 1:
        nodes = plan.nodes - 1
        yield replace(plan, nodes=nodes, faults=tuple(one for one in plan.faults if one.node < nodes))
    for kept in _parts(plan.ways, least=True):
        yield _changed(plan, ways=kept)
    if plan.service_rates or plan.route_rates:
        yield replace(plan, service_rates=(), route_rates=())
    for index, way in enumerate(plan.ways):
        for simpler in _simpler(way):
            yield _changed(plan, ways=(*plan.ways[:index], simpler, *plan.ways[index + 1 :]))


def _changed(plan: Plan, **changes: Any) -> Plan:
    return replace(plan, **changes)


def _parts(items: tuple[Any, ...], *, least: bool) -> Iterator[tuple[Any, ...]]:
    """Halves and quarters less, then one less at a time; `least`: something has to be left."""
    size = len(items)
    while size > 1:
        size = (size + 1) // 2
        for start in range(0, len(items), size):
            kept = items[:start] + items[start + size :]
            if kept or not least:
                yield kept
        if size == 1:
            return
    if len(items) == 1 and not least:
        yield ()


def _simpler(way: Way) -> Iterator[Way]:
    if way.rates:
        yield replace(way, rates=NO_RATES)
    if way.feedback or way.lookup:
        yield replace(way, feedback=False, lookup=False)
    if way.key_ttl_s is not None:
        yield replace(way, key_ttl_s=None)
    for index in range(1, len(way.moods)):
        yield replace(way, moods=way.moods[:index] + way.moods[index + 1 :])
    if way.moods[0][1] is not Mood.FINE:
        yield replace(way, moods=((0.0, Mood.FINE), *way.moods[1:]))
