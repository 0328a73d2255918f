"""The log and its views as they are stored, for those who don't take them at their word: `verify` and `replay`.

All of it reads beside whoever writes, in short transactions, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from application.invariants import GateCheck
from application.projections.emails import EmailView
from application.projections.gates import Gate
from application.recorded import Event, Recorded, StoredContent

T = TypeVar("T")

Row = tuple[Any, ...]
"""The values of a view's row, in the order of its columns."""


class Stored(NamedTuple):
    """An event as its row says, with its hash; nothing of it is checked but that each value is of its kind.

    `at` is as the database has it.
    """

    stream: str
    version: int
    type: str
    at: Any
    meta: str
    data: str
    position: int
    event_id: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong. `position` 0, `stream` empty: it belongs to no event, or to no stream.

    In the place of an event: its row is one that no store wrote.
    """

    position: int
    stream: str
    what: str


@dataclass(frozen=True, slots=True)
class Span:
    """Emails with ids above `low`, up to `high`. None: no such bound."""

    low: str | None = None
    high: str | None = None


@dataclass(frozen=True, slots=True)
class GateRow:
    """A gate as its row has it. `gate` is None where the row can't be read."""

    name: str
    row: Row
    gate: Gate | None


@dataclass(frozen=True, slots=True)
class ContentRow:
    """An email's content as stored. `digests`: of the blobs that the store has for it, ascending.

    `named`: those that the content itself names. `stored`: the content, read; both are None where it can't be.
    """

    key: str
    blobs: int
    digests: tuple[str, ...] = ()
    named: tuple[str, ...] | None = None
    stored: StoredContent | None = None


@dataclass(frozen=True, slots=True)
class EmailRows:
    """All that is stored of one email, from one snapshot. `rows`: by view, sorted by their keys.

    `apart`: it has a content that is large, or has attachments: `StoredViews.content` reads it.
    """

    email_id: str
    history: Sequence[Stored | Finding] = ()
    rows: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    content: ContentRow | None = None
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Emails:
    """Emails in the order of their ids. Behind `last` there may be more; None: these were the last ones."""

    emails: Sequence[EmailRows]
    last: str | None


@dataclass(frozen=True, slots=True)
class BlobRow:
    """A blob: whether its octets have the digest it is kept under, and an email that refers to it (None: nobody)."""

    digest: str
    matches: bool
    email_id: str | None


@dataclass(frozen=True, slots=True)
class Gates:
    """The rows of all gates, and the gates as a fold of the log gives them, of one snapshot.

    `problem`: the first event that a gate or a circuit should not have let happen. `stuck`: the first that can't be
    folded. Behind either nothing was folded.
    """

    rows: Sequence[GateRow]
    folded: Mapping[str, Gate]
    problem: Finding | None = None
    stuck: Finding | None = None


class StoredLog(Protocol):
    """The log, its views and the contents. Blocks. Raises StoreUnavailable."""

    columns: Mapping[str, Sequence[str]]
    """The columns of each view, in the order of its rows' values."""

    def misplaced(self) -> Sequence[Finding]:
        """Events where none can be: in a stream of neither an email nor a circuit, below the first position, and
        behind a gap, where one writer counts positions. Of each kind the first."""

    def circuits(self) -> Iterator[Sequence[Stored | Finding]]:
        """The streams of circuits, each whole, by version."""

    def emails(self, span: Span, after: str | None, limit: int) -> Emails:
        """Whatever is stored of the span's emails whose id is greater than `after`: about `limit` events.

        An id that only a view or the content store knows is among them.
        """

    def digest(self, previous: bytes | None, event: Stored) -> bytes:
        """What the event's hash has to be. `previous`: the hash before it in its stream; None: it is the first.

        Raises ValueError where its time is none.
        """

    def event(self, event: Stored) -> Event:
        """The event, read. Raises ValueError where that can't be done; its text says nothing of the data."""

    def recorded(self, event: Stored) -> Recorded:
        """The event in its envelope, read. Raises ValueError as `event` does."""

    def rows_at_sight(self, email_id: str, history: Sequence[Stored]) -> Mapping[str, Sequence[Row]] | None:
        """The rows of an email whose story is so plain that it need not be folded; None: it isn't.

        What is plain breaks no invariant of its stream.
        """

    def email_rows(self, view: EmailView) -> Mapping[str, Sequence[Row]]:
        """The rows that an email has in each view, sorted by their keys."""

    def gates(self, check: GateCheck) -> Gates:
        """All gates, and what the log makes of them. `check` is told of all events that it has to be."""

    def gate_row(self, gate: Gate) -> Row:
        """The row that a gate has."""

    def content(self, email_id: str) -> ContentRow | None:
        """The content of one email with its attachments; None: it is gone."""

    def blobs(self, after: str | None) -> Sequence[BlobRow]:
        """The next blobs whose digest is greater than `after`, from the first on; none: there are no more."""


class Readers(Protocol):
    """Those who read one log, several at a time where that is faster."""

    def spans(self) -> tuple[Sequence[Span], int]:
        """All emails, in spans that are even; and about how many events there are."""

    def read(self, pieces: Iterable[Callable[[StoredLog], T]]) -> Iterator[T]:
        """What each piece of work gives, in the order in which they are done.

        Another process may do it: a piece is a function of a module, with its arguments. Raises StoreUnavailable.
        """
