"""The ports of the use cases: time, chance, the executor, and the event store. (Providers: `provider_port`.)"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from application.projections.emails import EmailView
from application.projections.gates import Gate
from application.projections.inline import InlineViews
from application.recorded import Committed, Conflict, Recorded, StoredContent, Unit
from domain.frozen import quick
from domain.routing import Priority

T = TypeVar("T")

BATCH_MAX = 512
"""Units in one transaction: past this the gain per unit is gone, and the wait of the first one grows."""


class Clock(Protocol):
    """Where time comes from, and how one waits for it."""

    def now(self) -> datetime:
        """The time now, UTC, to the microsecond."""

    def monotonic(self) -> float:
        """Seconds that only ever grow, for measuring durations."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Ids(Protocol):
    """Where identity and chance come from; seeded, everything that follows can be repeated."""

    def new_id(self, now: datetime) -> str:
        """A new UUIDv7 of this time, as 36 characters."""

    def salt(self) -> bytes:
        """16 unpredictable bytes."""

    def chance(self) -> float:
        """A number in [0, 1), evenly spread."""


class Executor(Protocol):
    """Runs the store's blocking calls: in a thread, or, in simulation, at once."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


class StoreUnavailable(Exception):
    """The database can't be reached, is full, or is locked by somebody else: nothing was recorded."""


class LeaseLost(Exception):
    """The worker's lease is gone: it may start nothing more."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A worker's right to start attempts. `token` rises with every lease that is ever given."""

    worker: str
    token: int


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Emails of one lane and priority that wait for an attempt; the first of them has been due since `due_at`."""

    lane: str
    priority: Priority
    due_at: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Claim up to `count` due emails of this lane and priority, the longest due first."""

    lane: str
    priority: Priority
    count: int


Choose = Callable[[Sequence[Waiting], Mapping[str, Gate], datetime], Sequence[Share]]
"""Which of the waiting lanes (due ones only, by priority, then by age) to claim from, given the gates as hints."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a transaction needs before its decision.

    `lease`: the caller's, which has to be alive for anything to be claimed. `takes_over`: a lease that has run
    out, whose open attempts are to be closed; where `keep` is not None, only the open attempts of `takes_over`
    that are not in it (email id, attempt). `emails`: those with a command waiting. `choose`: claim due emails.
    `overdue_max`: also take so many emails whose deadline has passed. `open_max`: bound on attempts taken over.
    `kept`: the decision depends on whether the content of `emails` is still there.
    `unseen_for`: `takes_over` has still not been renewed for so long, or LeaseLost is raised.
    `gates`: the decision reads or moves gates; then all of them are locked.
    """

    lease: Lease | None = None
    takes_over: Lease | None = None
    keep: frozenset[tuple[str, int]] | None = None
    emails: tuple[str, ...] = ()
    choose: Choose | None = None
    overdue_max: int = 0
    open_max: int = BATCH_MAX
    gates: bool = True
    kept: bool = False
    unseen_for: timedelta = timedelta(0)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What a transaction holds while it decides.

    `now` was taken after the locks: no earlier than any start behind the gates. `emails` are folded, by id;
    ids that nobody requested are absent. `claimed` and `overdue` (ids) are in the order they are to be served.
    `taken_over`: (email id, attempt). `lease_alive` is False where the plan's lease is gone. `kept`: those of the
    plan's emails whose content is there, and stays as long as this transaction lasts; empty unless the plan asks.
    """

    now: datetime
    emails: Mapping[str, EmailView]
    gates: Mapping[str, Gate]
    claimed: tuple[str, ...] = ()
    overdue: tuple[str, ...] = ()
    taken_over: tuple[tuple[str, int], ...] = ()
    lease_alive: bool = True
    kept: frozenset[str] = frozenset()


@quick
@dataclass(frozen=True, slots=True)
class Decision:
    """Units to record, and in `views` what folding them into what was locked has given already, positions aside.

    Whoever decides on many emails has folded them to see what each decision leaves; a store need not do it again.
    """

    units: Sequence[Unit]
    views: InlineViews | None = None

    @classmethod
    def of(cls, answer: Sequence[Unit] | Decision) -> Decision:
        """What a callback answered, which may be units alone."""
        return answer if isinstance(answer, Decision) else cls(answer)


Decide = Callable[[Locked], Sequence[Unit] | Decision]


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Transacted:
    """What a transaction recorded, with the content of every email that an attempt was started for.

    `next_at`: when the next email is due or the next deadline passes, as far as it was seen; None: nothing waits.
    """

    locked: Locked
    recorded: tuple[Recorded, ...]
    contents: Mapping[str, StoredContent] = field(default_factory=dict)
    next_at: datetime | None = None


class EventStore(Protocol):
    """The append-only log with its inline views. Every call blocks, is one transaction, and is thread-safe.

    Raises StoreUnavailable where the database doesn't answer; then nothing of the call was recorded. An answer
    to COMMIT that was lost is looked up by event id before the call is given up.
    """

    def append(self, units: Sequence[Unit]) -> list[Committed | Conflict]:
        """Record units of new streams and content, in order; each one whole or not at all.

        A unit whose expected version is off is refused alone: those beside it are not touched. Units for streams
        that exist are recorded as well, but only `transact` keeps others from getting in between. Touches no gate.
        """

    def transact(self, plan: Plan, decide: Decide) -> Transacted:
        """Lock what the plan names, decide, and record all units of the decision or none.

        `decide` is pure and may be called again, with a fresh view, where another writer got in between. Raises
        LeaseLost where `takes_over` isn't there (any more), or was renewed since.
        """

    def read_stream(self, stream: str) -> list[Recorded]:
        """All events of a stream in order; none: there is no such stream."""

    def read_all(self, after: int, limit: int) -> list[Recorded]:
        """The next events of the log behind position `after`, in order; never one before all earlier ones are
        known to be there or never to come."""

    def read_back(self, before: int, limit: int) -> list[Recorded]:
        """The last events in front of position `before`, the latest first. None comes in between later where
        `before` is no higher than `end() + 1`."""

    def end(self) -> int:
        """Where following the log begins for whoever wants only what is new: all that is recorded from now on lies
        behind this position. It is the last event's, or a little lower while a writer may still fill a gap."""

    def contents(self, email_ids: Sequence[str]) -> dict[str, StoredContent]:
        """What the content store still has of these emails."""

    def erase(self, email_id: str) -> None:
        """Delete the content of an email, and blobs that no other email uses. Idempotent."""

    def acquire_lease(self, worker: str) -> Lease:
        """A new lease for this worker, seen now."""

    def renew_lease(self, lease: Lease) -> bool:
        """Mark the lease as seen now; False: it is gone."""

    def release_lease(self, lease: Lease) -> None:
        """Give the lease up; only where it has no open attempts left. Idempotent."""

    def stale_leases(self, unseen_for: timedelta) -> list[Lease]:
        """Leases that were not renewed for so long; with zero: every lease there is."""

    def waiting(self) -> int:
        """How many emails have not reached an end: what `queue_max` bounds. May lag by a moment."""

    def check(self) -> None:
        """Whether the database answers and is migrated, and can be written. Raises StoreUnavailable."""

    def close(self) -> None:
        """Let go of every connection."""
