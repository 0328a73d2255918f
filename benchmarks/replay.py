"""What it costs to read the log again: replay, rebuild, verify, explain.

    python -m benchmarks.replay [--events 100000] [--postgres] [--url URL] [--rounds 3]

Ratios of one run only; what is compared takes turns, so that a busy machine slows both. The log is a month of
`benchmarks.month`, made for the run, or the one at `--url`, of which nothing is changed. `--postgres` starts a server
of its own. The `eventsourcing` library is compared with where it is installed (it is in no lock).
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import TypeVar

import psycopg
from sqlalchemy import make_url

from adapters.clock import SystemClock
from adapters.sql import SqlEventStore, open_store
from adapters.sql.dialect import Sql
from adapters.sql.engine import Database
from adapters.sql.folding import Folder
from adapters.sql.pages import read_page
from adapters.sql.plain import EVENT
from application.reading import Reader
from application.recorded import Recorded
from application.settings import Settings
from application.stored import Span
from application.verify import verify
from benchmarks.month import fill
from benchmarks.replay_peer import Peer
from benchmarks.results import Measure, ratios, told
from domain.routing import Route
from entrypoints.http.canonical import canonical_again
from tests.postgres import own_server

T = TypeVar("T")

PEER_EVENTS = 50_000
"""Events that the other library is given, which stores them slowly."""

PAGE = 2000
EXPLAINED = 1000

NEWEST = Sql("SELECT email_id FROM emails ORDER BY requested_at DESC LIMIT :limit")


@dataclass(slots=True)
class Log:
    """A log that is read again and again."""

    url: str
    database: Database
    store: SqlEventStore
    events: int

    def recorded(self) -> Iterator[Recorded]:
        """Every event, as whoever follows the log is given it."""
        after = 0
        while page := self.store.read_all(after, PAGE):
            yield from page
            after = page[-1].position

    def decoded(self) -> int:
        """Read the first events and decode them."""
        return sum(1 for _ in islice(self.recorded(), PEER_EVENTS))

    def selected(self) -> int:
        """Read every event of an email, stream by stream, as a fold does; and do nothing with them."""
        low: str | None = None
        count = 0
        while True:
            page = self.database.read(lambda session: read_page(session, EVENT, low, None, PAGE))  # noqa: B023
            count += sum(map(len, page.histories.values()))
            if page.last is None:
                return count
            low = page.last

    def folded(self) -> int:
        """Fold every email, in this process."""
        return Folder(self.database).fold(Span(), compare=False).events

    def compared(self) -> int:
        """Fold every email and compare it with its rows, in this process."""
        return Folder(self.database).fold(Span(), compare=True).events

    def replayed(self) -> int:
        """`stagepost replay`, start of its processes included."""
        return self.store.folds.count(_quietly).events

    def rebuilt(self) -> int:
        """`stagepost replay --rebuild emails`, where all rows are right."""
        return self.store.folds.mend_emails(_quietly).events

    def gates(self) -> int:
        """`stagepost replay --rebuild gates`."""
        self.store.folds.mend_gates(_quietly)
        return self.events

    def verified(self) -> int:
        """`stagepost verify`."""
        verdict = verify(self.store.stored, forms=canonical_again, told=lambda label, done, whole: None)
        assert verdict.first_bad is None, verdict.first_bad
        return verdict.events


def _quietly(done: int, whole: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Took:
    """What a measure took for each event: µs of time, and µs of our processes' processor time (no server's)."""

    wall_us: float
    cpu_us: float


Rounds = dict[str, list[Took]]


def measured(measures: dict[str, Callable[[], int]], rounds: int) -> Rounds:
    """All of them in turns."""
    took: Rounds = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            wall, cpu = time.perf_counter(), _processor_time()
            events = measure() / 1e6
            took[name].append(Took((time.perf_counter() - wall) / events, (_processor_time() - cpu) / events))
    return took


def _processor_time() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def ratio(took: Rounds, name: str, limit: str) -> str:
    """How much faster one is than the other: the median of the rounds, and their spread."""
    ratios = [other.wall_us / one.wall_us for one, other in zip(took[name], took[limit], strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"


def show(log: Log, took: Rounds) -> None:
    """A line for each measure."""
    print(
        f"\n{log.database.kind}, {log.events} events: events a second, µs of processor time for each, ratios"
    )
    for name, values in took.items():
        wall = statistics.median([one.wall_us for one in values])
        cpu = statistics.median([one.cpu_us for one in values])
        line = f"  {name:<26} {1e6 / wall:>8.0f} {cpu:>6.1f} µs"
        for limit in ("select", "eventsourcing"):
            if limit in took and name != limit:
                line += f"   ÷ {limit} {ratio(took, name, limit)}"
        print(line)
    if "eventsourcing" not in took:
        print("  the eventsourcing library is not installed: not compared with")


def explained(log: Log) -> str:
    """How long `explain` takes, of emails all over the log."""
    settings = Settings(providers={}, routes={"default": Route(name="default", providers=())})

    async def here(work: Callable[[], T]) -> T:
        return work()

    reader = Reader(
        store=log.store,
        statuses=log.store.statuses,
        executor=here,
        clock=SystemClock(),
        settings=settings,
    )
    rows = log.database.read(lambda session: session.rows(NEWEST, limit=log.events))
    chosen = Random(1).sample([row[0] for row in rows], min(EXPLAINED, len(rows)))
    took = []
    for email_id in chosen:
        before = time.perf_counter()
        asyncio.run(reader.explain(email_id))
        took.append((time.perf_counter() - before) * 1000)
    took.sort()
    return f"explain of {len(took)} emails: p50 {took[len(took) // 2]:.1f} ms, p99 {took[len(took) * 99 // 100]:.1f} ms"


def measures_of(log: Log, took: Rounds) -> list[Measure]:
    """What is shown beside other benchmarks."""
    shown = {name: values for name, values in took.items() if name not in ("select", "eventsourcing")}
    kind = "PostgreSQL" if log.database.kind == "postgresql" else "SQLite"
    return [
        Measure(
            name=f"{name}, {kind}",
            limit="bare select",
            values=ratios([one.wall_us for one in took["select"]], [one.wall_us for one in values]),
        )
        for name, values in shown.items()
    ]


def measure(url: str, peer_url: str, rounds: int, *, as_json: bool) -> None:
    """Measure one log, and print."""
    database, store = Database(url), open_store(url)
    log = Log(url, database, store, store.end())
    measures: dict[str, Callable[[], int]] = {
        "select": log.selected,
        "fold, one process": log.folded,
        "fold, compare, one process": log.compared,
        "read_all": log.decoded,
    }
    try:
        peer = Peer(peer_url)
        peer.store(islice(log.recorded(), PEER_EVENTS))
        measures["eventsourcing"] = peer.replay
    except ImportError:
        pass
    measures |= {
        "replay": log.replayed,
        "replay --rebuild emails": log.rebuilt,
        "replay --rebuild gates": log.gates,
        "verify": log.verified,
    }
    took = measured(measures, rounds)
    if as_json:
        conditions = {"database": log.database.kind, "events": log.events}
        print(told("replay", conditions=conditions, measures=measures_of(log, took), as_json=True))
    else:
        show(log, took)
        print(f"  {explained(log)}")
    database.close()
    store.close()


def _created(server: str, name: str) -> str:
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stagepost-bench-")))
        url, peer_url = f"sqlite:///{folder}/log.db", f"sqlite:///{folder}/peer.db"
        if options.postgres:
            server = stack.enter_context(own_server(folder))
            url, peer_url = _created(server, "log"), _created(server, "peer")
        if options.url is None:
            fill(url, options.events)
        measure(options.url or url, peer_url, options.rounds, as_json=options.json)


if __name__ == "__main__":
    main()
