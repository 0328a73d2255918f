"""The half-open circuit and its probes, operators, and any history of a circuit."""

from dataclasses import replace
from datetime import timedelta
from functools import reduce

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.circuit import (
    CircuitClosed,
    CircuitEvent,
    CircuitOpened,
    HalfOpen,
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
from tests.domain.build_circuit import (
    HALF_OPENED,
    LOST,
    POLICY,
    T0,
    TRANSIENT,
    UNCERTAIN,
    Given,
    at,
    given,
    opened,
    result,
)

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
