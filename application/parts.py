"""A worker's part of each provider's slots, so that one that has many in its hands leaves some to the others.

Whoever records an outcome claims the next email in the same transaction. Without a rule the worker that came first
would keep all slots for ever, and the others would look on, however busy it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from application.settings import Settings

PATIENCE_S = 0.25
"""What nobody else has taken after that long is anybody's. Several looks at the queue of those that share it."""


class Parts:
    """Remembers since when slots are left to others."""

    def __init__(self, settings: Settings, providers: Collection[str]) -> None:
        self._slots = {name: settings.providers[name].concurrency for name in providers}
        self._since: dict[str, float] = {}

    def at_most(self, held: Mapping[str, int], workers: int, now_s: float) -> Mapping[str, int]:
        """How many more attempts this worker may start at each provider, of which it has `held` open; a provider
        that isn't named has no bound. `workers`: all that live. `now_s`: monotonic."""
        if workers <= 1:
            return {}
        return {
            name: max(0, -(-slots // workers) - held.get(name, 0))
            for name, slots in self._slots.items()
            if now_s - self._since.get(name, now_s) < PATIENCE_S
        }

    def note(self, held_back: Collection[str], now_s: float) -> float | None:
        """What a round has left to others; how long to wait for them (s), if it has left anything."""
        self._since = {name: self._since.get(name, now_s) for name in held_back}
        return max(0.0, min(self._since.values()) + PATIENCE_S - now_s) if self._since else None
