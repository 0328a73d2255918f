"""A transaction: lock, decide, record; all of the decision or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from threading import Thread

import pytest

from application.ports import Locked, Plan, StoreUnavailable, Transacted
from application.projections.gates import SERVICE, Gate, provider_gate, route_gate
from application.recorded import Conflict, Unit, circuit_stream, email_stream
from domain.circuit import CircuitOpened, CircuitPolicy
from tests.contract.event_store.conftest import CIRCUIT, Subject
from tests.contract.event_store.given import (
    DAY,
    MINUTE,
    T0,
    an_id,
    append,
    failed,
    request,
    requested,
    rescheduled,
    sent,
    started,
    unit,
)

OPENED = CircuitOpened(epoch=1, reason="consecutive", failures=3, calls=3, until=T0 + MINUTE)


def nothing(locked: Locked) -> Sequence[Unit]:
    """Decide nothing, only look."""
    return []


def record(subject: Subject, *units: Unit) -> Transacted:
    """Record units that may move gates."""
    return subject.store.transact(Plan(), lambda locked: units)


def test_a_decision_is_recorded_in_order(subject: Subject) -> None:
    """Over several units and streams, emails and circuits."""
    one, other = an_id(), an_id()
    subject.store.append([request(one), request(other)])
    transacted = record(
        subject,
        unit(append(email_stream(other), 1, started())),
        unit(append(circuit_stream("ses"), 0, OPENED), append(email_stream(one), 1, rescheduled())),
        unit(append(email_stream(other), 2, failed())),
    )

    assert [started(), OPENED, rescheduled(), failed()] == [one.event for one in transacted.recorded]
    assert [2, 1, 2, 3] == [one.version for one in transacted.recorded]
    assert list(transacted.recorded) == subject.store.read_all(0, 10)[2:]


def test_deciding_nothing_records_nothing(subject: Subject) -> None:
    """A claim that finds nothing is no event."""
    transacted = subject.store.transact(Plan(), nothing)

    assert ((), {}) == (transacted.recorded, transacted.contents)
    assert [] == subject.store.read_all(0, 10)


def test_emails_with_a_command_are_folded(subject: Subject) -> None:
    """As they stand, with the times of their attempts; one that nobody requested is absent."""
    email_id, unknown = an_id(), an_id()
    subject.store.append([request(email_id)])
    record(subject, unit(append(email_stream(email_id), 1, started()), at=T0 + MINUTE))
    last = record(subject, unit(append(email_stream(email_id), 2, failed()), at=T0 + 2 * MINUTE)).recorded[-1]
    view = subject.store.transact(Plan(emails=(email_id, unknown)), nothing).locked.emails[email_id]

    assert {email_id} == set(subject.store.transact(Plan(emails=(unknown, email_id)), nothing).locked.emails)
    assert (3, last.position, last.event_id) == (view.version, view.position, view.last_event_id)
    assert ((T0 + MINUTE, T0 + 2 * MINUTE),) == view.times
    assert T0 + MINUTE == view.email.due_at


def test_an_error_in_the_decision_undoes_everything(subject: Subject) -> None:
    """It reaches the caller as it is, and the locks are free again."""
    email_id = an_id()
    subject.store.append([request(email_id)])

    def broken(locked: Locked) -> Sequence[Unit]:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        subject.store.transact(Plan(emails=(email_id,)), broken)
    record(subject, unit(append(email_stream(email_id), 1, started())))

    assert 2 == len(subject.store.read_all(0, 10))


@pytest.mark.parametrize("wrong", ["stale", "naive", "twice"])
def test_a_decision_is_recorded_whole_or_not_at_all(subject: Subject, wrong: str) -> None:
    """One unit that doesn't fit, and none of them is there, nor has a gate moved."""
    email_id, other = an_id(), an_id()
    subject.store.append([request(email_id), request(other)])
    good = unit(append(email_stream(email_id), 1, started()))
    bad = {
        "stale": unit(append(email_stream(other), 0, rescheduled())),
        "naive": unit(append(email_stream(other), 1, rescheduled()), at=T0.replace(tzinfo=None)),
        "twice": replace(good, appends=(replace(good.appends[0], stream=email_stream(other)),)),
    }[wrong]
    with pytest.raises((RuntimeError, ValueError, StoreUnavailable)):
        record(subject, good, bad)

    assert 2 == len(subject.store.read_all(0, 10))
    assert {} == subject.store.transact(Plan(), nothing).locked.gates
    assert {email_id, other} == set(
        subject.store.transact(Plan(emails=(email_id, other)), nothing).locked.emails
    )


