"""Where reports are kept: the port that the projection writes through, and the one that readers ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum, unique
from typing import Protocol

from application.projections.reports import Increments
from application.recorded import Recorded

REPORTS = "reports"
"""The checkpoint of the reports that are read."""

REBUILD = "reports (rebuild)"
"""The checkpoint of those that are being made anew beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a projection is.

    `position`: every event of the log up to here is in it, none behind. `build`: which set of rows it fills.
    `holder`: who advanced it last, `idle` ago by the store's clock. `last_position`: where the log ends.
    `oldest_at`: the time of the first event that is not in it yet; None: it is complete.
    """

    position: int
    build: int
    holder: str
    idle: timedelta
    last_position: int
    oldest_at: datetime | None


class ReportStore(Protocol):
    """Counts, and the checkpoints that say which events are in them. Blocks; raises StoreUnavailable."""

    def progress(self, name: str) -> Progress | None:
        """How far the projection of that name is; None: there is none. `reports` always is."""

    def open_circuits(self, build: int) -> dict[str, datetime]:
        """Providers whose circuit is open at the checkpoint, since when."""

    def tags(self, build: int, hours: Collection[datetime]) -> dict[datetime, set[str]]:
        """The tags that each of these hours tells apart so far; an hour without any is there as well."""

    def histories(self, until: Mapping[str, int]) -> list[Recorded]:
        """The events of these streams, each stream in order, up to the version that is named for it."""

    def advance(self, name: str, *, build: int, after: int, to: int, holder: str, added: Increments) -> bool:
        """Add the increments and move the checkpoint from `after` to `to`, in one transaction: both or neither.

        False, and nothing is changed, where the checkpoint is elsewhere by now, or somebody is just moving it.
        """

    def begin(self, name: str) -> Progress:
        """Start a projection of that name from the beginning of the log, into rows of its own; one of that name
        that was under way can't go on."""

    def swap(self, name: str, *, build: int, position: int) -> bool:
        """Have the rows of this projection read from now on as the reports, which go on from its position.

        False, and nothing is changed, where it is behind the reports, or elsewhere by now.
        """

    def sweep(self) -> int:
        """Delete some rows that belong to no projection any more; how many, 0: there are none left."""


@unique
class By(StrEnum):
    """What the counts of an hour are split by. An email counts for each of its tags, so tags overlap."""

    PROVIDER = "provider"
    ROUTE = "route"
    TAG = "tag"
    KIND = "kind"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Whole hours, UTC: from `since` up to but without `until`."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What the store has of a span.

    `tallies`: hour, name, measure, bucket, count. `open_us`: hour, provider, µs that its circuit was open, without
    those of circuits that are open still: they are in `open_since`. `progress`: how far the reports were. All from
    one snapshot.
    """

    progress: Progress
    tallies: Sequence[tuple[datetime, str, str, int, int]]
    open_us: Sequence[tuple[datetime, str, int]] = ()
    open_since: Mapping[str, datetime] = field(default_factory=dict)


class TooMuch(Exception):
    """More was asked for than one answer holds."""


class ReportRows(Protocol):
    """Reads what the projection counted. Blocks; never writes. Raises StoreUnavailable."""

    def counted(self, span: Span, by: By, limit: int) -> Counted:
        """Sums by hour, name, measure and bucket; names are providers, routes, tags, or kinds, where a measure has
        some. `open_us` and `open_since` are given by provider only. Raises TooMuch where there are more than
        `limit` sums."""
