"""Whether SQLite's checkpoints make accepts wait: how long appends take with them and without.

    python -m benchmarks.checkpoints [--batches 2000]

One connection writes and checkpoints, so a commit now and then has a checkpoint behind it (of about 4 MB, SQLite's own
measure). Stores with several measures take turns in one run, so that a busy machine slows all of them.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from adapters.sql import SqlEventStore, open_store
from adapters.sql.migrate import migrate
from benchmarks.store import accepted

PAGES = {"without": 0, "as it is (1000 pages)": 1000, "4 times as much": 4000, "16 times as much": 16_000}
GATHERED = (1, 10, 50)
"""Emails in a commit: alone, a usual group, and a crowd."""


def opened(folder: Path, pages: int, stack: ExitStack) -> SqlEventStore:
    """A store whose one writing connection checkpoints once the log has so many pages; 0: never."""
    folder.mkdir()
    url = f"sqlite:///{folder / 'stagepost.db'}"
    migrate(url)
    store = stack.enter_context(closing(open_store(url)))
    with store._database.connected() as connection:
        connection.exec_driver_sql(f"PRAGMA wal_autocheckpoint = {pages}")
    return store


def percentile(sorted_s: Sequence[float], share: float) -> str:
    """In milliseconds."""
    return f"{sorted_s[min(len(sorted_s) - 1, int(len(sorted_s) * share))] * 1000:8.1f}"


def measure(gathered: int, batches: int) -> None:
    """Append so many batches of so many emails to each store in turn, and print how long a batch took."""
    took: dict[str, list[float]] = {name: [] for name in PAGES}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stagepost-")))
        stores = {name: opened(folder / str(pages), pages, stack) for name, pages in PAGES.items()}
        for batch in range(batches):
            units = [accepted(batch * gathered + n) for n in range(gathered)]
            for name, store in stores.items():
                began = time.perf_counter()
                store.append(units)
                took[name].append(time.perf_counter() - began)
    for name, times in took.items():
        times.sort()
        shares = " ".join(percentile(times, share) for share in (0.5, 0.9, 0.99, 0.999, 1))
        print(f"{gathered:3} emails a commit, {name:22} {shares}", flush=True)


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser(
        description="What SQLite's checkpoints cost those who wait for a commit."
    )
    parser.add_argument("--batches", type=int, default=2000, help="of each size (default: 2000)")
    batches = parser.parse_args().batches
    print(
        f"SQLite {sqlite3.sqlite_version}; ms at p50, p90, p99, p99.9, and the longest; {batches} commits each"
    )
    for gathered in GATHERED:
        measure(gathered, batches)


if __name__ == "__main__":
    main()
