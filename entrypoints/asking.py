"""Asking something that may take for ever: one question at a time, whoever waits for its answer, and a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from application.ports import StoreUnavailable


class Asking:
    """Asks the database. A question that is still open is not asked again, or each look would cost a thread.

    PostgreSQL answers no COMMIT while its synchronous standby is away, for as long as that takes.
    """

    def __init__(self) -> None:
        self._open: asyncio.Future[object] | None = None

    async def within(self, seconds: float, ask: Callable[[], Awaitable[object]]) -> None:
        """Wait for the answer, if it comes in time. Raises StoreUnavailable, and what `ask` raises."""
        if self._open is None or self._open.done():
            self._open = asyncio.ensure_future(ask())
            self._open.add_done_callback(_seen)
        question = self._open
        done, _ = await asyncio.wait({question}, timeout=seconds)
        if not done:
            raise StoreUnavailable(f"no answer for {seconds:g} s")
        question.result()


def _seen(question: asyncio.Future[object]) -> None:
    """Whoever waited for it may be gone: an error is no surprise then."""
    if not question.cancelled():
        question.exception()