def test_a_decision_is_made_again_where_somebody_got_in_between(subject: Subject) -> None:
    """With a fresh view. Where transactions wait for each other, the other one comes too late instead."""
    email_id = an_id()
    stream = email_stream(email_id)
    views: list[int] = []
    answers: list[object] = []
    intruder = Thread(target=lambda: answers.extend(subject.store.append([request(email_id, key="other")])))

    def decide(locked: Locked) -> Sequence[Unit]:
        version = locked.emails[email_id].version if email_id in locked.emails else 0
        views.append(version)
        if len(views) == 1:
            intruder.start()
            intruder.join(0.3 if subject.one_writer_at_a_time else 10)
        return [unit(append(stream, version, rescheduled() if version else requested()))]

    subject.store.transact(Plan(emails=(email_id,)), decide)
    intruder.join(10)
    log = [(one.version, one.event) for one in subject.store.read_stream(stream)]

    if subject.one_writer_at_a_time:
        assert [0] == views
        assert [Conflict(stream=stream, expected=0, actual=1)] == answers
        assert [(1, requested())] == log
    else:
        assert [0, 1] == views
        assert [(1, requested(key="other")), (2, rescheduled())] == log


def test_a_decision_that_never_fits_is_given_up(subject: Subject) -> None:
    """It is a bug of ours, not a reason to turn round for ever."""
    email_id = an_id()
    calls: list[int] = []

    def decide(locked: Locked) -> Sequence[Unit]:
        calls.append(1)
        return [unit(append(email_stream(email_id), 5, rescheduled()))]

    with pytest.raises((RuntimeError, StoreUnavailable)):
        subject.store.transact(Plan(), decide)

    assert 1 <= len(calls) <= 20
    assert [] == subject.store.read_all(0, 10)


def test_gates_are_folded_exactly(subject: Subject) -> None:
    """Starts in all three gates, outcomes at the provider's, the circuit with its stream's version."""
    first, second = an_id(), an_id()
    subject.store.append([request(first), request(second)])
    record(subject, unit(append(email_stream(first), 1, started(), failed()), at=T0 + MINUTE))
    pause = T0 + 3 * MINUTE
    last = record(
        subject,
        unit(append(email_stream(second), 1, started()), at=T0 + 2 * MINUTE),
        unit(append(email_stream(first), 3, started(2)), at=T0 + 2 * MINUTE),
        unit(append(email_stream(first), 4, failed(2, not_before=pause)), at=T0 + 2 * MINUTE),
        unit(append(circuit_stream("ses"), 0, OPENED), at=T0 + 2 * MINUTE),
    ).recorded
    gates = subject.store.transact(Plan(), nothing).locked.gates
    ses = gates[provider_gate("ses")]

    assert {provider_gate("ses"), route_gate("default"), SERVICE} == set(gates)
    assert (1, pause, 1, 1) == (ses.open_attempts, ses.not_before, ses.version, ses.circuit.epoch)
    assert last[-1].position == ses.position
    assert [last[1].position] * 2 == [gates[route_gate("default")].position, gates[SERVICE].position]
    assert {3} == {window.used(T0 + 2 * MINUTE) for gate in gates.values() for window in gate.windows[2:]}
    assert {T0 + 2 * MINUTE} == {gate.last_at for gate in gates.values()}


