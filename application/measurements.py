"""What this process has recorded since it began, as numbers: counted once a transaction, read when somebody asks.

Only names that the configuration or an enumeration knows become keys, so there are never many of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, unique
from threading import Lock

from application.projections.emails import EmailView, Status, email_id_of
from application.recorded import Recorded
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    Cancelled,
    DuplicateRiskAccepted,
    Failed,
    FailReason,
    OutcomeUncertain,
    PartlySent,
    Requested,
    Sent,
)
from domain.email.settle import POLICY
from domain.failures import FailureKind

GONE = "(gone)"
"""What a provider is called that is no longer in the configuration; no name can be that."""

OUTCOMES = ("sent", "partly_sent", *(kind.value for kind in FailureKind))
"""How an attempt ends: accepted for all or for some, or the kind of its failure or uncertainty."""

ENDS = (
    (Status.SENT.value, ""),
    *((Status.FAILED.value, reason.value) for reason in FailReason),
    (Status.CANCELLED.value, ""),
)
"""How an email ends: its status, and why it failed."""

BY_POLICY, BY_OPERATOR = "policy", "operator"

DELAY_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800, 3600, 14_400, 43_200, 86_400)
"""From a provider that answers at once to one that was down all day; two minutes is a sign-in code's life."""

UNITS = (1, 2, 5, 10, 20, 50, 100, 200, 512)
COMMIT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@unique
class Transaction(StrEnum):
    """Two kinds of transactions: those that take emails in, and those that decide about emails there are."""

    ACCEPT = "accept"
    DECIDE = "decide"


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many values were at most as large as each bound, and larger than the bound before; the last is beyond all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class Histogram:
    """Counts values by the bound they don't exceed."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def read(self) -> Distribution:
        """What was counted so far."""
        return Distribution(self._bounds, tuple(self._counts), self._total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """All that was counted. `attempts`: by provider and outcome. `ended`: by status and reason. `risks`: by whom.

    `delay`: s from acceptance (or `send_at`, where that is later) to `sent`. `units` and `seconds` of transactions
    that recorded something: what each held, and how long it took from its beginning to the answer of its commit.
    """

    accepted: int
    attempts: Mapping[tuple[str, str], int]
    ended: Mapping[tuple[str, str], int]
    risks: Mapping[str, int]
    delay: Distribution
    units: Mapping[Transaction, Distribution]
    seconds: Mapping[Transaction, Distribution]


class Measurements:
    """Counts; safe to call from several threads. Everything that can be counted is there from the beginning, at 0."""

    def __init__(self, providers: Iterable[str]) -> None:
        """`providers`: those that are configured."""
        self._providers = frozenset(providers)
        self._lock = Lock()
        self._accepted = 0
        self._attempts = Counter({(one, outcome): 0 for one in self._providers for outcome in OUTCOMES})
        self._ended = Counter(dict.fromkeys(ENDS, 0))
        self._risks = Counter({BY_POLICY: 0, BY_OPERATOR: 0})
        self._delay = Histogram(DELAY_S)
        self._units = {one: Histogram(UNITS) for one in Transaction}
        self._seconds = {one: Histogram(COMMIT_S) for one in Transaction}

    def transacted(
        self,
        transaction: Transaction,
        recorded: Iterable[Recorded],
        *,
        units: int,
        seconds: float,
        emails: Mapping[str, EmailView],
    ) -> None:
        """Count a transaction and what it recorded; `emails`: those it was about, as they were before, by id."""
        with self._lock:
            self._units[transaction].add(units)
            self._seconds[transaction].add(seconds)
            for one in recorded:
                self._count(one, emails)

    def read(self) -> Totals:
        """What was counted so far."""
        with self._lock:
            return Totals(
                accepted=self._accepted,
                attempts=dict(self._attempts),
                ended=dict(self._ended),
                risks=dict(self._risks),
                delay=self._delay.read(),
                units={one: histogram.read() for one, histogram in self._units.items()},
                seconds={one: histogram.read() for one, histogram in self._seconds.items()},
            )

    def _count(self, one: Recorded, emails: Mapping[str, EmailView]) -> None:
        event = one.event
        match event:
            case AttemptStarted():
                pass  # most events are this one, or one of the next two
            case Requested():
                self._accepted += 1
            case Sent(provider=provider, attempt=attempt):
                if attempt is not None and provider is not None:
                    self._attempt(provider, "sent")
                self._ended[Status.SENT.value, ""] += 1
                view = emails.get(email_id_of(one.stream))
                if view is not None and (due_at := _due_at(view)) is not None:
                    # Two machines' clocks may differ: nothing arrives before it was sent.
                    self._delay.add(max(0.0, (one.at - due_at).total_seconds()))
            case AttemptFailed(provider=provider, kind=kind) | OutcomeUncertain(provider=provider, kind=kind):
                self._attempt(provider, kind.value)
            case PartlySent(provider=provider):
                self._attempt(provider, "partly_sent")
            case Failed(reason=reason):
                self._ended[Status.FAILED.value, reason.value] += 1
            case Cancelled():
                self._ended[Status.CANCELLED.value, ""] += 1
            case DuplicateRiskAccepted(by=by):
                self._risks[BY_POLICY if by == POLICY else BY_OPERATOR] += 1
            case _:
                pass

    def _attempt(self, provider: str, outcome: str) -> None:
        self._attempts[provider if provider in self._providers else GONE, outcome] += 1


def _due_at(view: EmailView) -> datetime | None:
    """Since when the email may be sent."""
    email = view.email
    if email.requested_at is None or email.send_at is None:
        return email.requested_at
    return max(email.requested_at, email.send_at)
