"""Retention: what emails said and to whom is erased a while after their end; their events stay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol

from application.logbook import Logbook, as_fields
from application.ports import Clock, Executor, Ids, StoreUnavailable

SWEEP_MAX = 200
"""Ends looked at in one transaction. On SQLite nobody else can write while it lasts: some milliseconds."""

OCTETS_MAX = 16_000_000
"""Attachments deleted in one transaction, the first email's in any case: on SQLite some 100 ms."""

SHARE = 0.2
"""Of the time, at most so much goes into erasing while there is much of it: others write as well."""

IDLE_SHARE = 0.01
"""How late content is erased, as a part of how long it is kept; within the bounds that follow."""

IDLE_S_MIN = 1.0
IDLE_S_MAX = 300.0

RETRY_S = 60.0
"""After a failure."""

STANDS_ASIDE = timedelta(seconds=10)
"""Whoever is erasing goes on; others step in when it has not done anything for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep did: how many emails' content it erased. `more`: another one would find ends at once."""

    erased: int
    more: bool


class EndedContents(Protocol):
    """Content whose email has ended. Blocks; raises StoreUnavailable, and then nothing of the call was done."""

    def sweep(self, kept_for: timedelta, *, holder: str, limit: int = SWEEP_MAX) -> Swept:
        """Look at the next `limit` ends in the log that are `kept_for` old by the store's clock, each once and for
        good, and erase the content of those emails that have not been reopened since.

        One transaction, which holds the emails: what is reopened at the same moment keeps its content, or finds
        that it is gone. `holder`: who asks, unlike anybody else; while somebody else is at it, nothing is done.
        """


class Retention:
    """The background task of every process that serves. Whoever is at it first goes on, and the others look on."""

    def __init__(
        self,
        *,
        contents: EndedContents,
        kept_for: timedelta | None,
        holder: str,
        executor: Executor,
        clock: Clock,
        ids: Ids,
        logbook: Logbook,
    ) -> None:
        """`kept_for`: how long content is kept after an email's end; none: forever."""
        self._contents = contents
        self._kept_for = kept_for
        self._holder = holder
        self._executor = executor
        self._clock = clock
        self._ids = ids
        self._logbook = logbook

    async def run(self) -> None:
        """Erase for ever what is old enough. A failure is logged and tried again: nothing waits for it."""
        if self._kept_for is None:
            return
        # Not all machines of a cluster at the same moment, nor a command that is over in a second.
        pause_s = idle_s(self._kept_for) * (0.5 + self._ids.chance() / 2)
        erased = 0
        while True:
            await self._clock.sleep(pause_s)
            try:
                began = self._clock.monotonic()
                swept = await self._executor(
                    partial(self._contents.sweep, self._kept_for, holder=self._holder)
                )
                took_s = self._clock.monotonic() - began
            except StoreUnavailable as error:
                self._logbook.error("retention_stands_still", reason=str(error))
                pause_s = RETRY_S
                continue
            except Exception as error:
                self._logbook.alert(self._clock.now(), "retention_stands_still", **as_fields(error))
                pause_s = RETRY_S
                continue
            erased += swept.erased
            pause_s = took_s / SHARE - took_s if swept.more else idle_s(self._kept_for)
            if erased and not swept.more:
                self._logbook.info("contents_erased", emails=erased)
                erased = 0


def idle_s(kept_for: timedelta) -> float:
    """How long to wait for more to be old enough (s)."""
    return min(IDLE_S_MAX, max(IDLE_S_MIN, kept_for.total_seconds() * IDLE_SHARE))