def test_circuits_count_in_the_window_that_is_configured(subject: Subject) -> None:
    """From the first result on, though a gate begins with the default."""
    email_id = an_id()
    subject.store.append([request(email_id)])
    record(subject, unit(append(email_stream(email_id), 1, started(), failed())))
    circuit = subject.store.transact(Plan(), nothing).locked.gates[provider_gate("ses")].circuit

    assert CIRCUIT.window == circuit.calls.window == circuit.failures.window
    assert (1, 1, 1) == (circuit.calls.used(T0), circuit.failures.used(T0), circuit.in_a_row)


def test_another_window_begins_to_count_afresh(sql_subject: Subject) -> None:
    """Counts of the window that was configured before mean nothing in the new one."""
    email_id = an_id()
    sql_subject.store.append([request(email_id)])
    record(sql_subject, unit(append(email_stream(email_id), 1, started(), failed())))
    other = sql_subject.open(circuit=CircuitPolicy(window=2 * CIRCUIT.window))
    circuit = other.transact(Plan(), nothing).locked.gates[provider_gate("ses")].circuit

    assert 2 * CIRCUIT.window == circuit.calls.window == circuit.failures.window
    assert (0, 0) == (circuit.calls.used(T0), circuit.failures.used(T0))


def test_time_never_runs_behind_a_gate(subject: Subject) -> None:
    """Where the clock was put back, the last start behind the gates is the time."""
    email_id = an_id()
    subject.store.append([request(email_id)])
    record(subject, unit(append(email_stream(email_id), 1, started()), at=T0 + MINUTE))
    behind = subject.store.transact(Plan(), nothing).locked.now
    subject.clock.time = T0 + 2 * MINUTE
    ahead = subject.store.transact(Plan(), nothing).locked.now

    assert (T0 + MINUTE, T0 + 2 * MINUTE) == (behind, ahead)


def test_without_gates_none_is_given_and_none_moves(subject: Subject) -> None:
    """A decision that would move one all the same is refused."""
    email_id = an_id()
    subject.store.append([request(email_id)])
    record(subject, unit(append(email_stream(email_id), 1, started())))
    looks: list[dict[str, Gate]] = []

    def decide(locked: Locked) -> Sequence[Unit]:
        looks.append(dict(locked.gates))
        return [unit(append(email_stream(email_id), 2, sent()))]

    with pytest.raises(ValueError, match="moves gates"):
        subject.store.transact(Plan(gates=False), decide)

    assert [{}] == looks
    assert 2 == len(subject.store.read_all(0, 10))


def test_it_says_when_to_look_again(subject: Subject) -> None:
    """When the next email is due or the next deadline passes; not what is due already; None where nothing waits."""
    first, second = an_id(), an_id()
    plan = Plan(lease=subject.store.acquire_lease("w"), choose=lambda waiting, gates, now: [])
    empty = subject.store.transact(plan, nothing).next_at
    subject.store.append([request(first)])
    only_deadline = subject.store.transact(plan, nothing).next_at
    later = T0 + timedelta(hours=5)
    subject.store.append([request(second, send_at=later, expires_at=later + DAY)])
    scheduled = subject.store.transact(plan, nothing).next_at
    subject.clock.time = later
    after = subject.store.transact(plan, nothing).next_at

    assert (None, T0 + DAY, later, T0 + DAY) == (empty, only_deadline, scheduled, after)


def test_what_it_decides_counts_for_when_to_look_again(subject: Subject) -> None:
    """A retry in a minute is seen by the transaction that recorded it."""
    email_id = an_id()
    subject.store.append([request(email_id)])
    record(subject, unit(append(email_stream(email_id), 1, started())))
    transacted = record(subject, unit(append(email_stream(email_id), 2, failed(retry_at=T0 + MINUTE))))

    assert T0 + MINUTE == transacted.next_at
