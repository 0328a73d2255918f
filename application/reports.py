"""Keeping the reports up to date behind the log, and making them anew beside those that are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from application.logbook import Logbook, as_fields
from application.ports import Clock, EventStore, Executor, StoreUnavailable
from application.projections.reports import Projection
from application.recorded import Recorded
from application.report_ports import REBUILD, Progress, ReportStore

PAGE = 500
"""Events in one transaction. On SQLite nobody else can write while it lasts: some milliseconds."""

EMAILS_MAX = 20_000
"""Emails whose facts are remembered, of about 400 octets each."""

POLL_S = 0.25
"""How old reports are at most, while nothing is wrong."""

STANDS_ASIDE = timedelta(seconds=2)
"""Whoever advanced the reports last goes on; others step in when nothing has moved for so long."""

ASIDE_POLL_S = 1.0
"""How often those who stand aside look."""

RETRY_S = 5.0
"""After a failure."""

BEHIND_ALERT_S = 300.0
"""Reports that lack events older than this are worth an alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far the reports are behind the log, when it was last looked.

    `events`: at most so many (positions that nobody took are counted). `seconds`: the age of the first one lacking.
    """

    events: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, seen: Progress, position: int, now: datetime) -> Lag:
        """That of a projection that was `seen` so, and is at `position` by now."""
        events = seen.last_position - position
        if events <= 0 or seen.oldest_at is None:
            return cls()
        return cls(events=events, seconds=max(0.0, (now - seen.oldest_at).total_seconds()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step did: how many events it added. `seen`: how it stood before; `position`: where it is now.

    `aside`: somebody else is at it.
    """

    seen: Progress
    position: int
    added: int = 0
    aside: bool = False


class Gone(Exception):
    """The projection isn't there (any more)."""


class Projector:
    """Advances one projection page by page. What it remembers is only used while nobody else advances it.

    Killed at any moment it neither loses nor repeats an event: counts and checkpoint move in one transaction, and
    only from where they were when the page was read.
    """

    def __init__(self, *, log: EventStore, reports: ReportStore, name: str, holder: str) -> None:
        """`holder`: who this is, unlike anybody else."""
        self._log = log
        self._reports = reports
        self._name = name
        self._holder = holder
        self._projection: Projection | None = None
        self._at: tuple[int, int] | None = None  # build and position that `_projection` is at

    def progress(self) -> Progress:
        """How far it is. Raises StoreUnavailable, Gone."""
        seen = self._reports.progress(self._name)
        if seen is None:
            raise Gone(self._name)
        return seen

    def step(self) -> Step:
        """Add the next page of the log, if there is one. Blocks. Raises StoreUnavailable, Gone."""
        seen = self.progress()
        still = Step(seen=seen, position=seen.position)
        if seen.oldest_at is None:
            return still
        if seen.holder not in ("", self._holder) and seen.idle < STANDS_ASIDE:
            return replace(still, aside=True)
        page = self._log.read_all(seen.position, PAGE)
        if not page:
            return still
        projection, self._at = self._projection_at(seen), None  # if it fails from here on, it is wrong
        self._teach(projection, page, seen.build)
        added, to = projection.apply(page), page[-1].position
        if not self._reports.advance(
            self._name, build=seen.build, after=seen.position, to=to, holder=self._holder, added=added
        ):
            return replace(still, aside=True)
        self._projection, self._at = projection, (seen.build, to)
        return Step(seen=seen, position=to, added=len(page))

    def _projection_at(self, seen: Progress) -> Projection:
        if self._projection is not None and self._at == (seen.build, seen.position):
            return self._projection
        return Projection(self._reports.open_circuits(seen.build), EMAILS_MAX)

    def _teach(self, projection: Projection, page: Sequence[Recorded], build: int) -> None:
        if missing := projection.unknown(page):
            projection.learn(self._reports.histories(missing))
        if hours := projection.unknown_hours(page):
            projection.learn_tags(self._reports.tags(build, hours))


class ReportRunner:
    """The background task of every process that writes: of all of them, one at a time advances the reports.

    `lag`: how far behind they are, whoever advances them.
    """

    def __init__(self, *, projector: Projector, executor: Executor, clock: Clock, logbook: Logbook) -> None:
        self._projector = projector
        self._executor = executor
        self._clock = clock
        self._logbook = logbook
        self.lag = Lag()

    async def run(self) -> None:
        """Follow the log for ever. A failure is logged and tried again: nothing else depends on reports."""
        pause_s = POLL_S
        while True:
            await self._clock.sleep(pause_s)
            began = self._clock.monotonic()
            try:
                step = await self._executor(self._projector.step)
                self.lag = Lag.of(step.seen, step.position, self._clock.now())
                pause_s = _pause(step, self._clock.monotonic() - began)
            except StoreUnavailable as error:
                self._logbook.error("reports_stand_still", reason=str(error))
                pause_s = RETRY_S
            except Exception as error:
                self._logbook.error("reports_stand_still", **as_fields(error))
                await self._look()
                pause_s = RETRY_S

    async def _look(self) -> None:
        with suppress(StoreUnavailable, Gone):
            seen = await self._executor(self._projector.progress)
            self.lag = Lag.of(seen, seen.position, self._clock.now())


def _pause(step: Step, took_s: float) -> float:
    if step.aside:
        return ASIDE_POLL_S
    # Half of the time is left to whoever shares this process, and SQLite's one writer, with us.
    return took_s if step.added == PAGE else POLL_S


class Overtaken(Exception):
    """Another rebuild began while this one was under way."""


async def rebuild(
    *,
    log: EventStore,
    reports: ReportStore,
    holder: str,
    executor: Executor,
    clock: Clock,
    told: Callable[[int, int], None] = lambda position, last: None,
) -> int:
    """Make the reports anew from the log, beside those that are read meanwhile; how many events went in.

    `told` hears how far it is: its position, and the log's last. Readers see the old rows until all of the new
    are there, so never too few. Raises Overtaken, StoreUnavailable: then the old ones stay, and nothing is in the
    way of the next try.
    """
    projector = Projector(log=log, reports=reports, name=REBUILD, holder=holder)
    build = (await executor(lambda: reports.begin(REBUILD))).build
    total = 0
    while True:
        step = await executor(partial(_step_of, projector, build))
        total += step.added
        told(step.position, step.seen.last_position)
        if step.added == PAGE:
            continue
        if await executor(partial(reports.swap, REBUILD, build=build, position=step.position)):
            break
        await clock.sleep(0 if step.added else POLL_S)  # it is behind a gap that may still be filled
    while await executor(reports.sweep):
        pass
    return total


def _step_of(projector: Projector, build: int) -> Step:
    try:
        step = projector.step()
    except Gone:
        raise Overtaken from None
    if step.seen.build != build:
        raise Overtaken
    return step
