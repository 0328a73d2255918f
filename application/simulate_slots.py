"""A provider's slots in a simulation: who has to wait for one, and until when."""

from __future__ import annotations

from heapq import heapify, heappop, heappush


class Slots:
    """When each of a provider's slots gets free (s); of attempts that aren't plain nobody knows (inf)."""

    def __init__(self, ends_s: list[float], most: int) -> None:
        self._ends_s = ends_s
        self._most = most
        heapify(ends_s)
        while len(ends_s) > most:  # the first to end makes room for one that waits already
            heappop(ends_s)

    def free_s(self, at_s: float) -> float:
        """From when on there is a free one for who comes at `at_s`, first come, first served (inf: not known)."""
        while self._ends_s and self._ends_s[0] <= at_s:
            heappop(self._ends_s)
        return at_s if len(self._ends_s) < self._most else self._ends_s[0]

    def take(self, until_s: float) -> None:
        """Take the one that gets free next."""
        if len(self._ends_s) >= self._most:
            heappop(self._ends_s)
        heappush(self._ends_s, until_s)
