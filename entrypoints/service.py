"""One running Stagepost: the use cases wired together, their background tasks, and how it is doing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from application.accept import Acceptor
from application.admission import Admission
from application.bell import Bell, Heard, Silence
from application.committer import Committer
from application.dispatch import Dispatcher
from application.feed import Feed
from application.lease import LeaseKeeper
from application.logbook import Logbook
from application.lookups import Lookups
from application.measurements import Measurements
from application.operate import Operator
from application.ports import Clock, EventStore, Executor, StoreUnavailable
from application.provider_port import Provider
from application.reading import Reader
from application.replay import Rebuilds
from application.report_reading import ReportReader
from application.reports import BEHIND_ALERT_S, ReportRunner
from application.retention import Retention
from application.settings import Settings
from application.standing import Standings
from application.supervise import Supervisor
from entrypoints.asking import Asking

COUNT_EVERY_S = 1.0
"""How old the number that `queue_max` is compared with is, where counting is quick."""

COUNT_SHARE = 0.02
"""Of the time, at most so much is spent counting: with a million waiting a count takes a while."""

TICK_AGE_MAX_S = 10.0
"""A worker whose last round ended longer ago than this is not working."""

CHECK_MAX_S = 5.0
"""A database that takes longer to say that it is there is not there for clients either."""

STOPPING_MAX_S = 10.0
"""What recording the last outcomes may take on top of the grace time, before a stop is forced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """`problems`: why this process should get no traffic now, none: it may. `alerts`: what people should see."""

    problems: tuple[str, ...]
    alerts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """The part of a service that sends."""

    dispatcher: Dispatcher
    keeper: LeaseKeeper
    lookups: Lookups
    providers: tuple[Provider, ...]
    recover_all: bool
    """Whoever holds the database alone knows that every lease found at start belongs to the dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Everything that serves. `start` before use, `stop` to end in order."""

    settings: Settings
    store: EventStore
    executor: Executor
    clock: Clock
    committer: Committer
    acceptor: Acceptor
    reader: Reader
    operator: Operator
    supervisor: Supervisor
    logbook: Logbook
    feed: Feed
    reports: ReportRunner
    report_reader: ReportReader
    measurements: Measurements
    standings: Standings
    retention: Retention
    worker: Worker | None
    close: Callable[[], Awaitable[None]]
    """Lets go of the threads and connections, last of all."""
    rebuilds: Rebuilds | None = None
    checking: Asking = field(default_factory=Asking)
    admission: Admission = field(default_factory=Admission)
    bell: Bell = field(default_factory=Silence)
    heard: Heard = lambda news: None
    """Hears what other processes ring."""

    async def start(self) -> None:
        """Recover what an earlier process left, then start every background task."""
        await self.acceptor.count_waiting()
        self.supervisor.start("committer", self.committer.run())
        self.supervisor.start("counter", self._count())
        self.supervisor.start("reports", self.reports.run())
        self.supervisor.start("retention", self.retention.run())
        self.supervisor.start("bell", self.bell.listen(self.heard))
        if self.worker is not None:
            if self.worker.recover_all:
                await self.worker.keeper.recover(timedelta(0))
            await self.worker.keeper.acquire()
            self.supervisor.start("lease", self.worker.keeper.run(lambda: self._dispatcher.holds))
            self.supervisor.start("dispatcher", self._dispatcher.run())

    def leave(self) -> None:
        """Start no attempt any more, while clients are still being answered; `stop` does the rest.

        Whoever follows the log has had its answer, which would never end by itself.
        """
        self.feed.leave()
        if self.worker is not None:
            self._dispatcher.leave()

    async def stop(self) -> None:
        """Claim nothing more, let attempts end within the grace time, record them, and let go of everything."""
        if self.rebuilds is not None:
            await self.rebuilds.stop()
        if self.worker is not None:
            await self._drain(self.worker)
        await self.supervisor.stop()  # the lease's task before the lease: it would get a new one
        if self.worker is not None:
            await self._release(self.worker)
        await self.close()

    async def readiness(self) -> Readiness:
        """Whether the database answers and can be written, and every background task is at work.

        Anybody may ask, so it says what is wrong and no more; the log has the reasons.
        """
        problems = [f"{name} died" for name in self.supervisor.dead]
        try:
            await self.checking.within(CHECK_MAX_S, lambda: self.executor(self.store.check))
        except StoreUnavailable as error:
            self.logbook.error("database_not_ready", reason=str(error))
            problems.append("the database does not answer, or can't be written")
        if self.worker is not None:
            age = self.clock.monotonic() - self._dispatcher.ticked_at
            if age > TICK_AGE_MAX_S:
                problems.append(f"worker: no round for {age:.0f} s")
        alerts = [f"{at.isoformat()} {text}" for at, text in self.logbook.alerts]
        behind_s = self.reports.lag.seconds
        if behind_s > BEHIND_ALERT_S:
            alerts.append(f"{self.clock.now().isoformat()} reports_behind seconds={behind_s:.0f}")
        return Readiness(problems=tuple(problems), alerts=tuple(alerts))

    @property
    def _dispatcher(self) -> Dispatcher:
        assert self.worker is not None
        return self.worker.dispatcher

    async def _drain(self, worker: Worker) -> None:
        drained = asyncio.gather(worker.dispatcher.drain(), self.supervisor.ended("dispatcher"))
        try:
            await asyncio.wait_for(drained, self.settings.grace.total_seconds() + STOPPING_MAX_S)
        except TimeoutError:
            self.logbook.error("not_drained")

    async def _release(self, worker: Worker) -> None:
        await worker.lookups.close()
        for provider in worker.providers:
            await provider.close()
        try:
            await worker.keeper.release()
        except StoreUnavailable as error:
            self.logbook.error("lease_not_released", reason=str(error))

    async def _count(self) -> None:
        took_s = 0.0
        while True:
            await self.clock.sleep(max(COUNT_EVERY_S, took_s / COUNT_SHARE))
            asked_at = self.clock.monotonic()
            try:
                await self.acceptor.count_waiting()
                took_s = self.clock.monotonic() - asked_at
            except StoreUnavailable as error:
                self.logbook.error("not_counted", reason=str(error))
