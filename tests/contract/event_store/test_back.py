"""Reading the log from its end, and where following it begins for whoever wants only what is new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from adapters.sql import follow, open_store
from adapters.sql.engine import Session
from application.recorded import Recorded
from tests.contract.event_store.conftest import CIRCUIT, Subject
from tests.contract.event_store.given import an_id, request
from tests.contract.event_store.test_log import COPY, draw, foreign_writer


def test_the_log_is_read_from_its_end_in_pages(subject: Subject) -> None:
    """Each page goes on in front of the last position of the one before."""
    subject.store.append([request(an_id()) for _ in range(7)])
    log = subject.store.read_all(0, 10)
    pages: list[list[Recorded]] = [subject.store.read_back(log[-1].position + 1, 3)]
    while pages[-1]:
        pages.append(subject.store.read_back(pages[-1][-1].position, 3))

    assert [3, 3, 1, 0] == [len(page) for page in pages]
    assert log[::-1] == [one for page in pages for one in page]


def test_in_front_of_everything_there_is_nothing(subject: Subject) -> None:
    """And beyond the end lies the same as at it."""
    empty = subject.store.read_back(1000, 10)
    subject.store.append([request(an_id())])
    (only,) = subject.store.read_back(10_000, 10)

    assert [] == empty
    assert [] == subject.store.read_back(only.position, 10)
    assert [] == subject.store.read_back(0, 10)


def test_what_is_recorded_from_now_on_lies_behind_the_end(subject: Subject) -> None:
    """Of an empty log too."""
    empty = subject.store.end()
    subject.store.append([request(an_id()), request(an_id())])
    end = subject.store.end()
    subject.store.append([request(an_id())])

    assert 0 == empty
    assert [end] == [one.position for one in subject.store.read_back(end + 1, 1)]
    assert 1 == len(subject.store.read_all(end, 10))


def test_a_position_that_never_comes_is_no_end(postgres_subject: Subject) -> None:
    """Its writer rolled back: the end lies behind the gap at once."""
    subject = postgres_subject
    with foreign_writer(subject) as writer:
        draw(writer)
        writer.rollback()
    subject.store.append([request(an_id())])
    (only,) = subject.store.read_back(1000, 10)

    assert only.position == subject.store.end()


def test_the_end_lies_in_front_of_what_may_still_come(
    postgres_subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long its writer takes: what it records at last is new to whoever begins now."""
    monkeypatch.setattr(follow, "END_LOOKS", 3)
    subject, late = postgres_subject, an_id()
    subject.store.append([request(an_id())])
    with foreign_writer(subject) as writer:
        position = draw(writer)
        subject.store.append([request(an_id())])
        end = subject.store.end()
        writer.execute(COPY, (position, an_id(), f"email-{late}"))
        writer.commit()
    after = subject.store.end()

    assert position - 1 == end
    assert [position, position + 1] == [one.position for one in subject.store.read_all(end, 10)]
    assert position + 1 == after


def test_what_another_reader_learns_is_not_believed_of_an_older_look(postgres_subject: Subject) -> None:
    """Two follow the same log. While one looks, the writer of the gap ends, and the other reads past it."""
    subject, late = postgres_subject, an_id()
    subject.store.append([request(an_id())])
    store = open_store(subject.url, clock=subject.clock, circuit=CIRCUIT)
    follower, database = store._follower, store._database
    with foreign_writer(subject) as writer:
        position = draw(writer)
        subject.store.append([request(an_id())])
        store.read_all(0, 100)  # has asked who may still fill the gap
        look = database.read

        def overtaken(work: Callable[[Session], Any]) -> Any:
            seen = look(work)
            database.read = look  # type: ignore[method-assign]
            writer.execute(COPY, (position, an_id(), f"email-{late}"))
            writer.commit()
            assert 3 == len(store.read_all(0, 100))
            assert follower._settled >= position
            return seen

        database.read = overtaken  # type: ignore[method-assign]
        log = store.read_all(0, 100)
    store.close()

    assert log == subject.store.read_all(0, 100)[: len(log)]
