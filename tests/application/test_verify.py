"""What `verify` looks at, on a log and views that are made up: each rule by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from application.identity import email_id_of, salted
from application.invariants import GateCheck
from application.projections.gates import Gate, counting_in
from application.recorded import StoredContent, circuit_stream, email_stream
from application.stored import BlobRow, ContentRow, Finding, Stored
from application.verify import Verdict, verify
from application.verify_streams import rows_problem
from domain.circuit import CircuitPolicy, ProviderPaused
from domain.content import Address, Content
from domain.email.events import Requested
from domain.rate_limit import Window
from tests.application.stored_log import Alone, Log, Views
from tests.domain.build import failed, requested, sent, started

KEY = "order-4711"
ID = email_id_of("", KEY)
EMAIL, OTHER = email_stream(ID), email_stream("other")
SES = circuit_stream("ses")
SALT = b"salt"
FORM = b"what was asked for"
REQUESTED = replace(requested(), digest=salted(SALT, FORM), sender_domain="example.com")
CONTENT = StoredContent(
    email_id=ID,
    key=KEY,
    salt=SALT,
    content=Content(
        sender=Address(address="shop@example.com"), to=(Address(address="a@example.org"),), text="hello"
    ),
    marks=(),
)


def content(**changes: object) -> ContentRow:
    """What the content store has of the email."""
    row = ContentRow(key=KEY, blobs=0, digests=(), named=(), stored=CONTENT)
    return replace(row, **changes)  # type: ignore[arg-type]


def form(requested: Requested, stored: StoredContent) -> bytes | None:
    """What was asked for."""
    return FORM


def told(label: str, done: int, whole: int | None) -> None:
    """Nobody watches."""


def verdict(log: Log, views: Views | None = None) -> Verdict:
    """What is said of them."""
    return verify(Alone(views or Views(log)), forms=form, told=told)


def bad(log: Log, views: Views | None = None) -> Finding:
    """The first thing wrong."""
    finding = verdict(log, views).first_bad
    assert finding is not None
    return finding


@pytest.fixture
def log() -> Log:
    """An email that was sent, another that waits, and a provider that was paused in between."""
    log = Log()
    log.add(EMAIL, REQUESTED)
    log.add(EMAIL, started(1))
    log.add(OTHER, requested())
    log.add(SES, ProviderPaused(by="x"))
    log.add(EMAIL, sent(1))
    return log


def test_what_holds_together_is_fine(log: Log) -> None:
    """So many events, emails, and contents that are what was asked for."""
    assert Verdict(5, 2, 1, 0, None) == verdict(log, Views(log, contents={ID: content()}))


def test_an_empty_log_is_fine() -> None:
    """Nothing was recorded, and nothing is there."""
    assert Verdict(0, 0, 0, 0, None) == verdict(Log())


def test_a_row_that_no_store_wrote_is_found(log: Log) -> None:
    """Before anything of it is believed."""
    log.rows[1] = Finding(2, EMAIL, "its data is not as any store writes it")

    assert Finding(2, EMAIL, "its data is not as any store writes it") == bad(log)


def test_an_event_where_none_can_be_is_found(log: Log) -> None:
    """Whichever kind of place it is: the first by position."""
    stray = tuple(Finding(position, "mail-x", "no such stream") for position in (7, 2, 4))

    assert Finding(2, "mail-x", "no such stream") == bad(log, Views(log, strangers=stray))


def test_versions_follow_each_other(log: Log) -> None:
    """One that is missing is missed by the next of its stream, whatever stands between."""
    del log.rows[1]

    assert Finding(5, EMAIL, "I9: version 3 follows 1") == bad(log)


def test_a_hash_that_is_not_its_rows_is_found(log: Log) -> None:
    """At the first event that was changed."""
    row = log.rows[1]
    assert isinstance(row, Stored)
    log.rows[1] = row._replace(data="another")

    assert 2 == bad(log).position
    assert "hash" in bad(log).what


def test_an_event_that_cannot_be_read_is_found(log: Log) -> None:
    """Although its hash is right, and its email's rows need no fold."""
    del log.events["id-5"]
    expected = Finding(5, EMAIL, "its type is not known here")

    assert expected == bad(log)
    assert expected == bad(log, Views(log, plain=True))


def test_a_version_that_was_changed_is_found_where_it_was(log: Log) -> None:
    """Sorted by versions, it would be the next one that shows."""
    row = log.rows[0]
    assert isinstance(row, Stored)
    log.rows = [*log.rows[1:], row._replace(version=7)]

    assert Finding(1, EMAIL, "I9: version 7 follows 0") == bad(log)


