"""What people are told: the story as it was, and what it waits for."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from adapters.providers.scripted import ScriptedProvider, parse_script
from application.explain import Explanation, explain
from application.projections.emails import Status
from application.projections.gates import Gate, provider_gate
from application.queries import StatusRow, why_it_waits, with_next_at
from application.settings import ProviderSettings
from domain.circuit import Circuit, Phase
from domain.rate_limit import Rate
from domain.routing import Lane, OnUncertain
from tests.application.world import World, settings
from tests.support.virtual import T0, VirtualClock, run_virtually

LANE = Lane("", "default")
LATER = T0 + timedelta(minutes=5)


def told(script: str, **changes: OnUncertain) -> Explanation:
    """The story of one email that one provider treats like this, a minute after it was accepted."""

    async def main(clock: VirtualClock) -> Explanation:
        provider = ScriptedProvider(name="one", script=parse_script([script]), sleep=clock.sleep)
        world = World(clock, settings("one", **changes), {"one": provider})
        await world.worker()
        receipt = await world.send()
        await clock.sleep(60)
        return explain(world.history(receipt.email_id), clock.now())

    return run_virtually(main)


def test_an_email_that_was_sent_says_through_whom_and_that_this_is_all() -> None:
    """Accepted, started, sent, each with its time."""
    story = told("accept 800ms")

    assert ["Requested", "AttemptStarted", "Sent"] == [line.event for line in story.lines]
    assert "one accepted attempt 1 after 800 ms" in story.lines[-1].text
    assert "nothing: this is its end" == story.next


def test_a_message_refused_everywhere_promises_no_further_try() -> None:
    """It failed in the same moment: nobody is left to ask."""
    story = told("content")

    assert not [line for line in story.lines if "next try" in line.text]
    assert "failed: rejected; refused: recipient 0" in story.lines[-1].text


def test_where_nothing_can_be_learnt_nothing_is_said_to_be_waited_for() -> None:
    """No key, no feedback: the policy decides at once; and nobody claims that it was not reached."""
    story = told("lost", on_uncertain=OnUncertain.FAIL)

    assert not [line for line in story.lines if "evidence" in line.text]
    assert "failed: outcome unknown; not known to be reached: recipient 0" in story.lines[-1].text


def test_a_held_email_names_the_way_out() -> None:
    """The command that lets it go, and when it ends by itself."""
    story = told("lost", on_uncertain=OnUncertain.HOLD)

    assert "stagepost retry" in story.next
    assert "2026-01-02 00:00:00 UTC" in story.next


@pytest.mark.parametrize(
    ("gate", "why"),
    [
        (Gate(name="provider/one"), ""),
        (Gate(name="provider/one", circuit=Circuit(paused=True)), "one (paused)"),
        (
            Gate(name="provider/one", circuit=Circuit(phase=Phase.OPEN, epoch=1, until=LATER)),
            "one (circuit open until 2026-01-01 00:05:00 UTC)",
        ),
        (
            Gate(name="provider/one", not_before=LATER),
            "one (asked for a pause until 2026-01-01 00:05:00 UTC)",
        ),
        (Gate(name="provider/one", open_attempts=16), "one (at its limit)"),
    ],
)
def test_what_an_email_waits_for_is_named(gate: Gate, why: str) -> None:
    """The provider, what keeps it, and until when."""
    assert why == why_it_waits(LANE, {gate.name: gate}, settings("one"), T0)


@pytest.mark.parametrize(
    ("gate", "next_at"),
    [
        (Gate(name="provider/one"), T0),
        (Gate(name="provider/one", not_before=LATER), LATER),
        (Gate(name="provider/one", open_attempts=16), T0),
        (Gate(name="provider/one", circuit=Circuit(paused=True)), None),
    ],
)
def test_when_something_happens_next_is_put_off_to_when_it_can(gate: Gate, next_at: datetime | None) -> None:
    """A status row's `next_at`: due, but not before a provider may be free; unknown where an operator decides."""
    row = StatusRow(
        id="k",
        email_id="e",
        status=Status.QUEUED,
        provider=None,
        attempts=(),
        recipients=("pending",),
        requested_at=T0,
        updated_at=T0,
        route="default",
        lane=str(LANE),
        next_at=T0,
    )

    assert next_at == with_next_at(row, {gate.name: gate}, settings("one"), T0).next_at


def test_a_rate_says_when_there_is_room_again() -> None:
    """The first of the starts that fill the hour leaves its window an hour and a bucket later."""
    name = provider_gate("one")
    full = replace(Gate(name=name), windows=tuple(one.started(T0, 2) for one in Gate(name=name).windows))
    limited = settings(ProviderSettings(name="one", type="scripted", rates=(Rate.parse("2/h"),)))

    assert "one (at its limit until 2026-01-01 01:01:00 UTC)" == why_it_waits(LANE, {name: full}, limited, T0)
