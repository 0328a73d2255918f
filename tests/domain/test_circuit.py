"""The circuit breaker: when it opens, for how long, and what closes it again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.circuit import (
    Circuit,
    CircuitClosed,
    CircuitCommand,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitPolicy,
    HalfOpen,
    ObserveResult,
    Pause,
    Phase,
    ProbeFailed,
    ProbePassed,
    ProviderPaused,
    ProviderResumed,
    Reset,
    Resume,
    decide,
    evolve,
    initial,
)
from domain.failures import FailureKind

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
POLICY = CircuitPolicy()
TRANSIENT, UNCERTAIN, LOST = FailureKind.TRANSIENT, FailureKind.UNCERTAIN, FailureKind.LOST
OPEN_FOR = timedelta(seconds=30)


def at(seconds: float) -> datetime:
    """So many seconds after T0."""
    return T0 + timedelta(seconds=seconds)


def opened(epoch: int = 1, until: datetime | None = None, reason: str = "consecutive") -> CircuitOpened:
    """After five failures in a row; the chance of these tests is the middle one."""
    return CircuitOpened(epoch=epoch, reason=reason, failures=5, calls=5, until=until or T0 + OPEN_FOR)


HALF_OPENED = CircuitHalfOpened(epoch=1)


@dataclass(frozen=True)
class Given:
    """A circuit with a past."""

    circuit: Circuit

    def seen(self, *kinds: FailureKind | None, now: datetime = T0, epoch: int = 0) -> Given:
        """Attempts of that epoch that ended like this, while nothing followed from it."""
        circuit = self.circuit
        for kind in kinds:
            circuit = circuit.seen(kind=kind, epoch=epoch, probe=None, at=now)
        return Given(circuit)

    def probing(self, *numbers: int) -> Given:
        """These probes have started."""
        circuit = self.circuit
        for n in numbers:
            circuit = circuit.started(epoch=circuit.epoch, probe=n)
        return Given(circuit)

    def when(self, command: CircuitCommand) -> tuple[CircuitEvent, ...]:
        """What follows."""
        return decide(command, self.circuit, POLICY)


def given(*events: CircuitEvent) -> Given:
    """A circuit that these events happened to."""
    return Given(reduce(evolve, events, initial(POLICY)))


def result(
    kind: FailureKind | None,
    *,
    epoch: int = 0,
    probe: int | None = None,
    now: datetime = T0,
    chance: float = 0.5,
    reset_at: datetime | None = None,
) -> ObserveResult:
    """An attempt ended."""
    return ObserveResult(kind=kind, epoch=epoch, probe=probe, now=now, chance=chance, reset_at=reset_at)


# --- closed: when it opens ------------------------------------------------------------------------------


def test_half_of_ten_calls_open_it() -> None:
    """The rule for a busy provider: a rate over the window."""
    nine = given().seen(None, *[TRANSIENT, None] * 4)

    assert () == nine.when(result(None))
    assert (CircuitOpened(epoch=1, reason="failure_rate", failures=5, calls=10, until=T0 + OPEN_FOR),) == (
        nine.when(result(TRANSIENT))
    )


def test_less_than_half_of_ten_calls_do_not() -> None:
    """Four of ten, five of eleven."""
    assert () == given().seen(None, None, *[TRANSIENT, None] * 3, None).when(result(TRANSIENT))
    assert () == given().seen(*[None, TRANSIENT] * 4, None, None).when(result(TRANSIENT))


def test_a_busy_provider_does_not_open_for_five_in_a_row() -> None:
    """Five of a hundred say little, in a row or not."""
    assert () == given().seen(*[None] * 95, *[TRANSIENT] * 4).when(result(TRANSIENT))


def test_five_in_a_row_open_a_quiet_one() -> None:
    """Below ten calls a rate says nothing."""
    four = given().seen(*[TRANSIENT, UNCERTAIN] * 2)

    assert (opened(),) == four.when(result(UNCERTAIN))
    assert () == four.seen(None).when(result(TRANSIENT))


def test_calls_older_than_the_window_do_not_count() -> None:
    """Ten calls of which six failed, but the failures are two minutes old."""
    circuit = given().seen(*[TRANSIENT] * 6).seen(*[None] * 3, now=at(121))

    assert () == circuit.when(result(TRANSIENT, now=at(121)))


def test_calls_just_inside_the_window_count() -> None:
    """Sliding, not tumbling: a minute is a minute wherever it begins."""
    circuit = given().seen(*[TRANSIENT] * 4, now=at(0.5)).seen(*[None] * 5, now=at(58))

    events = circuit.when(result(TRANSIENT, now=at(60.4)))

    assert ["failure_rate"] == [event.reason for event in events if isinstance(event, CircuitOpened)]


@pytest.mark.parametrize("kind", [FailureKind.ACCOUNT, FailureKind.QUOTA])
def test_a_locked_account_opens_it_at_once(kind: FailureKind) -> None:
    """Nothing gets through until somebody pays, or the day is over."""
    assert (CircuitOpened(epoch=1, reason=kind.value, failures=0, calls=0, until=T0 + OPEN_FOR),) == (
        given().when(result(kind))
    )


def test_a_quota_is_open_until_its_reset() -> None:
    """But not shorter than any opening."""
    late, soon = at(3600), at(3)

    assert opened_at_once(until=late) == given().when(result(FailureKind.QUOTA, reset_at=late))
    assert opened_at_once(until=at(30)) == given().when(result(FailureKind.QUOTA, reset_at=soon))


def opened_at_once(until: datetime) -> tuple[CircuitEvent, ...]:
    """For a quota, without any calls."""
    return (CircuitOpened(epoch=1, reason="quota", failures=0, calls=0, until=until),)


@pytest.mark.parametrize(
    "kind", [FailureKind.THROTTLED, FailureKind.LOST, FailureKind.NOT_TRIED, FailureKind.UNKNOWN]
)
def test_what_says_nothing_about_the_provider_does_not_count(kind: FailureKind) -> None:
    """Neither as a call, nor does it break a row of failures."""
    circuit = given().seen(*[TRANSIENT] * 4, *[kind] * 100)

    assert () == given().seen(*[kind] * 100).when(result(kind))
    assert 4 == circuit.circuit.calls.used(T0)
    assert (opened(),) == circuit.when(result(TRANSIENT))


def test_results_of_an_older_epoch_do_not_count() -> None:
    """What started before the opening ended says nothing about the time since."""
    closed = given(opened(), HALF_OPENED, CircuitClosed(epoch=1))

    assert () == closed.seen(*[TRANSIENT] * 4, epoch=1).when(result(TRANSIENT, epoch=0))
    assert () == closed.when(result(FailureKind.ACCOUNT, epoch=0))
    assert 0 == closed.seen(*[TRANSIENT] * 4, epoch=0).circuit.calls.used(T0)


# --- open -----------------------------------------------------------------------------------------------


def test_an_open_circuit_opens_no_more() -> None:
    """Whatever still comes in."""
    assert () == given(opened()).when(result(FailureKind.ACCOUNT, epoch=1))
    assert () == given(opened()).when(result(TRANSIENT, epoch=0))


def test_an_open_circuit_forgets_its_counts() -> None:
    """The next epoch begins at nothing."""
    circuit = evolve(given().seen(*[TRANSIENT] * 4).circuit, opened())

    assert (0, 0, 0) == (circuit.calls.used(T0), circuit.failures.used(T0), circuit.in_a_row)
    assert (Phase.OPEN, 1, 1) == (circuit.phase, circuit.epoch, circuit.opened)


@pytest.mark.parametrize(
    ("before", "seconds"), [(0, 30), (1, 60), (2, 120), (4, 480), (5, 900), (6, 900), (1000, 900)]
)
def test_each_opening_lasts_twice_as_long(before: int, seconds: int) -> None:
    """Up to a quarter of an hour, give or take a fifth, since it was last closed."""
    circuit = Given(Circuit(opened=before, in_a_row=4))

    def until(chance: float) -> datetime:
        (event,) = circuit.when(result(TRANSIENT, chance=chance))
        assert isinstance(event, CircuitOpened)
        return event.until

    assert at(seconds) == until(0.5)
    assert at(seconds * 0.8) == until(0.0)
    assert at(seconds * 1.2) - timedelta(seconds=1) < until(0.999) < at(seconds * 1.2)


def test_closing_forgets_how_often_it_opened() -> None:
    """The next opening is a short one again."""
    assert 0 == given(opened(1), opened(2), CircuitHalfOpened(epoch=2), CircuitClosed(epoch=2)).circuit.opened


def test_it_half_opens_when_its_time_is_over() -> None:
    """Not before; and asked again, there is nothing left to do."""
    assert () == given(opened()).when(HalfOpen(now=at(29.9)))
    assert (HALF_OPENED,) == given(opened()).when(HalfOpen(now=at(30)))
    assert () == given(opened(), HALF_OPENED).when(HalfOpen(now=at(30)))
    assert () == given().when(HalfOpen(now=at(30)))


# --- half-open: probes ----------------------------------------------------------------------------------


def test_it_grants_three_probes_at_a_time() -> None:
    """The fourth has to wait; one that passed keeps its place."""
    half_open = given(opened(), HALF_OPENED)
    passed = given(opened(), HALF_OPENED, ProbePassed(epoch=1, n=1))

    assert [True, True, True, False] == [
        half_open.probing(*range(1, n + 1)).circuit.may_probe(POLICY, T0) for n in range(4)
    ]
    assert [True, True, False] == [
        passed.probing(*range(2, n + 2)).circuit.may_probe(POLICY, T0) for n in range(3)
    ]


def test_no_probe_is_granted_by_a_closed_circuit_or_one_still_open() -> None:
    """Closed it needs none; open it is too early."""
    assert not given().circuit.may_probe(POLICY, T0)
    assert not given(opened()).circuit.may_probe(POLICY, at(29))
    assert given(opened()).circuit.may_probe(POLICY, at(30))


@pytest.mark.parametrize(
    "kind",
    [
        None,
        FailureKind.RECIPIENT,
        FailureKind.CONTENT,
        FailureKind.TOO_LARGE,
        FailureKind.DEFERRED,
        FailureKind.SENDER,
    ],
)
def test_a_definite_answer_passes_a_probe(kind: FailureKind | None) -> None:
    """The provider is at work, whatever it thinks of the email."""
    half_open = given(opened(), HALF_OPENED).probing(1, 2, 3)

    assert (ProbePassed(epoch=1, n=2),) == half_open.when(result(kind, epoch=1, probe=2))


def test_three_passed_probes_close_it() -> None:
    """In any order."""
    passed: tuple[CircuitEvent, ...] = (ProbePassed(epoch=1, n=3), ProbePassed(epoch=1, n=1))
    circuit = Given(reduce(evolve, passed, given(opened(), HALF_OPENED).probing(1, 2, 3).circuit))
    events = circuit.when(result(None, epoch=1, probe=2))
    after = reduce(evolve, events, circuit.circuit)

    assert (ProbePassed(epoch=1, n=2), CircuitClosed(epoch=1)) == events
    assert Phase.CLOSED is after.phase


@pytest.mark.parametrize("kind", [FailureKind.THROTTLED, FailureKind.UNKNOWN, FailureKind.NOT_TRIED])
def test_a_probe_that_proved_nothing_is_given_back(kind: FailureKind) -> None:
    """Another one may start in its place, under a number of its own."""
    half_open = given(opened(), HALF_OPENED).probing(1, 2, 3)
    after = half_open.circuit.seen(kind=kind, epoch=1, probe=2, at=T0)

    assert () == half_open.when(result(kind, epoch=1, probe=2))
    assert frozenset({1, 3}) == after.out
    assert 3 == after.granted
    assert after.may_probe(POLICY, T0)


@pytest.mark.parametrize("kind", [TRANSIENT, UNCERTAIN, LOST, FailureKind.ACCOUNT, FailureKind.QUOTA])
def test_one_failed_probe_opens_it_again(kind: FailureKind) -> None:
    """The next epoch, for twice as long; probes of this one that are still out count no more."""
    half_open = given(opened(), HALF_OPENED, ProbePassed(epoch=1, n=1)).probing(2, 3)
    events = half_open.when(result(kind, epoch=1, probe=2))
    after = reduce(evolve, events, half_open.circuit)
    reason = kind.value if kind in (FailureKind.ACCOUNT, FailureKind.QUOTA) else "probe_failed"

    assert (
        ProbeFailed(epoch=1, n=2),
        CircuitOpened(epoch=2, reason=reason, failures=1, calls=2, until=at(60)),
    ) == events
    assert () == Given(after).when(result(None, epoch=1, probe=3))
    assert (frozenset(), 0, 0) == (after.out, after.passed, after.granted)


def test_an_answer_to_a_probe_counts_once() -> None:
    """A probe that was answered, or never granted, passes nothing."""
    circuit = Given(evolve(given(opened(), HALF_OPENED).probing(1).circuit, ProbePassed(epoch=1, n=1)))

    assert () == circuit.when(result(None, epoch=1, probe=1))
    assert () == circuit.when(result(TRANSIENT, epoch=1, probe=7))
    assert () == circuit.when(result(TRANSIENT, epoch=1, probe=None))


def test_results_are_not_counted_while_it_is_half_open() -> None:
    """Only probes decide."""
    circuit = given(opened(), HALF_OPENED).seen(*[TRANSIENT] * 20, epoch=1).circuit

    assert (0, 0) == (circuit.calls.used(T0), circuit.in_a_row)


def test_a_start_of_another_epoch_is_no_probe() -> None:
    """It began before this opening."""
    circuit = given(opened(), HALF_OPENED).circuit

    assert circuit == circuit.started(epoch=0, probe=1)
    assert circuit == circuit.started(epoch=1, probe=None)


# --- operators ------------------------------------------------------------------------------------------


def test_an_operator_pauses_and_resumes() -> None:
    """Both say who; both change nothing where it is so already; the circuit is not touched."""
    paused = given(opened(), ProviderPaused(by="alice"))

    assert (ProviderPaused(by="alice"),) == given().when(Pause(by="alice"))
    assert () == paused.when(Pause(by="bob"))
    assert (ProviderResumed(by="bob"),) == paused.when(Resume(by="bob"))
    assert () == given().when(Resume(by="bob"))
    assert (True, Phase.OPEN) == (paused.circuit.paused, paused.circuit.phase)
    assert not given(ProviderPaused(by="alice"), ProviderResumed(by="bob")).circuit.paused


@pytest.mark.parametrize("events", [(opened(),), (opened(), HALF_OPENED)], ids=["open", "half-open"])
def test_an_operator_resets(events: tuple[CircuitEvent, ...]) -> None:
    """Who knows that the provider is back need not wait for probes; the epoch stays."""
    closed = (CircuitClosed(epoch=1, by="alice"),)

    assert closed == given(*events).when(Reset(by="alice"))
    assert (Phase.CLOSED, 1) == (
        given(*events, *closed).circuit.phase,
        given(*events, *closed).circuit.epoch,
    )


def test_resetting_a_closed_circuit_changes_nothing() -> None:
    """It is closed."""
    assert () == given().when(Reset(by="alice"))


# --- over any history -----------------------------------------------------------------------------------

KINDS = st.sampled_from([None, *FailureKind])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.floats(0, 40)),
        st.tuples(st.just("end"), KINDS),
        st.tuples(st.just("reset"), st.none()),
    ),
    max_size=120,
)


@for_all(STEPS)
def test_no_history_breaks_the_rules(steps: list[tuple[str, float | FailureKind | None]]) -> None:
    """Starts behind an opening are probes, at most three at a time; epochs rise with each opening, by one."""
    policy = replace(POLICY, min_calls=4, consecutive=2)
    circuit, now, under_way = initial(policy), T0, list[tuple[int, int | None]]()
    for what, value in steps:
        events: tuple[CircuitEvent, ...] = ()
        if what == "start":
            assert isinstance(value, float)
            now += timedelta(seconds=value)
            circuit = reduce(evolve, decide(HalfOpen(now=now), circuit, policy), circuit)
            if circuit.phase is Phase.CLOSED or circuit.may_probe(policy, now):
                probe = None if circuit.phase is Phase.CLOSED else circuit.granted + 1
                under_way.append((circuit.epoch, probe))
                circuit = circuit.started(epoch=circuit.epoch, probe=probe)
        elif what == "end" and under_way:
            epoch, probe = under_way.pop(0)
            assert not isinstance(value, float)
            kind = value
            events = decide(result(kind, epoch=epoch, probe=probe, now=now), circuit, policy)
            circuit = reduce(evolve, events, circuit.seen(kind=kind, epoch=epoch, probe=probe, at=now))
        elif what == "reset":
            events = decide(Reset(by="alice"), circuit, policy)
            circuit = reduce(evolve, events, circuit)

        assert all(event.epoch == circuit.epoch for event in events if isinstance(event, CircuitOpened))
        assert len(circuit.out) <= policy.probes
        assert circuit.out == {n for epoch, n in under_way if n is not None and epoch == circuit.epoch} or (
            circuit.phase is Phase.CLOSED
        )
        assert (circuit.phase is Phase.OPEN) == (circuit.until is not None)
        assert circuit.phase is Phase.CLOSED or circuit.opened > 0
