"""What is measured of a scenario, from the tables and from what the clients saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import psycopg

from tests.machines.clients import Answers


@dataclass(slots=True)
class Moments:
    """When things happened; `_s` are monotonic. `calm`: spans in which nothing was wrong; `dead`: workers killed."""

    began_at_s: float = 0.0
    killed_at: datetime | None = None
    killed_at_s: float = 0.0
    promoted_at: datetime | None = None
    promoted_at_s: float = 0.0
    calm: list[list[datetime | None]] = field(default_factory=list)
    dead: dict[str, datetime] = field(default_factory=dict)

    def end_calm(self, at: datetime) -> None:
        """From here on something is wrong, or it is over."""
        if self.calm[-1][1] is None:
            self.calm[-1][1] = at


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Durations in seconds. `spread`: attempts by worker while all was well; `recovered_s`: of each killed worker that
    had attempts in its hands, how long until the last of them was taken over."""

    under_load_s: float
    until_drained_s: float
    spread: Mapping[str, int]
    recovered_s: tuple[float, ...]
    promoted_after_s: float | None
    no_answer_s: float | None
    no_start_s: float | None

    @property
    def evenness(self) -> float:
        """What the least busy worker did, of the mean."""
        mean = sum(self.spread.values()) / max(1, len(self.spread))
        return min(self.spread.values()) / mean if mean else 0.0


def measure(
    database: str, workers: Mapping[str, str], moments: Moments, answers: Answers, ended_at_s: float
) -> Measured:
    """`workers`: the host of each worker that ever was, by the beginning of its name."""
    over = moments.killed_at is not None
    with psycopg.connect(database, autocommit=True) as connection:
        return Measured(
            under_load_s=max(answers.acknowledged_at) - moments.began_at_s,
            until_drained_s=ended_at_s - moments.began_at_s,
            spread=_spread(connection, workers, moments),
            recovered_s=tuple(_recovered(connection, moments)),
            promoted_after_s=moments.promoted_at_s - moments.killed_at_s if over else None,
            no_answer_s=_no_answer(answers.acknowledged_at, moments) if over else None,
            no_start_s=_no_start(connection, moments) if over else None,
        )


def _spread(connection: psycopg.Connection, workers: Mapping[str, str], moments: Moments) -> Counter[str]:
    found = Counter({host: 0 for name, host in workers.items() if host.startswith("worker")})
    for begin, end in moments.calm:
        rows = connection.execute(
            "SELECT worker, count(*) FROM attempts WHERE started_at BETWEEN %s AND %s GROUP BY worker",
            (begin, end),
        )
        for worker, number in rows.fetchall():
            found[workers[worker[: worker.rindex("-") + 1]]] += number
    return found


def _recovered(connection: psycopg.Connection, moments: Moments) -> list[float]:
    """Of attempts that a worker had open when it was killed."""
    found: list[float] = []
    for worker, killed_at in moments.dead.items():
        row = connection.execute(
            "SELECT max(finished_at) FROM attempts WHERE starts_with(worker, %s) AND finished_at > %s",
            (worker, killed_at),
        ).fetchone()
        if row is not None and row[0] is not None:
            found.append((row[0] - killed_at).total_seconds())
    return sorted(found)


def _no_answer(acknowledged_at: list[float], moments: Moments) -> float:
    """The longest time without a 202 of those that began before the promotion and ended behind the kill."""
    times = sorted(acknowledged_at)
    found = [b - a for a, b in pairwise(times) if a <= moments.promoted_at_s and b >= moments.killed_at_s]
    return max(found, default=0.0)


def _no_start(connection: psycopg.Connection, moments: Moments) -> float:
    """The same of the starts of attempts."""
    row = connection.execute(
        "SELECT max(b - a) FROM (SELECT started_at AS b, lag(started_at) OVER (ORDER BY started_at) AS a"
        " FROM attempts) AS found WHERE a <= %s AND b >= %s",
        (moments.promoted_at, moments.killed_at),
    ).fetchone()
    return 0.0 if row is None or row[0] is None else float(row[0].total_seconds())
