"""A provider that does as it is told: for tests, demonstrations and simulated outages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum, unique

from application.provider_port import ProviderUnfit, Submission
from domain.failures import Accepted, FailureKind, NotAccepted, Outcome, Refusal, Unanswered

SCRIPT_STEPS_MAX = 10_000
"""Steps in a script: a longer one is better a function."""


@unique
class Fate(StrEnum):
    """What becomes of an email, and of the answer."""

    ACCEPT = "accept"
    LOST = "lost"
    """Taken, and the answer doesn't arrive."""
    VANISHED = "vanished"
    """Not taken, and no answer arrives: from here it looks like LOST."""
    REFUSE = "refuse"
    """Not taken, for the behaviour's `kind`."""
    HANG = "hang"
    """Never returns until it is cancelled; not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What to do with one submission: wait `delay_s`, take it or not, wait `reply_delay_s`, answer.

    `refused` and `deferred` are indexes into the envelope; those that the submission doesn't carry don't matter.
    """

    fate: Fate = Fate.ACCEPT
    kind: FailureKind = FailureKind.TRANSIENT
    delay_s: float = 0.0
    reply_delay_s: float = 0.0
    retry_after_s: float | None = None
    refused: frozenset[int] = frozenset()
    deferred: frozenset[int] = frozenset()


Script = Sequence[Behaviour] | Callable[[Submission, int], Behaviour]
"""Behaviours for one `send` after the other, beginning again at the end; or a function of the submission and the
number of the call, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A copy that the provider really took, for these recipients."""

    email_id: str
    attempt: int
    accepted: tuple[int, ...]
    provider_key: str


_CODES = {
    FailureKind.RECIPIENT: "550 5.1.1",
    FailureKind.CONTENT: "550 5.6.0",
    FailureKind.SENDER: "550 5.7.1",
    FailureKind.TOO_LARGE: "552 5.3.4",
    FailureKind.ACCOUNT: "535 5.7.8",
    FailureKind.QUOTA: "550 5.4.5",
    FailureKind.THROTTLED: "421 4.7.0",
    FailureKind.TRANSIENT: "451 4.3.0",
    FailureKind.DEFERRED: "450 4.2.1",
}


class ScriptedProvider:
    """Deterministic: what it does depends on the script and the order of calls only. `sleep` is the port for time.

    With a `key_ttl` it honours keys: what is sent again under a `provider_key` that was taken is answered like the
    first time, without a second copy. Keys are kept as long as it lives, or, given `now` (seconds), for `key_ttl`.
    """

    def __init__(
        self,
        *,
        name: str,
        script: Script = (Behaviour(),),
        key_ttl: timedelta | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._name = name
        self._script = script
        self._key_ttl = key_ttl
        self._sleep = sleep
        self._now = now or (lambda: 0.0)
        self._calls = 0
        self._kept: dict[str, tuple[float, Accepted]] = {}
        self._closed = False
        self.received: list[Received] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def type(self) -> str:
        return "scripted"

    @property
    def key_ttl(self) -> timedelta | None:
        return self._key_ttl

    def follow(self, script: Script) -> None:
        """From now on behave like this, from the beginning of the script."""
        self._script = script
        self._calls = 0

    def copies(self, email_id: str, recipient: int) -> int:
        """How many copies of an email it took for one recipient."""
        return sum(one.email_id == email_id and recipient in one.accepted for one in self.received)

    async def send(self, submission: Submission) -> Outcome:
        """Behave as the script says for this call."""
        if self._closed:
            return NotAccepted(kind=FailureKind.NOT_TRIED, detail="the provider is closed")
        behaviour = self._next(submission)
        if behaviour.delay_s:
            await self._sleep(behaviour.delay_s)
        match behaviour.fate:
            case Fate.ACCEPT | Fate.LOST:
                outcome = self._repeated(submission) or self._take(submission, behaviour)
            case Fate.VANISHED:
                outcome = Unanswered(detail="scripted: no answer")
            case Fate.REFUSE:
                outcome = _refusal(submission, behaviour)
            case Fate.HANG:
                never: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
                return await never
        if behaviour.reply_delay_s:
            await self._sleep(behaviour.reply_delay_s)
        if behaviour.fate is Fate.LOST and isinstance(outcome, Accepted):
            return Unanswered(
                detail="scripted: the answer was lost", refused=outcome.refused, deferred=outcome.deferred
            )
        return outcome

    async def find(self, submission: Submission) -> Accepted | None:
        """What it took under this key, if it did."""
        kept = self._kept.get(submission.provider_key)
        return kept[1] if kept is not None and not self._closed else None

    async def check(self) -> str:
        """What the next call will find."""
        if not callable(self._script):
            behaviour = self._script[self._calls % len(self._script)]
            if behaviour.fate is Fate.REFUSE and behaviour.kind in (
                FailureKind.ACCOUNT,
                FailureKind.TRANSIENT,
            ):
                raise ProviderUnfit(f"the script says {behaviour.kind}: wait for its next step, or change it")
        return f"follows a script, {self._calls} calls so far"

    async def close(self) -> None:
        """Send nothing more."""
        self._closed = True

    def _next(self, submission: Submission) -> Behaviour:
        call = self._calls
        self._calls += 1
        if callable(self._script):
            return self._script(submission, call)
        return self._script[call % len(self._script)]

    def _repeated(self, submission: Submission) -> Outcome | None:
        if self._key_ttl is None or submission.provider_key not in self._kept:
            return None
        taken_at, outcome = self._kept[submission.provider_key]
        return outcome if self._now() - taken_at < self._key_ttl.total_seconds() else None

    def _take(self, submission: Submission, behaviour: Behaviour) -> Outcome:
        refused = tuple(
            Refusal(index=index, code=_CODES[FailureKind.RECIPIENT])
            for index in submission.recipients
            if index in behaviour.refused
        )
        deferred = tuple(
            index for index in submission.recipients if index in behaviour.deferred - behaviour.refused
        )
        accepted = tuple(
            index for index in submission.recipients if index not in behaviour.refused | behaviour.deferred
        )
        if not accepted:
            kind = FailureKind.DEFERRED if deferred else FailureKind.RECIPIENT
            return NotAccepted(kind=kind, code=_CODES[kind], refused=refused, deferred=deferred)
        self.received.append(
            Received(
                email_id=submission.email_id,
                attempt=submission.attempt,
                accepted=accepted,
                provider_key=submission.provider_key,
            )
        )
        message_id = f"{self._name}-{len(self.received)}"
        outcome = Accepted(
            accepted=accepted, refused=refused, deferred=deferred, message_id=message_id, code="250 2.0.0"
        )
        self._kept[submission.provider_key] = (self._now(), outcome)
        return outcome


def _refusal(submission: Submission, behaviour: Behaviour) -> NotAccepted:
    kind, code = behaviour.kind, _CODES.get(behaviour.kind, "")
    refused = kind is FailureKind.RECIPIENT
    return NotAccepted(
        kind=kind,
        code=code,
        detail=f"scripted: {kind}",
        refused=tuple(Refusal(index=index, code=code) for index in submission.recipients) if refused else (),
        deferred=submission.recipients if kind is FailureKind.DEFERRED else (),
        retry_after_s=behaviour.retry_after_s,
    )


_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_is_duration = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)").fullmatch
_is_indexes = re.compile(r"\d{1,2}(,\d{1,2})*").fullmatch
_FATES = {fate.value: Behaviour(fate=fate) for fate in Fate if fate is not Fate.REFUSE}
_REFUSALS = {
    kind.value: Behaviour(fate=Fate.REFUSE, kind=kind)
    for kind in FailureKind
    if kind not in (FailureKind.UNCERTAIN, FailureKind.LOST)  # how it ended isn't for the provider to say
}
_STEPS = _REFUSALS | _FATES


