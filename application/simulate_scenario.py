"""What a simulation plays: the mail that comes in, and how each provider behaves when. Pure, and drawn from one seed.

What a provider does with an email depends on the seed, the email's number, the attempt and the provider alone: two
configurations meet the same emails and the same answers. (How long circuits stay open and retries wait is drawn as
it comes.)
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum, unique
from hashlib import blake2b
from statistics import NormalDist
from typing import NamedTuple

from domain.failures import FailureKind
from domain.rate_limit import Rate

LATENCY_S = 0.2
"""What a provider takes for its answer where nothing is said: about what a relay on the net does."""

SPREAD = 0.25
"""Answers vary around the latency (log-normal, this sigma): one in a hundred takes 1.8 times as long."""

RETRY_AFTER_S_MIN = 1.0
"""What a throttling provider asks for at least."""


@unique
class Silence(StrEnum):
    """How an answer fails to come."""

    LOST = "lost"
    """The provider takes the email, and the connection breaks before its answer."""
    VANISHED = "vanished"
    """The provider takes nothing and says nothing until we give up waiting."""


REFUSALS = (
    FailureKind.TRANSIENT,
    FailureKind.THROTTLED,
    FailureKind.ACCOUNT,
    FailureKind.QUOTA,
    FailureKind.RECIPIENT,
    FailureKind.CONTENT,
    FailureKind.SENDER,
    FailureKind.TOO_LARGE,
    FailureKind.DEFERRED,
    FailureKind.UNKNOWN,
)
"""What a simulated provider may answer instead of taking an email."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the simulated time, in seconds from its beginning; `ends_s` is no longer in it."""

    begins_s: float = 0.0
    ends_s: float = math.inf

    def has(self, at_s: float) -> bool:
        """Whether this moment lies in it."""
        return self.begins_s <= at_s < self.ends_s


ALWAYS = Span()


@dataclass(frozen=True, slots=True)
class Trouble:
    """For as long as `span`, this share (0 to 1) of the calls end so."""

    fate: FailureKind | Silence
    share: float = 1.0
    span: Span = ALWAYS


@dataclass(frozen=True, slots=True)
class Pace:
    """For as long as `span`, half of the answers take no longer than this (s)."""

    latency_s: float
    span: Span = ALWAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How one provider behaves. Of paces whose time it is the last one holds; of troubles the first that is drawn.

    `throttle`: calls beyond it are answered `throttled`, whatever limit is configured here.
    """

    paces: tuple[Pace, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    throttle: Rate | None = None


class Fate(NamedTuple):
    """What becomes of one call: accepted where `what` is none. `takes_s`: until the answer, or its loss."""

    what: FailureKind | Silence | None
    takes_s: float


class Luck:
    """All that is drawn for calls: from the seed and what the call is, never from what was drawn before."""

    def __init__(self, seed: int) -> None:
        self._key = str(seed).encode()
        self._spread = NormalDist(0.0, SPREAD).inv_cdf

    def fate(self, manner: Manner, provider: str, email: int, attempt: int, at_s: float) -> Fate:
        """What becomes of this attempt at this email (a number), were it handed over at `at_s`."""
        named = f"{email}/{attempt}/{provider}".encode()
        drawn = blake2b(named, digest_size=16, key=self._key).digest()
        chance = int.from_bytes(drawn[:8], "big") / 2**64
        slower = math.exp(self._spread((int.from_bytes(drawn[8:12], "big") + 0.5) / 2**32))
        latency_s = LATENCY_S
        for pace in manner.paces:
            if pace.span.has(at_s):
                latency_s = pace.latency_s
        for trouble in manner.troubles:
            if trouble.span.has(at_s):
                if chance < trouble.share:
                    return Fate(trouble.fate, latency_s * slower)
                chance -= trouble.share
        return Fate(None, latency_s * slower)


@dataclass(frozen=True, slots=True)
class Sample:
    """A kind of email, and which share of all (0 to 1) it is. `name`: the route it is meant for."""

    name: str
    share: float
    tags: tuple[str, ...] = ()
    from_domain: str = "shop.example"


@dataclass(frozen=True, slots=True)
class Burst:
    """So many emails at once."""

    count: int
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`per_s` emails a second on average, as chance brings them, for `lasts`; `samples` add up to 1 (to a rounding)."""

    per_s: float
    lasts: timedelta
    samples: tuple[Sample, ...]
    bursts: tuple[Burst, ...] = ()
    manners: Mapping[str, Manner] = field(default_factory=dict)
    workers: int = 1
    seed: int = 1

    @property
    def emails(self) -> float:
        """How many there will be, about."""
        return self.per_s * self.lasts.total_seconds() + sum(one.count for one in self.bursts)

    def manner(self, provider: str) -> Manner:
        """How a provider behaves; one of which nothing is said takes everything."""
        return self.manners.get(provider, Manner())


class Arrival(NamedTuple):
    """One email: its number, from 1, when it comes in (s), and which kind it is."""

    number: int
    at_s: float
    sample: Sample


def arrivals(scenario: Scenario) -> Iterator[Arrival]:
    """All emails of the scenario, in the order they come in."""
    chance = random.Random(scenario.seed)
    moments = _merged(scenario, chance)
    bounds: list[tuple[float, Sample]] = []
    reached = 0.0
    for sample in scenario.samples:
        reached += sample.share
        bounds.append((reached, sample))
    for number, at_s in enumerate(moments, 1):
        drawn = chance.random() if len(bounds) > 1 else 0.0
        yield Arrival(number, at_s, next((one for upto, one in bounds if drawn < upto), bounds[-1][1]))


def _merged(scenario: Scenario, chance: random.Random) -> Iterator[float]:
    lasts_s = scenario.lasts.total_seconds()
    bursts = sorted(scenario.bursts, key=lambda one: one.at_s, reverse=True)
    at_s = chance.expovariate(scenario.per_s) if scenario.per_s else math.inf
    while True:
        while bursts and bursts[-1].at_s <= at_s:
            burst = bursts.pop()
            yield from (burst.at_s for _ in range(burst.count))
        if at_s >= lasts_s:
            return
        yield at_s
        at_s += chance.expovariate(scenario.per_s)
