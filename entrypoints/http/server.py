"""Serving: a socket, uvicorn on it, and an end in order."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import socket
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from entrypoints.config_schema import Listen
from entrypoints.service import Service

try:
    from entrypoints.http.protocol import BoundedProtocol, close_stale
except ImportError:  # httptools is for CPython: elsewhere h11 does it, slower, with bounds of its own
    BoundedProtocol = None  # type: ignore[assignment, misc]

SIGNALS = (signal.SIGTERM, signal.SIGINT)

CLOSING_MAX_S = 5
"""What open requests get to end in, before their attempts get `worker.grace`."""

KEEP_ALIVE_S = 65
"""Longer than the minute after which load balancers let an idle connection go: we shouldn't be the first."""

HEAD_MAX_OCTETS = 65_536

TICK_S = 0.1
"""How often uvicorn ticks, if nothing keeps it."""

SWEEP_TICKS = 50

GC_THRESHOLDS = (10_000, 50, 100)
"""Everything made at the start lives for ever, and nearly everything after it dies young and without cycles."""


class CannotListen(OSError):
    """The address is taken, or not ours. `strerror` goes on where the address ends, for whoever started us."""


def bind(listen: Listen) -> socket.socket:
    """The socket to serve on; port 0 is any free one. Raises CannotListen."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, proto)
    except OSError as error:
        raise CannotListen(error.errno, error.strerror) from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        # Now, not when uvicorn gets to it: of two processes only one may get this far.
        bound.listen(socket.SOMAXCONN)
    except OSError as error:
        bound.close()
        taken = "another process listens there; stop it, or listen elsewhere (listen, STAGEPOST__LISTEN)"
        why = taken if error.errno == errno.EADDRINUSE else error.strerror
        raise CannotListen(error.errno, why) from None
    return bound


async def serve(
    service: Service, app: ASGIApp, sock: socket.socket, on_listening: Callable[[str], None]
) -> int:
    """Start the service, serve until SIGTERM or SIGINT, stop it; the exit code.

    `on_listening` is called with the URL once requests are answered. Raises whatever `Service.start` does.
    """
    host, port = sock.getsockname()[:2]
    url = Listen(host, port).url(port)

    def listening() -> None:
        service.logbook.info("serving", url=url, sends=service.worker is not None)
        on_listening(url)

    server = _Server(_config(service, app), service, listening)
    loop = asyncio.get_running_loop()

    def leave() -> None:
        service.logbook.info("stopping")
        service.leave()  # no claims any more, while requests that came before are still answered
        server.leave()

    for one in SIGNALS:
        loop.add_signal_handler(one, leave)
    try:
        await service.start()
        _settle_memory()
        await server.serve(sockets=[sock])
    finally:
        sock.close()
        await service.stop()
        service.logbook.info("stopped")
        for one in SIGNALS:
            loop.remove_signal_handler(one)
    return 0


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` on uvloop, or on asyncio's own loop where that isn't there."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


class _Server(uvicorn.Server):
    """uvicorn without its own idea of signals: it would raise SIGTERM again when it is done."""

    def __init__(self, config: uvicorn.Config, service: Service, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._on_started = on_started
        self._ticked_at = float("inf")

    def leave(self) -> None:
        """Take no more requests, end those there are; asked again: don't wait for clients. A third time kills."""
        if self.should_exit:
            self.force_exit = True
            for one in SIGNALS:
                asyncio.get_running_loop().remove_signal_handler(one)
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def on_tick(self, counter: int) -> bool:
        if counter % SWEEP_TICKS == 0 and BoundedProtocol is not None:
            close_stale(self.server_state.connections, asyncio.get_running_loop().time())
        if counter % SWEEP_TICKS == 0 and (refused := self._service.admission.told()):
            # With a line for each, logging would be most of what a refusal costs.
            self._service.logbook.error("overloaded", refused=refused)
        now = asyncio.get_running_loop().time()
        self._service.admission.lag_s = max(0.0, now - self._ticked_at - TICK_S)
        self._ticked_at = now
        return await super().on_tick(counter)


def _config(service: Service, app: ASGIApp) -> uvicorn.Config:
    bounded: Any = None
    if BoundedProtocol is not None:
        bounded = partial(BoundedProtocol, refuses=service.admission.refuses)
    return uvicorn.Config(
        app,
        http=bounded or "h11",
        h11_max_incomplete_event_size=HEAD_MAX_OCTETS,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=CLOSING_MAX_S,
    )


def _settle_memory() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