def test_positions_rise_with_versions(log: Log) -> None:
    """Of two events of one stream the first comes first."""
    first, second = log.rows[0], log.rows[1]
    assert isinstance(first, Stored)
    assert isinstance(second, Stored)
    log.rows[:2] = first._replace(position=2), second._replace(position=1)

    assert Finding(1, EMAIL, "I9: version 2 follows 0") == bad(log)


def test_a_circuits_stream_is_read_like_an_emails(log: Log) -> None:
    """Versions, hashes, and whether it can be read."""
    row = log.rows[3]
    assert isinstance(row, Stored)
    log.rows[3] = row._replace(data="another")
    assert "hash" in bad(log).what
    log.rows[3] = row._replace(version=2)
    assert "I9" in bad(log).what
    log.rows[3] = row
    del log.events[row.event_id]

    assert Finding(4, SES, "its type is not known here") == bad(log)


def test_an_invariant_that_is_broken_is_named(log: Log) -> None:
    """The log may be as it was recorded, and still not be right."""
    log.add(EMAIL, started(2))

    assert Finding(6, EMAIL, "I11: AttemptStarted after an end") == bad(log)


def test_what_no_stream_shows_is_found_with_the_gates(log: Log) -> None:
    """Behind it they can't be what the log gives: that follows from it."""
    wrong = Finding(5, OTHER, "I7: a start at ses, which is paused")
    views = Views(log, problem=wrong, changed_gates={"provider/ses": None})

    assert wrong == bad(log, views)


def test_where_gates_cannot_be_folded_it_is_the_stream_that_says_why(log: Log) -> None:
    """Only if that has nothing to say, it is the gates."""
    stuck = Finding(2, EMAIL, "gates: it can't be folded (ValueError)")
    views = Views(log, stuck=stuck, changed_gates={"provider/ses": None})
    assert stuck == bad(log, views)
    del log.events["id-5"]

    assert Finding(5, EMAIL, "its type is not known here") == bad(log, views)


def test_the_first_thing_wrong_is_told(log: Log) -> None:
    """In whatever order it is found: of the log before any view, by position; and every event is counted."""
    row = log.rows[4]
    assert isinstance(row, Stored)
    log.rows[4] = row._replace(data="another")
    views = Views(log, lacking=("other",), strangers=(Finding(9, "x", "stray"),))
    orders: tuple[Callable[[list[Any]], list[Any]], ...] = (list, lambda pieces: pieces[::-1])
    said = [verify(Alone(views, order), forms=form, told=told) for order in orders]

    assert said[0] == said[1]
    assert said[0].first_bad is not None
    assert (5, 5) == (said[0].events, said[0].first_bad.position)
    log.rows[4] = row
    assert Finding(9, "x", "stray") == bad(log, views)
    assert Finding(3, OTHER, "emails: a row is missing") == bad(log, replace(views, strangers=()))


def test_rows_are_missing_or_too_many(log: Log) -> None:
    """Both are found, at the email they belong to."""
    assert Finding(3, OTHER, "emails: a row is missing") == bad(log, Views(log, lacking=("other",)))
    assert Finding(0, email_stream("x"), "emails: there is a row that no event gives") == bad(
        log, Views(log, superfluous=("x",))
    )


def test_a_row_that_differs_says_where_and_not_how() -> None:
    """Names of columns, never values."""
    columns = ("email_id", "status", "version")
    found = rows_problem(columns, [("a", "sent", 3)], [("a", "queued", 2)])

    assert "a row differs from its events in status, version" == found
    assert rows_problem(columns, [("a", "sent", 3)], [("a", "sent", 3)]) is None


def _gate(log: Log, name: str) -> Gate:
    gate = next(one.gate for one in Views(log).gates(GateCheck(1)).rows if one.name == name)
    assert gate is not None
    return gate


def test_a_gate_that_differs_is_found(log: Log) -> None:
    """In its columns, in its state, or as a whole."""
    gate = _gate(log, "provider/ses")
    wrong = replace(gate, open_attempts=1)
    unheard_of = replace(gate, name="provider/x")

    assert Finding(5, SES, "gates, provider/ses: its state differs from its events in open_attempts") == bad(
        log, Views(log, changed_gates={"provider/ses": wrong})
    )
    assert "can't be read" in bad(log, Views(log, changed_gates={"provider/ses": None})).what
    assert "differs" in bad(log, Views(log, changed_gates={"provider/x": unheard_of})).what


