"""What `verify` looks at, on a log and views that are made up: each rule by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from application import verify
from application.identity import email_id_of, salted
from application.projections.emails import EmailView
from application.projections.gates import Gate, counting_in, project, touched_by
from application.recorded import Event, Recorded, StoredContent, circuit_stream, email_stream
from application.stored import BlobRow, ContentRow, EmailRows, Emails, GateRow, Row, Stored, Unreadable
from application.verify import Finding, Verdict, Verifier, rows_problem
from domain.circuit import CircuitHalfOpened, CircuitOpened, CircuitPolicy, ProviderPaused
from domain.content import Address, Content
from domain.email.events import Delivered, Requested
from domain.rate_limit import Window
from tests.domain.build import T0, failed, requested, sent, started

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


def digest(previous: bytes | None, event: Stored) -> bytes:
    """A chain that is quickly read."""
    said = f"{event.stream}/{event.version}/{event.type}/{event.data}".encode()
    return hashlib.sha256((previous or b"") + said).digest()


@dataclass
class Log:
    """A `StoredLog` in memory. `events` are what its rows say when they are read."""

    rows: list[Stored | Unreadable] = field(default_factory=list)
    events: dict[str, Event] = field(default_factory=dict)
    contiguous: bool = True
    histories_read: int = 0

    def add(self, stream: str, event: Event) -> Stored:
        """Record one more event, as a store would."""
        before = [one for one in self.rows if isinstance(one, Stored) and one.stream == stream]
        position = len(self.rows) + 1
        row = Stored(
            position,
            f"id-{position}",
            stream,
            len(before) + 1,
            type(event).__name__,
            T0,
            "",
            f"{position}",
            b"",
        )
        row = replace(row, hash=digest(before[-1].hash if before else None, row))
        self.rows.append(row)
        self.events[row.event_id] = event
        return row

    def end(self) -> int:
        return self.rows[-1].position if self.rows else 0

    def page(self, after: int, limit: int) -> Sequence[Stored | Unreadable]:
        low = after or -100
        return [one for one in self.rows if one.position > low][:limit]

    def history(self, stream: str, below: int) -> Sequence[Stored | Unreadable]:
        self.histories_read += 1
        return [
            one
            for one in self.rows
            if isinstance(one, Stored) and one.stream == stream and one.version < below
        ]

    def digest(self, previous: bytes | None, event: Stored) -> bytes:
        return digest(previous, event)

    def recorded(self, event: Stored) -> Recorded:
        if event.event_id not in self.events:
            raise ValueError("its type is not known here")
        return Recorded(
            position=event.position,
            event_id=event.event_id,
            stream=event.stream,
            version=event.version,
            at=event.at,
            event=self.events[event.event_id],
        )


@dataclass
class Views:
    """`StoredViews` that are folded from the log, but for what a test has changed."""

    log: Log
    contents: dict[str, ContentRow] = field(default_factory=dict)
    apart: dict[str, ContentRow | None] = field(default_factory=dict)
    superfluous: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    changed_gates: Mapping[str, Gate | None] = field(default_factory=dict)
    blob_rows: tuple[BlobRow, ...] = ()
    policy: CircuitPolicy = field(default_factory=CircuitPolicy)
    columns: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"emails": ("email_id", "version"), "gates": ("name", "position")}
    )

    def emails(self, after: str | None, limit: int) -> Emails:
        histories: dict[str, list[Stored]] = {}
        for one in self.log.rows:
            if isinstance(one, Stored) and one.stream.startswith("email-"):
                histories.setdefault(one.stream.removeprefix("email-"), []).append(one)
        found = [
            EmailRows(
                email_id=email_id,
                history=tuple(history),
                rows={"emails": [] if email_id in self.lacking else [(email_id, len(history))]},
                content=self.contents.get(email_id),
                apart=email_id in self.apart,
            )
            for email_id, history in histories.items()
        ]
        found += [EmailRows(email_id=one, rows={"emails": [(one, 1)]}) for one in self.superfluous]
        found += [
            EmailRows(email_id=one, content=row) for one, row in self.contents.items() if one not in histories
        ]
        left = sorted((one for one in found if one.email_id > (after or "")), key=lambda one: one.email_id)
        return Emails(left[:1], left[0].email_id if len(left) > 1 else None)

    def email_rows(self, view: EmailView) -> Mapping[str, Sequence[Row]]:
        return {"emails": [(view.email_id, view.version)]}

    def gates(self, after: int) -> tuple[Sequence[Stored | Unreadable], Sequence[GateRow]]:
        gates: dict[str, Gate] = {}
        for one in self.log.rows:
            if isinstance(one, Stored) and one.event_id in self.log.events:
                recorded = self.log.recorded(one)
                for name in touched_by(recorded):
                    gate = counting_in(gates.get(name) or Gate(name=name), self.policy)
                    gates[name] = project(gate, recorded)
        found = {**gates, **self.changed_gates}
        rows = [
            GateRow(name, self.gate_row(gate or gates[name]), gate) for name, gate in sorted(found.items())
        ]
        return self.log.page(after, 1000), rows

    def gate_row(self, gate: Gate) -> Row:
        return (gate.name, gate.position)

    def content(self, email_id: str) -> ContentRow | None:
        return self.apart[email_id]

    def blobs(self, after: str | None) -> Sequence[BlobRow]:
        return [one for one in self.blob_rows if one.digest > (after or "")][:1]


def content(**changes: object) -> ContentRow:
    """What the content store has of the email."""
    row = ContentRow(key=KEY, blobs=0, digests=(), named=(), stored=CONTENT)
    return replace(row, **changes)  # type: ignore[arg-type]


def told(label: str, done: int, whole: int | None) -> None:
    """Nobody watches."""


def verdict(log: Log, views: Views | None = None) -> Verdict:
    """What is said of them."""
    return Verifier(log=log, views=views or Views(log), forms=lambda *_: FORM, told=told).verify()


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
    log.rows[1] = Unreadable(2, EMAIL, "its data is not as any store writes it")

    assert Finding(2, EMAIL, "its data is not as any store writes it") == bad(log)


def test_positions_rise_by_one_where_one_writer_counts_them(log: Log) -> None:
    """Elsewhere a transaction that was rolled back leaves a gap."""
    moved = [replace(one, position=one.position + (1 if one.position > 3 else 0)) for one in log.rows]
    log.rows = moved

    assert Finding(5, SES, "it stands behind position 3, and there are no gaps here") == bad(log)
    log.contiguous = False
    assert verdict(log).first_bad is None


def test_no_position_lies_before_the_first(log: Log) -> None:
    """One that was moved there is read first."""
    log.contiguous = False
    log.rows = [replace(log.rows[2], position=-3), *log.rows[:2], *log.rows[3:]]

    assert Finding(-3, OTHER, "its position is none that is ever given") == bad(log)


def test_streams_are_of_emails_or_circuits(log: Log) -> None:
    """Nobody would ever look at another."""
    row = log.add("mail-x", requested())

    assert Finding(row.position, "mail-x", "there are no streams of such a name") == bad(log)


def test_versions_follow_each_other(log: Log) -> None:
    """One that is missing is missed by the next of its stream, whatever stands between."""
    log.contiguous = False
    del log.rows[1]

    assert Finding(5, EMAIL, "I9: version 3 follows 1") == bad(log)


def test_a_hash_that_is_not_its_rows_is_found(log: Log) -> None:
    """At the first event that was changed."""
    row = log.rows[1]
    assert isinstance(row, Stored)
    log.rows[1] = replace(row, data="another")

    assert 2 == bad(log).position
    assert "hash" in bad(log).what


def test_an_event_that_cannot_be_read_is_found(log: Log) -> None:
    """Although its hash is right."""
    del log.events["id-3"]

    assert Finding(3, OTHER, "its type is not known here") == bad(log)


def test_an_invariant_that_is_broken_is_named(log: Log) -> None:
    """The log may be as it was recorded, and still not be right."""
    log.add(OTHER, started(1))

    assert Finding(6, OTHER, "I7: a start at ses, which is paused") == bad(log)


def test_how_many_probes_there_may_be_is_not_in_the_log() -> None:
    """The configuration of that time decided, and it may have been another than today's."""
    log = Log()
    log.add(SES, CircuitOpened(epoch=1, reason="x", failures=1, calls=1, until=T0))
    log.add(SES, CircuitHalfOpened(epoch=1))
    for number in range(1, 9):
        log.add(email_stream(str(number)), requested())
        log.add(email_stream(str(number)), started(1, epoch=1, probe=number))

    assert verdict(log).first_bad is None


