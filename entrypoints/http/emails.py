"""Emails over HTTP: how they stand, their story, and what can be done to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from application.explain import NotYetRequested
from domain.errors import NotRequested
from entrypoints import shapes
from entrypoints.config_source import suggestion
from entrypoints.http.body import Bodies, require_json
from entrypoints.http.problems import Errors
from entrypoints.http.statuses import StatusQuery, cursor, parse_query
from entrypoints.http.wire import Shape, decode_object, of
from entrypoints.moments import parse_moment
from entrypoints.service import Service

BY = "operator"
"""Who acts over HTTP, as the events say it: whoever has the admin token."""

RETRY_FIELDS: dict[str, Shape] = {"accept_duplicate_risk": of(bool, "true or false")}


class Emails:
    """The endpoints. An `id` in a path is the client's or ours, percent-encoded; it may hold slashes."""

    def __init__(self, service: Service, bodies: Bodies) -> None:
        self._reader = service.reader
        self._operator = service.operator
        self._clock = service.clock
        self._bodies = bodies

    async def page(self, request: Request) -> Response:
        """GET /statuses"""
        query = parse_query(request.query_params.multi_items())
        if query.id is not None:
            return json({"data": await self._named(query.id, query), "next": None})
        page = await self._reader.page(
            limit=query.limit, status=query.status, provider=query.provider, after=query.after
        )
        following = None if page.next is None else cursor(page.next)
        return json({"data": [shapes.status(row) for row in page.rows], "next": following})

    async def status(self, request: Request) -> Response:
        """GET /statuses/{id}"""
        return json(shapes.status(await self._reader.status(request.path_params["id"])))

    async def events(self, request: Request) -> Response:
        """GET /emails/{id}/events"""
        history = await self._reader.events(request.path_params["id"])
        return json({"data": [shapes.event(one) for one in history]})

    async def explain(self, request: Request) -> Response:
        """GET /emails/{id}/explain"""
        at = self._moment(request)
        try:
            told = await self._reader.explain(request.path_params["id"], at)
        except NotYetRequested as error:
            errors = Errors()
            errors.add("at", f"is too early: the email was accepted at {shapes.rfc3339(error.requested_at)}")
            raise errors.problem() from error
        return json(shapes.explanation(told))

    async def cancel(self, request: Request) -> Response:
        """POST /emails/{id}/cancel"""
        ref = request.path_params["id"]
        row = await self._reader.status(ref)
        status = await self._operator.cancel(ref, BY)
        return json(shapes.acted(row, status))

    async def retry(self, request: Request) -> Response:
        """POST /emails/{id}/retry"""
        ref = request.path_params["id"]
        accept = await self._accepts_risk(request)
        row = await self._reader.status(ref)
        status = await self._operator.retry(ref, BY, accept_duplicate_risk=accept)
        return json(shapes.acted(row, status))

    def _moment(self, request: Request) -> datetime | None:
        """`?at=`: the story as it stood then."""
        errors, at = Errors(), None
        for name, value in request.query_params.multi_items():
            if name != "at":
                errors.add(name, f"is no parameter we know; {suggestion(name, ('at',))}")
            elif at is not None:
                errors.add(name, "is given twice")
            elif value:
                try:
                    at = parse_moment(value, self._clock.now())
                except ValueError as error:
                    errors.add(name, f"can't be read: {error}")
        if errors:
            raise errors.problem()
        return at

    async def _named(self, ref: str, query: StatusQuery) -> list[shapes.Shape]:
        try:
            row = await self._reader.status(ref)
        except NotRequested:
            return []
        return [shapes.status(row)] if query.wants(row) else []

    async def _accepts_risk(self, request: Request) -> bool:
        headers = dict(request.scope["headers"])
        body = await self._bodies.read(headers, request.receive)
        try:
            if not body:
                return False
            require_json(headers)
            errors = Errors()
            found = decode_object(body, RETRY_FIELDS, errors)
            if errors:
                raise errors.problem()
            return bool(found.get("accept_duplicate_risk", False))
        finally:
            self._bodies.done(body)


def json(answer: Any) -> Response:
    """A 200 with this as its body."""
    return Response(msgspec.json.encode(answer), media_type="application/json")