def test_a_gate_that_waits_for_its_first_event_is_fine(log: Log) -> None:
    """It was made for somebody to hold."""
    new = counting_in(Gate(name="provider/new"), CircuitPolicy(window=timedelta(seconds=5)))

    assert verdict(log, Views(log, changed_gates={"provider/new": new})).first_bad is None


def test_counts_that_began_anew_are_fine() -> None:
    """Where another window was configured, which no event says; but only the last of them, and none made up."""
    log = Log()
    for number in range(1, 4):
        log.add(EMAIL if number == 1 else email_stream(str(number)), REQUESTED)
    for number in range(1, 4):
        stream = EMAIL if number == 1 else email_stream(str(number))
        log.add(stream, started(1))
        log.add(stream, failed(1))
    gate = _gate(log, "provider/ses")
    ((bucket, count),) = gate.circuit.failures.counts

    def seen(*counts: tuple[int, int]) -> Finding | None:
        fewer = replace(gate.circuit, failures=Window(gate.circuit.failures.window, counts))
        changed = {"provider/ses": replace(gate, circuit=fewer)}
        return verdict(log, Views(log, changed_gates=changed)).first_bad

    assert 3 == count
    assert seen((bucket, 3)) is None
    assert seen((bucket, 2)) is None
    assert seen() is None
    assert seen((bucket, 4)) is not None
    assert seen((bucket - 1, 1), (bucket, 3)) is not None


CONTENTS: dict[str, tuple[ContentRow, str]] = {
    "cut off": (content(stored=None), "it can't be read"),
    "no json": (content(named=None, stored=None), "it can't be read"),
    "fewer attachments": (content(named=("a",)), "it does not have the attachments that it names"),
    "another count": (content(blobs=2), "it does not have the attachments that it names"),
    "another key": (content(key="x"), "its key is not the one that the email's id comes from"),
    "another recipient": (
        content(
            stored=replace(CONTENT, content=replace(CONTENT.content, to=(Address(address="a@b.example"),)))
        ),
        "its recipients are not those of its request",
    ),
    "another sender": (
        content(
            stored=replace(CONTENT, content=replace(CONTENT.content, sender=Address(address="a@b.example")))
        ),
        "its sender is not that of its request",
    ),
    "another salt": (
        content(stored=replace(CONTENT, salt=b"x")),
        "it is not what was requested: its digest is another",
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_content_that_is_not_what_was_requested_is_found(log: Log, name: str) -> None:
    """At the event that says what was."""
    row, what = CONTENTS[name]

    assert Finding(1, EMAIL, f"contents: {what}") == bad(log, Views(log, contents={ID: row}))


def test_a_large_content_is_read_by_itself(log: Log) -> None:
    """Unless it has been erased by then."""
    assert 1 == verdict(log, Views(log, apart={ID: content()})).proven
    assert 0 == verdict(log, Views(log, apart={ID: None})).proven
    assert "it can't be read" in bad(log, Views(log, apart={ID: content(stored=None)})).what


def test_a_content_that_nobody_requested_is_found(log: Log) -> None:
    """It would never be erased."""
    assert "contents: a content that nobody requested" == bad(log, Views(log, contents={"x": content()})).what


def test_a_content_without_a_form_is_not_proven(log: Log) -> None:
    """It may be right: nobody can tell."""
    stored = replace(CONTENT, marks=None)
    views = Views(log, contents={ID: content(stored=stored)})
    found = verify(Alone(views), forms=lambda *_: None, told=told)

    assert (0, 1, None) == (found.proven, found.unproven, found.first_bad)


def test_marks_that_nobody_made_are_found(log: Log) -> None:
    """They can't be put together to what was asked for."""

    def forms(requested: Requested, stored: StoredContent) -> bytes | None:
        raise ValueError

    views = Views(log, contents={ID: content()})
    found = verify(Alone(views), forms=forms, told=told).first_bad

    assert Finding(1, EMAIL, "contents: its marks can't be read") == found


def test_blobs_are_what_their_digests_say(log: Log) -> None:
    """And each belongs to somebody."""
    right, wrong, lost = BlobRow("a", True, ID), BlobRow("b", False, ID), BlobRow("c", True, None)

    assert verdict(log, Views(log, blob_rows=(right,))).first_bad is None
    assert EMAIL == bad(log, Views(log, blob_rows=(right, wrong))).stream
    assert "blobs: an attachment that no email has" == bad(log, Views(log, blob_rows=(right, lost))).what
