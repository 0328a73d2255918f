"""Appending: each unit whole or not at all, in order, and read back as it was given."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from application.ports import BATCH_MAX, Plan
from application.recorded import (
    Committed,
    Conflict,
    Event,
    NewEvent,
    StreamAppend,
    circuit_stream,
    email_stream,
)
from domain.email.events import Cancelled
from tests.contract.event_store.conftest import Subject
from tests.contract.event_store.given import (
    T0,
    an_id,
    append,
    committed,
    content_of,
    failed,
    new,
    request,
    requested,
    rescheduled,
    sent,
    started,
    unit,
)
from tests.golden.samples import SAMPLES


def test_new_streams_begin_at_version_1(subject: Subject) -> None:
    """Units are recorded in their order, and the answer is what was recorded."""
    ids = [an_id() for _ in range(3)]
    answers = subject.store.append([request(one) for one in ids])
    recorded = [event for answer in answers for event in committed(answer).recorded]

    assert [email_stream(one) for one in ids] == [event.stream for event in recorded]
    assert [1, 1, 1] == [event.version for event in recorded]
    assert recorded == sorted(recorded, key=lambda event: event.position)
    assert recorded == [event for one in ids for event in subject.store.read_stream(email_stream(one))]


def test_nothing_to_append_is_fine(subject: Subject) -> None:
    """A group commit may find that everybody went away."""
    assert [] == subject.store.append([])
    assert [] == subject.store.read_all(0, 10)


def test_an_event_is_read_back_as_it_was_given(subject: Subject) -> None:
    """Every field of envelope and event, Unicode and microseconds included."""
    email_id, at = an_id(), T0 + timedelta(microseconds=654_321)
    event = requested(key="Bestellung ✓ 😀", tags=("größe",), tenant="ÄÖ", send_at=at)
    new_event = NewEvent(event_id=an_id(), event=event, correlation_id="Ursache ✓", causation_id=an_id())
    stored = StreamAppend(stream=email_stream(email_id), expected_version=0, events=(new_event,))
    (answer,) = subject.store.append([unit(stored, at=at)])
    (read,) = subject.store.read_stream(email_stream(email_id))

    assert (new_event.event_id, event, at) == (read.event_id, read.event, read.at)
    assert ("Ursache ✓", new_event.causation_id) == (read.correlation_id, read.causation_id)
    assert timedelta(0) == read.at.utcoffset()
    assert (read,) == committed(answer).recorded
    assert [read] == subject.store.read_all(0, 10)


def test_every_event_there_is_can_be_recorded(subject: Subject) -> None:
    """Not only those the other tests happen to use."""
    email_id = an_id()
    email = [requested(recipients=3), started(1), *_all_but_the_beginning()]
    circuit = [event for name, event in SAMPLES.items() if name.startswith(("Circuit", "Probe", "ProviderP"))]
    circuit.append(SAMPLES["ProviderResumed"])
    everything = unit(append(email_stream(email_id), 0, *email), append(circuit_stream("ses"), 0, *circuit))
    subject.store.transact(Plan(), lambda locked: [everything])
    read = [
        one.event
        for stream in (email_stream(email_id), circuit_stream("ses"))
        for one in subject.store.read_stream(stream)
    ]

    assert [*email, *circuit] == read
    assert set(map(type, SAMPLES.values())) == set(map(type, read))


def _all_but_the_beginning() -> list[Event]:
    """Every other event of an email, for its first attempt, whether or not they would follow each other."""
    rest = [
        event
        for name, event in SAMPLES.items()
        if not name.startswith(("Circuit", "Probe", "ProviderP", "ProviderR", "Requested", "AttemptStarted"))
    ]
    first: Any = {"attempt": 1}
    return [replace(event, **first) if hasattr(event, "attempt") else event for event in rest]


def test_a_stale_unit_is_refused_alone(subject: Subject) -> None:
    """Those beside it in the batch are not touched, and it is told where the stream really is."""
    old, first, last = an_id(), an_id(), an_id()
    subject.store.append([request(old)])
    answers = subject.store.append([request(first), request(old), request(last)])

    assert [Committed, Conflict, Committed] == [type(answer) for answer in answers]
    assert Conflict(stream=email_stream(old), expected=0, actual=1) == answers[1]
    assert 1 == len(subject.store.read_stream(email_stream(old)))
    assert 3 == len(subject.store.read_all(0, 10))


@pytest.mark.parametrize("expected", [1, 7])
def test_a_stream_that_should_exist_and_does_not_is_a_conflict(subject: Subject, expected: int) -> None:
    """As is any other wrong version."""
    stream = email_stream(an_id())
    answers = subject.store.append([unit(append(stream, expected, rescheduled()))])

    assert [Conflict(stream=stream, expected=expected, actual=0)] == answers
    assert [] == subject.store.read_stream(stream)


def test_a_stream_goes_on_where_it_is_expected_to(subject: Subject) -> None:
    """Version after version."""
    email_id = an_id()
    stream = email_stream(email_id)
    subject.store.append([request(email_id)])
    subject.store.append([unit(append(stream, 1, rescheduled(1), rescheduled(2)))])
    (answer,) = subject.store.append([unit(append(stream, 2, rescheduled(3)))])

    assert Conflict(stream=stream, expected=2, actual=3) == answer
    assert [1, 2, 3] == [event.version for event in subject.store.read_stream(stream)]


def test_a_unit_over_several_streams_is_all_or_nothing(subject: Subject) -> None:
    """One stale stream among them, and none of them moves; its content isn't kept either."""
    old, fresh = an_id(), an_id()
    subject.store.append([request(old)])
    both = unit(
        append(email_stream(fresh), 0, requested()),
        append(email_stream(old), 0, requested()),
        content=content_of(fresh),
    )
    (refused,) = subject.store.append([both])
    after_refusal = subject.store.read_stream(email_stream(fresh))
    good = unit(append(email_stream(fresh), 0, requested()), append(email_stream(old), 1, rescheduled()))
    (accepted,) = subject.store.append([good])

    assert isinstance(refused, Conflict)
    assert [] == after_refusal
    assert {} == subject.store.contents([fresh])
    assert [1, 2] == [event.version for event in committed(accepted).recorded]


