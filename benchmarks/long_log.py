"""What it costs that the log is long: accepting, sending, claiming, asking, explaining, against an empty one.

    python -m benchmarks.long_log [--events 1000000] [--postgres] [--keep DIR] [--rounds 3] [--json]

The log is months of mail (`benchmarks.month_copies`), nearly all of it ended; nothing is erased while it is measured.
Both databases take turns. Rebuilding is compared with a log of 100,000 events, as an empty one has nothing to rebuild.
With `--keep` the databases stay in a folder for the next run: they are made once.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.sql import open_store
from adapters.sql.migrate import migrate
from benchmarks.asking import asked
from benchmarks.databases import sent, shelf, some_ids
from benchmarks.month_copies import fill_long
from benchmarks.results import Measure, ratios, told
from benchmarks.serving import load, sink, stagepost
from benchmarks.store import CLAIM, Queue

SHORT_EVENTS = 100_000
CLAIMS = 10
QUESTIONS = 300
"""Of each kind, in a round."""

SENT_S_MAX = 300.0
SETTINGS = '[retention]\ncontent = "forever"\n'


def measured(url: str, requests: int, number: int) -> dict[str, Any]:
    """One round on one database."""
    found: dict[str, Any] = {}
    since, warm = datetime.now(UTC), max(32, requests // 10)
    prefix = f"{time.time_ns():x}-"  # unlike those of earlier runs on a database that was kept
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stagepost-bench-")))
        with stagepost(folder, 9, "--no-worker", database=url, settings=SETTINGS) as served:
            load(served.port, warm, f"{prefix}warm")
            found["accepted_per_s"] = load(served.port, requests, f"{prefix}a")["per_s"]
        port = stack.enter_context(sink())
        served = stack.enter_context(stagepost(folder, port, database=url, settings=SETTINGS))
        _until_sent(url, warm + requests, since)
        begun = time.perf_counter()
        load(served.port, requests, f"{prefix}d")
        _until_sent(url, warm + 2 * requests, since)
        found["delivered_per_s"] = requests / (time.perf_counter() - begun)
        ids = some_ids(url, QUESTIONS, number)
        found["page"] = asked(served.port, ["/statuses"] * QUESTIONS)
        found["one"] = asked(served.port, [f"/statuses/{one}" for one in ids])
        found["explain"] = asked(served.port, [f"/emails/{one}/explain" for one in ids])
    # Behind the service, which has settled by now what a month leaves under way.
    return {**found, "claim_s": claiming(url)}


def claiming(url: str) -> float:
    """How long a claim takes, on average; all that is claimed is sent, and ended."""
    first = time.time_ns() // 1000  # no other run has these ids
    queue = Queue(url, claimable=CLAIMS * CLAIM, route="claimed", first=first)
    with closing(queue.store):
        took = statistics.median([queue.claim() for _ in range(CLAIMS)])
        queue.store.release_lease(queue.lease)
    return took


def rebuilding(url: str) -> float:
    """Events a second of `stagepost replay --rebuild emails`, where all rows are right."""
    with closing(open_store(url)) as store:
        begun = time.perf_counter()
        events = store.folds.mend_emails(lambda done, whole: None).events
        return events / (time.perf_counter() - begun)


def _until_sent(url: str, count: int, since: datetime) -> None:
    """Wait until so many of those accepted since then are sent."""
    deadline = time.monotonic() + SENT_S_MAX
    while sent(url, since) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"{count} emails were not sent within {SENT_S_MAX:.0f} s")
        time.sleep(0.02)


COMPARED: dict[str, tuple[Callable[[dict[str, Any]], float], bool]] = {
    "accepted a second": (lambda found: found["accepted_per_s"], False),
    "accepted and delivered a second": (lambda found: found["delivered_per_s"], False),
    f"claim of {CLAIM} emails": (lambda found: found["claim_s"], True),
    "GET /statuses, p50": (lambda found: found["page"]["p50_ms"], True),
    "GET /statuses, p99": (lambda found: found["page"]["p99_ms"], True),
    "GET /statuses/{id}, p50": (lambda found: found["one"]["p50_ms"], True),
    "GET /statuses/{id}, p99": (lambda found: found["one"]["p99_ms"], True),
    "explain, p50": (lambda found: found["explain"]["p50_ms"], True),
    "explain, p99": (lambda found: found["explain"]["p99_ms"], True),
}
"""What is taken of a round, and whether less of it is better."""


def measures(rounds: Sequence[dict[str, dict[str, Any]]], events: int, short: int) -> list[Measure]:
    """What is shown of the rounds."""
    found = []
    for name, (taken, less) in COMPARED.items():
        values = ratios([taken(one["long"]) for one in rounds], [taken(one["empty"]) for one in rounds])
        label = f"{name}, a log of {events:,} events"
        found.append(Measure(name=label, limit="an empty log", values=values, less=less))
    rebuilt = ratios(*([one[which]["rebuilt_per_s"] for one in rounds] for which in ("long", "short")))
    found.append(
        Measure(
            name=f"rebuilt events a second, a log of {events:,} events",
            limit=f"a log of {short:,}",
            values=rebuilt,
        )
    )
    return found


def main() -> None:
    """Measure in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--short", type=int, default=SHORT_EVENTS, help=argparse.SUPPRESS)
    parser.add_argument("--requests", type=int, default=2000, help="accepted in each part of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--keep", type=Path, help="a folder for the databases")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    made: dict[str, float] = {}

    def filled(events: int) -> Callable[[str], object]:
        def fill(url: str) -> None:
            begun = time.perf_counter()
            count = fill_long(url, events)
            made[f"made_{events}_per_s"] = round(count / (time.perf_counter() - begun))

        return fill

    with shelf(given.keep, postgres=given.postgres) as on:
        urls = {
            "long": on.url(f"log_{given.events}", filled(given.events)),
            "empty": on.url("log_0", migrate),
        }
        short = on.url(f"short_{given.short}", filled(given.short))
        rounds = []
        for number in range(given.rounds):
            round_ = {name: measured(url, given.requests, number) for name, url in urls.items()}
            round_["long"]["rebuilt_per_s"] = rebuilding(urls["long"])
            round_["short"] = {"rebuilt_per_s": rebuilding(short)}
            rounds.append(round_)
    kind = "PostgreSQL" if given.postgres else "SQLite"
    conditions = {"database": kind, "events": given.events, "requests": given.requests, **made}
    print(
        told(
            "long_log",
            conditions=conditions,
            measures=measures(rounds, given.events, given.short),
            rounds=rounds,
            as_json=given.json,
        )
    )


if __name__ == "__main__":
    main()
