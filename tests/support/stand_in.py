"""A stand-in for a provider: a real server in the running loop, or in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self


class StandIn(ABC):
    """`async with StandIn(...)` in a loop; `with StandIn.in_thread(...)` beside code that blocks, or processes."""

    _loop: asyncio.AbstractEventLoop | None = None

    @abstractmethod
    async def open(self) -> None:
        """Listen; on the port of the last time, if there was one."""

    @abstractmethod
    async def shut(self) -> None:
        """Stop listening, and let every connection end with RST, as a dying process does."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut()

    @classmethod
    @contextmanager
    def in_thread(cls, *arguments: Any, **options: Any) -> Iterator[Self]:
        """The same server, made with these, and listening; with `start` and `stop`, which block."""
        server = cls(*arguments, **options)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name=cls.__name__, daemon=True)
        thread.start()
        server._loop = loop
        try:
            server.start()
            yield server
        finally:
            server.stop()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def start(self) -> None:
        """Listen (again)."""
        assert self._loop is not None, "in_thread() only"
        asyncio.run_coroutine_threadsafe(self.open(), self._loop).result(10)

    def stop(self) -> None:
        """Be dead: connections are reset, new ones refused."""
        assert self._loop is not None, "in_thread() only"
        asyncio.run_coroutine_threadsafe(self.shut(), self._loop).result(10)
