"""Taking turns: never more than there is, all of it if somebody wants it, and everybody after a bounded while."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.virtual import T0
from application.turns import LOWER_EVERY, Contender, Queue, Start, Turns, after, divide
from domain.routing import Lane, Priority

GATES = ("provider/a", "provider/b")
LIMITS = ("route/x", "service")
EVERY_GATE = (*GATES, *LIMITS, "room")


def contender(
    tenant: str = "",
    *,
    priority: Priority = Priority.NORMAL,
    gates: tuple[str, ...] = GATES[:1],
    tried: bool = False,
    route: str = "default",
    due_s: float = 0.0,
) -> Contender:
    """A queue as long as anybody wants."""
    lane = Lane(tenant, route, tried=tried)
    return Contender.of((str(lane), priority), lane, gates, T0 + timedelta(seconds=due_s))


def counted(starts: Sequence[Start]) -> Counter[Queue]:
    return Counter(one.taker.queue for one in starts)


def rounds(contenders: Sequence[Contender], left: Mapping[str, int], count: int) -> list[Counter[Queue]]:
    """What each gets in so many rounds, each with as much room as the first; all of it is claimed."""
    turns, given_out = Turns(), []
    for _ in range(count):
        starts = divide(contenders, dict(left), turns)
        granted = counted(starts)
        turns = after(turns, {one.queue for one in contenders}, contenders, starts, granted)
        given_out.append(granted)
    return given_out


def totals(contenders: Sequence[Contender], left: Mapping[str, int], count: int) -> list[int]:
    """Starts of each, in the order of the contenders."""
    total = sum(rounds(contenders, left, count), Counter[Queue]())
    return [total[one.queue] for one in contenders]


@pytest.mark.parametrize("slots", [1, 3, 16])
def test_tenants_take_turns(slots: int) -> None:
    """Whatever is free at a time: each gets as much as the other, though one has waited for longer."""
    old, new = contender("old", due_s=-3600), contender("new")

    assert [24 * slots, 24 * slots] == totals([old, new], {GATES[0]: slots}, 48)


def test_lanes_of_one_tenant_are_no_more_than_the_one_of_another() -> None:
    """Ten routes, and retries besides, don't make a tenant ten times as important."""
    many = [contender("many", route=f"r{n}", tried=n % 2 == 0) for n in range(10)]
    alone = contender("alone")
    counts = totals([*many, alone], {GATES[0]: 4}, 50)

    assert [*[10] * 10, 100] == counts


def test_new_mail_and_retries_take_turns() -> None:
    """However many lanes retries are in, and however long they have been due; nor is it the other way round."""
    retries = [replace_due(contender(tried=True, route=f"r{n}"), -60) for n in range(3)]
    fresh = contender()

    assert [20, 20, 20, 60] == totals([*retries, fresh], {GATES[0]: 1}, 120)