def test_what_was_let_go_of_is_read_again(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes and stories of few streams are remembered; the verdict is the same, for good and for ill."""
    monkeypatch.setattr(verify, "STREAMS_MAX", 1)
    monkeypatch.setattr(verify, "PAGE", 1)
    monkeypatch.setattr(verify, "REST_MAX", 0)
    log.add(EMAIL, Delivered(attempt=1, recipient=0, observed_at=T0))

    assert verdict(log).first_bad is None
    assert 0 < log.histories_read
    log.add(EMAIL, started(2))
    assert Finding(7, EMAIL, "I11: AttemptStarted after an end") == bad(log)


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
    gate = next(one.gate for one in Views(log).gates(0)[1] if one.name == name)
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
    found = Verifier(log=log, views=views, forms=lambda *_: None, told=told).verify()

    assert (0, 1, None) == (found.proven, found.unproven, found.first_bad)


def test_marks_that_nobody_made_are_found(log: Log) -> None:
    """They can't be put together to what was asked for."""

    def forms(requested: Requested, stored: StoredContent) -> bytes | None:
        raise ValueError

    views = Views(log, contents={ID: content()})
    found = Verifier(log=log, views=views, forms=forms, told=told).verify().first_bad

    assert Finding(1, EMAIL, "contents: its marks can't be read") == found


def test_blobs_are_what_their_digests_say(log: Log) -> None:
    """And each belongs to somebody."""
    right, wrong, lost = BlobRow("a", True, ID), BlobRow("b", False, ID), BlobRow("c", True, None)

    assert verdict(log, Views(log, blob_rows=(right,))).first_bad is None
    assert EMAIL == bad(log, Views(log, blob_rows=(right, wrong))).stream
    assert "blobs: an attachment that no email has" == bad(log, Views(log, blob_rows=(right, lost))).what
