"""Which views there are, and how one process makes them anew: one rebuild at a time, watched, stopped, or failed."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
from collections.abc import Callable
from typing import Any, TypeVar, cast

import pytest

from adapters.memory.event_store import MemoryEventStore
from adapters.memory.reports import MemoryReports
from application.logbook import Logbook
from application.ports import StoreUnavailable
from application.replay import (
    PROJECTIONS,
    Busy,
    Counted,
    Mended,
    Parts,
    Rebuilds,
    Rebuilt,
    Told,
    UnknownView,
    chosen,
)
from domain.circuit import CircuitPolicy
from tests.contract.event_store.given import ManualClock, request
from tests.entrypoints.http_api import Log

T = TypeVar("T")


class Folds:
    """`Folds` that say how far they are, and then wait to be let on."""

    def __init__(self) -> None:
        self.let_on = asyncio.Event()
        self.done: list[str] = []
        self.fails: Exception | None = None

    def count(self, told: Told) -> Counted:
        raise NotImplementedError

    def mend_emails(self, told: Told) -> Mended:
        return self._mend("emails", told)

    def mend_gates(self, told: Told) -> Mended:
        return self._mend("gates", told)

    def _mend(self, view: str, told: Told) -> Mended:
        told(5, 10)
        if self.fails is not None:
            raise self.fails
        self.done.append(view)
        told(10, 10)
        return Mended(10, 2, 1)


class Threads:
    """The `Executor` port; a call is made once it is let on."""

    def __init__(self, folds: Folds) -> None:
        self._folds = folds

    async def __call__(self, call: Callable[[], T], /) -> T:
        await self._folds.let_on.wait()
        return call()


def rebuilds(folds: Folds, log: Log | None = None) -> Rebuilds:
    """On a log of one event."""
    clock = ManualClock()
    store = MemoryEventStore(clock, CircuitPolicy())
    store.append([request("a")])
    parts = Parts(
        folds=folds,
        log=store,
        reports=MemoryReports(store, clock),
        executor=cast(Any, Threads(folds)),
        clock=clock,
        holder="test",
    )
    return Rebuilds(parts, Logbook(log or Log()))


async def ended(under_way: Rebuilds, folds: Folds) -> None:
    """Let it go on to its end."""
    folds.let_on.set()
    await under_way.ended()


def test_a_name_chooses_what_is_made() -> None:
    """`all` chooses everything, and what is made together is made once."""
    assert ["emails", "gates", "reports"] == [one.name for one in chosen("all")]
    assert ["attempts"] == [one.name for one in chosen("attempts")]
    assert len({one.name for one in PROJECTIONS}) == len(PROJECTIONS)
    with pytest.raises(UnknownView, match="there is no view 'events'; there are emails, attempts, gates"):
        chosen("events")


async def test_all_views_are_made_anew() -> None:
    """One after the other; how it went is told afterwards."""
    folds = Folds()
    under_way = rebuilds(folds)
    begun = under_way.start("all")
    await ended(under_way, folds)

    assert begun.running
    assert under_way.state is not None
    assert not under_way.state.running
    assert "" == under_way.state.failed
    assert ["emails", "gates"] == folds.done
    assert (
        Rebuilt("emails", Mended(10, 2, 1)),
        Rebuilt("gates", Mended(10, 2, 1)),
        Rebuilt("reports", Mended(1)),
    ) == under_way.state.rebuilt


async def test_one_rebuild_at_a_time() -> None:
    """The second is refused, until the first has ended."""
    folds = Folds()
    under_way = rebuilds(folds)
    under_way.start("gates")

    with pytest.raises(Busy):
        under_way.start("emails")
    await ended(under_way, folds)
    under_way.start("emails")
    await under_way.ended()
    assert ["gates", "emails"] == folds.done


async def test_a_view_that_is_not_there_begins_nothing() -> None:
    """And is in the way of nothing."""
    under_way = rebuilds(Folds())

    with pytest.raises(UnknownView):
        under_way.start("events")
    assert under_way.state is None


@pytest.mark.parametrize(
    ("error", "told"),
    [(StoreUnavailable("the disk is full"), "the disk is full"), (KeyError("secret"), "KeyError")],
)
async def test_a_failure_is_told_and_logged(error: Exception, told: str) -> None:
    """What is ours in full; of everything else the kind."""
    folds, log = Folds(), Log()
    folds.fails = error
    under_way = rebuilds(folds, log)
    under_way.start("all")
    await ended(under_way, folds)

    assert under_way.state is not None
    assert told == under_way.state.failed
    assert not under_way.state.running
    assert [("error", "rebuild_failed", {"view": "all", "reason": told})] == log.lines


async def test_it_stops_between_two_steps() -> None:
    """When the service does; what is done is done."""
    folds = Folds()
    under_way = rebuilds(folds)
    under_way.start("all")
    stopping = asyncio.ensure_future(under_way.stop())
    await asyncio.sleep(0)
    folds.let_on.set()
    await stopping

    assert under_way.state is not None
    assert "it was stopped; what was done is done" == under_way.state.failed
    assert [] == folds.done


async def test_it_says_how_far_it_is() -> None:
    """Which view, how many events of how many."""
    folds = Folds()
    seen: list[tuple[str, int, int]] = []
    under_way = rebuilds(folds)

    def look(view: str, told: Told) -> Mended:
        told(5, 10)
        assert under_way.state is not None
        seen.append((under_way.state.now, under_way.state.done, under_way.state.whole))
        return Mended(10, 0, 0)

    folds.mend_gates = lambda told: look("gates", told)  # type: ignore[method-assign]
    under_way.start("gates")
    await ended(under_way, folds)

    assert [("gates", 5, 10)] == seen


def reachable(module: str, seen: set[str]) -> set[str]:
    """Our modules that one leads to, by whatever it imports."""
    spec = importlib.util.find_spec(module)
    if module in seen or spec is None or spec.origin is None:
        return seen
    seen.add(module)
    with open(spec.origin, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.partition(".")[0] in ("application", "adapters", "domain") and _is_module(name):
                reachable(name, seen)
    return seen


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("module", ["application.replay", "application.verify", "adapters.sql.rebuild"])
def test_nothing_here_can_send(module: str) -> None:
    """No provider, and nothing that would call one, is within reach of the code."""
    found = reachable(module, set())

    assert "application.recorded" in found
    assert not [
        one
        for one in found
        if one.startswith("adapters.providers")
        or one in ("application.provider_port", "application.dispatch", "application.lookups")
    ]
