"""Whether the log is what was recorded, holds what must hold, and gives the views and contents that are stored.

Streams are read one by one, each with what is stored of its email beside it; what no stream shows, circuits and
gates, once by position. These pieces don't depend on each other. What is told is the first thing wrong, by position:
of the log, else of the gates, of emails and contents, of attachments. Writers may go on meanwhile: what is compared
is always of one snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from application.invariants import GateCheck
from application.projections.gates import Gate
from application.recorded import CIRCUIT_PREFIX, email_stream
from application.stored import Finding, Readers, Span, StoredLog
from application.verify_content import Forms
from application.verify_found import Found, Of
from application.verify_gates import gate_problem
from application.verify_streams import verify_circuit, verify_email

PAGE = 2000
"""Events read at a time: some milliseconds of a transaction that only reads."""

ANY_PROBES = 1_000_000
"""How many probes a circuit allowed when, the log doesn't say."""

Told = Callable[[str, int, int | None], None]
"""Hears what is being done, how far it is, and how far it will go, if that is known."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`events` were read, `emails` compared. Contents are `proven` by their digests, or can't be: `unproven`."""

    events: int
    emails: int
    proven: int
    unproven: int
    first_bad: Finding | None


def verify(readers: Readers, *, forms: Forms, told: Told) -> Verdict:
    """Go through everything once. `forms`: what the digest of a content is over. Blocks; raises StoreUnavailable."""
    spans, about = readers.spans()
    found = Found()
    pieces: tuple[Callable[[StoredLog], Found], ...] = (
        verify_gates,  # it takes longest, and nobody can help
        verify_places,
        verify_circuits,
        *(partial(verify_emails, span=span, forms=forms) for span in spans),
        verify_blobs,
    )
    for one in readers.read(pieces):
        found.add(one)
        told("events", found.events, max(about, found.events))
    return Verdict(
        found.events,
        found.emails,
        found.proven,
        found.unproven,
        None if found.first is None else found.first[1],
    )


def verify_places(stored: StoredLog) -> Found:
    """That every event is in a place where events are."""
    found = Found()
    for finding in stored.misplaced():
        found.wrong(Of.LOG, finding)
    return found


def verify_emails(stored: StoredLog, span: Span, forms: Forms) -> Found:
    """The streams of these emails, and all that is stored of them."""
    found = Found()
    after = span.low
    while True:
        page = stored.emails(span, after, PAGE)
        for email in page.emails:
            verify_email(stored, email, forms, found)
        after = page.last
        if after is None:
            return found


def verify_circuits(stored: StoredLog) -> Found:
    """The streams of circuits."""
    found = Found()
    for events in stored.circuits():
        verify_circuit(stored, events, found)
    return found


def verify_gates(stored: StoredLog) -> Found:
    """What circuits and pauses let start, and the gates that come of it."""
    found = Found()
    gates = stored.gates(GateCheck(ANY_PROBES))
    if gates.problem is not None:
        found.wrong(Of.LOG, gates.problem)
    if gates.stuck is not None:  # mostly its stream says more of it, and that comes first
        found.wrong(Of.GATES, gates.stuck)
    if found.first is not None:
        return found
    rows = {one.name: one for one in gates.rows}
    for name in gates.folded.keys() | rows.keys():
        gate = gates.folded.get(name) or Gate(name=name)
        what = gate_problem(rows.get(name), gate, stored)
        if what is not None:
            found.wrong(Of.GATES, Finding(gate.position, _stream_of(name), f"gates, {name}: {what}"))
    return found


def verify_blobs(stored: StoredLog) -> Found:
    """Every attachment."""
    found = Found()
    for finding in _bad_blobs(stored):
        found.wrong(Of.BLOBS, finding)
    return found


def _bad_blobs(stored: StoredLog) -> Iterator[Finding]:
    digest: str | None = None
    while page := stored.blobs(digest):
        for blob in page:
            digest = blob.digest
            stream = "" if blob.email_id is None else email_stream(blob.email_id)
            if not blob.matches:
                yield Finding(0, stream, "blobs: an attachment that is not what its digest says")
            elif blob.email_id is None:
                yield Finding(0, stream, "blobs: an attachment that no email has")


def _stream_of(gate: str) -> str:
    """The circuit's stream where it is a provider's gate."""
    kind, _, name = gate.partition("/")
    return CIRCUIT_PREFIX + name if kind == "provider" else ""
