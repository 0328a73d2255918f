"""Examining: one check never keeps another, and what each number means."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.virtual import T0
from application.diagnosis import (
    judge_clock,
    judge_disk,
    judge_files,
    judge_lag,
    judge_queue,
    judge_timer,
    judge_workers,
)
from application.doctor import Check, Finding, Verdict, examine, failed, passed, warned
from application.ports import Lease, StoreUnavailable
from application.projections.gates import Gate, provider_gate
from application.reports import Lag
from application.standing import COUNTED_MAX, Standing
from domain.circuit import Circuit, Phase
from domain.routing import Priority
from tests.application.world import settings

Look = Callable[[], Awaitable[Sequence[Finding]]]
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def says(finding: Finding) -> Look:
    async def look() -> list[Finding]:
        return [finding]

    return look


def raises(error: Exception) -> Look:
    async def look() -> list[Finding]:
        raise error

    return look


# --- the examination


async def test_checks_that_break_keep_none_of_the_others() -> None:
    """One raises, one hangs, one finds the store gone: each is a failed finding in its place."""

    async def hangs() -> list[Finding]:
        await asyncio.sleep(60)
        return []

    checks = [
        Check(name="bug", look=raises(KeyError("x"))),
        Check(name="hangs", look=hangs),
        Check(name="gone", look=raises(StoreUnavailable("no route to host"))),
        Check(name="fine", look=says(passed("fine", "all is well"))),
    ]
    found = await examine(checks, limit_s=0.05)

    assert ["bug", "hangs", "gone", "fine"] == [one.name for one in found]
    assert [Verdict.FAIL] * 3 + [Verdict.PASS] == [one.verdict for one in found]
    assert "KeyError" in found[0].what
    assert "gave no answer within 0.05 s" == found[1].what
    assert "no route to host" == found[2].what
    assert all(one.to_do for one in found[:3])


async def test_what_needs_a_check_that_did_not_pass_is_left_out() -> None:
    """And what needs that as well; what needs one that passed is looked at, behind it, in the order of the list."""
    seen: list[str] = []

    def look(name: str) -> Look:
        async def looked() -> list[Finding]:
            seen.append(name)
            return [passed(name, "")]

        return looked

    checks = [
        Check(name="late", look=look("late"), needs="early"),
        Check(name="later", look=look("later"), needs="late"),
        Check(name="early", look=look("early")),
        Check(name="missing", look=says(warned("missing", "no file", "make it"))),
        Check(name="version", look=look("version"), needs="missing"),
        Check(name="rows", look=look("rows"), needs="version"),
    ]
    found = await examine(checks)

    assert ["early", "late", "later"] == seen
    assert ["late", "later", "early", "missing"] == [one.name for one in found]


async def test_checks_are_made_at_the_same_time() -> None:
    """Ten that take half the limit each are done within it."""

    async def slow() -> list[Finding]:
        await asyncio.sleep(0.05)
        return []

    loop = asyncio.get_running_loop()
    began = loop.time()
    await examine([Check(name=str(n), look=slow) for n in range(10)])

    assert loop.time() - began < 0.4


# --- judgements


def standing(**changes: Any) -> Standing:
    calm = Standing(now=T0, oldest={}, overdue=0, held=0, uncertain=0, gates={})
    return replace(calm, **changes)


def gate(name: str, **changes: Any) -> dict[str, Gate]:
    return {provider_gate(name): Gate(name=provider_gate(name), circuit=Circuit(**changes))}


OPEN = {"phase": Phase.OPEN, "until": T0 + HOUR}
CALM: Sequence[tuple[str, Verdict]] = [
    (name, Verdict.PASS) for name in ("overdue", "waiting", "held", "uncertain", "circuits")
]


@pytest.mark.parametrize(
    ("seen", "name", "verdict", "says"),
    [
        (standing(), "overdue", Verdict.PASS, "no email"),
        (standing(overdue=1), "overdue", Verdict.FAIL, "1 email past"),
        (standing(overdue=COUNTED_MAX), "overdue", Verdict.FAIL, "10000 emails or more"),
        (standing(oldest={Priority.HIGH: T0 - MINUTE}), "waiting", Verdict.PASS, "high for 1 min"),
        (standing(oldest={Priority.HIGH: T0 - 2 * MINUTE}), "waiting", Verdict.WARN, "high for 2 min"),
        (standing(oldest={Priority.BULK: T0 - HOUR}), "waiting", Verdict.PASS, "bulk for 1 h"),
        (standing(held=3), "held", Verdict.WARN, "3 emails"),
        (standing(uncertain=2), "uncertain", Verdict.WARN, "2 emails"),
        (standing(gates=gate("one", **OPEN)), "circuits", Verdict.WARN, "one has its circuit open until"),
        (standing(gates=gate("two", paused=True)), "circuits", Verdict.WARN, "two is paused"),
        (standing(gates=gate("one", phase=Phase.HALF_OPEN)), "circuits", Verdict.WARN, "one is being probed"),
        (
            standing(gates=gate("one", **OPEN) | gate("two", paused=True)),
            "circuits",
            Verdict.FAIL,
            "no provider is in use",
        ),
    ],
)
def test_how_the_queue_is_judged(seen: Standing, name: str, verdict: Verdict, says: str) -> None:
    """One thing is wrong at a time; everything else stays fine, and whatever isn't says what to do."""
    found = {one.name: one for one in judge_queue(seen, settings("one", "two"))}

    assert [one for one, _ in CALM] == list(found)
    assert verdict is found[name].verdict
    assert says in found[name].what
    assert (verdict is Verdict.PASS) == (not found[name].to_do)
    assert {Verdict.PASS} == {one.verdict for other, one in found.items() if other != name}


