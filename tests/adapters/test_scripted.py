"""The scripted provider: behaves as written, remembers what it took, and costs no real time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from adapters.providers.scripted import (
    SCRIPT_STEPS_MAX,
    Behaviour,
    Fate,
    Received,
    ScriptedProvider,
    parse_script,
)
from application.provider_port import ProviderUnfit, Submission
from domain.failures import Accepted, FailureKind, NotAccepted, Refusal, Unanswered
from tests.contract.provider_contract import send, submission


def scripted(*steps: str, key_ttl: timedelta | None = None) -> ScriptedProvider:
    """A provider that follows these steps and sleeps for no time at all."""
    return ScriptedProvider(name="scripted", script=parse_script(steps), key_ttl=key_ttl, sleep=no_time)


async def no_time(_: float) -> None:
    """Sleep, in a hurry."""


@pytest.mark.parametrize(
    ("step", "behaviour"),
    [
        ("accept", Behaviour()),
        ("accept 800ms", Behaviour(delay_s=0.8)),
        ("accept reply=2s", Behaviour(reply_delay_s=2.0)),
        ("accept after=1.5s reply=1m", Behaviour(delay_s=1.5, reply_delay_s=60.0)),
        ("accept refuse=1,2 defer=0", Behaviour(refused=frozenset({1, 2}), deferred=frozenset({0}))),
        ("transient", Behaviour(fate=Fate.REFUSE)),
        ("transient 1s", Behaviour(fate=Fate.REFUSE, delay_s=1.0)),
        ("throttled 2s", Behaviour(fate=Fate.REFUSE, kind=FailureKind.THROTTLED, retry_after_s=2.0)),
        ("quota 1h", Behaviour(fate=Fate.REFUSE, kind=FailureKind.QUOTA, retry_after_s=3600.0)),
        ("throttled", Behaviour(fate=Fate.REFUSE, kind=FailureKind.THROTTLED)),
        (
            "throttled 2s after=1s",
            Behaviour(fate=Fate.REFUSE, kind=FailureKind.THROTTLED, retry_after_s=2.0, delay_s=1.0),
        ),
        ("too_large", Behaviour(fate=Fate.REFUSE, kind=FailureKind.TOO_LARGE)),
        ("lost", Behaviour(fate=Fate.LOST)),
        ("vanished", Behaviour(fate=Fate.VANISHED)),
        ("hang", Behaviour(fate=Fate.HANG)),
        ("  lost   2s ", Behaviour(fate=Fate.LOST, delay_s=2.0)),
    ],
)
def test_a_written_step_is_understood(step: str, behaviour: Behaviour) -> None:
    """As configuration files have them."""
    assert (behaviour,) == parse_script([step])


@pytest.mark.parametrize(
    ("step", "named"),
    [
        ("", "begin with"),
        ("acept", "accept"),
        ("refuse", "begin with"),
        ("uncertain", "begin with"),
        ("accept soon", "'soon' is no duration"),
        ("accept 5", "'5' is no duration"),
        ("accept -1s", "is no duration"),
        ("accept refuse=a", "no list of recipients"),
        ("accept until=5s", "no option 'until'"),
    ],
)
def test_a_wrong_step_is_named(step: str, named: str) -> None:
    """With what would be right."""
    with pytest.raises(ValueError, match=named) as wrong:
        parse_script(["accept", step])

    assert repr(step) in str(wrong.value)


@pytest.mark.parametrize("count", [0, SCRIPT_STEPS_MAX + 1])
def test_a_script_has_steps_within_bounds(count: int) -> None:
    """None is no script; a million come from a mistake."""
    with pytest.raises(ValueError, match="steps"):
        parse_script(["accept"] * count)


async def test_a_script_begins_again_at_its_end() -> None:
    """One step for each call."""
    provider = scripted("accept", "transient", "lost")

    outcomes = [type(await send(provider, submission(number))) for number in range(6)]

    assert [Accepted, NotAccepted, Unanswered] * 2 == outcomes


async def test_it_remembers_what_it_really_took() -> None:
    """Accepted and lost, not what it refused or let vanish."""
    provider = scripted("accept", "transient", "lost", "vanished")

    for number in range(1, 5):
        await send(provider, submission(number, attempt=number))

    assert [
        Received(email_id="email-1", attempt=1, accepted=(0,), provider_key="key-1-0"),
        Received(email_id="email-3", attempt=3, accepted=(0,), provider_key="key-3-0"),
    ] == provider.received
    assert (1, 0) == (provider.copies("email-3", 0), provider.copies("email-3", 1))


async def test_recipients_are_answered_one_by_one() -> None:
    """By their index in the envelope; who isn't carried isn't mentioned."""
    outcome = await send(scripted("accept refuse=0,1 defer=2"), submission(recipients=(1, 2, 3), of=5))

    assert (
        Accepted(
            accepted=(3,),
            refused=(Refusal(index=1, code="550 5.1.1"),),
            deferred=(2,),
            message_id="scripted-1",
            code="250 2.0.0",
        )
        == outcome
    )


@pytest.mark.parametrize(
    ("step", "kind"),
    [("accept refuse=0,1", FailureKind.RECIPIENT), ("accept refuse=0 defer=1", FailureKind.DEFERRED)],
)
async def test_nobody_left_is_no_acceptance(step: str, kind: FailureKind) -> None:
    """And no copy."""
    provider = scripted(step)

    outcome = await send(provider, submission(recipients=(0, 1), of=2))

    assert isinstance(outcome, NotAccepted)
    assert (kind, []) == (outcome.kind, provider.received)


async def test_a_lost_answer_leaves_the_settled_settled() -> None:
    """Only who was accepted is in doubt."""
    outcome = await send(scripted("lost refuse=0 defer=1"), submission(recipients=(0, 1, 2), of=3))

    assert isinstance(outcome, Unanswered)
    assert ([0], (1,)) == ([one.index for one in outcome.refused], outcome.deferred)


async def test_a_function_may_decide() -> None:
    """It is asked with the submission and the number of the call."""

    def odd_ones_only(what: Submission, call: int) -> Behaviour:
        return Behaviour(fate=Fate.ACCEPT if call % 2 else Fate.REFUSE)

    provider = ScriptedProvider(name="scripted", script=odd_ones_only)

    assert [False, True] == [isinstance(await send(provider, submission(n)), Accepted) for n in (1, 2)]


async def test_it_can_be_told_something_else() -> None:
    """An outage begins, and ends."""
    provider = scripted("accept", "transient")
    await send(provider, submission(1))

    provider.follow(parse_script(["account", "accept"]))

    assert [False, True] == [isinstance(await send(provider, submission(n)), Accepted) for n in (2, 3)]


async def test_time_is_a_port() -> None:
    """It sleeps before and after taking the email, by the clock it was given."""
    slept: list[tuple[float, int]] = []
    provider = ScriptedProvider(
        name="scripted", script=parse_script(["accept 1h reply=2h"]), sleep=lambda s: sleep(s)
    )

    async def sleep(seconds: float) -> None:
        slept.append((seconds, len(provider.received)))

    await send(provider, submission())

    assert [(3600.0, 0), (7200.0, 1)] == slept


@pytest.mark.parametrize(("step", "copies"), [("accept 1h", 0), ("accept reply=1h", 1), ("hang", 0)])
async def test_a_cancelled_send_has_done_what_it_had_done(step: str, copies: int) -> None:
    """Before it was taken there's no copy, after it there is one, as with any provider."""
    provider = ScriptedProvider(name="scripted", script=parse_script([step]))
    task = asyncio.create_task(provider.send(submission()))
    await asyncio.sleep(0.01)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert copies == provider.copies("email-1", 0)


