"""What becomes of more requests than can be accepted: who still gets an answer in time, and what is lost.

    python -m benchmarks.overload [--rounds 3] [--seconds 5] [--times 1,2,5] [--deliver] [--json]

First it is measured how many a second are accepted when 32 clients wait for their answers. Then so many times that
arrive a second, whoever waits or not (`benchmarks.open_load`). Good is a 202 within a second; everything else should
hear a 503 soon, and with the time to try again. SQLite; service and load share the machine. `--deliver`: into a sink
at the same time.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.open_load import CONNECTIONS, PATIENCE_S
from benchmarks.resident import Resident
from benchmarks.results import Measure, ratios, told
from benchmarks.serving import Served, load, sink, stagepost

NOWHERE = 9
"""A port that nothing is sent to, as nothing sends."""

MEMORY_AT_LEAST_MB, MEMORY_AIM_MB = 300, 150


def arriving(
    port: int,
    *,
    per_s: float,
    seconds: float,
    prefix: str,
    connections: int = CONNECTIONS,
    keys: Path | None = None,
) -> dict[str, Any]:
    """What an open load at this rate saw; with `keys`, the ids that got a 202 are in that file."""
    command = [sys.executable, "-m", "benchmarks.open_load", f"http://127.0.0.1:{port}/send-email"]
    command += ["--per-s", str(per_s), "--seconds", str(seconds), "--prefix", prefix]
    command += ["--connections", str(connections)]
    if keys is not None:
        command += ["--keys", str(keys)]
    limit_s = seconds + 2 * PATIENCE_S
    out = subprocess.run(command, check=True, capture_output=True, timeout=limit_s).stdout
    seen: dict[str, Any] = json.loads(out)
    return seen


def lost(database: Path, keys: Path) -> int:
    """How many ids got a 202 and aren't in the log."""
    given = set(keys.read_text(encoding="ascii").split())
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT client_id FROM emails JOIN events ON stream = 'email-' || email_id")
        return len(given - {row[0] for row in rows})


@contextmanager
def serving(folder: Path, *, deliver: bool) -> Iterator[Served]:
    """A service that takes mail, and sends it or not."""
    with ExitStack() as stack:
        if deliver:
            yield stack.enter_context(stagepost(folder, stack.enter_context(sink())))
        else:
            yield stack.enter_context(stagepost(folder, NOWHERE, "--no-worker"))


def measured(
    requests: int, seconds: float, times: Sequence[float], *, deliver: bool, connections: int = CONNECTIONS
) -> dict[str, Any]:
    """One round: what is accepted, then each multiple of it."""
    with tempfile.TemporaryDirectory(prefix="stagepost-bench-") as name:
        folder = Path(name)
        with serving(folder, deliver=deliver) as served:
            load(served.port, max(32, requests // 10), "warm")
            accepted_per_s = load(served.port, requests, "k")["per_s"]
            found: dict[str, Any] = {"accepted_per_s": accepted_per_s, "offered": {}}
            for multiple in times:
                keys = folder / f"keys-{multiple:g}"
                with Resident(served.pid) as resident:
                    seen = arriving(
                        served.port,
                        per_s=multiple * accepted_per_s,
                        seconds=seconds,
                        prefix=f"x{multiple:g}-",
                        connections=connections,
                        keys=keys,
                    )
                seen |= {"memory_mb": resident.most_mb, "lost": lost(folder / "stagepost.db", keys)}
                found["offered"][f"{multiple:g}"] = seen
        return found


def measures(rounds: Sequence[dict[str, Any]], times: Sequence[float]) -> list[Measure]:
    """What is shown of the rounds."""
    capacities = [one["accepted_per_s"] for one in rounds]
    found = []
    for multiple in times:
        at = f"{multiple:g}×"
        seen = [one["offered"][f"{multiple:g}"] for one in rounds]
        good = ratios([one["good_per_s"] for one in seen], capacities)
        found += [
            Measure(name=f"good answers at {at}", limit="accepted, clients waiting", values=good),
            *_times(f"accepted at {at}, p99", [one["accepted_p99_ms"] for one in seen]),
            *_times(f"503 at {at}, p50", [one["refused_p50_ms"] for one in seen]),
            *_times(f"503 at {at}, p99", [one["refused_p99_ms"] for one in seen]),
        ]
    every = [list(one["offered"].values()) for one in rounds]
    memory = tuple(max(seen["memory_mb"] for seen in one) for one in every)
    missing = tuple(float(sum(seen["lost"] for seen in one)) for one in every)
    silent = tuple(float(sum(_unhelpful(seen) for seen in one)) for one in every)
    return [
        *found,
        Measure(
            name="memory under overload",
            values=memory,
            unit="MB",
            less=True,
            at_least=MEMORY_AT_LEAST_MB,
            aim=MEMORY_AIM_MB,
        ),
        Measure(
            name="acknowledged under overload, and lost",
            values=missing,
            unit="emails",
            less=True,
            at_least=0,
            aim=0,
        ),
        Measure(name="no answer, or a 503 without Retry-After", values=silent, unit="requests", less=True),
    ]


def _times(name: str, values: Sequence[float | None]) -> Iterator[Measure]:
    """Of those rounds that had any."""
    there = tuple(value for value in values if value is not None)
    if there:
        yield Measure(name=name, values=there, unit="ms", less=True)


def _unhelpful(seen: dict[str, Any]) -> int:
    others: int = sum(count for status, count in seen["statuses"].items() if status not in ("202", "503"))
    silent: int = seen["without_retry_after"]
    return silent + others


def multiples(text: str) -> tuple[float, ...]:
    """`1,2,5`. Raises ValueError."""
    return tuple(float(one) for one in text.split(","))


def main() -> None:
    """Measure in rounds, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=5000, help="to find out what is accepted")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--times", type=multiples, default=(1.0, 2.0, 5.0))
    parser.add_argument("--deliver", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rounds = [
        measured(given.requests, given.seconds, given.times, deliver=given.deliver)
        for _ in range(given.rounds)
    ]
    conditions = {"seconds": given.seconds, "database": "SQLite", "delivering": given.deliver}
    print(
        told(
            "overload",
            conditions=conditions,
            measures=measures(rounds, given.times),
            rounds=rounds,
            as_json=given.json,
        )
    )


if __name__ == "__main__":
    main()
