"""Group commit: what waits is recorded in one transaction, and each caller hears once it is durable."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from application.ports import BATCH_MAX, EventStore, Executor
from application.recorded import Committed, Conflict, Recorded, Unit

WAITING_MAX = 8192
"""Units that may wait for a transaction: past this, a new one would wait for seconds."""


class Overloaded(Exception):
    """More is coming in than can be made durable; try again in `retry_after_s`."""

    retry_after_s = 1


class Committer:
    """Takes units one by one and appends what has gathered while the last transaction ran.

    One permanent task (`run`) does it, without any timer: under load the batches grow by themselves, and alone
    a unit waits for nobody.
    """

    def __init__(
        self, store: EventStore, executor: Executor, committed: Callable[[Iterable[Recorded]], None]
    ) -> None:
        """`committed` hears what each transaction recorded: it is to be logged, and the queue looked at."""
        self._store = store
        self._executor = executor
        self._committed = committed
        self._waiting: deque[tuple[Unit, asyncio.Future[Committed | Conflict]]] = deque()
        self._arrived = asyncio.Event()

    async def submit(self, unit: Unit) -> Committed | Conflict:
        """Have the unit recorded. Raises Overloaded at once, or whatever the store raised for the batch."""
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded
        future: asyncio.Future[Committed | Conflict] = asyncio.get_running_loop().create_future()
        self._waiting.append((unit, future))
        self._arrived.set()
        return await future

    async def run(self) -> None:
        """Serve for ever. Cancelled, it first fails what still waits."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._waiting:
                    await self._commit()
        finally:
            while self._waiting:
                self._waiting.popleft()[1].cancel()

    async def _commit(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
        units = [unit for unit, _ in batch]
        try:
            results = await self._executor(lambda: self._store.append(units))
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()  # whether it is recorded, nobody knows: asking again with the same key tells
            raise
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        self._committed(one for result in results if isinstance(result, Committed) for one in result.recorded)
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
