"""What every provider promises (`application.provider_port`), as a suite that each adapter runs.

An adapter joins with a `Bench`: itself, a stand-in for its provider, and how to make that behave. In its test module:

    class TestMyProvider(FallibleProviderContract):
        @pytest.fixture
        async def bench(self) -> AsyncIterator[Bench]: ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
    sees_recipients: bool
    """Whether `copies` can tell one recipient of an email from another."""

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


async def until(condition: str, holds: Callable[[], bool]) -> None:
    """Wait for what the other side has to notice first: a second at most."""
    for _ in range(100):
        if holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"never came: {condition}")


class ProviderContract:
    """What holds of every provider. Each test gets a fresh `bench`."""

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
        if bench.sees_recipients:
            everybody = [f"reader{index}@example.net" for index in range(4)]
            assert [0, 1, 0, 1] == [bench.copies(what.email_id, address) for address in everybody]

    async def test_sends_may_overlap(self, bench: Bench) -> None:
        """More at once than there are connections: each is taken exactly once."""
        what = [submission(number) for number in range(1, 41)]

        outcomes = await asyncio.gather(*(send(bench.provider, one) for one in what))

        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        assert [1] * 40 == [bench.copies(one.email_id, one.addresses[0]) for one in what]

    async def test_the_same_key_is_honoured_or_not_claimed(self, bench: Bench) -> None:
        """With a `key_ttl` a repeat gets the first answer and makes no copy; without one every try makes a copy."""
        first = await send(bench.provider, submission(attempt=1))
        again = await send(bench.provider, submission(attempt=2))

        assert isinstance(first, Accepted)
        assert isinstance(again, Accepted)
        copies = bench.copies("email-1", "reader0@example.net")
        if bench.provider.key_ttl is None:
            assert 2 == copies
        else:
            assert (1, first) == (copies, again)

    async def test_check_says_what_it_saw(self, bench: Bench) -> None:
        """A sentence, and nothing was sent."""
        seen = await bench.provider.check()

        assert seen
        assert 0 == bench.copies("email-1", "reader0@example.net")
        await until("nothing stays open", lambda: bench.open_connections() == 0)

    async def test_close_lets_go_of_everything(self, bench: Bench) -> None:
        """Once, twice, and with connections that wait for the next email."""
        await asyncio.gather(*(send(bench.provider, submission(number)) for number in range(1, 6)))

        await bench.provider.close()
        await bench.provider.close()

        await until("every connection is closed", lambda: bench.open_connections() == 0)

    async def test_it_says_what_it_is(self, bench: Bench) -> None:
        """Name and type, as the configuration has them."""
        assert bench.provider.name
        assert bench.provider.type


class FallibleProviderContract(ProviderContract):
    """The same, and what holds of one that can refuse, be away, or lose an answer."""

    @pytest.mark.parametrize("reaction", KINDS)
    async def test_a_refusal_is_told_as_its_kind(self, bench: Bench, reaction: Reaction) -> None:
        """What wasn't taken is NotAccepted, of the kind that has the right consequences; and was taken by nobody."""
        await tell(bench, reaction)
        what = submission(recipients=(1, 2), of=3)

        outcome = await send(bench.provider, what)

        assert isinstance(outcome, NotAccepted)
        assert KINDS[reaction] == outcome.kind
        assert [0, 0] == [bench.copies(what.email_id, address) for address in what.addresses]

    async def test_refused_recipients_are_named(self, bench: Bench) -> None:
        """Who is refused for good is told by index, each with the provider's code."""
        await tell(bench, Reaction.REFUSES_EVERYBODY)

        outcome = await send(bench.provider, submission(recipients=(1, 2), of=3))

        assert [1, 2] == [refusal.index for refusal in outcome.refused]
        assert all(refusal.code for refusal in outcome.refused)

    async def test_deferred_recipients_are_named(self, bench: Bench) -> None:
        """Who is put off is told by index."""
        await tell(bench, Reaction.DEFERS_EVERYBODY)

        outcome = await send(bench.provider, submission(recipients=(1, 2), of=3))

        assert (1, 2) == outcome.deferred

    async def test_one_recipient_refused_does_not_stop_the_others(self, bench: Bench) -> None:
        """The rest gets its copies, in the same attempt."""
        await tell(bench, Reaction.REFUSES_THE_SECOND)
        what = submission(recipients=(0, 2, 3), of=4)

        outcome = await send(bench.provider, what)

        assert isinstance(outcome, Accepted)
        assert ((0, 3), [2]) == (outcome.accepted, [refusal.index for refusal in outcome.refused])
        assert [1, 0, 1] == [bench.copies(what.email_id, address) for address in what.addresses]

    async def test_one_recipient_deferred_does_not_stop_the_others(self, bench: Bench) -> None:
        """It is told apart, so that the next attempt can be for it alone."""
        await tell(bench, Reaction.DEFERS_THE_SECOND)
        what = submission(recipients=(0, 2, 3), of=4)

        outcome = await send(bench.provider, what)

        assert isinstance(outcome, Accepted)
        assert ((0, 3), (2,), ()) == (outcome.accepted, outcome.deferred, outcome.refused)
        assert [1, 0, 1] == [bench.copies(what.email_id, address) for address in what.addresses]

    async def test_the_wait_a_provider_asks_for_is_passed_on(self, bench: Bench) -> None:
        """Retry-After in whatever form, in seconds."""
        await tell(bench, Reaction.THROTTLES)

        outcome = await send(bench.provider, submission())

        assert isinstance(outcome, NotAccepted)
        assert RETRY_AFTER_S == outcome.retry_after_s

    async def test_a_provider_that_comes_back_is_used_again(self, bench: Bench) -> None:
        """Nothing of an outage sticks to the adapter."""
        await send(bench.provider, submission(1))
        await tell(bench, Reaction.IS_GONE)
        gone = await send(bench.provider, submission(2))
        await tell(bench, Reaction.ACCEPTS)

        back = await send(bench.provider, submission(3))

        assert isinstance(gone, NotAccepted)
        assert isinstance(back, Accepted)

    async def test_a_lost_answer_is_not_called_a_failure(self, bench: Bench) -> None:
        """The provider has it: to say NotAccepted would make a second copy."""
        await tell(bench, Reaction.LOSES_THE_ANSWER)
        what = submission()

        outcome = await send(bench.provider, what)

        assert isinstance(outcome, Unanswered)
        assert FailureKind.UNCERTAIN == outcome.kind
        assert 1 == bench.copies(what.email_id, what.addresses[0])

    async def test_waiting_for_an_answer_ends(self, bench: Bench) -> None:
        """After the adapter's own timeout it is unknown whether it was taken."""
        await tell(bench, Reaction.NEVER_ANSWERS)

        outcome = await send(bench.provider, submission())

        assert isinstance(outcome, Unanswered)

    async def test_a_cancelled_send_leaves_no_connection(self, bench: Bench) -> None:
        """Its connection has unknown things in flight: the next email goes over another one."""
        await tell(bench, Reaction.NEVER_ANSWERS)
        task = asyncio.create_task(bench.provider.send(submission(1)))
        await asyncio.sleep(0.05)

        task.cancel()
        (came,) = await asyncio.gather(task, return_exceptions=True)

        assert isinstance(came, asyncio.CancelledError | Unanswered | NotAccepted)
        await until("the connection is closed", lambda: bench.open_connections() == 0)
        await tell(bench, Reaction.ACCEPTS)
        assert isinstance(await send(bench.provider, submission(2)), Accepted)

    @pytest.mark.parametrize("reaction", [Reaction.IS_GONE, Reaction.LOCKS_US_OUT])
    async def test_check_says_what_is_wrong(self, bench: Bench, reaction: Reaction) -> None:
        """ProviderUnfit, with a text for whoever set it up."""
        await tell(bench, reaction)

        with pytest.raises(ProviderUnfit) as unfit:
            await bench.provider.check()

        assert str(unfit.value)


async def tell(bench: Bench, reaction: Reaction) -> None:
    """Tell the stand-in, or skip: not every kind of provider can say everything."""
    if reaction not in bench.reactions:
        pytest.skip(f"there is no {bench.provider.type} provider that {reaction}")
    await bench.tell(reaction)
