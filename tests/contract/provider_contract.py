"""What every provider promises (`application.provider_port`), as a suite that each adapter runs.

An adapter joins with a `Bench`: itself, a stand-in for its provider, and how to make that behave. In its test module:

    class TestMyProvider(ProviderContract):
        @pytest.fixture
        async def bench(self) -> AsyncIterator[Bench]: ...
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from enum import StrEnum, unique
from typing import Protocol

import pytest

from application.provider_port import Provider, ProviderUnfit, Submission
from domain.content import Address, Content
from domain.failures import Accepted, FailureKind, NotAccepted, Outcome, Unanswered

DATE = datetime(2026, 11, 5, 9, 30, tzinfo=UTC)
RETRY_AFTER_S = 7
"""What a throttling stand-in asks for."""

PATIENCE_S = 10.0
"""Far above the timeouts that benches configure: whoever takes longer has none."""


@unique
class Reaction(StrEnum):
    """How the stand-in is told to react to whatever comes, until it is told otherwise."""

    ACCEPTS = "accepts"
    REFUSES_EVERYBODY = "refuses every recipient"
    REFUSES_THE_SECOND = "refuses the second recipient named to it"
    DEFERS_THE_SECOND = "defers the second recipient named to it"
    DEFERS_EVERYBODY = "defers every recipient"
    REJECTS_THE_CONTENT = "rejects the content"
    KNOWS_NO_SUCH_SENDER = "does not know the sender"
    FINDS_IT_TOO_LARGE = "finds it too large"
    LOCKS_US_OUT = "refuses our login"
    SPENT_OUR_QUOTA = "has no quota left for us"
    THROTTLES = "throttles, and names RETRY_AFTER_S"
    FAILS = "can't take anything now"
    IS_GONE = "refuses connections"
    LOSES_THE_ANSWER = "takes it, and the answer gets lost"
    NEVER_ANSWERS = "never answers, and takes nothing"


KINDS = {
    Reaction.REFUSES_EVERYBODY: FailureKind.RECIPIENT,
    Reaction.DEFERS_EVERYBODY: FailureKind.DEFERRED,
    Reaction.REJECTS_THE_CONTENT: FailureKind.CONTENT,
    Reaction.KNOWS_NO_SUCH_SENDER: FailureKind.SENDER,
    Reaction.FINDS_IT_TOO_LARGE: FailureKind.TOO_LARGE,
    Reaction.LOCKS_US_OUT: FailureKind.ACCOUNT,
    Reaction.SPENT_OUR_QUOTA: FailureKind.QUOTA,
    Reaction.THROTTLES: FailureKind.THROTTLED,
    Reaction.FAILS: FailureKind.TRANSIENT,
    Reaction.IS_GONE: FailureKind.TRANSIENT,
}
"""The reactions that are a refusal, and the kind each has to be told as (DESIGN §4)."""


class Bench(Protocol):
    """One adapter and its stand-in. Timeouts are configured short: `NEVER_ANSWERS` ends well within PATIENCE_S."""

    provider: Provider
    reactions: frozenset[Reaction]
    """What the stand-in can be told, and what this kind of provider can say at all."""

    async def tell(self, reaction: Reaction) -> None:
        """From now on react like this. Everything before the first call is accepted."""

    def copies(self, email_id: str, recipient: str) -> int:
        """Copies of this email that the stand-in really took for this address."""

    def open_connections(self) -> int:
        """Connections it sees open now."""


def submission(
    number: int = 1,
    *,
    recipients: tuple[int, ...] = (0,),
    of: int = 1,
    attempt: int = 1,
    text: str = "Your order is on its way.\n.\n..\n",
) -> Submission:
    """A plain email to `of` people, of whom this attempt carries `recipients`."""
    to = tuple(Address(address=f"reader{index}@example.net") for index in range(of))
    content = Content(sender=Address(address="shop@example.org"), to=to, subject="News", text=text)
    return Submission(
        email_id=f"email-{number}",
        attempt=attempt,
        recipients=recipients,
        content=content,
        date=DATE,
        provider_key=f"key-{number}-{'.'.join(map(str, recipients))}",
    )


async def send(provider: Provider, what: Submission) -> Outcome:
    """`send`, in bounded time, with what holds of every outcome."""
    async with asyncio.timeout(PATIENCE_S):
        outcome = await provider.send(what)

    settled = [refusal.index for refusal in outcome.refused] + list(outcome.deferred)
    if isinstance(outcome, Accepted):
        assert outcome.accepted, "accepted for nobody is NotAccepted"
        settled += outcome.accepted
    assert len(settled) == len(set(settled)), "each recipient at most once"
    assert set(settled) <= set(what.recipients), "nobody else's"
    assert all(refusal.kind is FailureKind.RECIPIENT for refusal in outcome.refused)
    return outcome


async def until(condition: str, holds: object) -> None:
    """Wait for what the other side has to notice first."""
    assert callable(holds)
    for _ in range(200):
        if holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"never came: {condition}")


class ProviderContract:
    """The suite."""

    @pytest.fixture
    def can(self, bench: Bench) -> object:
        """Skip what this kind of provider can't say."""

        def check(*reactions: Reaction) -> None:
            if missing := set(reactions) - bench.reactions:
                pytest.skip(f"no such provider {' or '.join(sorted(missing))}")

        return check

    async def test_what_is_accepted_was_taken_once(self, bench: Bench) -> None:
        """`Accepted` names everybody the submission carries, and the provider has one copy for each."""
        what = submission(recipients=(0, 1), of=2)

        outcome = await send(bench.provider, what)

        assert isinstance(outcome, Accepted)
        assert (0, 1) == outcome.accepted
        assert [1, 1] == [bench.copies(what.email_id, address) for address in what.addresses]

    async def test_only_the_carried_recipients_get_it(self, bench: Bench) -> None:
        """An attempt for some of the envelope reaches nobody else, and outcomes speak in the envelope's indexes."""
        what = submission(recipients=(1, 3), of=4)

        outcome = await send(bench.provider, what)

        assert isinstance(outcome, Accepted)
        assert (1, 3) == outcome.accepted
        taken = [bench.copies(what.email_id, f"reader{index}@example.net") for index in range(4)]
        assert [0, 1, 0, 1] == taken
