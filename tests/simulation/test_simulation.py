"""Many runs in virtual time, each from a seed: whatever happens in them, the invariants of the design hold."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.simulation import __main__ as command
from tests.simulation.databases import sqlite_stores
from tests.simulation.draw import ANYWHERE, plan_of
from tests.simulation.mutants import MUTANTS
from tests.simulation.plan import Plan, Point, Trouble
from tests.simulation.report import report, without_ids
from tests.simulation.run import Outcome, run
from tests.simulation.shrink import shrunk

ROOT = Path(__file__).parents[2]

SEEDS = 200
"""Some ten seconds' worth. `make simulate` runs as many as you like."""

BLOCKS = 8

ON_SQLITE = (3, 12, 18, 24, 48, 56)
"""Runs with several workers, crashes, freezes and full queues."""


@cache
def outcome_of(seed: int) -> Outcome:
    """A run in memory; the same for everybody who asks."""
    return run(plan_of(seed))


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_runs_break_nothing(block: int) -> None:
    """I1 to I14, over the log and over what providers received. What fails says how to run it again, and shows it."""
    seeds = range(block * SEEDS // BLOCKS, (block + 1) * SEEDS // BLOCKS)
    broken = next((seed for seed in seeds if outcome_of(seed).invariant), None)
    told = "" if broken is None else report(broken, outcome_of(broken), mutant=None, store="memory")

    assert not told, told


def test_random_runs_are_lively() -> None:
    """Where little happens, little is proven: every event but some feedback, every fault at every point."""
    outcomes = [outcome_of(seed) for seed in range(SEEDS)]
    types = frozenset[str]().union(*(one.types for one in outcomes))
    struck = frozenset[tuple[Trouble, Point]]().union(*(one.struck for one in outcomes))

    assert {
        *("Requested", "AttemptStarted", "AttemptFailed", "PartlySent", "Sent", "OutcomeUncertain", "Failed"),
        *("DuplicateRiskAccepted", "ProviderSwitched", "Held", "Released", "Cancelled", "Rescheduled"),
        *("Redriven", "LateResultObserved", "Delivered", "CircuitOpened", "CircuitHalfOpened"),
        *("ProbePassed", "ProbeFailed", "CircuitClosed", "ProviderPaused", "ProviderResumed"),
    } <= types
    assert {(one, point) for one in ANYWHERE for point in Point} <= struck
    assert set(Trouble) == {trouble for trouble, _ in struck}
    assert sum(one.second_copies for one in outcomes) > 0


def test_the_same_seed_gives_the_same_log() -> None:
    """Byte for byte, in a process whose sets are in another order."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", "12", "--digest"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = outcome_of(12)

    assert f"12 {len(here.log)} {here.digest}" == done.stdout.strip()


def test_sqlite_gives_the_log_that_memory_gives() -> None:
    """The same interleavings on the SQL adapter: the same events at the same moments, and `verify` finds it right."""
    found = {}
    with sqlite_stores() as stores:
        for seed in ON_SQLITE:
            outcome = run(plan_of(seed), stores.open)
            same = without_ids(outcome.log) == without_ids(outcome_of(seed).log)
            found[seed] = (outcome.what, same, stores.verify().first_bad)

    assert dict.fromkeys(ON_SQLITE, ("", True, None)) == found


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an invariant that it breaks, in the first of its seeds that notices; with the rule in place these pass."""
    mutant = MUTANTS[name]
    caught: dict[int, str] = {}
    with monkeypatch.context() as patch:
        mutant.broken(patch)
        while not any(caught.values()) and len(caught) < len(mutant.seeds):
            seed = mutant.seeds[len(caught)]
            caught[seed] = run(plan_of(seed)).invariant
    noticed = [invariant for invariant in caught.values() if invariant]

    assert noticed, f"other seeds? python -m tests.simulation --mutant {name}"
    assert set(noticed) <= mutant.by
    assert dict.fromkeys(caught, "") == {seed: outcome_of(seed).what for seed in caught}


def test_a_failing_run_is_cut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of the plan breaks the same invariant, and nothing more can be left out of it."""
    MUTANTS["timeout_is_failure"].broken(monkeypatch)
    plan = plan_of(13)
    invariant = run(plan).invariant

    def breaks(one: Plan) -> bool:
        return run(one).invariant == invariant

    small = shrunk(plan, breaks)

    assert breaks(small)
    assert (1, ()) == (len(small.mails), small.faults)
    assert len(run(small).log) < len(run(plan).log)


def test_a_failing_seed_says_how_to_run_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    """The command, the invariant, and the shortest log that shows it."""
    code = command.main(["--seed", "10", "--mutant", "deferred_recipients_dropped"])
    told = capsys.readouterr().out.splitlines()

    assert 1 == code
    assert told[0].startswith("seed 10 breaks I2: ")
    assert 'again: make simulate SEED=10 ARGS="--mutant deferred_recipients_dropped"' == told[1]
    assert any("Sent {" in line for line in told[told.index("its log:") :])


def test_many_seeds_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 where all invariants hold, and one line that says of how many runs."""
    code = command.main(["--seeds", "3", "--first", "4", "--processes", "1"])

    assert 0 == code
    assert capsys.readouterr().out.startswith("3 runs of 3 seeds, ")
