"""A stand-in for Resend over real HTTP: checks every request against the published API, and does as it is told.

In the running loop: `async with ResendServer(...) as server`. In a thread with a loop of its own, for code that
blocks or runs in another process: `with ResendServer.in_thread(...) as server`. `stop` and `start` on the same port
play a provider that is dead and comes back; what it took and the keys it knows outlive that.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any

from aiohttp import web

from tests.support.resend_account import FULL_ACCESS, SENDING_ACCESS, ResendAccount, TakenEmail
from tests.support.resend_api import STATUSES, Refusal, invalid, recipients_of, refusal_of
from tests.support.resend_script import Call, Do, Plan, Playback
from tests.support.stand_in import StandIn

__all__ = ["FULL_ACCESS", "SENDING_ACCESS", "ResendServer", "TakenEmail"]

READ_MAX = 64 * 1024 * 1024


class ResendServer(ResendAccount, StandIn):
    """Takes emails as Resend does, where the `plan` doesn't say otherwise. `plan` may be replaced at any time."""

    def __init__(
        self,
        plan: Plan = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keys: Mapping[str, bool] | None = None,
        domains: frozenset[str] | None = None,
        now: Callable[[], float] = time.time,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(keys=keys, domains=domains, now=now)
        self.host = host
        self.port = port
        self.calls: list[Call] = []
        """Every `POST /emails` whose body it read, in order, whatever came of it."""
        self.arrivals: list[float] = []
        """When each request came in (monotonic seconds)."""
        self.violations: list[str] = []
        """What was wrong with requests by the published rules: there should be none."""
        self._tls_context = tls_context
        self._playback = Playback(plan)
        self._peers: set[object] = set()
        self._taking: set[asyncio.Task[Refusal | str]] = set()
        self._runner: web.AppRunner | None = None

    @property
    def plan(self) -> Plan:
        return self._playback.plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        self._playback = Playback(plan)

    @property
    def url(self) -> str:
        """What `base_url` has to be."""
        return f"{'https' if self._tls_context else 'http'}://{self.host}:{self.port}"

    @property
    def listening(self) -> bool:
        """Whether it can be connected to."""
        return self._runner is not None

    @property
    def connections(self) -> int:
        """Connections that ever brought a request."""
        return len(self._peers)

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        server = self._runner.server if self._runner is not None else None
        return len(server.connections) if server is not None else 0

    # In the running loop.

    async def open(self) -> None:
        """Listen; on the port of the last time, if there was one."""
        app = web.Application(client_max_size=READ_MAX)
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(
            runner, self.host, self.port, ssl_context=self._tls_context, backlog=1024, reuse_address=True
        )
        await site.start()
        self.port = runner.addresses[0][1]
        self._runner = runner

    async def shut(self) -> None:
        """Stop listening, and let every connection end with RST, as a dying process does."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for site in list(runner.sites):
            await site.stop()
        for handler in list(runner.server.connections if runner.server is not None else ()):
            reset_connection(handler.transport)
        for task in self._taking:
            task.cancel()
        await runner.cleanup()

    def wait_for_emails(self, count: int, timeout_s: float = 10.0) -> list[TakenEmail]:
        """Block until so many were taken; whatever was taken by then."""
        deadline = time.monotonic() + timeout_s
        while len(self.emails) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return list(self.emails)

    # What it answers.

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            self._peers.add(request.transport.get_extra_info("peername"))
        self.arrivals.append(time.monotonic())
        if not request.headers.get("User-Agent"):
            self.violations.append("no User-Agent")
            return web.Response(status=403, text="error code: 1010")
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        always = self._playback.always
        match request.method, request.path:
            case "POST", "/emails":
                if always is not None and always.unread:
                    return await self._act(request, always, None)
                return await self._email(request, key, await request.read())
            case "GET", "/domains":
                if always is not None and not always.takes:
                    return await self._act(request, always, None)
                return self._answer(self.list_domains(key))
            case _, "/emails" | "/domains":
                name, message = "method_not_allowed", "Method is not allowed for the requested path."
            case _:
                name, message = "not_found", "The requested endpoint does not exist."
        self.violations.append(name)
        return self._answer(Refusal(STATUSES[name], name, message))

    async def _email(self, request: web.Request, key: str, body: bytes) -> web.StreamResponse:
        call, wrong = self._read(request, key, body)
        if wrong is not None:
            self.violations.append(f"{wrong.name}: {wrong.message}")
        if refusal := self.unauthorised(key) or wrong or self.unsendable(call):
            return self._answer(refusal)
        step = self._playback.step(call)
        if not step.takes:
            return await self._act(request, step, None)
        # A client that goes away doesn't stop it; `shut` does.
        task = asyncio.get_running_loop().create_task(self.take(call, step.wait_s))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)
        taken = await asyncio.shield(task)
        if isinstance(taken, Refusal):
            return self._answer(taken)
        return await self._act(request, step.at_once(), taken)

    def _read(self, request: web.Request, key: str, body: bytes) -> tuple[Call, Refusal | None]:
        """The call, and what is wrong with it."""
        payload: Any = {}
        named = request.headers.get("Idempotency-Key")
        if named is not None and not 1 <= len(named) <= 256:
            message = "Idempotency keys, if present, must have between 1 and 256 characters."
            wrong: Refusal | None = Refusal(400, "invalid_idempotency_key", message)
        elif request.content_type != "application/json":
            wrong = invalid("The content type must be application/json.")
        else:
            try:
                payload = json.loads(body)
                wrong = refusal_of(payload)
            except ValueError:
                wrong = Refusal(400, "validation_error", "The request body is no JSON.")
        call = Call(
            number=len(self.calls) + 1,
            api_key=key,
            idempotency_key=named or "",
            headers=request.headers,
            body=body,
            payload=payload if wrong is None else {},
            recipients=tuple(recipients_of(payload)) if wrong is None else (),
        )
        self.calls.append(call)
        return call, wrong

    async def _act(self, request: web.Request, step: Do, taken_id: str | None) -> web.StreamResponse:
        """Answer as told, or don't."""
        if step.wait_s:
            await asyncio.sleep(step.wait_s)
        if step.raw is not None and request.transport is not None:
            request.transport.write(step.raw)
        match step.then:
            case "answer":
                if step.status is not None:
                    return self._answer(Refusal(step.status, step.name, step.message), step)
                assert taken_id is not None, "what isn't taken needs a status"
                return self._answer({"id": taken_id}, step)
            case "reset":
                reset_connection(request.transport)
            case "close" if request.transport is not None:
                request.transport.close()
        never: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()
        return await never  # until the connection is gone

    def _answer(self, what: Refusal | Mapping[str, object], step: Do | None = None) -> web.Response:
        status = what.status if isinstance(what, Refusal) else 200
        text = json.dumps(what.as_json() if isinstance(what, Refusal) else what).encode()
        body = text if step is None or step.body is None else step.body
        more = step.headers if step is not None else {}
        headers = {"Content-Type": "application/json", **self._usual(), **more}
        return web.Response(status=status, body=body, headers=headers)

    def _usual(self) -> dict[str, str]:
        """Docs, api-reference/rate-limit."""
        return {
            "Date": formatdate(self.now(), usegmt=True),
            "ratelimit-limit": "10",
            "ratelimit-remaining": "9",
            "ratelimit-reset": "1",
        }


def reset_connection(transport: asyncio.BaseTransport | None) -> None:
    """End a connection with RST."""
    if not isinstance(transport, asyncio.Transport):
        return
    if (sock := transport.get_extra_info("socket")) is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
