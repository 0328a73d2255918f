"""What a simulation found: counted from the events as they were recorded, and from what providers really took."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.histogram import quantile_us
from domain.circuit import Phase

STEPS = 48
"""Into so many parts a timeline cuts the time in which emails come in."""

STEPS_MAX = 60
"""And so many it shows: what ends later is told in words."""

CHANGES_MAX = 10_000
"""Circuit changes that are told one by one."""

PERCENTS = (50, 95, 99)


@dataclass(slots=True)
class Delays:
    """How long emails took from being accepted to being sent."""

    counts: dict[int, int] = field(default_factory=dict)
    longest: timedelta = timedelta(0)

    def add(self, bucket: int, delay: timedelta) -> None:
        """One more email; `bucket` is the delay's."""
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        if delay > self.longest:
            self.longest = delay

    def percentile(self, percent: int) -> timedelta | None:
        """What so many percent did not exceed, to 5 %; None: there are none."""
        found = quantile_us(self.counts, percent)
        return None if found is None else min(self.longest, timedelta(microseconds=found))


@dataclass(slots=True)
class Line:
    """What was counted under one name: a provider, a route, or the whole. Failures are by kind."""

    requested: int = 0
    sent: int = 0
    failed: int = 0
    attempts: int = 0
    attempts_failed: Counter[str] = field(default_factory=Counter)
    uncertain: int = 0
    delays: Delays = field(default_factory=Delays)


@dataclass(slots=True)
class Step:
    """What one step of the timeline saw. `waiting`: emails without an end when it was over, at most."""

    requested: int = 0
    waiting: int = 0
    failed: int = 0
    sent: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Change:
    """A provider's circuit changed, `at_s` seconds after the beginning."""

    at_s: float
    provider: str
    phase: Phase
    reason: str


@dataclass(frozen=True, slots=True)
class Outage:
    """A circuit was open, `openings` times over, between its probes. `ends_s` is none where it still was at the end."""

    provider: str
    begins_s: float
    ends_s: float | None
    reason: str
    openings: int


@dataclass(slots=True)
class Use:
    """How far a limit was used: the most at a time, and in which share of the looks (one a second) it was full."""

    whose: str
    limit: str
    most: int = 0
    of: int = 0
    looks: int = 0
    full: int = 0

    def look(self, used: int) -> None:
        """It is used so far."""
        self.most = max(self.most, used)
        self.looks += 1
        self.full += used >= self.of


@dataclass(slots=True)
class Results:
    """All that a simulation found. `plain`: emails that were counted together, since nothing happened to them.

    `risks`: attempts that went on at the risk of a duplicate; `duplicates`: emails that were really taken twice.
    `held`: emails that wait for an operator. `refused`: not let in, since too many waited. `changes`: of circuits.
    `ended_s`: when the last email had ended, or when nothing was worth waiting for any more.
    """

    begins: datetime
    lasts: timedelta
    providers: dict[str, Line] = field(default_factory=dict)
    routes: dict[str, Line] = field(default_factory=dict)
    whole: Line = field(default_factory=Line)
    reasons: Counter[str] = field(default_factory=Counter)
    switches: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    risks: int = 0
    duplicates: int = 0
    held: int = 0
    refused: int = 0
    plain: int = 0
    waiting_most: int = 0
    changes: list[Change] = field(default_factory=list)
    opened: Counter[str] = field(default_factory=Counter)
    open_s: dict[str, float] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    steps: defaultdict[int, Step] = field(default_factory=lambda: defaultdict(Step))
    ended_s: float = 0.0

    @property
    def step_s(self) -> float:
        """How long a step of the timeline is."""
        return self.lasts.total_seconds() / STEPS

    @property
    def waiting(self) -> int:
        """Emails that had no end when nothing was waited for any more."""
        return self.whole.requested - self.whole.sent - self.whole.failed

    @property
    def shown(self) -> int:
        """Steps that a timeline has: until everything has ended, if that isn't too long after the last email came."""
        return min(STEPS_MAX, max(STEPS, max(self.steps, default=0) + 1))

    def outages(self) -> list[Outage]:
        """When circuits were open, from the first opening to the closing, in the order of time."""
        begun: dict[str, list[Change]] = {}
        found: list[Outage] = []
        for change in self.changes:
            if change.phase is Phase.OPEN:
                begun.setdefault(change.provider, []).append(change)
            elif change.phase is Phase.CLOSED and change.provider in begun:
                found.append(_outage(begun.pop(change.provider), change.at_s))
        found += [_outage(opened, None) for opened in begun.values()]
        return sorted(found, key=lambda one: (one.begins_s, one.provider))

    def phases(self, provider: str) -> list[Phase]:
        """The worst phase of a provider's circuit in each step that is shown."""
        worst = [Phase.CLOSED] * self.shown
        for one in (one for one in self.outages() if one.provider == provider):
            ends_s = self.ended_s if one.ends_s is None else one.ends_s
            last = min(self.shown - 1, int(ends_s / self.step_s))
            for step in range(int(one.begins_s / self.step_s), last + 1):
                worst[step] = Phase.OPEN
        return worst


def _outage(opened: list[Change], ends_s: float | None) -> Outage:
    first = opened[0]
    return Outage(first.provider, first.at_s, ends_s, first.reason, len(opened))
