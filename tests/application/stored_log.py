"""A log in memory with its views, as `verify` reads them: what its rows say, and whatever a test has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from application.invariants import GateCheck
from application.projections.emails import EmailView, email_id_of
from application.projections.gates import Gate, counting_in, project, touched_by
from application.recorded import Event, Recorded
from application.stored import (
    BlobRow,
    ContentRow,
    EmailRows,
    Emails,
    Finding,
    GateRow,
    Gates,
    Row,
    Span,
    Stored,
    StoredLog,
)
from domain.circuit import CircuitPolicy
from tests.domain.build import T0

T = TypeVar("T")


def digest(previous: bytes | None, event: Stored) -> bytes:
    """A chain that is quickly read."""
    said = f"{event.stream}/{event.version}/{event.type}/{event.data}".encode()
    return hashlib.sha256((previous or b"") + said).digest()


@dataclass
class Log:
    """Rows of a log. `events` are what its rows say when they are read."""

    rows: list[Stored | Finding] = field(default_factory=list)
    events: dict[str, Event] = field(default_factory=dict)

    def add(self, stream: str, event: Event) -> Stored:
        """Record one more event, as a store would."""
        before = [one for one in self.rows if isinstance(one, Stored) and one.stream == stream]
        position = len(self.rows) + 1
        row = Stored(
            stream=stream,
            version=len(before) + 1,
            type=type(event).__name__,
            at=T0,
            meta="",
            data=f"{position}",
            position=position,
            event_id=f"id-{position}",
            hash=b"",
        )
        row = row._replace(hash=digest(before[-1].hash if before else None, row))
        self.rows.append(row)
        self.events[row.event_id] = event
        return row

    def streams(self, prefix: str) -> dict[str, list[Stored | Finding]]:
        """The streams of such names, by version."""
        found: dict[str, list[Stored | Finding]] = {}
        for one in self.rows:
            if one.stream.startswith(prefix):
                found.setdefault(one.stream, []).append(one)
        return found

    def recorded(self) -> Iterator[Recorded]:
        """Those that can be read."""
        for one in self.rows:
            if isinstance(one, Stored) and one.event_id in self.events:
                yield recorded(one, self.events[one.event_id])


def recorded(row: Stored, event: Event) -> Recorded:
    """The event in its envelope."""
    return Recorded(
        position=row.position,
        event_id=row.event_id,
        stream=row.stream,
        version=row.version,
        at=row.at,
        event=event,
    )


@dataclass
class Views:
    """A `StoredLog` in memory: views are folded from the log, but for what a test has changed."""

    log: Log
    contents: dict[str, ContentRow] = field(default_factory=dict)
    apart: dict[str, ContentRow | None] = field(default_factory=dict)
    superfluous: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    changed_gates: Mapping[str, Gate | None] = field(default_factory=dict)
    plain: bool = False
    problem: Finding | None = None
    stuck: Finding | None = None
    strangers: tuple[Finding, ...] = ()
    blob_rows: tuple[BlobRow, ...] = ()
    policy: CircuitPolicy = field(default_factory=CircuitPolicy)
    columns: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"emails": ("email_id", "version"), "gates": ("name", "position")}
    )

    def misplaced(self) -> Sequence[Finding]:
        return self.strangers

    def circuits(self) -> Iterator[Sequence[Stored | Finding]]:
        return iter(self.log.streams("circuit-").values())

    def emails(self, span: Span, after: str | None, limit: int) -> Emails:
        histories = {email_id_of(name): of for name, of in self.log.streams("email-").items()}
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
        inside = [one for one in found if span.high is None or one.email_id <= span.high]
        left = sorted((one for one in inside if one.email_id > (after or "")), key=lambda one: one.email_id)
        return Emails(left[:1], left[0].email_id if len(left) > 1 else None)

    def digest(self, previous: bytes | None, event: Stored) -> bytes:
        return digest(previous, event)

    def event(self, event: Stored) -> Event:
        if event.event_id not in self.log.events:
            raise ValueError("its type is not known here")
        return self.log.events[event.event_id]

    def recorded(self, event: Stored) -> Recorded:
        return recorded(event, self.event(event))

    def rows_at_sight(self, email_id: str, history: Sequence[Stored]) -> Mapping[str, Sequence[Row]] | None:
        return {"emails": [(email_id, len(history))]} if self.plain else None

    def email_rows(self, view: EmailView) -> Mapping[str, Sequence[Row]]:
        return {"emails": [(view.email_id, view.version)]}

    def gates(self, check: GateCheck) -> Gates:
        folded: dict[str, Gate] = {}
        for one in self.log.recorded():
            for name in touched_by(one):
                gate = counting_in(folded.get(name) or Gate(name=name), self.policy)
                folded[name] = project(gate, one)
        found = {**folded, **self.changed_gates}
        rows = [
            GateRow(name, self.gate_row(gate or folded[name]), gate) for name, gate in sorted(found.items())
        ]
        return Gates(rows, folded, self.problem, self.stuck)

    def gate_row(self, gate: Gate) -> Row:
        return (gate.name, gate.position)

    def content(self, email_id: str) -> ContentRow | None:
        return self.apart[email_id]

    def blobs(self, after: str | None) -> Sequence[BlobRow]:
        return [one for one in self.blob_rows if one.digest > (after or "")][:1]


@dataclass
class Alone:
    """`Readers` that are one. `order`: the pieces come in any."""

    stored: Views
    order: Callable[[list[Any]], list[Any]] = list

    def spans(self) -> tuple[Sequence[Span], int]:
        return (Span(high="7"), Span(low="7")), len(self.stored.log.rows)

    def read(self, pieces: Iterable[Callable[[StoredLog], T]]) -> Iterator[T]:
        return (piece(self.stored) for piece in self.order(list(pieces)))
