"""Connections that outlive a mail: a stack of idle ones, bounded by what is open at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from adapters.providers.smtp_connection import QUIT_WAIT_S, SmtpConnection


class NoSlot(Exception):
    """All connections stayed busy, or the pool is closed: nothing was opened."""


class SmtpPool:
    """At most `size` connections at once, the freshest idle one first. Lives in one event loop."""

    def __init__(
        self,
        open_one: Callable[[], Awaitable[SmtpConnection]],
        *,
        size: int,
        idle_s_max: float,
        transactions_max: int,
    ) -> None:
        self.open = open_one
        self._slots = asyncio.Semaphore(size)
        self._idle_s_max = idle_s_max
        self._transactions_max = transactions_max
        self._idle: list[SmtpConnection] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing: set[SmtpConnection] = set()
        self._closed = False

    @asynccontextmanager
    async def slot(self, timeout_s: float) -> AsyncIterator[None]:
        """The right to use one connection. Raises NoSlot."""
        if self._slots.locked():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._slots.acquire()
            except TimeoutError:
                raise NoSlot(f"every connection stayed busy for {timeout_s:g} s") from None
        else:
            await self._slots.acquire()
        try:
            if self._closed:
                raise NoSlot("the provider is closed")
            yield
        finally:
            self._slots.release()

    def idle(self) -> SmtpConnection | None:
        """An open connection that nobody uses, as far as we were told."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            self.retire(connection)
        return None

    def keep(self, connection: SmtpConnection) -> None:
        """Give a connection back, for the next mail if it is fit for one."""
        if self._closed or not connection.usable or connection.transactions >= self._transactions_max:
            return self.retire(connection)
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._idle_s_max, self._sweep)
        return None

    def retire(self, connection: SmtpConnection) -> None:
        """Give a connection back to be closed, politely where that is possible."""
        connection.quit()
        self._closing.add(connection)
        connection.closed.add_done_callback(lambda _: self._closing.discard(connection))

    async def close(self) -> None:
        """Close the idle ones, and wait for all that are closing. Those in use follow when they are given back."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        while self._idle:
            self.retire(self._idle.pop())
        if self._closing:
            await asyncio.wait([one.closed for one in self._closing], timeout=2 * QUIT_WAIT_S)

    def _sweep(self) -> None:
        """Close what has waited too long, and come again when the next one will have."""
        self._sweeper = None
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._idle_s_max
        stale = [one for one in self._idle if one.idle_since <= oldest or not one.usable]
        self._idle = [one for one in self._idle if one not in stale]
        for connection in stale:
            self.retire(connection)
        if self._idle:
            due = min(one.idle_since for one in self._idle) + self._idle_s_max
            self._sweeper = loop.call_at(due, self._sweep)
