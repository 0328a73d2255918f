"""The provider that simulations play, beyond what all providers promise: time, limits of its own, true copies."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from adapters.providers.simulated import Copies, SimulatedProvider
from adapters.virtual import VirtualClock, run_virtually
from application.provider_port import Submission
from application.simulate_scenario import Luck, Manner, Pace, Silence, Span, Trouble
from domain.content import Address, Content
from domain.failures import Accepted, FailureKind, NotAccepted, Outcome, Unanswered
from domain.rate_limit import Rate


def provider(clock: VirtualClock, manner: Manner, copies: Copies | None = None) -> SimulatedProvider:
    """One that waits no longer than 10 s."""
    return SimulatedProvider(
        name="primary",
        type="smtp",
        key_ttl=None,
        timeout_s=10.0,
        manner=manner,
        luck=Luck(1),
        copies=copies or Copies(),
        sleep=clock.sleep,
        seconds=clock.monotonic,
    )


def submission(number: int, attempt: int = 1) -> Submission:
    """An email of that number."""
    content = Content(sender=Address(address="a@b.example"), to=(), subject=str(number), text="")
    return Submission(
        email_id=f"e{number}",
        attempt=attempt,
        recipients=(0,),
        content=content,
        date=datetime(2026, 1, 1, tzinfo=UTC),
        provider_key=f"k{number}",
    )


def test_what_is_foreseen_is_what_a_call_would_find() -> None:
    """The time to the microsecond; and no time where something goes wrong."""
    manner = Manner(troubles=(Trouble(FailureKind.TRANSIENT, 0.5),))

    async def main(clock: VirtualClock) -> list[tuple[float | None, bool, float]]:
        one, found = provider(clock, manner), []
        for number in range(1, 30):
            foreseen, begun = one.plain_s(number, clock.monotonic()), clock.monotonic()
            outcome = await one.send(submission(number))
            found.append((foreseen, isinstance(outcome, Accepted), clock.monotonic() - begun))
        return found

    found = run_virtually(main)

    assert all(accepted == (foreseen is not None) for foreseen, accepted, _ in found)
    assert all(foreseen is None or abs(foreseen - took) < 1e-6 for foreseen, _, took in found)
    assert {True, False} == {accepted for _, accepted, _ in found}


def test_what_takes_longer_than_the_timeout_was_taken_all_the_same() -> None:
    """Nobody waits longer, nor counts it as plain."""

    async def main(clock: VirtualClock) -> tuple[Outcome, float, float | None, int]:
        copies = Copies()
        one = provider(clock, Manner(paces=(Pace(60.0),)), copies)
        outcome = await one.send(submission(1))
        took = clock.monotonic()
        await one.send(submission(1, attempt=2))
        return outcome, round(took, 6), one.plain_s(1, 0.0), copies.duplicates

    outcome, took, foreseen, duplicates = run_virtually(main)

    assert isinstance(outcome, Unanswered)
    assert ("timeout", 10.0, None, 1) == (outcome.code, took, foreseen, duplicates)


def test_only_copies_that_are_really_there_are_duplicates() -> None:
    """One that vanished and was sent again is one; one that was taken, and its answer lost, are two."""

    async def main(clock: VirtualClock) -> int:
        copies = Copies()
        vanishes = Trouble(Silence.VANISHED, 1.0, Span(0.0, 5.0))
        loses = Trouble(Silence.LOST, 1.0, Span(20.0, 25.0))
        one = provider(clock, Manner(troubles=(vanishes, loses)), copies)
        await one.send(submission(1))
        await one.send(submission(1, attempt=2))
        assert 0 == copies.duplicates
        await clock.sleep(20.0 - clock.monotonic())
        await one.send(submission(2))
        await clock.sleep(10.0)
        await one.send(submission(2, attempt=2))
        return copies.duplicates

    assert 1 == run_virtually(main)


def test_a_provider_has_a_limit_of_its_own() -> None:
    """Beyond it calls are throttled, with the time until more are taken; plain emails count as well."""

    async def main(clock: VirtualClock) -> tuple[list[Outcome], float | None, float | None]:
        one = provider(clock, Manner(throttle=Rate.parse("3/m")))
        first = one.plain_s(1, 0.0)
        outcomes = await asyncio.gather(*(one.send(submission(number)) for number in range(2, 5)))
        over = one.plain_s(5, clock.monotonic())
        await clock.sleep(60.0)
        return outcomes, over, first and one.plain_s(6, clock.monotonic())

    outcomes, over, next_minute = run_virtually(main)

    assert [Accepted, Accepted, NotAccepted] == [type(one) for one in outcomes]
    assert isinstance(outcomes[2], NotAccepted)
    assert (FailureKind.THROTTLED, 60.0) == (outcomes[2].kind, outcomes[2].retry_after_s)
    assert over is None
    assert next_minute is not None
