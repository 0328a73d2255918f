"""The circuit breaker: when it opens, for how long, and when it is tried again."""

from datetime import datetime, timedelta

import pytest

from domain.circuit import (
    Circuit,
    CircuitClosed,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitOpened,
    HalfOpen,
    Phase,
    evolve,
)
from domain.failures import FailureKind
from tests.domain.build_circuit import (
    HALF_OPENED,
    OPEN_FOR,
    T0,
    TRANSIENT,
    UNCERTAIN,
    Given,
    at,
    given,
    opened,
    result,
)

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

    assert () == given().seen(*[TRANSIENT] * 3).when(result(TRANSIENT))
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
