"""All that is measured, one after the other, in one table.

    python -m benchmarks [--quick] [--only NAME …] [--json FILE] [--plots DIR] [--keep DIR]

Each is a module of its own with more options (`python -m benchmarks.NAME --help`), and a process of its own. Ratios
are of one run: what is compared takes turns. One that fails is told, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.results import Measure, measure_of, table

BENCHMARK_S_MAX = 7200.0


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A module, and what it is told. `keeps`: whether it has databases worth keeping."""

    name: str
    module: str
    full: str
    quick: str
    keeps: bool = False


BENCHMARKS = (
    Benchmark("serving", "serving", "--rounds 5", "--rounds 1 --requests 1000"),
    Benchmark("latency", "latency", "--rounds 3", "--rounds 1 --requests 1000 --seconds 1"),
    Benchmark("overload", "overload", "--rounds 3", "--rounds 1 --requests 1000 --seconds 2"),
    Benchmark("store", "store", "", "--waiting 20000 --rounds 12 --appended 2000"),
    Benchmark("store-postgres", "store", "--postgres", "--postgres --waiting 20000 --rounds 12"),
    Benchmark("backlog", "backlog", "", "--waiting 40000 --requests 500 --rounds 1", keeps=True),
    Benchmark(
        "backlog-postgres",
        "backlog",
        "--postgres",
        "--postgres --waiting 20000 --requests 500 --rounds 1",
        keeps=True,
    ),
    Benchmark(
        "long-log", "long_log", "", "--events 40000 --short 20000 --requests 500 --rounds 1", keeps=True
    ),
    Benchmark(
        "long-log-postgres",
        "long_log",
        "--postgres",
        "--postgres --events 20000 --short 10000 --requests 500 --rounds 1",
        keeps=True,
    ),
    Benchmark("replay", "replay", "--events 100000", "--events 10000 --rounds 1"),
    Benchmark("compose", "compose", "", ""),
    Benchmark("peers", "peers", "", "--rounds 1 --emails 500"),
)


def run(one: Benchmark, *, quick: bool, keep: Path | None) -> dict[str, Any]:
    """What a benchmark found. Raises RuntimeError with the last it said where it failed."""
    options = [*(one.quick if quick else one.full).split(), "--json"]
    if one.keeps and keep is not None:
        options += ["--keep", str(keep)]
    command = [sys.executable, "-m", f"benchmarks.{one.module}", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BENCHMARK_S_MAX)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"it took longer than {BENCHMARK_S_MAX:.0f} s") from None
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "name": one.name, "options": options}


def named(one: Benchmark, found: dict[str, Any]) -> list[Measure]:
    """Its measures; those on PostgreSQL say so."""
    suffix = ", PostgreSQL" if one.name.endswith("-postgres") else ""
    told = [{**measure, "name": measure["name"] + suffix} for measure in found["measures"]]
    return [measure_of(measure) for measure in told]


def chosen(only: Sequence[str]) -> list[Benchmark]:
    """Those asked for; all that are there where none is. Raises SystemExit for a name that none has."""
    unknown = set(only) - {one.name for one in BENCHMARKS}
    if unknown:
        names = ", ".join(one.name for one in BENCHMARKS)
        raise SystemExit(f"--only {' '.join(sorted(unknown))}: there is no such benchmark; there are {names}")
    there = [one for one in BENCHMARKS if find_spec(f"benchmarks.{one.module}") is not None]
    return [one for one in there if not only or one.name in only]


def drawn(folder: Path, found: dict[str, dict[str, Any]], measures: Sequence[Measure]) -> None:
    """Write the pictures there is something for."""
    folder.mkdir(parents=True, exist_ok=True)
    if "latency" in found:
        (folder / "latency.svg").write_text(plots.latency(found["latency"]["rounds"]), encoding="utf-8")
    if any(one.at_least for one in measures):
        (folder / "wanted.svg").write_text(plots.wanted(measures), encoding="utf-8")


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one round: whether it works at all"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured there")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw pictures there")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the databases there for the next run")
    return parser.parse_args()


def main() -> int:
    """Measure, and print."""
    given = parsed()
    found: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    measures: list[Measure] = []
    for one in chosen(given.only):
        begun = time.perf_counter()
        try:
            found[one.name] = run(one, quick=given.quick, keep=given.keep)
        except (RuntimeError, json.JSONDecodeError) as error:
            failed[one.name] = str(error)
        else:
            measures += named(one, found[one.name])
        print(f"{one.name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    print(table(measures))
    for name, said in found.items():
        for skipped, why in said["conditions"].get("skipped", {}).items():
            print(f"{name}: without {skipped}: {why}")
    for name, why in failed.items():
        print(f"{name} failed: {why}")
    if given.json is not None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        whole = {"at": at, "quick": given.quick, "benchmarks": list(found.values()), "failed": failed}
        given.json.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    if given.plots is not None:
        drawn(given.plots, found, measures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