def parse_script(steps: Sequence[str]) -> tuple[Behaviour, ...]:
    """A script from its written form. Raises ValueError naming the step and what would be right.

    A step is a fate or a failure kind, then options: a bare duration (with `throttled` and `quota` what the provider
    asks us to wait, else the time it takes), `after=` and `reply=` (durations before and after it is taken),
    `refuse=` and `defer=` (recipients by index). So `accept 800ms refuse=1,2`, `throttled 2s`, `lost reply=1m`.
    """
    if not 0 < len(steps) <= SCRIPT_STEPS_MAX:
        raise ValueError(f"a script has 1 to {SCRIPT_STEPS_MAX} steps, not {len(steps)}")
    return tuple(_parse_step(step) for step in steps)


def _parse_step(step: str) -> Behaviour:
    name, *options = step.split() or [""]
    if name not in _STEPS:
        raise ValueError(f"{step!r} does not begin with one of: {' '.join(_STEPS)}")
    behaviour = _STEPS[name]
    for option in options:
        key, _, value = option.rpartition("=")
        match key:
            case "" if behaviour.kind in (FailureKind.THROTTLED, FailureKind.QUOTA):
                behaviour = replace(behaviour, retry_after_s=_duration_s(step, value))
            case "" | "after":
                behaviour = replace(behaviour, delay_s=_duration_s(step, value))
            case "reply":
                behaviour = replace(behaviour, reply_delay_s=_duration_s(step, value))
            case "refuse":
                behaviour = replace(behaviour, refused=_indexes(step, value))
            case "defer":
                behaviour = replace(behaviour, deferred=_indexes(step, value))
            case _:
                raise ValueError(f"{step!r}: no option {key!r}, only after= reply= refuse= defer=")
    return behaviour


def _duration_s(step: str, text: str) -> float:
    if not (found := _is_duration(text)):
        raise ValueError(f"{step!r}: {text!r} is no duration like 800ms, 2s, 1m, 1h")
    return float(found[1]) * _UNITS_S[found[2]]


def _indexes(step: str, text: str) -> frozenset[int]:
    if not _is_indexes(text):
        raise ValueError(f"{step!r}: {text!r} is no list of recipients like 0 or 1,2")
    return frozenset(map(int, text.split(",")))
