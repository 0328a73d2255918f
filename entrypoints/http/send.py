"""`POST /send-email`: accepted once it is durable, and not before."""

from __future__ import annotations

import asyncio
import re

import msgspec
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from application.accept import Receipt, SendRequest
from application.committer import Overloaded
from entrypoints import shapes
from entrypoints.http.body import Bodies, Headers, require_json
from entrypoints.http.intake import Intake
from entrypoints.http.problems import ASK_AGAIN, problem_of, unavailable
from entrypoints.service import Service

OFF_LOOP_OCTETS = 262_144
"""Past this a body is read in a thread: decoding and hashing megabytes would stop everything else meanwhile."""

SHUTTING_DOWN_RETRY_AFTER_S = 5
"""By then a restarted service, or another one, has taken over."""

CORRELATION = (b"x-correlation-id", b"x-request-id")
_is_correlation_id = re.compile(r"[!-?A-~]{1,128}").fullmatch  # printable ASCII, no @: it goes into the log

_START = "http.response.start"
_BODY = "http.response.body"
_CONTENT_TYPE = (b"content-type", b"application/json")
_REPLAYED = (b"idempotent-replayed", b"true")
_ENCODE = msgspec.json.Encoder().encode


class SendEmail:
    """An ASGI endpoint: the one that has to be fast goes without request and response objects."""

    def __init__(self, service: Service, intake: Intake, bodies: Bodies) -> None:
        self._service = service
        self._intake = intake
        self._bodies = bodies
        self._now = service.clock.monotonic
        self._admission = service.admission
        self._not_now = _messages(problem_of(Overloaded()).response())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._admission.refuses():
            for message in self._not_now:
                await send(message)
            return
        headers: Headers = dict(scope["headers"])
        require_json(headers)
        body = await self._bodies.read(headers, receive)
        # Not before: how long a client takes to send its request says nothing about us.
        entered_at = self._now()
        self._admission.enter()
        try:
            receipt = await self._accept(await self._request(body, headers))
        finally:
            self._bodies.done(body)
            self._admission.leave(entered_at, self._now())
        answer = _ENCODE(shapes.receipt(receipt))
        fields = [_CONTENT_TYPE, (b"content-length", b"%d" % len(answer))]
        if receipt.replayed:
            fields.append(_REPLAYED)
        await send({"type": _START, "status": 202, "headers": fields})
        await send({"type": _BODY, "body": answer})

    async def _request(self, body: bytes, headers: Headers) -> SendRequest:
        now = self._service.clock.now()
        key = headers.get(b"idempotency-key")
        key_header = None if key is None else key.decode("latin-1")
        correlation_id = _correlation_id(headers)
        if len(body) <= OFF_LOOP_OCTETS:
            return self._intake.request(body, now=now, key_header=key_header, correlation_id=correlation_id)
        return await asyncio.to_thread(
            self._intake.request, body, now=now, key_header=key_header, correlation_id=correlation_id
        )

    async def _accept(self, request: SendRequest) -> Receipt:
        """Raises what `Acceptor.accept` does, and a 503 where nobody is left to record anything."""
        if "committer" in self._service.supervisor.dead:
            raise _stopping()
        try:
            return await self._service.acceptor.accept(request)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not this request was cancelled: the committer ended, and let go of what waited for it.
            raise _stopping() from None


def _messages(response: Response) -> tuple[Message, Message]:
    """A response as it is sent, again and again."""
    start = {"type": _START, "status": response.status_code, "headers": response.raw_headers}
    return start, {"type": _BODY, "body": response.body}


def _stopping() -> Exception:
    detail = f"The service is stopping. {ASK_AGAIN}"
    return unavailable("stopping", detail, SHUTTING_DOWN_RETRY_AFTER_S)


def _correlation_id(headers: Headers) -> str:
    """The client's id for all that follows from this request, if it may go into logs; else empty."""
    for name in CORRELATION:
        given = headers.get(name)
        if given is not None and _is_correlation_id(text := given.decode("latin-1")):
            return text
    return ""
