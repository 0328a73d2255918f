"""Folding the log anew: to count, and to have a view as its events say.

Here stands which projections there are, and how each is made anew. Nothing here, nor behind the ports it is given,
can send anything: it gets no provider, and reads and writes rows of views only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from application import reports
from application.logbook import Logbook
from application.ports import Clock, EventStore, Executor, StoreUnavailable
from application.report_ports import ReportStore

ALL = "all"
"""Every projection, for whoever doesn't name one."""

Told = Callable[[int, int], None]
"""Hears how many events are done, of how many there are about. What it raises ends the work between two steps."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a fold of the whole log gives: events by type, emails by status, attempts by outcome, and gates."""

    events: int
    types: Mapping[str, int]
    statuses: Mapping[str, int]
    outcomes: Mapping[str, int]
    gates: int


@dataclass(frozen=True, slots=True)
class Mended:
    """A view that is as its events say by now. `rows` were not, and are; `removed` belonged to no event.

    `rows` is None where all of them were written anew, whatever they said.
    """

    events: int
    rows: int | None = None
    removed: int = 0


class Folds(Protocol):
    """Folds the log beside whoever writes. Blocks, in short transactions only. Raises StoreUnavailable."""

    def count(self, told: Told) -> Counted:
        """Fold everything and count it; nothing is written."""

    def mend_emails(self, told: Told) -> Mended:
        """Have the rows of all emails, and of their attempts, as their events say.

        Each is compared with a fold of its stream, and written if it differs: whoever reads meanwhile never finds
        fewer rows, nor a row older than one it has seen. Where it is ended early, what it has done is done.
        """

    def mend_gates(self, told: Told) -> Mended:
        """Have the rows of all gates as the log says, all at once. As a fold gives them that begins with the circuits'
        present window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What making views anew needs. `holder`: who does it, unlike anybody else."""

    folds: Folds
    log: EventStore
    reports: ReportStore
    executor: Executor
    clock: Clock
    holder: str


Anew = Callable[[Parts, Told], Awaitable[Mended]]


async def _emails(parts: Parts, told: Told) -> Mended:
    return await parts.executor(lambda: parts.folds.mend_emails(told))


async def _gates(parts: Parts, told: Told) -> Mended:
    return await parts.executor(lambda: parts.folds.mend_gates(told))


async def _reports(parts: Parts, told: Told) -> Mended:
    events = await reports.rebuild(
        log=parts.log,
        reports=parts.reports,
        holder=parts.holder,
        executor=parts.executor,
        clock=parts.clock,
        told=told,
    )
    return Mended(events)


@dataclass(frozen=True, slots=True)
class Projection:
    """A view of the log. `anew`: how it is made anew; those that share it are made together."""

    name: str
    says: str
    anew: Anew


PROJECTIONS: tuple[Projection, ...] = (
    Projection("emails", "every email: how it stands, and when it is due", _emails),
    Projection("attempts", "every attempt of every email; made together with them", _emails),
    Projection("gates", "what decides whether a provider may be used now", _gates),
    Projection("reports", "what was sent, and how it went, by the hour", _reports),
)
"""All there are. A projection is added here, and nowhere else."""


class UnknownView(Exception):
    """There is no projection of that name."""

    def __init__(self, name: str) -> None:
        names = ", ".join(one.name for one in PROJECTIONS)
        super().__init__(f"there is no view {name!r}; there are {names}, and {ALL} for all of them")


def chosen(view: str) -> Sequence[Projection]:
    """The projections to make anew for a name, those made together once. Raises UnknownView."""
    named = [one for one in PROJECTIONS if view in (ALL, one.name)]
    if not named:
        raise UnknownView(view)
    return list({one.anew: one for one in reversed(named)}.values())[::-1]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One view that was made anew."""

    view: str
    mended: Mended


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How a rebuild goes, or went. `view`: what was asked for; `now`: which one is at it.

    `done` of about `whole` events of that one. `failed`: why it ended early; empty: it did not.
    """

    view: str
    running: bool
    now: str = ""
    done: int = 0
    whole: int = 0
    rebuilt: tuple[Rebuilt, ...] = ()
    failed: str = ""


class Busy(Exception):
    """A rebuild is under way."""


class _Stopped(Exception):
    pass


class Rebuilds:
    """Makes views anew, one at a time, in the background of a running process. `state`: of the last one."""

    def __init__(self, parts: Parts, logbook: Logbook) -> None:
        self._parts = parts
        self._logbook = logbook
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.state: State | None = None

    def start(self, view: str) -> State:
        """Begin; how it goes is in `state`. Raises UnknownView, Busy."""
        projections = chosen(view)
        if self.state is not None and self.state.running:
            raise Busy
        self.state = State(view=view, running=True)
        self._task = asyncio.get_running_loop().create_task(self._run(view, projections), name="rebuild")
        return self.state

    async def ended(self) -> None:
        """Wait until nothing is under way."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def stop(self) -> None:
        """End between two steps what is under way: what is done is done."""
        self._stopping = True
        await self.ended()

    async def _run(self, view: str, projections: Sequence[Projection]) -> None:
        rebuilt: list[Rebuilt] = []
        failed = ""
        try:
            for one in projections:
                told = partial(self._told, view, one.name, tuple(rebuilt))
                rebuilt.append(Rebuilt(one.name, await one.anew(self._parts, told)))
        except _Stopped:
            failed = "it was stopped; what was done is done"
        except (StoreUnavailable, reports.Overtaken) as error:
            failed = str(error) or type(error).__name__
        except Exception as error:
            failed = type(error).__name__  # its text may say anything
        if failed:
            self._logbook.error("rebuild_failed", view=view, reason=failed)
        self.state = State(view=view, running=False, rebuilt=tuple(rebuilt), failed=failed)

    def _told(self, view: str, now: str, rebuilt: tuple[Rebuilt, ...], done: int, whole: int) -> None:
        if self._stopping:
            raise _Stopped
        self.state = State(view=view, running=True, now=now, done=done, whole=whole, rebuilt=rebuilt)
