"""Whether the log is what was recorded, holds what must hold, and gives the views and contents that are stored.

First the log by position: rows, versions, hashes, invariants, and the gates folded on the way. Then every email by
its id: a fresh fold against its rows, and its content against its digest. It ends at the first thing wrong.
Writers may go on meanwhile: what is compared is always of one snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from application.invariants import LogCheck
from application.projections.emails import EmailView, project, view_of
from application.projections.gate_fold import GateFold
from application.projections.gates import Gate
from application.recorded import CIRCUIT_PREFIX, EMAIL_PREFIX, Recorded, email_stream
from application.stored import EmailRows, GateRow, Stored, StoredLog, StoredViews, Unreadable
from application.verify_content import Forms, content_problem
from application.verify_gates import gate_problem
from domain.circuit import CircuitPolicy
from domain.email.events import Requested

PAGE = 2000
"""Events read at a time: some milliseconds of a transaction that only reads."""

REST_MAX = 5000
"""Events that are read together with the gates they made."""

STREAMS_MAX = 100_000
"""Streams of which hash and story are remembered, of 1.5 KB each. Of one that comes up again its events are read."""

ANY_PROBES = 1_000_000
"""How many probes a circuit allowed when, the log doesn't say."""

Told = Callable[[str, int, int | None], None]
"""Hears what is being done, how far it is, and how far it will go, if that is known."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing wrong. `position` 0, `stream` empty: it belongs to no event, or to no stream."""

    position: int
    stream: str
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`events` were read, `emails` compared. Contents are `proven` by their digests, or can't be: `unproven`."""

    events: int
    emails: int
    proven: int
    unproven: int
    first_bad: Finding | None


class _Bad(Exception):
    def __init__(self, position: int, stream: str, what: str) -> None:
        super().__init__(what)
        self.finding = Finding(position, stream, what)


@dataclass(frozen=True, slots=True)
class _Head:
    version: int
    hash: bytes