def test_the_first_of_two_units_for_a_stream_wins(subject: Subject) -> None:
    """Two requests with one key in one batch: the second finds the first, as if it had come later."""
    email_id = an_id()
    first, second = subject.store.append([request(email_id, key="1"), request(email_id, key="2")])

    assert isinstance(first, Committed)
    assert Conflict(stream=email_stream(email_id), expected=0, actual=1) == second
    assert [first.recorded[0]] == subject.store.read_stream(email_stream(email_id))


def test_units_of_one_batch_may_follow_each_other(subject: Subject) -> None:
    """Each sees the streams as those before it leave them; a refused one leaves nothing."""
    email_id = an_id()
    stream = email_stream(email_id)
    answers = subject.store.append(
        [
            request(email_id),
            unit(append(stream, 1, rescheduled(1))),
            unit(append(stream, 1, rescheduled(2))),
            unit(append(stream, 2, rescheduled(3)), append(stream, 3, rescheduled(4))),
        ]
    )

    assert [Committed, Committed, Conflict, Committed] == [type(answer) for answer in answers]
    assert [requested(), rescheduled(1), rescheduled(3), rescheduled(4)] == [
        one.event for one in subject.store.read_stream(stream)
    ]


@pytest.mark.parametrize("same_batch", [True, False], ids=["in one batch", "in the log"])
def test_an_event_id_is_recorded_once(subject: Subject, same_batch: bool) -> None:
    """A unit that brings one again is refused alone: by a conflict that finds its stream where it expected it."""
    event_id = an_id()
    one, other, third = an_id(), an_id(), an_id()
    units = [
        unit(StreamAppend(stream=email_stream(email_id), expected_version=0, events=(event,)))
        for email_id, event in (
            (one, replace(new(requested()), event_id=event_id)),
            (other, replace(new(requested()), event_id=event_id)),
            (third, new(requested())),
        )
    ]
    if same_batch:
        answers = subject.store.append(units)
    else:
        answers = subject.store.append(units[:1]) + subject.store.append(units[1:])

    assert [Committed, Conflict, Committed] == [type(answer) for answer in answers]
    assert Conflict(stream=email_stream(other), expected=0, actual=0) == answers[1]
    assert [] == subject.store.read_stream(email_stream(other))


@pytest.mark.parametrize("count", [BATCH_MAX, 2000])
def test_a_big_batch_is_one_batch(subject: Subject, count: int) -> None:
    """More than any limit on parameters in a statement, with a stale unit at its end."""
    ids = [an_id() for _ in range(count)]
    answers = subject.store.append([request(one, with_content=True) for one in (*ids, ids[0])])

    assert [Committed] * count + [Conflict] == [type(answer) for answer in answers]
    assert [email_stream(one) for one in ids] == [one.stream for one in subject.store.read_all(0, count + 1)]
    assert set(ids) == set(subject.store.contents(ids))
    assert count == subject.store.waiting()


def test_a_time_without_a_zone_is_refused(subject: Subject) -> None:
    """In the envelope as in the event; nothing of the call is recorded."""
    naive = T0.replace(tzinfo=None)
    for bad in (request(an_id(), at=naive), request(an_id(), expires_at=naive)):
        with pytest.raises(ValueError):
            subject.store.append([request(an_id()), bad])

    assert [] == subject.store.read_all(0, 10)


@pytest.mark.parametrize(
    "event", [started(), failed(), sent(), SAMPLES["CircuitClosed"]], ids=lambda e: type(e).__name__
)
def test_append_takes_nothing_that_moves_a_gate(subject: Subject, event: Event) -> None:
    """It holds no gate; to record such an event would leave the gate behind the log."""
    email_id = an_id()
    stream = circuit_stream("ses") if event is SAMPLES["CircuitClosed"] else email_stream(email_id)
    subject.store.append([request(email_id)])
    with pytest.raises(ValueError, match="moves gates"):
        subject.store.append([unit(append(stream, len(subject.store.read_stream(stream)), event))])

    assert 1 == len(subject.store.read_all(0, 10))


def test_what_is_appended_to_an_email_is_in_its_view(subject: Subject) -> None:
    """An email that is cancelled waits no more."""
    email_id = an_id()
    subject.store.append([request(email_id), request(an_id())])
    before = subject.store.waiting()
    subject.store.append([unit(append(email_stream(email_id), 1, Cancelled(by="me")))])

    assert (2, 1) == (before, subject.store.waiting())
