"""The log and its views as they are stored, for those who don't take them at their word: `verify` and `replay`.

All of it reads beside whoever writes, in short transactions, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from application.projections.emails import EmailView
from application.projections.gates import Gate
from application.recorded import Recorded, StoredContent

Row = tuple[Any, ...]
"""The values of a view's row, in the order of its columns."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An event as its row says, with its hash; nothing of it is checked but that each value is of its kind."""

    position: int
    event_id: str
    stream: str
    version: int
    type: str
    at: datetime
    meta: str
    data: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that no store wrote like this: `what` is wrong with it."""

    position: int
    stream: str
    what: str


class StoredLog(Protocol):
    """The events as stored. Blocks. Raises StoreUnavailable."""

    contiguous: bool
    """Whether each position is one more than that before: so it is where one writer counts them."""

    def end(self) -> int:
        """The last position that nothing can come in front of any more."""

    def page(self, after: int, limit: int) -> Sequence[Stored | Unreadable]:
        """The next events behind `after`, by position; behind 0 those that stand before the first, too.

        Never one before all earlier ones are known to be there or never to come.
        """

    def history(self, stream: str, below: int) -> Sequence[Stored | Unreadable]:
        """The events of a stream with a version below that, by version."""

    def digest(self, previous: bytes | None, event: Stored) -> bytes:
        """What the event's hash has to be. `previous`: the hash before it in its stream; None: it is the first."""

    def recorded(self, event: Stored) -> Recorded:
        """The event, read. Raises ValueError where that can't be done; its text says nothing of the data."""


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
    history: tuple[Stored | Unreadable, ...] = ()
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


class StoredViews(Protocol):
    """The views and the content store as stored. Blocks. Raises StoreUnavailable."""

    columns: Mapping[str, Sequence[str]]
    """The columns of each view, in the order of its rows' values."""

    def emails(self, after: str | None, limit: int) -> Emails:
        """Whatever is stored of emails whose id is greater than `after`, from the first on: about `limit` events.

        An id that only a view or the content store knows is among them.
        """

    def email_rows(self, view: EmailView) -> Mapping[str, Sequence[Row]]:
        """The rows that an email has in each view, sorted by their keys."""

    def gates(self, after: int) -> tuple[Sequence[Stored | Unreadable], Sequence[GateRow]]:
        """The events behind `after` and the rows of all gates, from one snapshot, by position and by name."""

    def gate_row(self, gate: Gate) -> Row:
        """The row that a gate has."""

    def content(self, email_id: str) -> ContentRow | None:
        """The content of one email with its attachments; None: it is gone."""

    def blobs(self, after: str | None) -> Sequence[BlobRow]:
        """The next blobs whose digest is greater than `after`, from the first on; none: there are no more."""
