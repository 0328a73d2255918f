"""Bells of one process: everybody in it who has one of the same belfry hears the others."""

from __future__ import annotations

import asyncio

from application.bell import Heard, News


class Belfry:
    """What the bells have in common. While it `is_cut`, nobody hears anything, and knows it."""

    def __init__(self) -> None:
        self.is_cut = False
        self.listening: dict[MemoryBell, Heard] = {}

    def cut(self, *, is_cut: bool) -> None:
        """Part all who listen from each other, or bring them together again."""
        self.is_cut = is_cut
        for heard in tuple(self.listening.values()):
            heard(News.WORK)


class MemoryBell:
    """A `Bell` of a belfry."""

    def __init__(self, belfry: Belfry) -> None:
        self._belfry = belfry
        self._is_over = False

    @property
    def hears(self) -> bool:
        return self in self._belfry.listening and not self._belfry.is_cut

    def ring(self, news: News) -> None:
        if self._is_over or self._belfry.is_cut:
            return
        loop = asyncio.get_running_loop()
        for bell, heard in self._belfry.listening.items():
            if bell is not self:
                loop.call_soon(heard, news)

    async def listen(self, heard: Heard) -> None:
        self._belfry.listening[self] = heard
        heard(News.WORK)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            del self._belfry.listening[self]

    async def close(self) -> None:
        self._is_over = True
