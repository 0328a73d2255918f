"""A Stagepost behind its HTTP interface, all in one process: the real use cases over the store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from starlette.types import ASGIApp

from adapters.memory.event_store import MemoryEventStore
from adapters.memory.reports import MemoryReports
from adapters.memory.retention import MemoryEndedContents
from adapters.memory.standing import MemoryStandings
from adapters.virtual import SeededIds, inline
from application.accept import Acceptor
from application.committer import Committer
from application.feed import Feed
from application.logbook import Logbook
from application.measured_store import MeasuredStore
from application.measurements import Measurements
from application.operate import Operator
from application.ports import EventStore, Locked, Plan
from application.projections import emails
from application.projections.emails import EmailView, Status, email_id_of, outcome_of, view_of
from application.projections.gates import Gate
from application.queries import AttemptRow, PageKey, StatusRow
from application.reading import Reader
from application.recorded import EMAIL_PREFIX, NewEvent, Recorded, StreamAppend, Unit, email_stream
from application.report_ports import REPORTS
from application.report_reading import ReportReader
from application.reports import Projector, ReportRunner
from application.retention import Retention
from application.settings import ProviderSettings, Settings
from application.standing import Standings
from application.supervise import Supervisor
from domain.circuit import CircuitPolicy
from domain.content import Address
from domain.email.events import EmailEvent
from domain.rate_limit import Rate
from domain.routing import Route
from entrypoints.http.app import HttpOptions, create_app
from entrypoints.service import Service

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
BASE_URL = "http://127.0.0.1:8025"
SHOP = Address(address="shop@example.com", name="Shop")
PLAIN: Mapping[str, Any] = {"id": "order-1", "to": "ann@example.org", "subject": "Hi", "body": "On its way."}

SETTINGS = Settings(
    providers={
        "primary": ProviderSettings(name="primary", type="scripted", rates=(Rate.parse("600/m"),)),
        "secondary": ProviderSettings(name="secondary", type="sandbox"),
    },
    routes={"default": Route(name="default", providers=("primary", "secondary"))},
)


class SetClock:
    """The `Clock` port, at whatever time a test says."""

    def __init__(self) -> None:
        self.at = T0

    def now(self) -> datetime:
        """Every look takes a moment, so that no two emails are of the same time."""
        self.at += timedelta(microseconds=1)
        return self.at

    def monotonic(self) -> float:
        return (self.at - T0).total_seconds()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Log:
    """A structlog logger that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def info(self, word: str, **fields: Any) -> None:
        self.lines.append(("info", word, fields))

    def warning(self, word: str, **fields: Any) -> None:
        self.lines.append(("warning", word, fields))

    def error(self, word: str, **fields: Any) -> None:
        self.lines.append(("error", word, fields))


