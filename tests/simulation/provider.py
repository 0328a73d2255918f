"""A provider of the simulation: it knows what it really took, and what it does is drawn from the plan.

What was handed over is on its way, whoever dies meanwhile: it arrives, and is taken or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from application.provider_port import Submission
from domain.failures import Accepted, FailureKind, NotAccepted, Outcome, Refusal, Unanswered
from tests.simulation.plan import Mail, Plan, Way, chance
from tests.simulation.reactions import Reaction, reaction

KEYS_OUTLIVE_S = 300.0
"""A provider keeps keys for longer than it says, by more than a worker can stand still between the start of an attempt
and its call, and than the database's clock is set back. Without that nobody could rely on a key."""

ANSWER_WITHIN_S = 20.0
"""How long we wait for an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An attempt that reached us from a worker, at `at_s`."""

    email_id: str
    attempt: int
    provider: str
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What the provider really took, for these recipients."""

    email_id: str
    attempt: int
    provider: str
    accepted: tuple[int, ...]
    at_s: float


class SimulatedProvider:
    """The `Provider` port, and `Searchable`. `mail`: the plan of an email, by its id.

    `called` hears of each call, `took` of each copy, where the provider tells of them.
    """

    type = "simulated"

    def __init__(
        self,
        way: Way,
        plan: Plan,
        mail: Callable[[str], Mail],
        called: Callable[[Call], None],
        took: Callable[[Copy], None],
    ) -> None:
        self.way = way
        self.name = way.name
        self.received: list[Copy] = []
        self._seed = plan.seed
        self._calm_s = plan.calm_s
        self._keys_outlive_s = KEYS_OUTLIVE_S + plan.set_back_s
        self._mail = mail
        self._called = called
        self._took = took
        self._kept: dict[str, tuple[float, Accepted]] = {}

    @property
    def key_ttl(self) -> timedelta | None:
        return None if self.way.key_ttl_s is None else timedelta(seconds=self.way.key_ttl_s)

    async def send(self, submission: Submission) -> Outcome:
        """Connect, hand it over, wait for the answer."""
        loop = asyncio.get_running_loop()
        email_id, attempt = submission.email_id, submission.attempt
        self._called(Call(email_id=email_id, attempt=attempt, provider=self.name, at_s=loop.time()))
        react = reaction(
            self.way,
            self._mail(email_id),
            submission,
            chance(self._seed, self.name, email_id, attempt),
            now_s=loop.time(),
            calm=loop.time() >= self._calm_s,
        )
        try:
            await asyncio.sleep(react.connect_s)
        except asyncio.CancelledError:
            return NotAccepted(kind=FailureKind.NOT_TRIED, code="cancelled")
        if react.kind is not None:
            return self._refusal(submission, react, react.kind)
        answer: asyncio.Future[Outcome] = loop.create_future()
        loop.call_later(react.take_s, self._arrive, submission, react, answer)
        if react.silent:
            await asyncio.sleep(ANSWER_WITHIN_S)
            return Unanswered(  # recipients were named one by one before, and each had an answer
                detail=f"no answer about {submission.addresses[0]}",
                refused=_refusals(react.refused),
                deferred=tuple(sorted(react.deferred)),
            )
        await asyncio.sleep(react.take_s + react.reply_s)
        return await answer

    async def find(self, submission: Submission) -> Accepted | None:
        """What it took under this key, once it has had time to index it."""
        await asyncio.sleep(0.2)
        if submission.provider_key not in self._kept:
            return None
        taken_at_s, outcome = self._kept[submission.provider_key]
        return outcome if asyncio.get_running_loop().time() > taken_at_s + 2.0 else None

    async def check(self) -> str:
        return "simulated"

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _arrive(self, submission: Submission, react: Reaction, answer: asyncio.Future[Outcome]) -> None:
        """Here it is decided; whether anybody still waits for the answer is another matter."""
        outcome = self._take(submission, react)
        if not answer.done():
            answer.set_result(outcome)

    def _take(self, submission: Submission, react: Reaction) -> Outcome:
        now_s = asyncio.get_running_loop().time()
        kept = self._kept.get(submission.provider_key) if self.way.key_ttl_s is not None else None
        if kept is not None and now_s - kept[0] < (self.way.key_ttl_s or 0.0) + self._keys_outlive_s:
            return kept[1]
        refused = tuple(index for index in submission.recipients if index in react.refused)
        deferred = tuple(index for index in submission.recipients if index in react.deferred - react.refused)
        accepted = tuple(index for index in submission.recipients if index not in {*refused, *deferred})
        if react.vanishes or not accepted:
            kind = FailureKind.DEFERRED if deferred else FailureKind.RECIPIENT
            return NotAccepted(kind=kind, code="450 4.2.1", refused=_refusals(refused), deferred=deferred)
        copy = Copy(
            email_id=submission.email_id,
            attempt=submission.attempt,
            provider=self.name,
            accepted=accepted,
            at_s=now_s,
        )
        self.received.append(copy)
        if self.way.feedback:
            self._took(copy)
        outcome = Accepted(
            accepted=accepted,
            refused=_refusals(refused),
            deferred=deferred,
            message_id=f"{self.name}-{len(self.received)}",
            code="250 2.0.0",
        )
        self._kept[submission.provider_key] = (now_s, outcome)
        return outcome

    def _refusal(self, submission: Submission, react: Reaction, kind: FailureKind) -> NotAccepted:
        everybody = submission.recipients
        return NotAccepted(
            kind=kind,
            code="5.0.0",
            detail=f"{kind}: <{submission.addresses[0]}> about {submission.content.subject}",
            refused=_refusals(everybody) if kind is FailureKind.RECIPIENT else (),
            deferred=everybody if kind is FailureKind.DEFERRED else (),
            retry_after_s=react.retry_after_s,
        )


def _refusals(indexes: tuple[int, ...] | frozenset[int]) -> tuple[Refusal, ...]:
    return tuple(Refusal(index=index, code="550 5.1.1") for index in sorted(indexes))
