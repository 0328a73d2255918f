"""What is to go wrong, and when: drawn from a seed; counted in acknowledged emails, as machines differ in speed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum, unique
from math import ceil

CALM_SHARE = 0.15
"""Of the emails, the first and the last so many are left in peace: there one sees how work spreads."""

BRIEF_S = 2.0
LONG_LEASES = 1.5
"""A partition lasts from so many seconds up to so many leases."""

SLOW_S = 0.5


@unique
class Kind(StrEnum):
    """Something bad."""

    KILL = "kill -9"
    ROLLING = "rolling restart of everything"
    CUT_DATABASE = "cut off from the database"
    CUT_PROVIDER = "cut off from the provider"
    SLOW_PROVIDER = "slow"
    FAILOVER = "killed, the standby promoted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """Once `at` emails are acknowledged, this happens to `host`, and lasts `lasts_s` where it is a matter of time."""

    at: int
    kind: Kind
    host: str
    lasts_s: float = 0.0

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"{self.host}: {self.kind}{lasts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How often each kind of it happens."""

    worker_kills: int
    api_kills: int
    worker_database: int
    worker_provider: int
    api_database: int
    rolling: int
    slow: int
    failover: int


WHOLE = Mix(
    worker_kills=16,
    api_kills=4,
    worker_database=4,
    worker_provider=4,
    api_database=2,
    rolling=1,
    slow=2,
    failover=1,
)
WHOLE_S = 400.0
"""The load that all of this fits into."""

SMALL = Mix(
    worker_kills=1,
    api_kills=0,
    worker_database=1,
    worker_provider=0,
    api_database=0,
    rolling=0,
    slow=0,
    failover=1,
)


def fitting(load_s: float) -> Mix:
    """Less of everything for a shorter load, but each kind once."""
    share = min(1.0, load_s / WHOLE_S)
    return Mix(**{field.name: ceil(share * getattr(WHOLE, field.name)) for field in fields(Mix)})


def draw(
    seed: int, emails: int, *, mix: Mix, workers: Sequence[str], apis: Sequence[str], lease_s: float
) -> tuple[Strike, ...]:
    """The strikes in their order, evenly spread over the emails between the calm ones, each at a moment drawn."""
    chance = random.Random(seed)
    drawn = list(_drawn(chance, mix, workers, apis, lease_s))
    chance.shuffle(drawn)
    first, last = emails * CALM_SHARE, emails * (1 - CALM_SHARE)
    step = (last - first) / max(1, len(drawn))
    return tuple(
        Strike(at=round(first + step * (n + chance.uniform(0, 0.9))), kind=kind, host=host, lasts_s=lasts_s)
        for n, (kind, host, lasts_s) in enumerate(drawn)
    )


def _drawn(
    chance: random.Random, mix: Mix, workers: Sequence[str], apis: Sequence[str], lease_s: float
) -> Iterator[tuple[Kind, str, float]]:
    def lasting(number: int) -> Iterator[float]:
        """So many durations; the first is longer than a lease."""
        for n in range(number):
            yield chance.uniform(lease_s if n == 0 else BRIEF_S, LONG_LEASES * lease_s)

    yield from ((Kind.KILL, chance.choice(workers), 0.0) for _ in range(mix.worker_kills))
    yield from ((Kind.KILL, chance.choice(apis), 0.0) for _ in range(mix.api_kills))
    for kind, hosts, number in (
        (Kind.CUT_DATABASE, workers, mix.worker_database),
        (Kind.CUT_PROVIDER, workers, mix.worker_provider),
        (Kind.CUT_DATABASE, apis, mix.api_database),
        (Kind.SLOW_PROVIDER, ("provider",), mix.slow),
    ):
        yield from ((kind, chance.choice(hosts), lasts_s) for lasts_s in lasting(number))
    yield from ((Kind.ROLLING, "all", 0.0) for _ in range(mix.rolling))
    yield from ((Kind.FAILOVER, "primary", 0.0) for _ in range(mix.failover))
