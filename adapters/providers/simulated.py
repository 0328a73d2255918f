"""A provider that a simulation plays: it takes its time, fails as the scenario says, and knows what it really took."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from zlib import crc32

from application.provider_port import ProviderUnfit, Submission
from application.simulate_scenario import RETRY_AFTER_S_MIN, Fate, Luck, Manner, Silence
from domain.failures import Accepted, FailureKind, NotAccepted, Outcome, Refusal, Unanswered
from domain.rate_limit import Rate

ANSWERED_KEPT = 1000
"""Keys whose answer arrived that are remembered all the same: nobody has a reason to ask again."""

UNFIT = (FailureKind.TRANSIENT, FailureKind.ACCOUNT)
"""What a check of a real provider would find out as well."""


def number_of(submission: Submission) -> int:
    """The email's number: its subject. Another email has one as good as any."""
    subject = submission.content.subject
    return int(subject) if subject.isdecimal() else crc32(submission.email_id.encode())


class Copies:
    """Which emails were taken without an answer, over all providers, and how many were then taken once more."""

    def __init__(self) -> None:
        self._unanswered: set[int] = set()
        self.duplicates = 0

    def take(self, email: int, *, answered: bool) -> None:
        """An email was taken. Only one without an answer is ever sent again."""
        self.duplicates += email in self._unanswered
        if not answered:
            self._unanswered.add(email)


class _Throttle:
    """Counts calls in windows that follow each other, as providers commonly do."""

    def __init__(self, rate: Rate) -> None:
        self._limit = rate.limit
        self._length_s = rate.window.total_seconds()
        self._window = -1
        self._count = 0

    def over_s(self, at_s: float) -> float | None:
        """None, and the call counts; or how long until the next window."""
        window = int(at_s // self._length_s)
        if window > self._window:
            self._window, self._count = window, 0
        if self._count >= self._limit:
            return max(RETRY_AFTER_S_MIN, (self._window + 1) * self._length_s - at_s)
        self._count += 1
        return None


class SimulatedProvider:
    """A `Provider` (see there). An email's number is its subject; `seconds` is the simulated time.

    `timeout_s`: no answer is waited for longer; what takes longer was taken all the same.
    """

    def __init__(
        self,
        *,
        name: str,
        type: str,
        key_ttl: timedelta | None,
        timeout_s: float,
        manner: Manner,
        luck: Luck,
        copies: Copies,
        sleep: Callable[[float], Awaitable[object]],
        seconds: Callable[[], float],
    ) -> None:
        self._name = name
        self._type = type
        self._key_ttl = key_ttl
        self._timeout_s = timeout_s
        self._luck = luck
        self._copies = copies
        self._sleep = sleep
        self._seconds = seconds
        self._unanswered: dict[str, tuple[float, Accepted]] = {}
        self._answered: dict[str, tuple[float, Accepted]] = {}
        self._closed = False
        self.follow(manner)

    @property
    def name(self) -> str:
        return self._name

    @property
    def type(self) -> str:
        return self._type

    @property
    def key_ttl(self) -> timedelta | None:
        return self._key_ttl

    def follow(self, manner: Manner) -> None:
        """From now on behave like this."""
        self._manner = manner
        self._throttle = None if manner.throttle is None else _Throttle(manner.throttle)

    def plain_s(self, email: int, at_s: float) -> float | None:
        """How long the first attempt at an email takes if nothing at all goes wrong; None: something does.

        A time is a promise: the call counts as made.
        """
        fate = self._luck.fate(self._manner, self._name, email, 1, at_s)
        if fate.what is not None or fate.takes_s >= self._timeout_s:
            return None
        if self._throttle is not None and self._throttle.over_s(at_s) is not None:
            return None
        return fate.takes_s

    async def send(self, submission: Submission) -> Outcome:
        """Behave as the scenario says for this moment."""
        at_s = self._seconds()
        email = number_of(submission)
        if self._closed:
            return NotAccepted(kind=FailureKind.NOT_TRIED, detail="the provider is closed")
        wait_s = None if self._throttle is None else self._throttle.over_s(at_s)
        fate = self._luck.fate(self._manner, self._name, email, submission.attempt, at_s)
        if wait_s is not None:
            await self._sleep(min(fate.takes_s, self._timeout_s))
            return _refusal(FailureKind.THROTTLED, submission, wait_s)
        if fate.what is Silence.VANISHED:
            await self._sleep(self._timeout_s)
            return Unanswered(code="timeout")
        if isinstance(fate.what, FailureKind):
            await self._sleep(min(fate.takes_s, self._timeout_s))
            return _refusal(fate.what, submission, None)
        return await self._take(submission, email, fate)

    async def _take(self, submission: Submission, email: int, fate: Fate) -> Outcome:
        key, at_s = submission.provider_key, self._seconds()
        in_time = fate.takes_s < self._timeout_s
        answered = fate.what is None and in_time
        taken = self._known(key, at_s)
        if taken is None:
            self._copies.take(email, answered=answered)
            taken = Accepted(accepted=submission.recipients, message_id=f"{self._name}-{email}", code="250")
            (self._answered if answered else self._unanswered)[key] = (at_s, taken)
            if len(self._answered) > ANSWERED_KEPT:
                del self._answered[next(iter(self._answered))]
        await self._sleep(min(fate.takes_s, self._timeout_s))
        if answered:
            self._unanswered.pop(key, None)
            return taken
        return Unanswered(code="reset" if in_time else "timeout")

    def _known(self, key: str, at_s: float) -> Accepted | None:
        """What was taken under this key, while the provider remembers keys."""
        known = self._unanswered.get(key) or self._answered.get(key)
        if known is None or self._key_ttl is None:
            return None
        taken_at_s, taken = known
        return taken if at_s - taken_at_s < self._key_ttl.total_seconds() else None

    async def find(self, submission: Submission) -> Accepted | None:
        """What it took without our hearing of it."""
        known = self._unanswered.get(submission.provider_key)
        return None if known is None else known[1]

    async def check(self) -> str:
        """What every call would find now."""
        for trouble in self._manner.troubles:
            if trouble.span.has(self._seconds()) and trouble.share >= 1 and trouble.fate in UNFIT:
                raise ProviderUnfit(f"the scenario says {trouble.fate.value} now: wait, or change it")
        return "is simulated"

    async def close(self) -> None:
        """Send nothing more."""
        self._closed = True


def _refusal(kind: FailureKind, submission: Submission, retry_after_s: float | None) -> NotAccepted:
    everybody = submission.recipients
    refused = kind is FailureKind.RECIPIENT
    return NotAccepted(
        kind=kind,
        code="simulated",
        refused=tuple(Refusal(index=index, code="simulated") for index in everybody) if refused else (),
        deferred=everybody if kind is FailureKind.DEFERRED else (),
        retry_after_s=retry_after_s,
    )