LEASES = [Lease(worker=f"w{n}", token=n) for n in range(5)]


@pytest.mark.parametrize(
    ("alive", "dead", "waits", "verdict", "says"),
    [
        (2, 0, True, Verdict.PASS, "2 alive"),
        (0, 0, False, Verdict.PASS, "none is alive"),
        (0, 0, True, Verdict.WARN, "emails are due"),
        (1, 1, False, Verdict.WARN, "1 alive; ended without an orderly stop: w0"),
        (0, 5, True, Verdict.WARN, "w0, w1, w2 …"),
    ],
)
def test_how_workers_are_judged(alive: int, dead: int, waits: bool, verdict: Verdict, says: str) -> None:
    """By their leases, and by whether anything waits for them."""
    found = judge_workers(LEASES[: alive + dead], LEASES[:dead], waits=waits)

    assert verdict is found.verdict
    assert says in found.what


@pytest.mark.parametrize(
    ("apart_s", "within_s", "last_s", "verdict"),
    [
        (0.0, 0.0, None, Verdict.PASS),
        (1.9, 0.0, -5, Verdict.PASS),
        (3.0, 1.5, -5, Verdict.PASS),
        (-3.0, 0.5, -5, Verdict.WARN),
        (61.0, 0.1, -5, Verdict.FAIL),
        (0.0, 0.0, 1, Verdict.PASS),
        (0.0, 0.0, 600, Verdict.WARN),
    ],
)
def test_how_clocks_are_judged(
    apart_s: float, within_s: float, last_s: float | None, verdict: Verdict
) -> None:
    """What the network may have taken is not held against them; nor may the log be ahead of time."""
    last = None if last_s is None else T0 + last_s * SECOND

    assert verdict is judge_clock(apart_s * SECOND, within_s * SECOND, last, T0).verdict


@pytest.mark.parametrize(
    ("free", "total", "verdict"),
    [
        (500 * 10**9, 10**12, Verdict.PASS),
        (99 * 10**9, 10**12, Verdict.WARN),
        (999 * 10**6, 2 * 10**9, Verdict.WARN),
        (10**8 - 1, 10**8, Verdict.FAIL),
    ],
)
def test_how_disks_are_judged(free: int, total: int, verdict: Verdict) -> None:
    """A share of a large one, a size of a small one."""
    assert verdict is judge_disk("disk", "/var", free=free, total=total).verdict


@pytest.mark.parametrize(
    ("limit", "concurrency", "verdict"),
    [(1024, 16, Verdict.PASS), (1024, 700, Verdict.WARN), (1024, 1000, Verdict.FAIL)],
)
def test_how_file_limits_are_judged(limit: int, concurrency: int, verdict: Verdict) -> None:
    """Each attempt under way may have a connection; clients need some as well."""
    assert verdict is judge_files(limit, concurrency).verdict


@pytest.mark.parametrize(
    ("steady_s", "wall_s", "verdict"),
    [
        (0.05, 0.05, Verdict.PASS),
        (0.4, 0.4, Verdict.PASS),
        (0.05, 3.0, Verdict.WARN),
        (0, 0.05, Verdict.FAIL),
    ],
)
def test_how_timers_are_judged(steady_s: float, wall_s: float, verdict: Verdict) -> None:
    """A busy machine oversleeps, and that is fine."""
    assert verdict is judge_timer(0.05, steady_s=steady_s, wall_s=wall_s).verdict


@pytest.mark.parametrize(
    ("lag", "verdict", "says"),
    [
        (Lag(), Verdict.PASS, "up to date"),
        (Lag(events=900, seconds=2), Verdict.PASS, "900 events behind"),
        (Lag(events=1, seconds=301), Verdict.WARN, "301 s"),
    ],
)
def test_how_lag_is_judged(lag: Lag, verdict: Verdict, says: str) -> None:
    """By age: a burst is caught up with."""
    found = judge_lag(lag)

    assert (verdict, True) == (found.verdict, says in found.what)


def test_what_failed_says_what_to_do() -> None:
    """The three kinds of findings."""
    assert Finding(name="n", verdict=Verdict.FAIL, what="w", to_do="t") == failed("n", "w", "t")
    assert "" == passed("n", "w").to_do
