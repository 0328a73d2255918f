"""The content store: kept with the event that needs it, and the only thing that is ever deleted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from application.ports import Plan
from application.recorded import Unit, email_stream
from tests.contract.event_store.conftest import Subject
from tests.contract.event_store.given import (
    an_id,
    append,
    content_of,
    request,
    requested,
    rescheduled,
    started,
    unit,
)

LOGO = b"\x89PNG" * 1000
INVOICE = bytes(range(256)) * 4096


def asked(email_id: str, *attachments: bytes) -> Unit:
    """A unit that accepts an email with these attachments."""
    return unit(append(email_stream(email_id), 0, requested()), content=content_of(email_id, *attachments))


def test_content_is_read_back_as_it_was_given(subject: Subject) -> None:
    """Addresses, text, salt, key and every octet of the attachments."""
    one, other = an_id(), an_id()
    subject.store.append([asked(one, LOGO, INVOICE, b""), asked(other)])

    assert {
        one: content_of(one, LOGO, INVOICE, b""),
        other: content_of(other),
    } == subject.store.contents([one, other])


def test_content_that_is_not_there_is_left_out(subject: Subject) -> None:
    """Of an email that nobody asked for, and of one that was accepted without."""
    known, without = an_id(), an_id()
    subject.store.append([asked(known), request(without)])

    assert {known: content_of(known)} == subject.store.contents([an_id(), without, known, known])
    assert {} == subject.store.contents([])


def test_a_refused_unit_leaves_no_content(subject: Subject) -> None:
    """Nor does it replace what the accepted one left: of two requests with one key the first is kept."""
    email_id = an_id()
    first = asked(email_id, LOGO)
    subject.store.append([first, asked(email_id, INVOICE)])
    subject.store.append([asked(email_id)])

    assert {email_id: content_of(email_id, LOGO)} == subject.store.contents([email_id])


def test_erased_content_is_gone_and_the_events_stay(subject: Subject) -> None:
    """To erase it again, or what never was, is no error."""
    email_id, other = an_id(), an_id()
    subject.store.append([asked(email_id, LOGO), asked(other)])
    before = subject.store.read_all(0, 10)
    for _ in range(2):
        subject.store.erase(email_id)
    subject.store.erase(an_id())

    assert {other: content_of(other)} == subject.store.contents([email_id, other])
    assert before == subject.store.read_all(0, 10)


def test_a_shared_attachment_stays_while_anyone_has_it(subject: Subject) -> None:
    """Whichever of the emails is erased first, also within one batch, and after it came back."""
    first, second, third = an_id(), an_id(), an_id()
    subject.store.append([asked(first, LOGO, LOGO), asked(second, LOGO, INVOICE)])
    subject.store.erase(first)
    after_one = subject.store.contents([first, second])
    subject.store.erase(second)
    subject.store.append([asked(third, LOGO)])

    assert {second: content_of(second, LOGO, INVOICE)} == after_one
    assert {third: content_of(third, LOGO)} == subject.store.contents([first, second, third])


def test_a_started_attempt_comes_with_the_content_it_sends(subject: Subject) -> None:
    """Only those that start, and of them only what has not been erased."""
    starts, erased, waits = an_id(), an_id(), an_id()
    subject.store.append([asked(one, LOGO) for one in (starts, erased, waits)])
    subject.store.erase(erased)
    units = [unit(append(email_stream(one), 1, started())) for one in (starts, erased)]
    units.append(unit(append(email_stream(waits), 1, rescheduled())))
    transacted = subject.store.transact(Plan(), lambda locked: units)

    assert {starts: content_of(starts, LOGO)} == transacted.contents


def test_a_decision_may_bring_content(subject: Subject) -> None:
    """It is kept with the decision, or not at all."""
    email_id = an_id()
    subject.store.transact(Plan(gates=False), lambda locked: [asked(email_id, LOGO)])

    assert {email_id: content_of(email_id, LOGO)} == subject.store.contents([email_id])


def test_content_that_is_not_unicode_is_refused_whole(subject: Subject) -> None:
    """Half a surrogate pair fits in no database; nothing of the call is recorded."""
    good = content_of(an_id())
    bad = replace(good, content=replace(good.content, subject="\ud83d"))
    with pytest.raises(ValueError):
        subject.store.append(
            [asked(an_id()), unit(append(email_stream(bad.email_id), 0, requested()), content=bad)]
        )

    assert [] == subject.store.read_all(0, 10)
