"""Getting emails out: claim, call the provider, record the outcome; one round after the other.

A round is one transaction. It records the outcomes that wait, ends what is overdue, and claims as much as there
is room for, so that a slot is idle for one commit at most. Providers are called only once it is committed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from application.bell import HEARING_POLL_S, never
from application.decisions import Decisions
from application.lanes import NO_TURNS, Shares
from application.lease import LeaseKeeper
from application.logbook import Logbook, as_fields
from application.parts import Parts
from application.ports import (
    BATCH_MAX,
    Clock,
    Decision,
    EventStore,
    Executor,
    Ids,
    Locked,
    Plan,
    StoreUnavailable,
    Transacted,
)
from application.projections.emails import email_id_of
from application.provider_port import Provider, Submission
from application.recorded import Recorded, StoredContent
from application.scrub import scrubbed
from application.settings import Settings
from application.turns import Queue
from domain.circuit import CircuitEvent
from domain.email.commands import RecordOutcome, StartAttempt, Tick
from domain.email.events import AttemptStarted
from domain.failures import DRAINED, INTERNAL, FailureKind, NotAccepted, Outcome, Unanswered
from domain.frozen import quick

OVERDUE_MAX = 256
"""Emails ended in one round besides the claims: after an outage there may be very many."""

RETRY_STORE_S = 0.5
"""Pause after the store failed, before the next round."""

ATTEMPT_S_MAX = 3600.0
"""Longer than a provider's own timeouts let it take: one that hangs all the same must not keep its email for ever."""


@quick
@dataclass(frozen=True, slots=True)
class _Finished:
    """An attempt that is over, and not yet recorded to be."""

    email_id: str
    provider: str
    outcome: RecordOutcome