class Verifier:
    """Verifies once. `forms`: what the digest of a content is over. Blocks; raises StoreUnavailable."""

    def __init__(self, *, log: StoredLog, views: StoredViews, forms: Forms, told: Told) -> None:
        self._log = log
        self._views = views
        self._forms = forms
        self._told = told
        self._check = LogCheck(replace(CircuitPolicy(), probes=ANY_PROBES))
        self._heads: dict[str, _Head] = {}
        self._gates = GateFold(CircuitPolicy().window)
        self._last = 0
        self._events = self._requested = self._emails = self._proven = self._unproven = 0

    def verify(self) -> Verdict:
        """Go through everything."""
        finding = None
        try:
            self._verify_log()
            self._verify_emails()
            self._verify_blobs()
        except _Bad as bad:
            finding = bad.finding
        return Verdict(self._events, self._emails, self._proven, self._unproven, finding)

    # The log and the gates

    def _verify_log(self) -> None:
        _, rows = self._views.gates(self._log.end())
        windows = {one.name: one.gate.circuit.calls.window for one in rows if one.gate is not None}
        self._gates = GateFold(CircuitPolicy().window, windows)
        end = self._log.end()
        while self._last < end - REST_MAX or self._last == 0:
            page = self._log.page(self._last, PAGE)
            self._verify_events(page)
            self._told("log", self._last, end)
            if not page:
                break
            end = max(end, self._log.end()) if self._last >= end - REST_MAX else end
        rest, rows = self._views.gates(self._last)
        self._verify_events(rest)
        self._told("log", self._last, self._last)
        self._verify_gates(rows)

    def _verify_events(self, events: Sequence[Stored | Unreadable]) -> None:
        for event in events:
            if isinstance(event, Unreadable):
                raise _Bad(event.position, event.stream, event.what)
            self._verify_place(event)
            self._verify_hash(event)
            recorded = self._read(event)
            for violation in self._check.check((recorded,)):
                raise _Bad(event.position, event.stream, f"{violation.invariant}: {violation.what}")
            self._gates.apply(recorded)
            self._last, self._events = event.position, self._events + 1
            self._requested += isinstance(recorded.event, Requested)
        self._let_go()

    def _verify_place(self, event: Stored) -> None:
        if event.position <= self._last:
            raise _Bad(event.position, event.stream, "its position is none that is ever given")
        if self._log.contiguous and event.position != self._last + 1:
            what = f"it stands behind position {self._last}, and there are no gaps here"
            raise _Bad(event.position, event.stream, what)
        if not event.stream.startswith((EMAIL_PREFIX, CIRCUIT_PREFIX)):
            raise _Bad(event.position, event.stream, "there are no streams of such a name")

    def _verify_hash(self, event: Stored) -> None:
        """That it follows the event before it in its stream, by version and by hash."""
        head = self._heads.pop(event.stream, None)
        if head is None and event.version > 1:
            head = self._recalled(event)
        version = 0 if head is None else head.version
        if event.version != version + 1:
            raise _Bad(event.position, event.stream, f"I9: version {event.version} follows {version}")
        if event.hash != self._log.digest(None if head is None else head.hash, event):
            what = "its hash is not the one of its row and the event before it in its stream"
            raise _Bad(event.position, event.stream, what)
        self._heads[event.stream] = _Head(event.version, event.hash)  # behind all others: let go last

    def _recalled(self, event: Stored) -> _Head | None:
        """What was let go of: it was found right when it was read before."""
        known = [one for one in self._log.history(event.stream, event.version) if isinstance(one, Stored)]
        known = [one for one in known if one.position < event.position]
        if not known:
            return None
        self._check.recall(map(self._read, known))
        return _Head(known[-1].version, known[-1].hash)

    def _read(self, event: Stored) -> Recorded:
        try:
            return self._log.recorded(event)
        except ValueError as error:
            raise _Bad(event.position, event.stream, str(error)) from None

    def _let_go(self) -> None:
        for stream in list(self._heads)[: max(0, len(self._heads) - STREAMS_MAX)]:
            if stream.startswith(EMAIL_PREFIX):
                del self._heads[stream]
                self._check.let_go(stream)

    def _verify_gates(self, rows: Sequence[GateRow]) -> None:
        stored = {one.name: one for one in rows}
        folded = self._gates.gates()
        for name in sorted(folded.keys() | stored.keys()):
            gate = folded.get(name) or Gate(name=name)
            what = gate_problem(stored.get(name), gate, self._views)
            if what is not None:
                raise _Bad(gate.position, _stream_of(name), f"gates, {name}: {what}")

    # Emails and what they say

    def _verify_emails(self) -> None:
        after: str | None = None
        while True:
            page = self._views.emails(after, PAGE)
            for email in page.emails:
                self._verify_email(email)
            self._emails += len(page.emails)
            self._told("emails", self._emails, max(self._emails, self._requested))
            after = page.last
            if after is None:
                return

    def _verify_email(self, email: EmailRows) -> None:
        stream = email_stream(email.email_id)
        history = []
        for event in email.history:
            if isinstance(event, Unreadable):
                raise _Bad(event.position, event.stream, event.what)
            history.append(self._read(event))
        position = history[-1].position if history else 0
        expected: Mapping[str, Sequence[tuple[object, ...]]] = {}
        if history:
            expected = self._views.email_rows(self._folded(email.email_id, history))
        for view, found in email.rows.items():
            what = rows_problem(self._views.columns[view], expected.get(view, ()), found)
            if what is not None:
                raise _Bad(position, stream, f"{view}: {what}")
        self._verify_content(email, history)

    def _folded(self, email_id: str, history: Sequence[Recorded]) -> EmailView:
        view = view_of(email_id)
        for recorded in history:
            try:
                view = project(view, recorded)
            except Exception as error:
                # Whatever was appended since the log was read, and breaks even the fold.
                what = f"it can't follow what was before it ({type(error).__name__})"
                raise _Bad(recorded.position, recorded.stream, what) from error
        return view

    def _verify_content(self, email: EmailRows, history: Sequence[Recorded]) -> None:
        row = self._views.content(email.email_id) if email.apart else email.content
        if row is None:
            return
        stream = email_stream(email.email_id)
        first = history[0] if history else None
        if first is None or not isinstance(first.event, Requested):
            raise _Bad(0, stream, "contents: a content that nobody requested")
        what = content_problem(first.event, email.email_id, row, self._forms)
        if what is not None:
            raise _Bad(first.position, stream, f"contents: {what}")
        if row.stored is not None and row.stored.marks is not None:
            self._proven += 1
        else:
            self._unproven += 1

    def _verify_blobs(self) -> None:
        digest: str | None = None
        while page := self._views.blobs(digest):
            for blob in page:
                digest = blob.digest
                stream = "" if blob.email_id is None else email_stream(blob.email_id)
                if not blob.matches:
                    raise _Bad(0, stream, "blobs: an attachment that is not what its digest says")
                if blob.email_id is None:
                    raise _Bad(0, stream, "blobs: an attachment that no email has")


def rows_problem(
    columns: Sequence[str], expected: Sequence[Sequence[object]], found: Sequence[Sequence[object]]
) -> str | None:
    """How the rows of a view differ from those that the events give; None: not at all. Says no values."""
    if len(found) < len(expected):
        return "a row is missing"
    if len(found) > len(expected):
        return "there is a row that no event gives"
    for wanted, row in zip(expected, found, strict=True):
        if tuple(wanted) != tuple(row):
            return "a row differs from its events in " + ", ".join(_differing(columns, wanted, row))
    return None


def _differing(columns: Sequence[str], wanted: Sequence[object], row: Sequence[object]) -> Iterator[str]:
    for name, one, other in zip(columns, wanted, row, strict=True):
        if one != other:
            yield name


def _stream_of(gate: str) -> str:
    """The circuit's stream where it is a provider's gate."""
    kind, _, name = gate.partition("/")
    return CIRCUIT_PREFIX + name if kind == "provider" else ""
