"""Time, identity and threads as the machine has them."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
SALT_OCTETS = 16


class SystemClock:
    """The `Clock` port on the machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemIds:
    """The `Ids` port on the machine's randomness; with `seed`, the same ids and chances every time."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed) if seed is not None else random.Random(os.urandom(16))
        self._seeded = seed is not None
        self._salts = b""

    def new_id(self, now: datetime) -> str:
        """UUIDv7 (RFC 9562 §5.7): 48 bits of milliseconds, 74 bits of chance."""
        milliseconds = (now - EPOCH) // MILLISECOND
        chance = self._random.getrandbits(74)
        low = 0x8000_0000_0000_0000 | chance & 0x3FFF_FFFF_FFFF_FFFF
        text = f"{milliseconds << 16 | 0x7000 | chance >> 62:016x}{low:016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def salt(self) -> bytes:
        if self._seeded:
            return self._random.randbytes(SALT_OCTETS)
        if not self._salts:
            self._salts = os.urandom(SALT_OCTETS * 256)  # one call into the kernel for many salts
        salt, self._salts = self._salts[:SALT_OCTETS], self._salts[SALT_OCTETS:]
        return salt

    def chance(self) -> float:
        return self._random.random()


class Threads:
    """The `Executor` port on a pool of threads."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="store")

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Wait for what is running, and end the threads."""
        self._pool.shutdown(wait=True)


class Daemons:
    """The `Executor` port for calls that may hang: each has a thread of its own, which keeps no process from ending."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: Exception | None) -> None:
            if future.done():
                return  # nobody waits for it any more
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type] # of a call that may return None as well

        def work() -> None:
            result, failure = None, None
            try:
                result = call()
            except Exception as error:
                failure = error
            with suppress(RuntimeError):  # the loop is closed by now
                loop.call_soon_threadsafe(settle, result, failure)

        threading.Thread(target=work, daemon=True, name="daemon").start()
        return future
