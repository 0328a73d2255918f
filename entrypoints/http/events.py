"""`GET /events`: the log as Server-Sent Events, live or from a position, for as long as the client listens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from application.feed import Feed
from application.recorded import Recorded
from application.selection import Wanted
from entrypoints import shapes
from entrypoints.config_source import suggestion
from entrypoints.filters import parse_wanted
from entrypoints.http.problems import Errors, unavailable
from entrypoints.service import Service

STREAMS_MAX = 64
"""Open at a time: each of them costs as much as it reads."""

HEARTBEAT_S = 15.0
"""Proxies cut what is silent for a minute or less; and a client that is gone shows when it is written to."""

TAKING_MAX_S = 60.0
"""A client that takes nothing for so long gives its place to another, and may come back to where it was."""

RETRY_MS = 2000
"""When a client that lost us should ask again."""

RETRY_AFTER_S = 5
"""When one that found no place should."""

LAST_EVENT_ID = "Last-Event-ID"
NAMES = ("type", "provider", "status", "after")
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would gather events until it has a pageful
}
_is_position = re.compile(r"[0-9]{1,18}").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsQuery:
    """What is asked for. `after`: the position to go on behind, as `field` said; none: what is new from now on."""

    wanted: Wanted
    after: int | None
    field: str = ""


class Events:
    """The endpoint, and how many are at it."""

    def __init__(self, service: Service) -> None:
        self._feed = service.feed
        self._logbook = service.logbook
        self._open = 0

    async def stream(self, request: Request) -> Response:
        """GET /events"""
        query = parse_query(request.query_params.multi_items(), request.headers.get(LAST_EVENT_ID))
        self._refuse_crowds()
        after = await self._position(query)
        if request.method == "HEAD":
            return Response(headers=HEADERS)
        self._refuse_crowds()  # it took a moment
        self._open += 1
        return _EventStream(_frames(self._feed, after, query.wanted), self._ended)

    def _ended(self, is_slow: bool) -> None:
        self._open -= 1
        if is_slow:
            self._logbook.info("events_not_taken", seconds=TAKING_MAX_S)

    def _refuse_crowds(self) -> None:
        if self._feed.is_over:
            raise unavailable(
                "stopping", "This process is about to end; another may serve you.", RETRY_AFTER_S
            )
        if self._open >= STREAMS_MAX:
            detail = f"{STREAMS_MAX} streams of events are open, and no more may be."
            raise unavailable("too_many_streams", detail, RETRY_AFTER_S)

    async def _position(self, query: EventsQuery) -> int:
        if query.after is None:
            return await self._feed.end()
        highest = await self._feed.highest()
        if query.after > highest:
            errors = Errors()
            errors.add(query.field, f"is beyond the end of the log, {highest}: it is no position of this log")
            raise errors.problem()
        return query.after


def parse_query(items: Iterable[tuple[str, str]], last_event_id: str | None) -> EventsQuery:
    """Read the query. `Last-Event-ID` wins over `after`: a browser that comes back sends both, the header newer.

    Raises a 422 that names every bad parameter.
    """
    errors = Errors()
    given: dict[str, list[str]] = {name: [] for name in NAMES}
    for name, value in items:
        if name in given:
            given[name].append(value)
        else:
            errors.add(name, f"is no parameter we know; {suggestion(name, NAMES)}")
    wanted = parse_wanted(
        types=given["type"], providers=given["provider"], statuses=given["status"], complain=errors.add
    )
    afters = [value for value in given["after"] if value]
    if len(afters) > 1:
        errors.add("after", "is given twice")
    field, text = (LAST_EVENT_ID, last_event_id) if last_event_id else ("after", afters[0] if afters else "")
    if text and not _is_position(text):
        errors.add(field, "must be a position: a whole number, the `id` of an event")
    if errors:
        raise errors.problem()
    return EventsQuery(wanted=wanted, after=int(text) if text else None, field=field)


async def _frames(feed: Feed, after: int, wanted: Wanted) -> AsyncIterator[bytes]:
    """What is sent. The position comes first, and with heartbeats as it moves on, so that a client that heard
    nothing yet, or nothing for long, comes back to where it was as well."""
    yield f": live\nretry: {RETRY_MS}\nid: {after}\n\n".encode()
    told = after
    async with aclosing(feed.follow(after, wanted, idle_s=HEARTBEAT_S)) as batches:
        async for batch in batches:
            if batch.events:
                yield b"".join(map(_frame, batch.events))
                told = batch.events[-1].position
            elif batch.position > told:
                yield f":\nid: {batch.position}\n\n".encode()
                told = batch.position
            else:
                yield b":\n\n"


def _frame(recorded: Recorded) -> bytes:
    row = shapes.logged(recorded)
    head = f"id: {recorded.position}\nevent: {row['type']}\ndata: "
    return b"".join((head.encode(), msgspec.json.encode(row), b"\n\n"))


class _EventStream(StreamingResponse):
    """Sends what there is as fast as the client takes it, and no faster; `ended` hears whether it was too slow."""

    def __init__(self, frames: AsyncIterator[bytes], ended: Callable[[bool], None]) -> None:
        super().__init__(frames, headers=HEADERS)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_slow = False

        async def sent(message: object) -> None:
            async with asyncio.timeout(TAKING_MAX_S):
                await send(message)  # type: ignore[arg-type]

        try:
            await super().__call__(scope, receive, sent)
        except TimeoutError:
            is_slow = True
        finally:
            self._ended(is_slow)
