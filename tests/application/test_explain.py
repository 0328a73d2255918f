"""What people are told: the story as it was, and what it waits for."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from adapters.memory.event_store import MemoryEventStore
from adapters.providers.scripted import Behaviour, ScriptedProvider, parse_script
from adapters.virtual import T0, VirtualClock, inline, run_virtually
from application.explain import Explanation, Fate, NotYetRequested, explain, explain_at
from application.projections.emails import Status, folded
from application.projections.gates import Gate, provider_gate
from application.queries import StatusRow, why_it_waits, with_next_at
from application.reading import Reader
from application.recorded import Recorded, email_stream
from application.settings import ProviderSettings
from domain.circuit import Circuit, CircuitPolicy, Phase
from domain.email.state import Recipient
from domain.failures import FailureKind
from domain.rate_limit import Rate
from domain.routing import Lane, OnUncertain
from tests.application.world import World, settings
from tests.contract.event_store.given import ManualClock
from tests.contract.event_store.world import World as Lawful
from tests.entrypoints.http_api import FoldedStatuses

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


def lived(*script: Behaviour, to: int = 1, keys: bool = False, minutes: int = 10) -> list[Recorded]:
    """The history of an email to so many that one provider treats like this; with `keys`, it honours them."""
    ttl = timedelta(hours=1) if keys else None

    async def main(clock: VirtualClock) -> list[Recorded]:
        provider = ScriptedProvider(name="one", script=script, sleep=clock.sleep, key_ttl=ttl)
        known = settings(ProviderSettings(name="one", type="scripted", key_ttl=ttl))
        world = World(clock, known, {"one": provider})
        await world.worker()
        receipt = await world.send(to=tuple(f"r{number}@example.org" for number in range(to)))
        await clock.sleep(60 * minutes)
        return world.history(receipt.email_id)

    return run_virtually(main)


LOST = parse_script(["lost"])[0]
PARTLY = Behaviour(refused=frozenset({1}), deferred=frozenset({2, 3, 4}))


def test_every_recipient_has_its_fate() -> None:
    """By whom, in which attempt, and with what answer where it was refused."""
    story = explain(lived(PARTLY, Behaviour(delay_s=2), to=6), LATER)
    first, second = "accepted by one in attempt 1", "accepted by one in attempt 2"

    assert [
        Fate(index=0, outcome=Recipient.ACCEPTED, text=first),
        Fate(index=1, outcome=Recipient.REFUSED, text="refused by one in attempt 1 (550 5.1.1)"),
        *(Fate(index=index, outcome=Recipient.ACCEPTED, text=second) for index in (2, 3, 4)),
        Fate(index=5, outcome=Recipient.ACCEPTED, text=first),
    ] == list(story.recipients)
    assert "accepted it for recipients 0, 5 after 0 ms as one-1; recipient 1 refused" in story.lines[2].text
    assert "put off: recipients 2–4" in story.lines[2].text


def test_the_whole_time_is_from_acceptance_to_the_end() -> None:
    """Waiting between attempts included; before the end there is none."""
    first, *rest = lived(PARTLY, Behaviour(delay_s=2), to=6)
    history = [replace(first, at=first.at - timedelta(seconds=7)), *rest]

    assert rest[-1].at - first.at + timedelta(seconds=7) == explain(history, LATER).took
    assert explain_at(history, rest[-2].at).took is None


def test_a_try_with_the_same_key_says_why_it_is_safe() -> None:
    """And the attempt whose answer was lost is known to be accepted by the other's."""
    story = explain(lived(LOST, Behaviour(), keys=True), LATER)

    assert "next try in 1.6 s with the same key; evidence is waited for until" in story.lines[2].text
    assert story.lines[3].text.endswith("with the key of attempt 1, which it does not send twice")
    assert "accepted by one in attempt 2" == story.recipients[0].text


def test_a_story_stood_as_its_events_had_it() -> None:
    """At each of its times: only what had happened, and what was to come of it then."""
    history = lived(LOST, Behaviour(kind=FailureKind.TRANSIENT), keys=True)
    then = explain_at(history, history[2].at)
    just_before = explain_at(history, history[3].at - timedelta(microseconds=1))

    assert (history[2].at, Status.UNCERTAIN, 3) == (then.at, then.status, len(then.lines))
    assert "may have been accepted by one in attempt 1" == then.recipients[0].text
    assert then.next.startswith("a try at one with the same key in 1.6 s; it goes on until it expires at")
    assert 3 == len(just_before.lines)
    assert Status.SENT is explain_at(history, LATER).status


def test_what_keeps_a_provider_now_is_not_told_of_the_past() -> None:
    """That an email was due is in its events; why nobody took it is not."""
    story = explain_at(lived(Behaviour(), minutes=1)[:1], LATER)

    assert (
        "it is due, and waits for its next attempt, until it expires at 2026-01-02 00:00:00 UTC" == story.next
    )


def test_before_it_was_accepted_there_is_no_story() -> None:
    """Whoever asks is told when it begins."""
    history = lived(Behaviour(), minutes=1)
    with pytest.raises(NotYetRequested) as refused:
        explain_at(history, history[0].at - timedelta(microseconds=1))

    assert history[0].at == refused.value.requested_at


def test_every_history_can_be_told_at_every_time() -> None:
    """Whatever the rules make of an email: each event in words, each recipient as the events have it."""
    clock, policy = ManualClock(), CircuitPolicy(min_calls=4, consecutive=3)
    store = MemoryEventStore(clock=clock, circuit=policy)
    world = Lawful(store, clock, policy, seed=5)
    world.run(400)
    seen: set[str] = set()
    for email_id in world.ids:
        history = store.read_stream(email_stream(email_id))
        for count in range(1, len(history) + 1):
            story = explain(history[:count], history[count - 1].at)
            last = story.lines[-1]
            seen.add(last.event)

            assert folded(history[:count]).email.recipients == tuple(one.outcome for one in story.recipients)
            assert last.event not in last.text
            assert story.next
            assert all(one.text for one in story.recipients)

    assert len(seen) >= 14


def test_a_try_that_a_circuit_will_keep_from_it_says_so() -> None:
    """Its time comes long before the provider's: whoever reads must not expect the try then."""

    async def main(clock: VirtualClock) -> tuple[Explanation, Explanation]:
        configured = settings("one", circuit=CircuitPolicy(consecutive=2))
        script = parse_script(["transient"])
        provider = ScriptedProvider(name="one", script=script, sleep=clock.sleep)
        world = World(clock, configured, {"one": provider})
        await world.worker()
        receipt = await world.send()
        statuses = FoldedStatuses(world.store)
        reader = Reader(
            store=world.store, statuses=statuses, executor=inline, clock=clock, settings=configured
        )
        await clock.sleep(0.1)
        first = await reader.explain(receipt.email_id)
        while not statuses.gates()[provider_gate("one")].circuit.until:
            await clock.sleep(0.1)
        return first, await reader.explain(receipt.email_id)

    first, then = run_virtually(main)

    assert first.next.startswith("a try in ")
    assert "as things stand" not in first.next
    assert "; as things stand it then waits for one (circuit open until 2026-01-01 00:00:" in then.next
