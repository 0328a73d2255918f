"""`make torture`: hundreds of kills on both databases. Prints what it did and what it counted; fails where it must.

    python -m tests.faults.torture --kills 300 --seed 7 --database both

Rounds of fifty kills, each on a database of its own with a seed of its own, which repeats its moments.
"""

from __future__ import annotations

import argparse
import platform
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from adapters.sql.migrate import migrate
from tests.faults.audit import look
from tests.faults.proxy import PostgresProxy
from tests.faults.rounds import Round, live_through
from tests.postgres import PostgresServer, running_postgres
from tests.support.smtp_server import ScriptedSmtpServer

KILLS_A_ROUND = 50


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description="Kill Stagepost under load, again and again, and count.")
    parser.add_argument("--kills", type=int, default=300, help="on each database (default: 300)")
    parser.add_argument("--seed", type=int, default=None, help="of the first round (default: drawn)")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    began = time.monotonic()
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, seed {seed}, Stagepost {version('stagepost')},", end=" ")
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}", flush=True)
    for name in ("sqlite", "postgresql") if asked.database == "both" else (asked.database,):
        whole(name, asked.kills, seed)
    print(f"done in {time.monotonic() - began:.0f} s: nothing lost, nothing twice in silence")
    return 0


def whole(name: str, kills: int, seed: int) -> None:
    """All rounds on one kind of database, and their sum."""
    rounds: list[Round] = []
    with server(name) as postgres:
        while left := kills - sum(one.kills for one in rounds):
            number = seed + len(rounds)
            with TemporaryDirectory(prefix="stagepost-torture-") as folder:
                made = round_on(postgres, Path(folder), number, min(KILLS_A_ROUND, left))
            rounds.append(made)
            print(f"{name}, seed {number}: {made}", flush=True)
    print(f"{name}, all: {summed(rounds)}", flush=True)


@contextmanager
def server(name: str) -> Iterator[PostgresServer | None]:
    """PostgreSQL, where it is asked for; and which version of what is at work."""
    if name == "sqlite":
        print(f"SQLite {sqlite3.sqlite_version}", flush=True)
        yield None
        return
    with running_postgres() as postgres:
        url = postgres.admin_url.render_as_string(hide_password=False)
        print(f"PostgreSQL {look(url, 'SHOW server_version')[0][0]}", flush=True)
        yield postgres


def round_on(postgres: PostgresServer | None, folder: Path, seed: int, kills: int) -> Round:
    """One round on a database of its own."""
    with ScriptedSmtpServer.in_thread() as sink:
        if postgres is None:
            url = f"sqlite:///{folder / 'stagepost.db'}"
            migrate(url)
            return live_through(folder, url, sink, seed=seed, kills=kills)
        url = postgres.create()
        migrate(url)
        with PostgresProxy.in_thread(url) as proxy:
            made = live_through(folder, url, sink, seed=seed, kills=kills, proxy=proxy)
        postgres.drop(url)
        return made


def summed(rounds: list[Round]) -> str:
    """The counts of all rounds in one line."""
    ends: Counter[str] = sum((one.counted.ends for one in rounds), Counter())
    told = ", ".join(f"{n} {end}" for end, n in sorted(ends.items()))
    total = {
        what: sum(getattr(one.counted, what) for one in rounds)
        for what in ("emails", "attempts", "uncertain", "late", "risks", "copies", "twice", "events")
    }
    return (
        f"{sum(one.kills for one in rounds)} kills; {total['emails']} emails acknowledged: {told};"
        f" {total['attempts']} attempts, {total['uncertain']} in doubt, {total['late']} late results;"
        f" {total['copies']} copies, {total['risks']} risks declared,"
        f" {total['twice']} recipients with more than one copy; {total['events']} events, verify ok"
    )


if __name__ == "__main__":
    sys.exit(main())