@pytest.mark.parametrize("slots", [1, 4, 16])
def test_each_lower_priority_has_its_share(slots: int) -> None:
    """Under more high priority than there is room for, one start in ten each; the rest is for the high one."""
    contenders = [contender(priority=one) for one in Priority]
    starts = LOWER_EVERY * 16
    high, normal, bulk = totals(contenders, {GATES[0]: slots}, starts // slots)

    assert starts == high + normal + bulk
    assert starts * 8 // LOWER_EVERY == pytest.approx(high, abs=2)
    assert starts // LOWER_EVERY == pytest.approx(normal, abs=2)
    assert starts // LOWER_EVERY == pytest.approx(bulk, abs=2)


def test_a_lower_priority_has_its_share_of_a_limit_too() -> None:
    """Those that go to different providers wait for each other at what they have in common."""
    high = contender(priority=Priority.HIGH, gates=(GATES[0], "service"))
    bulk = contender(priority=Priority.BULK, gates=(GATES[1], "service"))
    counts = totals([high, bulk], {GATES[0]: 50, GATES[1]: 50, "service": 10}, 10)

    assert [90, 10] == counts


def test_what_starts_elsewhere_gives_no_precedence() -> None:
    """Much high priority at one provider is no reason to let bulk go first at another."""
    elsewhere = contender(priority=Priority.HIGH, gates=(GATES[0], "room"), route="elsewhere")
    high = contender(priority=Priority.HIGH, gates=(GATES[1], "room"))
    bulk = contender(priority=Priority.BULK, gates=(GATES[1], "room"))
    counts = totals([elsewhere, high, bulk], {GATES[0]: 100, GATES[1]: 1, "room": 500}, 100)

    assert [10_000, 90, 10] == counts


def test_whoever_comes_has_no_claim_on_the_past() -> None:
    """Somebody who begins to wait takes turns from now on, and so does one that was kept away for long."""
    here, late = contender("here"), contender("late")
    turns, queues = Turns(), {here.queue, late.queue}
    for _ in range(1000):
        turns = after(turns, queues, [here], divide([here], {GATES[0]: 1}, turns), {here.queue: 1})
    first = counted(divide([here, late], {GATES[0]: 10}, turns))

    assert {here.queue: 5, late.queue: 5} == first


def test_nothing_is_kept_of_those_who_wait_no_more() -> None:
    """What is remembered is bounded by what waits."""
    contenders = [contender(f"t{n}", priority=Priority(n % 3)) for n in range(30)]
    queues = {one.queue for one in contenders}
    starts = divide(contenders, {GATES[0]: 100}, Turns())
    turns = after(Turns(), queues, contenders, starts, dict.fromkeys(queues, 1))
    kept = after(turns, {one.queue for one in contenders[:2]}, [], [], {})

    assert {contenders[0].queue, contenders[1].queue} == {
        (path[-1], path[0]) for path in kept.taken if len(path) == 5
    }
    assert {path[0] for _, path in kept.passed} <= {Priority.HIGH, Priority.NORMAL}
    assert Turns() == after(turns, set(), [], [], {})


def replace_due(one: Contender, due_s: float) -> Contender:
    return replace(one, due_at=T0 + timedelta(seconds=due_s))


@st.composite
def crowds(draw: st.DrawFn, most: int = 8) -> list[Contender]:
    """Queues of a few tenants, at one provider or the other, within some limits or none."""
    made = [
        contender(
            draw(st.sampled_from(["", "acme", "shop"])),
            priority=draw(st.sampled_from(Priority)),
            gates=(draw(st.sampled_from(GATES)), *draw(st.sampled_from([(), LIMITS[:1], LIMITS])), "room"),
            tried=draw(st.booleans()),
            route=draw(st.sampled_from(["one", "two"])),
            due_s=draw(st.integers(-5, 5)),
        )
        for _ in range(draw(st.integers(1, most)))
    ]
    return list({one.queue: one for one in made}.values())


ROOMS = st.fixed_dictionaries({gate: st.integers(0, 20) for gate in EVERY_GATE})


@settings(max_examples=60)
@given(crowds(), ROOMS)
def test_never_more_than_there_is_and_no_less_than_can_be(
    crowd: list[Contender], rooms: dict[str, int]
) -> None:
    """Each gate gives what it has at most, and what is left of it nobody could take."""
    left = dict(rooms)
    granted = counted(divide(crowd, left, Turns()))
    taken = Counter(
        {gate: sum(granted[one.queue] for one in crowd if gate in one.gates) for gate in EVERY_GATE}
    )

    assert rooms == {gate: taken[gate] + left[gate] for gate in rooms}
    assert min(left.values()) >= 0
    assert not [one for one in crowd if all(left[gate] > 0 for gate in one.gates)]


@settings(max_examples=25)
@given(crowds(most=5), st.fixed_dictionaries({gate: st.integers(1, 3) for gate in EVERY_GATE}))
def test_everybody_has_a_turn_within_bounds(crowd: list[Contender], rooms: dict[str, int]) -> None:
    """Where there is any room at all for them. Worst off is whoever is the lowest at one gate, and must wait there for
    the share of one that is a lower one at another: one start in a hundred, for each of its own kind."""
    bound = LOWER_EVERY**2 * len(crowd)
    waited = Counter[Queue]()
    for granted in rounds(crowd, rooms, bound + LOWER_EVERY):
        waited = Counter({one.queue: 0 if granted[one.queue] else waited[one.queue] + 1 for one in crowd})

        assert max(waited.values()) <= bound
