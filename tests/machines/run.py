"""`make machines`: Stagepost on many hosts, most of which fail. Prints what happened; fails where it must.

    python -m tests.machines --emails 100000 --seed 7 --rate 250

A seed gives the same strikes again, counted in acknowledged emails; what they hit depends on how fast the machine is.
"""

from __future__ import annotations

import argparse
import platform
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.machines.network import NoNetwork
from tests.machines.plan import fitting
from tests.machines.scenario import Played, Scenario, play

WIDTH = 38
RATE_MAX, LOAD_MIN_S = 250.0, 60.0
"""Emails a second, unless told otherwise: no more than this, and fewer where the load would last less than so long."""


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(
        description="Stagepost on many hosts: kill, cut, restart, fail over, count."
    )
    parser.add_argument("--emails", type=int, default=2000, help="how many (default: 2000)")
    parser.add_argument(
        "--rate", type=float, default=None, help="at most so many a second (default: 250, less of few)"
    )
    parser.add_argument("--lease", type=float, default=6.0, help="of a worker, in seconds (default: 6)")
    parser.add_argument("--seed", type=int, default=None, help="of what goes wrong (default: drawn)")
    parser.add_argument(
        "--unplugged", action="store_true", help="the primary's host vanishes from the network too"
    )
    asked = parser.parse_args()
    per_second = asked.rate or min(RATE_MAX, asked.emails / LOAD_MIN_S)
    scenario = Scenario(
        emails=asked.emails,
        per_second=per_second,
        seed=random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed,
        mix=fitting(asked.emails / per_second),
        lease_s=asked.lease,
        unplugged=asked.unplugged,
    )
    began = time.monotonic()
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, seed {scenario.seed}, Stagepost {version('stagepost')},",
        end=" ",
    )
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}", flush=True)
    try:
        with TemporaryDirectory(prefix="stagepost-machines-") as folder:
            played = play(Path(folder), scenario, lambda line: print(line, flush=True))
    except NoNetwork as error:
        print(f"can't play it here: {error}", file=sys.stderr)
        return 2
    print()
    for what, value in table(played):
        print(f"{what:{WIDTH}}{value}")
    print(f"done in {time.monotonic() - began:.0f} s: nothing lost, nothing twice in silence")
    return 0


def table(played: Played) -> Iterator[tuple[str, str]]:
    """What happened, line by line."""
    counted, measured, told = played.counted, played.measured, played.answers.told
    ends = ", ".join(f"{n} {end}" for end, n in sorted(counted.ends.items()))
    yield "emails acknowledged", f"{len(told.emails)}, each with one end: {ends}"
    yield "answers", ", ".join(f"{n} × {what}" for what, n in sorted(told.answers.items()))
    yield "longest wait for a 202", f"{played.answers.longest_s:.1f} s"
    for what, number in sorted(played.strikes.items()):
        yield what, str(number)
    yield "started anew without a database", str(played.revived)
    if measured.no_answer_s is not None:
        yield "primary killed, standby promoted", f"after {measured.promoted_after_s:.1f} s"
        yield "no 202 meanwhile, at most", f"{measured.no_answer_s:.1f} s"
        yield "no start of an attempt, at most", f"{measured.no_start_s:.1f} s"
    recovered = ", ".join(f"{one:.1f} s" for one in measured.recovered_s)
    yield "a dead worker's attempts taken over", recovered or "none had any in its hands"
    yield "attempts while all was well", ", ".join(f"{who} {n}" for who, n in sorted(measured.spread.items()))
    yield "least busy worker, of the mean", f"{measured.evenness:.2f}"
    yield "attempts", f"{counted.attempts}, {counted.uncertain} in doubt, {counted.late} late results"
    yield "copies at the provider", f"{counted.copies}, {counted.twice} recipients with more than one"
    yield "risks declared", str(counted.risks)
    yield "events", f"{counted.events}, verify ok"
    yield "load", f"{measured.under_load_s:.0f} s, drained after {measured.until_drained_s:.0f} s"
