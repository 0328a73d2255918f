"""A worker's lease, and what becomes of the attempts of those that lost theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from application.decisions import Decisions
from application.logbook import Logbook
from application.ports import (
    BATCH_MAX,
    Clock,
    Decision,
    EventStore,
    Executor,
    Ids,
    Lease,
    LeaseLost,
    Locked,
    Plan,
    StoreUnavailable,
)
from application.recorded import Recorded
from application.settings import Settings
from domain.email.commands import LoseAttempt, RecordOutcome
from domain.failures import FailureKind, NotAccepted

Holds = Callable[[], frozenset[tuple[str, int]]]
"""The attempts (email id, number) that this worker has in its hands."""


NO_LEASE = 0
"""Tokens begin at 1."""

RENEWALS = 3
"""In one lease: two may fail."""


class LeaseKeeper:
    """Keeps one lease alive, and takes over what other workers left when theirs ran out.

    `steady` is held by whoever relies on the lease, and on the worker's open attempts, staying as they are.
    """

    def __init__(
        self,
        *,
        worker: str,
        store: EventStore,
        executor: Executor,
        clock: Clock,
        ids: Ids,
        settings: Settings,
        logbook: Logbook,
        observe: Callable[[Sequence[Recorded]], None],
    ) -> None:
        """`observe` is told of all that is recorded here."""
        self._worker = worker
        self._store = store
        self._executor = executor
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._logbook = logbook
        self._observe = observe
        self._valid_until = float("-inf")
        self._answered_at = float("-inf")
        self._was_away = False
        self._waited = 0
        self.lease = Lease(worker=worker, token=NO_LEASE)
        self.workers = 1
        """How many leases were alive when it was last looked, this one among them."""
        self.steady = asyncio.Lock()

    def is_valid(self) -> bool:
        """Whether nobody can have taken the lease over yet, by this process's own clock."""
        return self._clock.monotonic() < self._valid_until

    async def acquire(self) -> None:
        """Get a lease, with a token higher than every one before."""
        asked_at = self._clock.monotonic()
        self.lease = await self._executor(lambda: self._store.acquire_lease(self._worker))
        self._valid_until = asked_at + self._settings.lease.total_seconds()
        self._answered_at = self._clock.monotonic()
        self._waited = 1  # whoever begins doesn't know what was before: perhaps the database was away
        await self._count()
        self._logbook.info("lease_acquired", worker=self._worker, token=self.lease.token)

    async def lost(self) -> None:
        """The lease is gone: what was in flight is somebody else's by now. Say so, and start afresh."""
        gone = self.lease
        self._valid_until = float("-inf")
        self._logbook.alert(self._clock.now(), "lease_lost", worker=gone.worker, token=gone.token)
        await self.acquire()

    async def run(self, holds: Holds) -> None:
        """Renew every third of the lease, for ever; between renewals, look after what was left open.

        After an outage of the database everybody's lease has run out. Whoever is back first waits for one lease
        before it takes others for dead: they live, and have had no chance to say so.
        """
        while True:
            await self._clock.sleep(self._settings.lease.total_seconds() / RENEWALS)
            try:
                await self.renew(holds)
                await self._count()
                if self._others_had_time():
                    await self.recover(self._settings.lease)
            except StoreUnavailable as error:
                self._waited = min(self._waited, 1)  # whoever was waiting begins anew
                self._logbook.error("lease_not_renewed", worker=self._worker, reason=str(error))

    async def renew(self, holds: Holds) -> None:
        """Mark the lease as seen, and close what is recorded as ours but never got into our hands."""
        async with self.steady:
            asked_at = self._clock.monotonic()
            lease = self.lease
            alive = await self._executor(lambda: self._store.renew_lease(lease))
            now = self._clock.monotonic()
            self._was_away = now - self._answered_at > 2 * self._settings.lease.total_seconds() / RENEWALS
            self._answered_at = now
            if not alive:
                await self.lost()
                return
            self._valid_until = asked_at + self._settings.lease.total_seconds()
            try:
                await self._take_over(Plan(lease=lease, takes_over=lease, keep=holds()), self._not_tried)
            except LeaseLost:  # whoever took it for dead before that deletes it only now
                await self.lost()

    async def recover(self, unseen_for: timedelta) -> None:
        """Close the attempts of leases that nobody renewed for so long: their outcome is uncertain."""
        stale = await self._executor(lambda: self._store.stale_leases(unseen_for))
        for lease in stale:
            if lease == self.lease:
                continue
            try:
                plan = Plan(takes_over=lease, unseen_for=unseen_for)
                while await self._take_over(plan, self._lost) >= BATCH_MAX:
                    pass
                await self._executor(partial(self._store.release_lease, lease))
            except LeaseLost:
                continue
            self._logbook.alert(self._clock.now(), "worker_lost", worker=lease.worker, token=lease.token)

    async def release(self) -> None:
        """Give the lease up, if there is one, at the end of an orderly stop."""
        lease = self.lease
        if lease.token == NO_LEASE:
            return
        self._valid_until = float("-inf")
        await self._executor(lambda: self._store.release_lease(lease))

    async def _count(self) -> None:
        everyone = await self._executor(lambda: self._store.stale_leases(timedelta(0)))
        gone = await self._executor(lambda: self._store.stale_leases(self._settings.lease))
        self.workers = max(1, len(set(everyone) - set(gone)))

    def _others_had_time(self) -> bool:
        """Whether the database has been there for a lease; where it is always slow, every so often all the same."""
        if self._waited == 0 and not self._was_away:
            return True
        self._waited = (self._waited + 1) % (RENEWALS + 1)
        return self._waited == 0

    async def _take_over(self, plan: Plan, decide: Callable[[Plan, float, Locked], Decision]) -> int:
        decision = partial(decide, plan, self._ids.chance())
        done = await self._executor(lambda: self._store.transact(plan, decision))
        self._observe(done.recorded)
        return len(done.locked.taken_over)

    def _lost(self, plan: Plan, seed: float, locked: Locked) -> Decision:
        decisions = Decisions(locked, self._settings, self._ids, seed)
        for email_id, attempt in locked.taken_over:
            decisions.email(email_id, LoseAttempt(attempt=attempt))
        return decisions.decision

    def _not_tried(self, plan: Plan, seed: float, locked: Locked) -> Decision:
        decisions = Decisions(locked, self._settings, self._ids, seed)
        lease = self.lease
        for email_id, attempt in locked.taken_over:
            outcome = NotAccepted(kind=FailureKind.NOT_TRIED, code="not_held")
            decisions.email(
                email_id,
                RecordOutcome(attempt=attempt, outcome=outcome, worker=lease.worker, token=lease.token),
            )
        return decisions.decision
