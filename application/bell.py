"""Telling other processes on the same database that there is something new: a hint, never the truth.

Whoever relies on it looks by itself as well, only more rarely: a ring may be lost, and so may whoever was to ring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Protocol

from application.recorded import Recorded
from domain.circuit import CircuitEvent

HEARING_POLL_S = 1.0
"""How often one looks by oneself while the rings of others are heard."""


class News(StrEnum):
    """What there is to hear."""

    RECORDED = "recorded"
    """There are new events, for whoever follows the log."""

    WORK = "work"
    """There are new events, and workers may find something to do."""


Heard = Callable[[News], None]


class Bell(Protocol):
    """Rings in every other process that listens on the same database. Used in one event loop."""

    @property
    def hears(self) -> bool:
        """Whether what others ring would be heard now, as far as this can be known."""

    def ring(self, news: News) -> None:
        """Tell all others. Never waits, never fails; it may be lost. What is rung meanwhile is told together."""

    async def listen(self, heard: Heard) -> None:
        """Tell `heard` what others ring, for ever; its own rings it doesn't hear. Only cancelling ends it.

        Where it begins or ceases to hear, that is WORK as well: something may have been missed, or will be.
        """

    async def close(self) -> None:
        """Tell what is still to be told, and then nothing any more. `listen` has ended before."""


class Silence:
    """The `Bell` where there are no other processes."""

    hears = False

    def ring(self, news: News) -> None:
        pass

    async def listen(self, heard: Heard) -> None:
        del heard
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        pass


def never() -> bool:
    """Whether others are heard, where nobody rings."""
    return False


def news_of(events: Iterable[Recorded]) -> News:
    """What other workers have of these events of a worker, which takes up by itself what its emails need next.

    A circuit that moves lets all of them send, or nobody.
    """
    return News.WORK if any(isinstance(one.event, CircuitEvent) for one in events) else News.RECORDED
