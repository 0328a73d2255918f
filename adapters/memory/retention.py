"""Erasing content whose email has ended, from the event store in memory."""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Lock

from adapters.memory.event_store import MemoryEventStore
from application.ports import Clock
from application.projections.emails import email_id_of
from application.recorded import Recorded
from application.retention import STANDS_ASIDE, SWEEP_MAX, Swept
from domain.email.events import Cancelled, Failed, Sent

PAGE = 1000


class MemoryEndedContents:
    """`EndedContents` (see there for what it promises)."""

    def __init__(self, store: MemoryEventStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = Lock()
        self._position = 0
        self._mover: tuple[str, datetime] | None = None

    def sweep(self, kept_for: timedelta, *, holder: str, limit: int = SWEEP_MAX) -> Swept:
        with self._lock:
            now = self._clock.now()
            if self._mover is not None and self._mover[0] != holder and now - self._mover[1] < STANDS_ASIDE:
                return Swept(erased=0, more=False)
            ends, position, more = self._next(now - kept_for, limit)
            if position > self._position:
                self._position, self._mover = position, (holder, now)
            last = {email_id_of(one.stream): one.version for one in ends}
            return Swept(erased=self._store.erase_ended(last), more=more)

    def _next(self, oldest: datetime, limit: int) -> tuple[list[Recorded], int, bool]:
        """The ends that are old enough, how far everything is looked at with them, and whether there is more."""
        ends: list[Recorded] = []
        position = self._position
        while page := self._store.read_all(position, PAGE):
            for recorded in page:
                if isinstance(recorded.event, Sent | Failed | Cancelled):
                    if recorded.at > oldest:
                        return ends, position, False
                    ends.append(recorded)
                position = recorded.position
                if len(ends) == limit:
                    return ends, position, True
        return ends, position, False