class Dispatcher:
    """One worker. `run` is its permanent task; `wake` says that there may be something to do."""

    def __init__(
        self,
        *,
        store: EventStore,
        executor: Executor,
        clock: Clock,
        ids: Ids,
        settings: Settings,
        providers: Mapping[str, Provider],
        lease: LeaseKeeper,
        logbook: Logbook,
        observe: Callable[[Sequence[Recorded]], None],
        poll_s: float,
        hears: Callable[[], bool] = never,
        leaves: Callable[[], None] = lambda: None,
    ) -> None:
        """`observe` is told of all that this worker recorded.

        `poll_s`: how often the queue is looked at without any hint. `hears`: whether other processes give hints now,
        and `wake` is called for each, so that looking every HEARING_POLL_S is enough. `leaves` is called where a
        round left room to other workers.
        """
        self._poll_s = poll_s
        self._hears = hears
        self._leaves = leaves
        self._store = store
        self._executor = executor
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._providers = providers
        self._lease = lease
        self._logbook = logbook
        self._observe = observe
        self._awake = asyncio.Event()
        self._finished: list[_Finished] = []
        self._in_flight: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._held: Counter[str] = Counter()  # attempts not recorded as ended, by provider
        self._without: frozenset[Queue] = frozenset()
        self._turns = NO_TURNS
        self._parts = Parts(settings, providers)
        self._draining = False
        self.ticked_at = clock.monotonic()

    def wake(self) -> None:
        """Look at the queue soon: an email came in, an outcome is there, an operator acted."""
        self._awake.set()

    @property
    def holds(self) -> frozenset[tuple[str, int]]:
        """The attempts (email id, number) this worker has open: under way, or with an outcome to record."""
        waiting = {(one.email_id, one.outcome.attempt) for one in self._finished}
        return frozenset(self._in_flight) | waiting

    async def run(self) -> None:
        """Serve until drained. Only a bug ends it before: what the store raises is waited out."""
        while not (self._draining and not self.holds):
            try:
                pause_s = await self.round()
            except StoreUnavailable as error:
                self._logbook.error("store_unavailable", reason=str(error))
                pause_s = RETRY_STORE_S
            self.ticked_at = self._clock.monotonic()
            await self._pause(pause_s)

    async def round(self) -> float:
        """One transaction, and the attempts it started; how long to wait for the next (s), if nothing wakes it."""
        self._awake.clear()
        async with self._lease.steady:
            finished = self._finished[:BATCH_MAX]
            freed = Counter(one.provider for one in finished)
            now_s = self._clock.monotonic()
            shares = Shares(
                self._settings,
                self._room(len(finished)),
                freed=freed,
                without=self._without,
                turns=self._turns,
                at_most=self._parts.at_most(self._held - freed, self._lease.workers, now_s),
            )
            self._without = frozenset()
            plan = Plan(
                lease=self._lease.lease,
                emails=tuple(sorted({one.email_id for one in finished})),
                choose=shares.choose if self._may_start() else None,
                overdue_max=OVERDUE_MAX,
            )
            seed = self._ids.chance()
            due: datetime | None = None

            def decide(locked: Locked) -> Decision:
                nonlocal due
                decisions = self._decided(finished, locked, seed)
                due = decisions.next_due
                return decisions.decision

            asked_at = self._clock.monotonic()
            done = await self._executor(lambda: self._store.transact(plan, decide))
            del self._finished[: len(finished)]
            self._held -= freed
            self._observe(done.recorded)
            self._start_all(done, asked_at)
            if not done.locked.lease_alive:
                await self._lease.lost()
        return self._until_next(done, shares, due)

    def leave(self) -> None:
        """Start nothing more from the next round on."""
        self._draining = True
        self.wake()

    async def drain(self) -> None:
        """Start nothing more and let attempts in flight end within `grace`; then `run` records what is left and ends.

        What can't end in time is cut off, and recorded as what it is: not tried, or uncertain.
        """
        self._draining = True
        async with self._lease.steady:
            pass  # a round under way may still start attempts; none does after it
        if self._in_flight:
            await asyncio.wait(list(self._in_flight.values()), timeout=self._settings.grace.total_seconds())
            for task in tuple(self._in_flight.values()):  # in their order: `wait` answers with sets
                task.cancel()
        self.wake()

    def _may_start(self) -> bool:
        return not self._draining and self._lease.is_valid()

    def _room(self, closing: int) -> int:
        """How many attempts this process can take on: gates bound each provider, this bounds what it holds."""
        most = sum(self._settings.providers[name].concurrency for name in self._providers)
        return max(0, min(BATCH_MAX, most - len(self._in_flight) - len(self._finished) + closing))

    def _decided(self, finished: Sequence[_Finished], locked: Locked, seed: float) -> Decisions:
        decisions = Decisions(locked, self._settings, self._ids, seed)
        for one in finished:
            view = locked.emails.get(one.email_id)
            if view is None or one.outcome.attempt > len(view.email.attempts):
                # The database lost what it had committed: a standby took over that lagged behind.
                self._logbook.error(
                    "attempt_not_in_the_log", email_id=one.email_id, attempt=one.outcome.attempt
                )
                continue
            decisions.email(one.email_id, one.outcome)
        for email_id in locked.overdue:
            decisions.email(email_id, Tick())
        lease = self._lease.lease
        for email_id in locked.claimed if locked.lease_alive else ():
            start = StartAttempt(
                email_id=email_id,
                worker=lease.worker,
                token=lease.token,
                begin_within=self._settings.lease,
            )
            decisions.email(email_id, start)
        return decisions

    def _start_all(self, done: Transacted, asked_at: float) -> None:
        """Deadlines are the database's time: what is left of each is counted from when the database was asked."""
        for recorded in done.recorded:
            if isinstance(recorded.event, AttemptStarted):
                email_id = email_id_of(recorded.stream)
                email = done.locked.emails[email_id].email
                date = email.send_at or email.requested_at or recorded.at
                begin_by = asked_at + (recorded.event.deadline - recorded.at).total_seconds()
                self._start(email_id, recorded, done.contents.get(email_id), date, begin_by)

    def _start(
        self, email_id: str, recorded: Recorded, stored: StoredContent | None, date: datetime, begin_by: float
    ) -> None:
        started = recorded.event
        assert isinstance(started, AttemptStarted)
        task = asyncio.get_running_loop().create_task(
            self._attempt(email_id, recorded.correlation_id, started, stored, date, begin_by),
            name=f"attempt {email_id}/{started.attempt}",
        )
        self._in_flight[email_id, started.attempt] = task
        self._held[started.provider] += 1

    async def _attempt(
        self,
        email_id: str,
        correlation_id: str,
        started: AttemptStarted,
        stored: StoredContent | None,
        date: datetime,
        begin_by: float,
    ) -> None:
        """Call the provider, and leave the outcome for the next round. Whatever happens, there is an outcome."""
        called = False
        outcome: Outcome = NotAccepted(kind=FailureKind.NOT_TRIED, code=DRAINED)
        try:
            refusal = self._why_not(stored, begin_by)
            if refusal is not None or stored is None:
                outcome = refusal or NotAccepted(kind=FailureKind.NOT_TRIED)
                return
            submission = Submission(
                email_id=email_id,
                attempt=started.attempt,
                recipients=started.recipients,
                content=stored.content,
                date=date,
                provider_key=started.provider_key,
            )
            called = True
            async with asyncio.timeout(ATTEMPT_S_MAX):
                outcome = await self._providers[started.provider].send(submission)
            outcome = scrubbed(outcome, stored.content)
        except asyncio.CancelledError:
            if called:
                outcome = Unanswered(code=DRAINED, detail="the worker stopped before the answer came")
        except Exception as error:
            self._logbook.error(
                "provider_bug",
                email_id=email_id,
                correlation_id=correlation_id,
                attempt=started.attempt,
                provider=started.provider,
                **as_fields(error),
            )
            outcome = Unanswered(code=INTERNAL, detail=type(error).__name__)
        finally:
            self._in_flight.pop((email_id, started.attempt), None)
            record = RecordOutcome(
                attempt=started.attempt, outcome=outcome, worker=started.worker, token=started.token
            )
            self._finished.append(_Finished(email_id, started.provider, record))
            self.wake()

    def _why_not(self, stored: StoredContent | None, begin_by: float) -> NotAccepted | None:
        """The reasons for which a provider is not called although the attempt has started."""
        if stored is None:
            return NotAccepted(kind=FailureKind.UNKNOWN, code="erased", detail="the content is erased")
        if not self._lease.is_valid():
            return NotAccepted(kind=FailureKind.NOT_TRIED, code="lease_lost")
        if self._clock.monotonic() > begin_by:
            return NotAccepted(kind=FailureKind.NOT_TRIED, code="too_late")
        return None

    def _until_next(self, done: Transacted, shares: Shares, due: datetime | None) -> float:
        emails = (done.locked.emails[email_id].email for email_id in done.locked.claimed)
        claimed = [(str(one.lane), one.priority) for one in emails]
        self._turns = shares.turns(claimed)
        others_s = self._parts.note(shares.held_back(claimed), self._clock.monotonic())
        if self._finished or self._more_at_once(done, shares, claimed):
            return 0.0
        moments = [at for at in (done.next_at, shares.until, due) if at is not None]
        if others_s is not None or (self._draining and done.recorded):
            self._leaves()
        poll_s = max(self._poll_s, HEARING_POLL_S) if self._hears() else self._poll_s
        pauses_s = [poll_s] if others_s is None else [poll_s, others_s]
        # All of these are the database's time, which may not be ours.
        return min([*pauses_s, *(max(0.0, (at - done.locked.now).total_seconds()) for at in moments)])

    def _more_at_once(self, done: Transacted, shares: Shares, claimed: Sequence[Queue]) -> bool:
        """Whether another round would find something to do already; never twice in vain."""
        locked = done.locked
        self._without = shares.fell_short(claimed)
        if self._without:
            return True
        full = len(locked.claimed) >= shares.granted > 0 or len(locked.overdue) >= OVERDUE_MAX
        moved = any(isinstance(recorded.event, CircuitEvent) for recorded in done.recorded)
        return moved or (full and bool(done.recorded))

    async def _pause(self, seconds: float) -> None:
        if self._awake.is_set():
            return
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter = asyncio.ensure_future(self._awake.wait())
        sleeper = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((waiter, sleeper), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
            sleeper.cancel()
