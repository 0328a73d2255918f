"""Reports in memory, beside the event store in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Lock

from adapters.memory.event_store import MemoryEventStore
from application.ports import Clock
from application.projections.reports import Increments, TagKey, TallyKey
from application.recorded import Recorded
from application.report_ports import REPORTS, By, Counted, Progress, Span, TooMuch


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    position: int
    build: int
    holder: str
    at: datetime | None


@dataclass(slots=True)
class _Rows:
    tallies: Counter[TallyKey] = field(default_factory=Counter)
    tags: Counter[TagKey] = field(default_factory=Counter)
    open_us: Counter[tuple[datetime, str]] = field(default_factory=Counter)
    circuits: dict[str, datetime] = field(default_factory=dict)


class MemoryReports:
    """A `ReportStore` and `ReportRows` (see there for what their methods promise)."""

    def __init__(self, store: MemoryEventStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = Lock()
        self._checkpoints = {REPORTS: _Checkpoint(0, 1, "", None)}
        self._builds: dict[int, _Rows] = {1: _Rows()}

    def progress(self, name: str) -> Progress | None:
        with self._lock:
            return self._progress(name)

    def _progress(self, name: str) -> Progress | None:
        found = self._checkpoints.get(name)
        if found is None:
            return None
        behind = self._store.read_all(found.position, 1)
        return Progress(
            position=found.position,
            build=found.build,
            holder=found.holder,
            idle=timedelta.max if found.at is None else self._clock.now() - found.at,
            last_position=self._store.end(),
            oldest_at=behind[0].at if behind else None,
        )

    def open_circuits(self, build: int) -> dict[str, datetime]:
        with self._lock:
            return dict(self._builds[build].circuits)

    def tags(self, build: int, hours: Collection[datetime]) -> dict[datetime, set[str]]:
        with self._lock:
            keys = self._builds[build].tags
            return {hour: {key[1] for key in keys if key[0] == hour} for hour in hours}

    def histories(self, until: Mapping[str, int]) -> list[Recorded]:
        return [one for stream, last in until.items() for one in self._store.read_stream(stream)[:last]]

    def advance(self, name: str, *, build: int, after: int, to: int, holder: str, added: Increments) -> bool:
        with self._lock:
            found = self._checkpoints.get(name)
            if found is None or (found.position, found.build) != (after, build):
                return False
            self._checkpoints[name] = _Checkpoint(to, build, holder, self._clock.now())
            rows = self._builds[build]
            rows.tallies.update(added.tallies)
            rows.tags.update(added.tags)
            rows.open_us.update(added.open_us)
            for provider, since in added.circuits.items():
                if since is None:
                    rows.circuits.pop(provider, None)
                else:
                    rows.circuits[provider] = since
            return True

    def begin(self, name: str) -> Progress:
        with self._lock:
            build = 1 + max(one.build for one in self._checkpoints.values())
            self._checkpoints[name] = _Checkpoint(0, build, "", self._clock.now())
            self._builds[build] = _Rows()
            begun = self._progress(name)
            assert begun is not None
            return begun

    def swap(self, name: str, *, build: int, position: int) -> bool:
        with self._lock:
            found, live = self._checkpoints.get(name), self._checkpoints[REPORTS]
            if found is None or (found.position, found.build) != (position, build):
                return False
            if live.position > position:
                return False
            del self._checkpoints[name]
            self._checkpoints[REPORTS] = replace(live, position=position, build=build, at=self._clock.now())
            return True

    def sweep(self) -> int:
        with self._lock:
            kept = {one.build for one in self._checkpoints.values()}
            return sum(len(self._builds.pop(build).tallies) for build in [*self._builds] if build not in kept)

    def counted(self, span: Span, by: By, limit: int) -> Counted:
        with self._lock:
            progress = self._progress(REPORTS)
            assert progress is not None
            rows = self._builds[progress.build]
            sums: Counter[tuple[datetime, str, str, int]] = Counter()
            for key, n in _named(rows, by):
                if span.since <= key[0] < span.until:
                    sums[key] += n
            if len(sums) > limit:
                raise TooMuch
            tallies = [(*key, n) for key, n in sorted(sums.items())]
            if by is not By.PROVIDER:
                return Counted(progress=progress, tallies=tallies)
            times = [(hour, provider, us) for (hour, provider), us in sorted(rows.open_us.items())]
            return Counted(
                progress=progress,
                tallies=tallies,
                open_us=[one for one in times if span.since <= one[0] < span.until],
                open_since=dict(rows.circuits),
            )


def _named(rows: _Rows, by: By) -> Iterator[tuple[tuple[datetime, str, str, int], int]]:
    """The counts by hour, what `by` names, measure and bucket."""
    if by is By.TAG:
        for (hour, tag, measure, _, bucket), n in rows.tags.items():
            yield (hour, tag, measure, bucket), n
        return
    for (hour, provider, route, measure, kind, bucket), n in rows.tallies.items():
        name = {By.PROVIDER: provider, By.ROUTE: route, By.KIND: kind}[by]
        if by is not By.KIND or kind:
            yield (hour, name, measure, bucket), n
