"""How many requests may be under way at once: as many as get their answer in time, which is found by trying.

More of them only wait for each other, in the event loop before anything else can count them, until nobody gets an
answer while it is still wanted. Whoever is refused at once can ask again, or ask somebody else.
"""

from __future__ import annotations

WANTED_S = 0.5
"""How long an answer may take where too much is asked: clients that wait give up after a second or some more."""

AT_FIRST = 1024
AT_LEAST = 64
"""A disk that stalls for a while must not close the door: so many fill a transaction, and tell when it is over."""

AT_MOST = 8192
"""However fast they go: this bounds the memory."""

LESS_AT_ONCE = 0.5
"""The limit is lowered in the measure in which answers are late, but not by more than this for one of them."""

MORE = 0.25
"""For each answer in good time, while there is use for more: hundreds a second, where thousands are answered."""


class Admission:
    """Counts who is under way, and who was refused. Times are seconds of one clock.

    `lag_s`: how late the event loop is, as whoever watches it says: so long a request waits before anybody sees it.
    """

    def __init__(self) -> None:
        self.limit = float(AT_FIRST)
        self.under_way = 0
        self.refused = 0
        self.lag_s = 0.0
        self._lowered_at = float("-inf")

    def refuses(self) -> bool:
        """Whether whoever comes now may not come in; then it counts as refused."""
        if self.under_way < self.limit:
            return False
        self.refused += 1
        return True

    def enter(self) -> None:
        """Somebody is under way, and has to `leave`."""
        self.under_way += 1

    def leave(self, entered_at: float, now: float) -> None:
        """Somebody has an answer, for better or worse."""
        busy = self.under_way > self.limit / 2
        self.under_way -= 1
        took_s = self.lag_s + now - entered_at
        if took_s <= WANTED_S:
            if busy:
                self.limit = min(AT_MOST, self.limit + MORE)
        elif entered_at >= self._lowered_at:  # whoever entered before that tells nothing new
            self.limit = max(AT_LEAST, self.limit * max(LESS_AT_ONCE, WANTED_S / took_s))
            self._lowered_at = now

    def told(self) -> int:
        """How many were refused since this was asked last."""
        refused, self.refused = self.refused, 0
        return refused
