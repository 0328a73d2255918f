"""Which provider comes next: a walk along the route's providers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum, unique

from domain.frozen import quick


@unique
class Priority(IntEnum):
    """Lower goes first."""

    HIGH = 0
    """Before everything else that waits for the same providers, but for the share of each lower one."""
    NORMAL = 1
    """Before bulk, likewise."""
    BULK = 2
    """When nothing else waits, and one start in so many when something does."""


@unique
class OnLimit(StrEnum):
    """What an email does when the next provider is at a limit: wait for it, or go to the one after it."""

    WAIT = "wait"
    OVERFLOW = "overflow"


@unique
class OnUncertain(StrEnum):
    """What to do once nothing more can be learnt about an attempt that may have been accepted."""

    RETRY = "retry"
    """Go on, at the risk of a duplicate."""
    HOLD = "hold"
    """Ask an operator."""
    FAIL = "fail"
    """Give up, at the risk that it was not sent."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which providers, in which order. `expires_after`, `priority` and `on_uncertain` stand in for the general ones."""

    name: str
    providers: tuple[str, ...]
    on_limit: OnLimit = OnLimit.WAIT
    priority: Priority = Priority.NORMAL
    expires_after: timedelta | None = None
    on_uncertain: OnUncertain | None = None
    match_tag: str | None = None
    match_from_domain: str | None = None

    def matches(self, *, tags: Iterable[str], from_domain: str) -> bool:
        """Whether this route is meant for such an email. A route without a match is only taken by name."""
        if self.match_tag is None and self.match_from_domain is None:
            return False
        return (self.match_tag is None or self.match_tag in tags) and (
            self.match_from_domain is None or self.match_from_domain == from_domain
        )


@unique
class Blocked(StrEnum):
    """Why a provider may not be used now."""

    PAUSED = "paused"
    """An operator took it out of use."""
    CIRCUIT_OPEN = "circuit_open"
    """Its circuit is open."""
    AT_LIMIT = "at_limit"
    """It is at a rate limit, or has as many attempts open as it may."""
    NOT_BEFORE = "not_before"
    """It asked for a pause."""
    RULED_OUT = "ruled_out"
    """It refused this message before."""
    SPENT = "spent"
    """It has had its tries in this cycle."""
    BOUND_ELSEWHERE = "bound_elsewhere"
    """Another provider may have the message, and can be asked again with the same key."""


ENDS_WALK = frozenset({Blocked.AT_LIMIT, Blocked.NOT_BEFORE})
"""A provider that is merely busy is worth waiting for, unless the route overflows."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One provider as its gate stands now.

    `blocked` is None where an attempt may start, with this circuit `epoch` and, half-open, as `probe`.
    `until` is when the block ends by itself, if that is known. `key_ttl`: how long the provider honours an
    idempotency key. `tells`: what became of an email can be learnt later, by its feedback or by asking.
    """

    provider: str
    blocked: Blocked | None = None
    until: datetime | None = None
    epoch: int = 0
    probe: int | None = None
    key_ttl: timedelta | None = None
    tells: bool = False


@quick
@dataclass(frozen=True, slots=True)
class PassedOver:
    """A provider that stood earlier in the route and was not taken, and why."""

    provider: str
    reason: str


@quick
@dataclass(frozen=True, slots=True)
class Walk:
    """Where a walk ended: at `chosen`, or nowhere, and then `until` is when it is worth another look."""

    chosen: Opening | None
    passed_over: tuple[PassedOver, ...] = ()
    until: datetime | None = None


@quick
@dataclass(frozen=True, slots=True)
class Lane:
    """Emails that may take the same providers next. `bound`: only this provider, since its key is in doubt.

    `tried`: there was an attempt before, so that new mail doesn't queue up behind retries.
    """

    tenant: str
    route: str
    ruled_out: tuple[str, ...] = ()
    spent: tuple[str, ...] = ()
    bound: str | None = None
    tried: bool = False

    def __str__(self) -> str:
        fields = [self.tenant, self.route, list(self.ruled_out), list(self.spent), self.bound]
        return json.dumps(
            [*fields, True] if self.tried else fields, separators=(",", ":"), ensure_ascii=False
        )

    @classmethod
    def parse(cls, text: str) -> Lane:
        """Read what `str` wrote."""
        tenant, route, ruled_out, spent, bound, *tried = json.loads(text)
        return cls(tenant, route, tuple(ruled_out), tuple(spent), bound, bool(tried))


def walk(openings: Iterable[Opening], lane: Lane, on_limit: OnLimit) -> Walk:
    """The first provider of the route that an email of this lane may take now.

    One that is at a limit ends the walk unless the route overflows. When no unspent provider is available the
    route is walked again with none spent: a new cycle begins.
    """
    openings = tuple(openings)
    first = _walk(openings, lane, on_limit, skip_spent=True)
    waits = any(passed.reason in ENDS_WALK for passed in first.passed_over) and on_limit is OnLimit.WAIT
    if first.chosen is not None or waits or lane.bound is not None:
        return first
    return _walk(openings, lane, on_limit, skip_spent=False)


def _walk(openings: tuple[Opening, ...], lane: Lane, on_limit: OnLimit, *, skip_spent: bool) -> Walk:
    passed: list[PassedOver] = []
    until: list[datetime] = []
    for opening in openings:
        reason = _why_not(opening, lane, skip_spent=skip_spent)
        if reason is None:
            return Walk(opening, tuple(passed))
        passed.append(PassedOver(opening.provider, reason.value))
        if opening.until is not None and reason is opening.blocked:
            until.append(opening.until)
        if reason in ENDS_WALK and on_limit is OnLimit.WAIT:
            break
    return Walk(None, tuple(passed), min(until, default=None))


def _why_not(opening: Opening, lane: Lane, *, skip_spent: bool) -> Blocked | None:
    if opening.provider in lane.ruled_out:
        return Blocked.RULED_OUT
    if lane.bound is not None:
        return opening.blocked if opening.provider == lane.bound else Blocked.BOUND_ELSEWHERE
    if skip_spent and opening.provider in lane.spent:
        return Blocked.SPENT
    return opening.blocked
