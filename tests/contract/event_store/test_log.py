"""Reading the log: everything once, in order, and nothing before all that stands in front of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from application.recorded import Recorded, email_stream
from tests.contract.event_store.conftest import Subject
from tests.contract.event_store.given import an_id, append, request, rescheduled, unit

OWN_ID = "SELECT pg_current_xact_id()"
NEXT_POSITION = "SELECT nextval(pg_get_serial_sequence('events', 'position'))"
COPY = """
    INSERT INTO events (position, event_id, stream, version, type, at, meta, data, hash)
    OVERRIDING SYSTEM VALUE
    SELECT %s, %s, %s, 1, type, at, meta, data, hash FROM events WHERE version = 1 LIMIT 1
"""
PATIENCE_S = 10.0


def test_the_log_is_read_in_pages(subject: Subject) -> None:
    """Each page goes on behind the last position of the one before."""
    ids = [an_id() for _ in range(7)]
    subject.store.append([request(one) for one in ids])
    pages: list[list[Recorded]] = [subject.store.read_all(0, 3)]
    while pages[-1]:
        pages.append(subject.store.read_all(pages[-1][-1].position, 3))

    assert [3, 3, 1, 0] == [len(page) for page in pages]
    assert [email_stream(one) for one in ids] == [event.stream for page in pages for event in page]


def test_the_end_of_the_log_is_no_error(subject: Subject) -> None:
    """Nor is an empty log, nor a position that isn't there yet."""
    empty = subject.store.read_all(0, 10)
    subject.store.append([request(an_id())])
    (only,) = subject.store.read_all(0, 10)

    assert [] == empty
    assert [] == subject.store.read_all(only.position, 10)
    assert [] == subject.store.read_all(only.position + 1000, 10)


def test_positions_rise_in_the_order_of_recording(subject: Subject) -> None:
    """Over units, batches and streams; a stream's versions come in order too."""
    one, other = an_id(), an_id()
    subject.store.append([request(one), request(other)])
    subject.store.append([unit(append(email_stream(other), 1, rescheduled(1), rescheduled(2)))])
    subject.store.append([unit(append(email_stream(one), 1, rescheduled(3)))])
    log = subject.store.read_all(0, 10)

    assert [one, other, other, other, one] == [event.stream.removeprefix("email-") for event in log]
    assert [1, 1, 2, 3, 2] == [event.version for event in log]
    assert len({event.position for event in log}) == 5
    assert log == sorted(log, key=lambda event: event.position)


def test_a_stream_that_is_not_there_is_empty(subject: Subject) -> None:
    """And not an error: expected version 0 says the same."""
    assert [] == subject.store.read_stream(email_stream(an_id()))


# Past gaps: on PostgreSQL a position is drawn before its transaction commits, so a later one may be there first.


@contextmanager
def foreign_writer(subject: Subject) -> Iterator[psycopg.Connection]:
    """A writer of another process that takes its time: a transaction that has its id."""
    with psycopg.connect(subject.url) as connection:
        connection.execute(OWN_ID)
        yield connection


def draw(writer: psycopg.Connection) -> int:
    """Let the writer draw the next position."""
    row = writer.execute(NEXT_POSITION).fetchone()
    assert row is not None
    position: int = row[0]
    return position


def follow(subject: Subject, after: int, until: int) -> list[Recorded]:
    """Read on from `after` until so many events were found, as a follower would."""
    found: list[Recorded] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < until and time.monotonic() < deadline:
        page = subject.store.read_all(after, 100)
        found += page
        after = page[-1].position if page else after
        time.sleep(0 if page else 0.02)
    return found


def test_a_reader_waits_for_a_position_that_may_still_come(postgres_subject: Subject) -> None:
    """However often it asks; and once it has come, everything is read in order."""
    subject, late = postgres_subject, email_stream(an_id())
    subject.store.append([request(an_id()), request(an_id())])
    with foreign_writer(subject) as writer:
        position = draw(writer)
        subject.store.append([request(an_id()), request(an_id())])
        meanwhile = [len(subject.store.read_all(0, 100)) for _ in range(20)]
        writer.execute(COPY, (position, an_id(), late))
        meanwhile += [len(subject.store.read_all(0, 100)) for _ in range(5)]
        writer.commit()
    log = follow(subject, 0, until=5)

    assert [2] * 25 == meanwhile
    assert late == log[2].stream
    assert log == sorted(log, key=lambda event: event.position)
    assert log == subject.store.read_all(0, 100)


def test_a_reader_steps_over_a_position_that_never_comes(postgres_subject: Subject) -> None:
    """Its writer rolled back: the number is gone for good, and the reader must not wait for it for ever."""
    subject = postgres_subject
    with foreign_writer(subject) as writer:
        subject.store.append([request(an_id())])
        draw(writer)
        draw(writer)
        subject.store.append([request(an_id())])
        meanwhile = [len(subject.store.read_all(0, 100)) for _ in range(5)]
        writer.rollback()
    log = follow(subject, 0, until=2)

    assert [1] * 5 == meanwhile
    assert 2 == len(log)
    assert 2 == len(subject.store.read_all(0, 100))


def test_gaps_of_several_writers_are_passed_one_by_one(postgres_subject: Subject) -> None:
    """One commits, one rolls back, one is still open: the reader stands at the last one."""
    subject, came, last = postgres_subject, email_stream(an_id()), email_stream(an_id())
    subject.store.append([request(an_id())])
    with foreign_writer(subject) as a, foreign_writer(subject) as b, foreign_writer(subject) as c:
        first, _, third = draw(a), draw(b), draw(c)
        subject.store.append([request(an_id())])
        a.execute(COPY, (first, an_id(), came))
        a.commit()
        b.rollback()
        part = follow(subject, 0, until=2)
        while_open = [len(subject.store.read_all(0, 100)) for _ in range(10)]
        c.execute(COPY, (third, an_id(), last))
        c.commit()
    rest = follow(subject, part[-1].position, until=2)

    assert came == part[-1].stream
    assert [2] * 10 == while_open
    assert last == rest[0].stream
    assert [*part, *rest] == subject.store.read_all(0, 100)


def test_a_writer_that_has_drawn_nothing_holds_nobody_up(postgres_subject: Subject) -> None:
    """It began before everyone else, but its positions will be later ones."""
    subject, late = postgres_subject, email_stream(an_id())
    with foreign_writer(subject) as writer:
        subject.store.append([request(an_id()), request(an_id())])
        early = subject.store.read_all(0, 100)
        writer.execute(COPY, (draw(writer), an_id(), late))
        writer.commit()
    rest = follow(subject, early[-1].position, until=1)

    assert 2 == len(early)
    assert [late] == [event.stream for event in rest]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_page_ends_before_a_gap_whatever_its_size(postgres_subject: Subject, limit: int) -> None:
    """A small page must not reach over it, nor a page that begins right at it."""
    subject = postgres_subject
    subject.store.append([request(an_id()), request(an_id())])
    second = subject.store.read_all(0, 100)[-1].position
    with foreign_writer(subject) as writer:
        draw(writer)
        subject.store.append([request(an_id()), request(an_id())])
        page = subject.store.read_all(0, limit)
        at_the_gap = [subject.store.read_all(second, limit) for _ in range(5)]
        writer.rollback()

    assert min(limit, 2) == len(page)
    assert [[]] * 5 == at_the_gap
