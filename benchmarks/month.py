"""A database filled with a busy month: a log of any size that the rules themselves have written.

    python -m benchmarks.month URL [--events 1000000] [--seed 1]

Events are decided by the domain, on gates and emails as they stood at that moment (`month_plain`: all but the
plainest); only clients, providers, workers and operators are played (`month_cast`), in virtual time
(`month_world`). So every invariant holds, hashes chain, and the views and the content store are what a service
would have left. The same seed gives the same rows.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from random import Random

from adapters.clock import SystemIds
from adapters.sql.migrate import migrate
from benchmarks.month_cast import DAY, Clients, Providers
from benchmarks.month_rows import Rows
from benchmarks.month_world import World

EVENTS_PER_EMAIL = 3.3
"""About so many there are, so that the events asked for take about a month."""

DAYS = 30


@dataclass(frozen=True, slots=True)
class Filled:
    """What was written: so many events and emails, the last of them at `until`."""

    events: int
    emails: int
    until: datetime
    types: Counter[str]
    statuses: Counter[str]


def fill(url: str, events: int, *, seed: int = 1, careful: bool = False) -> Filled:
    """Migrate the empty database at `url`, and fill it with a month of about so many events (a few more).

    `careful`: have the domain decide on the ordinary emails as well, fold everything by the projections, and compare.
    """
    migrate(url)
    collecting = gc.isenabled()
    gc.disable()  # nothing here is garbage before it is written, and the collector would look at all of it
    try:
        with Rows(url) as rows:
            providers = Providers(Random(seed + 1), days=2 * DAYS)
            per_s = events / EVENTS_PER_EMAIL / (DAYS * DAY.total_seconds())
            world = World(
                rows=rows,
                chance=Random(seed),
                ids=SystemIds(seed),
                clients=Clients(per_s=per_s, outages=providers.outages(), chance=Random(seed + 2), days=DAYS),
                providers=providers,
                careful=careful,
            )
            world.run(events)
            world.finish()
    finally:
        if collecting:
            gc.enable()
    return Filled(world.position, world.requested, world.now, world.types, world.statuses)


def main() -> None:
    """Fill, and say what with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("url")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    before = time.perf_counter()
    filled = fill(options.url, options.events, seed=options.seed)
    took = time.perf_counter() - before
    print(
        f"{filled.events} events of {filled.emails} emails until {filled.until:%Y-%m-%d %H:%M} in {took:.1f} s"
    )
    for title, counted in (("events", filled.types), ("emails", filled.statuses)):
        print(f"{title}: " + ", ".join(f"{name} {number}" for name, number in counted.most_common()))


if __name__ == "__main__":
    main()