class FoldedStatuses:
    """A `StatusReader` that folds the whole log each time it is asked."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def find(self, email_ids: Sequence[str], now: datetime) -> list[StatusRow]:
        views = self._views()
        return [self._row(views[one], now) for one in email_ids if one in views]

    def page(
        self,
        *,
        now: datetime,
        limit: int,
        status: Status | None = None,
        provider: str | None = None,
        before: PageKey | None = None,
    ) -> list[StatusRow]:
        rows = [self._row(view, now) for view in self._views().values()]
        rows.sort(key=lambda row: (row.requested_at, row.email_id), reverse=True)
        return [
            row
            for row in rows
            if status in (None, row.status)
            and provider in (None, row.provider)
            and (before is None or (row.requested_at, row.email_id) < (before.requested_at, before.email_id))
        ][:limit]

    def gates(self) -> Mapping[str, Gate]:
        seen: dict[str, Gate] = {}

        def look(locked: Locked) -> Sequence[Unit]:
            seen.update(locked.gates)
            return ()

        self._store.transact(Plan(), look)
        return seen

    def _views(self) -> dict[str, EmailView]:
        views: dict[str, EmailView] = {}
        for recorded in self._store.read_all(0, 10_000):
            if recorded.stream.startswith(EMAIL_PREFIX):
                email_id = email_id_of(recorded.stream)
                views[email_id] = emails.project(views.get(email_id) or view_of(email_id), recorded)
        return views

    def _row(self, view: EmailView, now: datetime) -> StatusRow:
        email = view.email
        stored = self._store.contents([view.email_id])
        status = view.status
        if status is Status.SCHEDULED and email.due_at is not None and email.due_at <= now:
            status = Status.QUEUED
        assert email.requested_at is not None
        assert view.updated_at is not None
        return StatusRow(
            id=stored[view.email_id].key if stored else email.key,
            email_id=view.email_id,
            status=status,
            provider=view.provider,
            attempts=tuple(
                AttemptRow(
                    attempt=one.number,
                    provider=one.provider,
                    outcome=outcome_of(one),
                    kind=None if one.kind is None else one.kind.value,
                    code=None,
                    started_at=times[0],
                    finished_at=times[1],
                )
                for one, times in zip(email.attempts, view.times, strict=True)
            ),
            recipients=("pending",),
            requested_at=email.requested_at,
            updated_at=view.updated_at,
            route="default",
            lane=None,
            next_at=email.due_at,
            erased=not stored,
        )


@dataclass
class Api:
    """The interface under test, with a client that speaks to it."""

    client: httpx2.AsyncClient
    service: Service
    store: MemoryEventStore
    clock: SetClock
    log: Log
    app: ASGIApp
    sent: int = field(default=0)

    async def send(self, **changes: Any) -> httpx2.Response:
        """POST a plain request; a field that is changed to ... is left out."""
        body = {key: value for key, value in {**PLAIN, **changes}.items() if value is not ...}
        return await self.client.post("/send-email", json=body)

    async def accepted(self, **changes: Any) -> str:
        """The `email_id` of a new email."""
        answer = await self.send(**changes)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["email_id"])

    def record(self, email_id: str, *events: EmailEvent) -> None:
        """Have something happen to an email."""
        stream = email_stream(email_id)

        def decide(locked: Locked) -> Sequence[Unit]:
            now = self.clock.now()
            new = tuple(
                NewEvent(event_id=self.service.acceptor._ids.new_id(now), event=one) for one in events
            )
            append = StreamAppend(stream=stream, expected_version=locked.emails[email_id].version, events=new)
            return [Unit(at=now, appends=(append,))]

        self.store.transact(Plan(emails=(email_id,)), decide)


@asynccontextmanager
async def running(
    options: HttpOptions | None = None,
    settings: Settings = SETTINGS,
    change: Callable[[Service], Service] = lambda service: service,
) -> AsyncIterator[Api]:
    """A running interface. `change` may put something else in the place of a part."""
    clock, log = SetClock(), Log()
    store = MemoryEventStore(clock=clock, circuit=CircuitPolicy())
    service = change(service_on(store, clock, log, settings))
    app = create_app(service, options or HttpOptions(default_from=SHOP, version="1.2.3"))
    await service.start()
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        yield Api(client=client, service=service, store=store, clock=clock, log=log, app=app)
    await service.stop()


def service_on(store: MemoryEventStore, clock: SetClock, log: Log, settings: Settings = SETTINGS) -> Service:
    """The real use cases on this store, without a worker."""
    ids, logbook = SeededIds(), Logbook(log)
    feed = Feed(store=store, executor=inline, troubled=lambda error: None)

    def committed(events: Iterable[Recorded]) -> None:
        logbook.recorded(events)
        feed.wake()

    measurements = Measurements(settings.providers)
    measured = MeasuredStore(store, clock, measurements)
    committer = Committer(measured, inline, committed)
    common: dict[str, Any] = {"store": store, "executor": inline, "settings": settings}

    async def close() -> None:
        store.close()

    kept = MemoryReports(store, clock)
    projector = Projector(log=store, reports=kept, name=REPORTS, holder="api")
    return Service(
        **common,
        clock=clock,
        committer=committer,
        acceptor=Acceptor(**common, committer=committer, clock=clock, ids=ids),
        reader=Reader(**common, statuses=FoldedStatuses(store), clock=clock),
        operator=Operator(**{**common, "store": measured}, ids=ids, logbook=logbook, wake=lambda: None),
        supervisor=Supervisor(logbook),
        logbook=logbook,
        feed=feed,
        reports=ReportRunner(projector=projector, executor=inline, clock=clock, logbook=logbook),
        report_reader=ReportReader(rows=kept, executor=inline, clock=clock),
        measurements=measurements,
        standings=Standings(
            reader=MemoryStandings(store, clock, CircuitPolicy()), executor=inline, clock=clock
        ),
        retention=Retention(
            contents=MemoryEndedContents(store, clock),
            kept_for=None,  # this clock's sleep takes no time: it would never do anything else
            holder="api",
            executor=inline,
            clock=clock,
            ids=ids,
            logbook=logbook,
        ),
        worker=None,
        close=close,
    )


def without_worker(service: Service, **changes: Any) -> Service:
    """The service with some of its parts exchanged."""
    return replace(service, **changes)


def problem_in(answer: httpx2.Response) -> dict[str, Any]:
    """The answer's problem; fails where it is none, or doesn't say what RFC 9457 asks for."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["type"] == "about:blank"
    assert all(problem[member] for member in ("title", "detail", "code"))
    return problem


def errors_in(answer: httpx2.Response) -> dict[str, str]:
    """What a 422 says of each field."""
    assert answer.status_code == 422, answer.text
    return {one["field"]: one["message"] for one in problem_in(answer)["errors"]}
