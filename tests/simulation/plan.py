"""What is going to happen in one run: drawn from a seed, and then only a value that can be looked at and cut down.

Whatever else is left to chance is drawn anew for each thing by its own name (`chance`), so that leaving one email or
one fault out leaves the others as they were, as far as that can be.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum, unique

from domain.rate_limit import Rate
from domain.routing import OnLimit, OnUncertain, Priority

SUBJECT, BODY = "Subject-nobody-may-log", "Body-nobody-may-log"


def chance(*names: object) -> random.Random:
    """Chances that depend on these names only."""
    return random.Random("/".join(map(str, names)))


@unique
class Mood(StrEnum):
    """How a provider behaves for a while."""

    FINE = "fine"
    MOODY = "moody"
    """A little of everything."""
    SLOW = "slow"
    LOSSY = "lossy"
    """Half of its answers get lost, and now and then it is down."""
    DOWN = "down"
    FLAPPING = "flapping"
    """Down and up again, ten seconds each."""
    THROTTLING = "throttling"
    PICKY = "picky"
    """Refuses messages and senders, and puts recipients off."""
    SUSPENDED = "suspended"
    EXHAUSTED = "exhausted"
    """Its quota is used up."""
    HANGING = "hanging"
    """No answer, ever; sometimes it has taken the email."""


@unique
class Point(StrEnum):
    """Where a worker is when something happens to it."""

    BEFORE = "before"
    """About to ask the database."""
    AFTER = "after"
    """What it asked is committed, and it hasn't heard."""
    CALL = "call"
    """An attempt is committed, and the provider isn't called yet."""
    ANSWER = "answer"
    """The provider has answered, and nothing is recorded."""
    NOW = "now"
    """Wherever it is."""


@unique
class Trouble(StrEnum):
    """What happens to a process."""

    CRASH = "crash"
    """As by `kill -9`; it is started again after a while."""
    FREEZE = "freeze"
    """It stands still, and goes on as if nothing had been."""
    SUSPEND = "suspend"
    """The same with its whole machine: even its monotonic clock stood still."""
    STOP = "stop"
    """Stopped in order, started again after a while."""
    CUT_OFF = "cut_off"
    """The database doesn't answer it."""
    NOT_COMMITTED = "not_committed"
    """The next transaction is refused at its end."""
    STEP = "step"
    """Its clock is set."""
    UNANSWERED = "unanswered"
    """The next transaction is committed, and the database is gone before it says so: nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """At `at_s` something happens to a process, or as soon after it as it comes to `point`, and lasts `for_s`.

    `by_s`: how far a clock is set. `node` is its index.
    """

    at_s: float
    node: int
    trouble: Trouble
    point: Point = Point.NOW
    for_s: float = 0.0
    by_s: float = 0.0


@unique
class Deed(StrEnum):
    """What somebody does."""

    CANCEL = "cancel"
    RETRY = "retry"
    RETRY_AT_RISK = "retry_at_risk"
    RESCHEDULE = "reschedule"
    PAUSE = "pause"
    RESUME = "resume"
    RESET = "reset"
    AGAIN = "again"
    """The same request comes once more."""
    MISUSE = "misuse"
    """Another request comes under the same key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Somebody does something about an email (by its key), or a provider (by its name)."""

    at_s: float
    deed: Deed
    target: str
    by_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One email. `hopeless` recipients are refused everywhere; `shy` ones are put off the first time."""

    key: str
    at_s: float
    recipients: int = 1
    hopeless: frozenset[int] = frozenset()
    shy: frozenset[int] = frozenset()
    policy: OnUncertain | None = None
    urgent: bool = False
    expires_s: float = 600.0
    send_in_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A provider. `moods`: from when on (s) it behaves how."""

    name: str
    moods: tuple[tuple[float, Mood], ...]
    rates: tuple[Rate, ...] = ()
    concurrency: int = 4
    key_ttl_s: float | None = None
    feedback: bool = False
    lookup: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run. Until `calm_s` everything goes wrong that is planned to; from then on everybody is well.

    `nodes`: processes; each has a worker, and takes emails in. `alone`: the others of its time are known to be dead.
    `kept_s`: how long content is kept after an email's end; None: for ever.
    `rolls`: every other process, and every other life of each, has a configuration that lacks the last provider.
    """

    seed: int
    ways: tuple[Way, ...]
    mails: tuple[Mail, ...]
    nodes: int = 1
    faults: tuple[Fault, ...] = ()
    acts: tuple[Act, ...] = ()
    calm_s: float = 60.0
    policy: OnUncertain = OnUncertain.RETRY
    on_limit: OnLimit = OnLimit.WAIT
    service_rates: tuple[Rate, ...] = ()
    route_rates: tuple[Rate, ...] = ()
    attempts: int = 2
    cap_s: float = 60.0
    lease_s: float = 30.0
    poll_s: float = 5.0
    resolve_s: float = 30.0
    urgency: Priority = Priority.HIGH
    alone: bool = False
    kept_s: float | None = None
    rolls: bool = False

    @property
    def set_back_s(self) -> float:
        """How far the database's clock is set back at most."""
        steps = [0.0, *(fault.by_s for fault in self.faults if fault.trouble is Trouble.STEP and self.alone)]
        return max(steps) - min(steps)