async def test_a_key_makes_a_repeat_harmless() -> None:
    """After a lost answer the same key brings the first result, without a second copy; another key doesn't."""
    provider = scripted("lost", "accept", "accept", key_ttl=timedelta(days=1))

    first = await send(provider, submission(1, attempt=1))
    again = await send(provider, submission(1, attempt=2))
    other = await send(provider, submission(2))

    assert isinstance(first, Unanswered)
    assert isinstance(again, Accepted)
    assert isinstance(other, Accepted)
    assert ("scripted-1", "scripted-2") == (again.message_id, other.message_id)
    assert (1, 1) == (provider.copies("email-1", 0), provider.copies("email-2", 0))


async def test_a_repeat_doesn_t_get_past_a_refusal() -> None:
    """A provider that is away doesn't look into its keys; and its answer can get lost twice."""
    provider = scripted("accept", "transient", "lost", key_ttl=timedelta(days=1))

    outcomes = [type(await send(provider, submission(1, attempt=n))) for n in (1, 2, 3)]

    assert [Accepted, NotAccepted, Unanswered] == outcomes
    assert 1 == provider.copies("email-1", 0)


async def test_keys_live_as_long_as_was_said() -> None:
    """Then a repeat is another copy."""
    now = 0.0
    provider = ScriptedProvider(name="scripted", key_ttl=timedelta(seconds=60), now=lambda: now)
    await send(provider, submission(1))
    now = 59.9
    await send(provider, submission(1))
    assert 1 == provider.copies("email-1", 0)
    now = 60.0

    await send(provider, submission(1))

    assert 2 == provider.copies("email-1", 0)


async def test_check_looks_at_the_next_step() -> None:
    """Without taking it."""
    provider = scripted("accept", "account")
    assert await provider.check()
    await send(provider, submission(1))

    with pytest.raises(ProviderUnfit, match="account"):
        await provider.check()

    assert isinstance(await send(provider, submission(2)), NotAccepted)


async def test_a_closed_provider_tries_nothing() -> None:
    """`send` after `close` is a mistake that costs no email."""
    provider = scripted("accept")
    await provider.close()

    outcome = await send(provider, submission())

    assert isinstance(outcome, NotAccepted)
    assert (FailureKind.NOT_TRIED, []) == (outcome.kind, provider.received)
