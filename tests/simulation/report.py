"""What a failing seed says: how to run it again, and the shortest log that shows what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta

from adapters.virtual import T0
from tests.simulation.databases import sqlite_stores
from tests.simulation.draw import plan_of
from tests.simulation.plan import Plan
from tests.simulation.run import Outcome, in_memory, run
from tests.simulation.shrink import shrunk
from tests.simulation.world import OpenStore

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def command(seed: int, *, mutant: str | None, store: str) -> str:
    """What runs it again."""
    more = [f"--mutant {mutant}"] if mutant is not None else []
    more += [f"--store {store}"] if store != "memory" else []
    return f"make simulate SEED={seed}" + (f' ARGS="{" ".join(more)}"' if more else "")


def report(seed: int, outcome: Outcome, *, mutant: str | None, store: str) -> str:
    """All of it, as text. The plan is cut down for as long as the same invariant is broken."""
    plan = plan_of(seed)
    with sqlite_stores() as stores:
        open_store: OpenStore = stores.open if store == "sqlite" else in_memory
        small = shrunk(plan, lambda one: run(one, open_store).invariant == outcome.invariant)
        shortest = run(small, open_store)
    return "\n".join(
        (
            f"seed {seed} breaks {outcome.what}",
            f"again: {command(seed, mutant=mutant, store=store)}",
            f"cut down to {len(small.mails)} emails, {small.nodes} processes, {len(small.faults)} faults, "
            f"{len(small.acts)} acts, {len(small.ways)} providers: {shortest.what or 'it holds'}",
            *_planned(small),
            "its log:",
            *(_readable(line) for line in shortest.log),
        )
    )


def without_ids(log: Iterable[str]) -> list[tuple[str, ...]]:
    """The lines of a log without event ids: how many of those are drawn depends on how often a store asks again."""
    return [tuple(part for place, part in enumerate(line.split("\t")) if place not in (4, 6)) for line in log]


def _planned(plan: Plan) -> Iterator[str]:
    for one in fields(plan):
        value = getattr(plan, one.name)
        if isinstance(value, tuple) and value and one.name not in ("service_rates", "route_rates"):
            yield from (f"  {item}" for item in value)
        else:
            yield f"  {one.name}={value}"


def _readable(line: str) -> str:
    position, stream, version, at_us, _, stored, _, data = line.split("\t")
    at_s = (EPOCH + timedelta(microseconds=int(at_us)) - T0).total_seconds()
    return f"  {position:>4} {at_s:10.3f} s  {stream[:14]} {version:>3}  {stored} {data}"
