"""What it costs that very many emails wait: memory, accepting, sending, and asking how they stand.

    python -m benchmarks.backlog [--waiting 1000000] [--postgres] [--keep DIR] [--rounds 3] [--json]

Their provider was paused. The same service with 10,000 waiting takes turns with it; whoever waits was put into the
database directly. Memory is what the service's process holds at most (RSS) while all of this goes on; PostgreSQL's
own is not in it. With `--keep` the databases stay in a folder for the next run: they are made once.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from adapters.sql import open_store
from application.ports import Plan
from application.recorded import NewEvent, StreamAppend, Unit, circuit_stream
from benchmarks.asking import asked, told_to
from benchmarks.databases import Shelf, sent, shelf, some_ids
from benchmarks.resident import Resident
from benchmarks.results import Measure, ratios, told
from benchmarks.serving import load, sink, stagepost
from benchmarks.waiting import fill_waiting
from domain.circuit import ProviderPaused

FEW = 10_000
QUESTIONS = 300
"""Of each kind, in a round."""

NEVER_FULL = "[limits]\nqueue_max = 100_000_000\n"
"""By default a million emails may wait, and no more."""

SENT_S_MAX = 300.0
MEMORY_AT_LEAST_MB, MEMORY_AIM_MB = 300, 150


def database(on: Shelf, waiting: int) -> str:
    """The database in which so many wait for a provider that is paused."""

    def make(url: str) -> None:
        fill_waiting(url, waiting)
        pause = NewEvent(event_id=str(uuid4()), event=ProviderPaused(by="benchmark"))
        append = StreamAppend(stream=circuit_stream("sink"), expected_version=0, events=(pause,))
        with closing(open_store(url)) as store:
            store.transact(Plan(), lambda locked: [Unit(at=locked.now, appends=(append,))])

    return on.url(f"waiting_{waiting}", make)


def measured(url: str, requests: int, number: int) -> dict[str, Any]:
    """One round on one database: accept, ask, then send as many as were accepted."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stagepost-bench-")))
        port = stack.enter_context(sink())
        served = stack.enter_context(stagepost(folder, port, database=url, settings=NEVER_FULL))
        resident = Resident(served.pid)
        at_start_mb = resident.now_mb()
        prefix = f"{time.time_ns():x}-"  # unlike those of earlier runs on a database that was kept
        with resident:
            load(served.port, max(32, requests // 10), f"{prefix}warm")
            accepted = load(served.port, requests, prefix)
            asked(served.port, ["/statuses"] * 5)
            found = {
                "accepted_per_s": accepted["per_s"],
                "accepted_p99_ms": accepted["p99_ms"],
                "page": asked(served.port, ["/statuses"] * QUESTIONS),
                "queued": asked(served.port, ["/statuses?status=queued"] * QUESTIONS),
                "one": asked(served.port, [f"/statuses/{one}" for one in some_ids(url, QUESTIONS, number)]),
                "sent_per_s": _sending(url, served.port, requests),
            }
        return {**found, "at_start_mb": at_start_mb, "memory_mb": resident.most_mb}


def _sending(url: str, port: int, count: int) -> float:
    """Emails sent a second, until so many are."""
    before, deadline = sent(url), time.monotonic() + SENT_S_MAX
    told_to(port, "/providers/sink/resume")
    begun = time.perf_counter()
    try:
        while (so_far := sent(url) - before) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"{so_far} of {count} emails were sent")
            time.sleep(0.02)
        return so_far / (time.perf_counter() - begun)
    finally:
        told_to(port, "/providers/sink/pause")


def measures(rounds: Sequence[dict[int, dict[str, Any]]], few_wait: int, many_wait: int) -> list[Measure]:
    """What is shown of the rounds."""
    few, many = ([one[count] for one in rounds] for count in (few_wait, many_wait))
    limit, name = f"{few_wait:,} waiting", f"{many_wait:,}"

    def ratio(what: str, *keys: str, less: bool = False) -> Measure:
        values = ratios([_at(one, keys) for one in many], [_at(one, keys) for one in few])
        return Measure(name=f"{what}, {name} waiting", limit=limit, values=values, less=less)

    return [
        ratio("accepted a second", "accepted_per_s"),
        ratio("sent a second", "sent_per_s"),
        ratio("GET /statuses, p50", "page", "p50_ms", less=True),
        ratio("GET /statuses, p99", "page", "p99_ms", less=True),
        ratio("GET /statuses?status=queued, p50", "queued", "p50_ms", less=True),
        ratio("GET /statuses/{id}, p50", "one", "p50_ms", less=True),
        ratio("GET /statuses/{id}, p99", "one", "p99_ms", less=True),
        Measure(
            name=f"memory, {name} waiting",
            values=tuple(one["memory_mb"] for one in many),
            unit="MB",
            less=True,
            at_least=MEMORY_AT_LEAST_MB,
            aim=MEMORY_AIM_MB,
        ),
        Measure(
            name=f"memory, {few_wait:,} waiting",
            values=tuple(one["memory_mb"] for one in few),
            unit="MB",
            less=True,
        ),
    ]


def _at(found: Any, keys: Sequence[str]) -> float:
    for key in keys:
        found = found[key]
    return float(found)


def main() -> None:
    """Measure in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=FEW, help=argparse.SUPPRESS)
    parser.add_argument("--requests", type=int, default=2000, help="accepted, and sent, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--keep", type=Path, help="a folder for the databases")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with shelf(given.keep, postgres=given.postgres) as on:
        measure = partial(measured, requests=given.requests)
        urls = {count: database(on, count) for count in (given.few, given.waiting)}
        rounds = [
            {count: measure(url, number=number) for count, url in urls.items()}
            for number in range(given.rounds)
        ]
    kind = "PostgreSQL" if given.postgres else "SQLite"
    print(
        told(
            "backlog",
            conditions={"database": kind, "waiting": given.waiting, "requests": given.requests},
            measures=measures(rounds, given.few, given.waiting),
            rounds=rounds,
            as_json=given.json,
        )
    )


if __name__ == "__main__":
    main()
