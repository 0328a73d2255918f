"""How long an accept takes, by how much is asked, and while as much is sent as can be.

    python -m benchmarks.latency [--rounds 3] [--seconds 5] [--loads 0.25,0.5,0.75,0.9] [--json]

First it is measured what is accepted by a service that doesn't send, and by one that does, when 32 clients wait for
their answers. Then requests arrive at parts of that (`benchmarks.open_load`): at a service that doesn't send; and, at
half of it, at one that has more emails waiting all the time than it can send. SQLite, into a sink.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.databases import sent
from benchmarks.overload import NOWHERE, arriving, multiples
from benchmarks.results import Measure, told
from benchmarks.serving import accept_and_deliver, load, sink, stagepost
from benchmarks.waiting import fill_waiting

HALF = 0.5
AT_LEAST_MS, AIM_MS = 50, 20
CONNECTIONS = 500

STARTED = 500
"""Emails sent before anything is measured: it has begun, and all that is made once is made."""

STARTED_S_MAX = 60.0
BACKLOG_PER_S = 3000
"""More than can be sent, for each second that is measured."""


def by_load(requests: int, seconds: float, loads: Sequence[float]) -> dict[str, Any]:
    """What is accepted, and what an open load at each part of it sees; nothing is sent."""
    with (
        tempfile.TemporaryDirectory(prefix="stagepost-bench-") as name,
        stagepost(Path(name), NOWHERE, "--no-worker") as served,
    ):
        load(served.port, max(32, requests // 10), "warm")
        per_s = load(served.port, requests, "k")["per_s"]
        seen = {
            f"{part:g}": arriving(
                served.port,
                per_s=part * per_s,
                seconds=seconds,
                prefix=f"l{part:g}-",
                connections=CONNECTIONS,
            )
            for part in loads
        }
    return {"accepted_per_s": per_s, "offered": seen}


def while_sending(requests: int, seconds: float) -> dict[str, Any]:
    """What an open load at half of what is accepted and delivered at once sees, beside a backlog that is sent."""
    per_s = accept_and_deliver(requests)["per_s"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stagepost-bench-")))
        url = f"sqlite:///{folder / 'stagepost.db'}"
        waiting = round(BACKLOG_PER_S * (seconds + 2))
        fill_waiting(url, waiting)
        served = stack.enter_context(stagepost(folder, stack.enter_context(sink())))
        _until_it_sends(url)
        before = sent(url)
        seen = arriving(
            served.port, per_s=HALF * per_s, seconds=seconds, prefix="d-", connections=CONNECTIONS
        )
        after = sent(url)
        return {**seen, "delivered_per_s": per_s, "sent": after - before, "left": waiting - after}


def _until_it_sends(url: str) -> None:
    deadline = time.monotonic() + STARTED_S_MAX
    while sent(url) < STARTED:
        if time.monotonic() > deadline:
            raise SystemExit(f"not even {STARTED} emails were sent within {STARTED_S_MAX:.0f} s")
        time.sleep(0.02)


def measures(rounds: Sequence[dict[str, Any]], loads: Sequence[float]) -> list[Measure]:
    """What is shown of the rounds."""
    found = []
    for part in loads:
        seen = [one["by_load"]["offered"][f"{part:g}"] for one in rounds]
        for rank in ("p50", "p99"):
            name = f"accept at {part:.0%} of what is accepted, {rank}"
            values = tuple(one[f"accepted_{rank}_ms"] for one in seen)
            found.append(Measure(name=name, values=values, unit="ms", less=True))
    dispatching = [one["while_sending"] for one in rounds]
    found.append(
        Measure(
            name="accept under full dispatch, p50",
            values=tuple(one["accepted_p50_ms"] for one in dispatching),
            unit="ms",
            less=True,
        )
    )
    found.append(
        Measure(
            name="accept under full dispatch, p99",
            values=tuple(one["accepted_p99_ms"] for one in dispatching),
            unit="ms",
            less=True,
            at_least=AT_LEAST_MS,
            aim=AIM_MS,
        )
    )
    return found


def main() -> None:
    """Measure in rounds, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=5000, help="to find out what is accepted")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--loads", type=multiples, default=(0.25, 0.5, 0.75, 0.9))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rounds = [
        {
            "by_load": by_load(given.requests, given.seconds, given.loads),
            "while_sending": while_sending(given.requests, given.seconds),
        }
        for _ in range(given.rounds)
    ]
    print(
        told(
            "latency",
            conditions={"seconds": given.seconds, "database": "SQLite"},
            measures=measures(rounds, given.loads),
            rounds=rounds,
            as_json=given.json,
        )
    )


if __name__ == "__main__":
    main()
