"""`python -m tests.simulation`: many seeds, or one of them again; `make simulate` calls it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

import pytest

from tests.simulation.databases import sqlite_stores
from tests.simulation.draw import plan_of
from tests.simulation.mutants import MUTANTS
from tests.simulation.report import report, without_ids
from tests.simulation.run import Outcome, run

CHUNK = 20
"""Seeds that a process takes at a time."""

SQLITE_EVERY = 25
"""Of so many seeds one runs on SQLite as well, which takes ten times as long."""

FAILURES_MAX = 5
"""That are told of; whoever has mended one runs it again."""

TELL_EVERY_S = 10.0


def main(arguments: list[str] | None = None) -> int:
    """Exit 0: every invariant holds in all runs."""
    asked = _parser().parse_args(arguments)
    with pytest.MonkeyPatch.context() as patch:
        if asked.mutant is not None:
            MUTANTS[asked.mutant].broken(patch)
        if asked.seed is None:
            return _many(asked)
        outcome = _one(asked.seed, sqlite=asked.store == "sqlite")
        if asked.digest:
            print(asked.seed, len(outcome.log), outcome.digest)
        elif outcome.invariant:
            print(report(asked.seed, outcome, mutant=asked.mutant, store=asked.store))
        else:
            print(f"seed {asked.seed}: every invariant holds ({len(outcome.log)} events)")
    return 1 if outcome.invariant else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to run (1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seed", type=int, help="run this one alone, and if it fails, show the shortest log")
    parser.add_argument(
        "--store", choices=("memory", "sqlite"), default="memory", help="with --seed: on which"
    )
    parser.add_argument("--digest", action="store_true", help="with --seed: only the digest of its log")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="break this rule first")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at a time (one per core)")
    return parser


def _one(seed: int, *, sqlite: bool) -> Outcome:
    if not sqlite:
        return run(plan_of(seed))
    with sqlite_stores() as stores:
        return run(plan_of(seed), stores.open)


def _chunk(seeds: range) -> list[tuple[int, int, str, str]]:
    """(seed, events, store, what is wrong) of each."""
    done = []
    with sqlite_stores() as stores:
        for seed in seeds:
            outcome = run(plan_of(seed))
            done.append((seed, len(outcome.log), "memory", outcome.what))
            if seed % SQLITE_EVERY == 0:
                stored = run(plan_of(seed), stores.open)
                what = stored.what
                if not what and without_ids(stored.log) != without_ids(outcome.log):
                    what = "its log is not the one in memory"
                done.append((seed, len(stored.log), "sqlite", what))
    return done


def _many(asked: argparse.Namespace) -> int:
    begun, told, runs, events = time.monotonic(), time.monotonic(), 0, 0
    failed: list[tuple[int, str, str]] = []
    processes = asked.processes if asked.mutant is None else 1  # another process has its rules in place
    for seed, count, store, what in _all(range(asked.first, asked.first + asked.seeds), processes):
        runs, events = runs + 1, events + count
        if what:
            failed.append((seed, store, what))
            print(f"seed {seed} on {store}: {what}", file=sys.stderr, flush=True)
        if time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            print(f"{runs} runs, {len(failed)} failed", file=sys.stderr, flush=True)
    for seed, store, _ in sorted(failed)[: FAILURES_MAX if asked.mutant is None else 0]:
        print(report(seed, _one(seed, sqlite=store == "sqlite"), mutant=None, store=store))
    took_s = time.monotonic() - begun
    print(f"{runs} runs of {asked.seeds} seeds, {events} events, {took_s:.0f} s: {len(failed)} failed")
    return 1 if failed else 0


def _all(seeds: range, processes: int) -> Iterator[tuple[int, int, str, str]]:
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    if processes <= 1:
        yield from _flat(map(_chunk, chunks))
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from _flat(
            future.result() for future in as_completed(pool.submit(_chunk, one) for one in chunks)
        )


def _flat(chunks: Iterable[list[tuple[int, int, str, str]]]) -> Iterator[tuple[int, int, str, str]]:
    for chunk in chunks:
        yield from chunk


if __name__ == "__main__":
    sys.exit(main())
