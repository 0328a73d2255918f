"""Workers broken on purpose: around a transaction, a lease, a call, an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from adapters.memory.event_store import MemoryEventStore
from application import dispatch
from application.committer import Committer
from application.decisions import Decisions
from application.dispatch import Dispatcher
from application.invariants import End
from application.lanes import Shares
from application.lease import LeaseKeeper
from application.ports import Decision, Locked, Plan, Share, Transacted, Waiting
from application.projections.emails import email_id_of
from application.recorded import Committed, Recorded, Unit, email_stream
from application.scrub import scrubbed
from domain.email.commands import RecordOutcome
from domain.email.events import AttemptStarted
from domain.failures import FailureKind, NotAccepted, Unanswered

Patch = pytest.MonkeyPatch


def no_write_ahead(patch: Patch) -> None:
    """The provider is called while the transaction that says so is still under way."""
    right = Dispatcher._decided
    right_start = Dispatcher._start_all
    contents: dict[str, Any] = {}

    def decided(self: Any, finished: Any, locked: Locked, seed: float) -> Decisions:
        made = right(self, finished, locked, seed)
        starts = tuple(
            Recorded(
                position=0,
                event_id=new.event_id,
                stream=append.stream,
                version=0,
                at=unit.at,
                event=new.event,
                correlation_id=new.correlation_id,
            )
            for unit in made.units
            for append in unit.appends
            for new in append.events
            if isinstance(new.event, AttemptStarted)
        )
        lock = self._store._store._lock
        lock.release()  # the store in memory answers nobody else while it decides
        try:
            contents.update(self._store.contents([email_id_of(one.stream) for one in starts]))
        finally:
            lock.acquire()
        right_start(
            self, Transacted(locked=locked, recorded=starts, contents=contents), self._clock.monotonic()
        )
        return made

    patch.setattr(Dispatcher, "_decided", decided)
    patch.setattr(Dispatcher, "_start_all", lambda self, done, asked_at: None)


def fencing_ignored(patch: Patch) -> None:
    """A worker whose lease is gone goes on as if nothing had been."""
    right = MemoryEventStore._locked
    patch.setattr(LeaseKeeper, "is_valid", lambda self: True)
    patch.setattr(
        MemoryEventStore,
        "_locked",
        lambda self, plan: replace(_with_lease(self, plan, right), lease_alive=True),
    )
    patch.setattr(MemoryEventStore, "renew_lease", lambda self, lease: True)


def _with_lease(store: Any, plan: Plan, right: Callable[[Any, Plan], Locked]) -> Locked:
    if plan.lease is None or plan.lease in store._leases:
        return right(store, plan)
    store._leases[plan.lease] = store._clock.now()
    try:
        return right(store, plan)
    finally:
        del store._leases[plan.lease]


def timeout_is_failure(patch: Patch) -> None:
    """No answer is taken for a refusal."""
    right = scrubbed

    def wrong(outcome: Any, content: Any) -> Any:
        if isinstance(outcome, Unanswered):
            outcome = NotAccepted(
                kind=FailureKind.TRANSIENT, refused=outcome.refused, deferred=outcome.deferred
            )
        return right(outcome, content)

    patch.setattr(dispatch, "scrubbed", wrong)


def lost_goes_back_to_the_queue(patch: Patch) -> None:
    """What a dead worker had under way is simply tried again."""

    def wrong(self: Any, plan: Plan, seed: float, locked: Locked) -> Decision:
        made = Decisions(locked, self._settings, self._ids, seed)
        for email_id, attempt in locked.taken_over:
            outcome = NotAccepted(kind=FailureKind.NOT_TRIED)
            made.email(email_id, RecordOutcome(attempt=attempt, outcome=outcome, worker="", token=0))
        return made.decision

    patch.setattr(LeaseKeeper, "_lost", wrong)


def renewal_closes_what_it_holds(patch: Patch) -> None:
    """A worker takes its own attempts under way for ones that it never got."""
    right = LeaseKeeper.renew
    patch.setattr(LeaseKeeper, "renew", lambda self, holds: right(self, frozenset))


def claims_ignore_lanes(patch: Patch) -> None:
    """Whatever has waited longest is claimed, whether a provider has room for it or not."""

    def wrong(self: Any, waiting: Sequence[Waiting], known: Any, now: Any) -> Sequence[Share]:
        self.until, room, shares = None, self._room, []
        for one in sorted(waiting, key=lambda one: one.due_at):
            if room > 0:
                shares.append(Share(lane=one.lane, priority=one.priority, count=room))
        self.granted = self._room
        return shares[:1]

    patch.setattr(Shares, "choose", wrong)
    patch.setattr(Shares, "fell_short", lambda self, claimed: frozenset())


def answered_before_it_is_durable(patch: Patch) -> None:
    """A client hears that its email was accepted while that is only about to be."""

    async def wrong(self: Any, unit: Unit) -> Committed:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._waiting.append((unit, future))
        self._arrived.set()
        append = unit.appends[0]
        recorded = Recorded(
            position=0,
            event_id=append.events[0].event_id,
            stream=append.stream,
            version=1,
            at=unit.at,
            event=append.events[0].event,
        )
        return Committed(recorded=(recorded,))

    patch.setattr(Committer, "submit", wrong)


def answers_are_not_scrubbed(patch: Patch) -> None:
    """What providers say is recorded as they say it."""
    patch.setattr(dispatch, "scrubbed", lambda outcome, content: outcome)


def called_again_after_no_answer(patch: Patch) -> None:
    """A client library tries again by itself."""
    from tests.simulation.surroundings import Wire

    right = Wire.send

    async def wrong(self: Any, submission: Any) -> Any:
        outcome = await right(self, submission)
        return await right(self, submission) if isinstance(outcome, Unanswered) else outcome

    patch.setattr(Wire, "send", wrong)


def retention_erases_what_is_reopened(patch: Patch) -> None:
    """An email that had ended once has nothing left to send when it is reopened."""

    def wrong(self: Any, email_id: str) -> int | None:
        ends = (one.version for one in self._streams[email_stream(email_id)] if isinstance(one.event, End))
        return max(ends, default=None)

    patch.setattr(MemoryEventStore, "_last_end", wrong)
