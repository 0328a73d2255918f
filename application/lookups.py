"""Asking providers what became of attempts whose answer was lost, while there is time to learn it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from application.decisions import Decisions
from application.logbook import Logbook, as_fields
from application.ports import Clock, Decision, EventStore, Executor, Ids, Locked, Plan, StoreUnavailable
from application.projections.emails import email_id_of, folded
from application.provider_port import Searchable, Submission
from application.recorded import Recorded, email_stream
from application.scrub import scrubbed
from application.settings import Settings
from domain.email.commands import RecordOutcome
from domain.email.events import OutcomeUncertain
from domain.email.state import AttemptState

FIRST_S = 1.0
"""Providers index what they took a moment later."""

PAUSE_S_MAX = 30.0
"""The pauses double up to this."""

LOOKUPS_MAX = 1000
"""Emails looked up at a time. In an outage with more, the rest are left to the policy."""

CALLS_MAX = 8
"""Questions under way at a time: they share the provider's limits with its real work."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """One attempt in doubt; it is asked about until then (s, of the monotonic clock)."""

    email_id: str
    attempt: int
    provider: str
    until_s: float


class Lookups:
    """Looks up the uncertain attempts that this process recorded. What another one recorded before it died is not
    looked up: the policy decides on it when its time is over."""

    def __init__(
        self,
        *,
        store: EventStore,
        executor: Executor,
        clock: Clock,
        ids: Ids,
        settings: Settings,
        providers: Mapping[str, Searchable],
        logbook: Logbook,
        wake: Callable[[], None],
    ) -> None:
        """`providers`: those that can be asked, by name."""
        self._store = store
        self._executor = executor
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._providers = providers
        self._logbook = logbook
        self._wake = wake
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls = asyncio.Semaphore(CALLS_MAX)

    def observe(self, events: Iterable[Recorded]) -> None:
        """Take up every uncertainty among these events that a provider can be asked about."""
        for one in events:
            event = one.event
            if not isinstance(event, OutcomeUncertain) or event.resolve_by <= one.at:
                continue
            if event.provider in self._providers and len(self._tasks) < LOOKUPS_MAX:
                # Both are the database's time, which may not be ours: what is left is counted from now.
                until_s = self._clock.monotonic() + (event.resolve_by - one.at).total_seconds()
                doubt = _Doubt(email_id_of(one.stream), event.attempt, event.provider, until_s)
                task = asyncio.get_running_loop().create_task(
                    self._until_known(doubt), name=f"lookup {doubt.email_id}/{doubt.attempt}"
                )
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Ask no more."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_known(self, doubt: _Doubt) -> None:
        pause_s = FIRST_S
        while self._clock.monotonic() < doubt.until_s:
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
            try:
                if await self._known(doubt):
                    return
            except StoreUnavailable:
                continue
            except Exception as error:
                self._logbook.error(
                    "lookup_bug", email_id=doubt.email_id, provider=doubt.provider, **as_fields(error)
                )
                return

    async def _known(self, doubt: _Doubt) -> bool:
        """Whether there is nothing more to ask: it was found, or the email came to know otherwise."""
        history = await self._executor(lambda: self._store.read_stream(email_stream(doubt.email_id)))
        email = folded(history).email
        attempt = email.attempts[doubt.attempt - 1]
        if email.end is not None or attempt.state is not AttemptState.UNCERTAIN:
            return True
        stored = (await self._executor(lambda: self._store.contents([doubt.email_id]))).get(doubt.email_id)
        if stored is None:
            return True
        submission = Submission(
            email_id=doubt.email_id,
            attempt=doubt.attempt,
            recipients=attempt.recipients,
            content=stored.content,
            date=email.send_at or email.requested_at or history[0].at,
            provider_key=attempt.provider_key,
        )
        async with self._calls:
            found = await self._providers[doubt.provider].find(submission)
        if found is None:
            return False
        outcome = scrubbed(found, stored.content)
        record = RecordOutcome(
            attempt=doubt.attempt, outcome=outcome, worker=attempt.worker, token=attempt.token
        )
        await self._record(doubt.email_id, record)
        return True

    async def _record(self, email_id: str, record: RecordOutcome) -> None:
        seed = self._ids.chance()

        def decide(locked: Locked) -> Decision:
            decisions = Decisions(locked, self._settings, self._ids, seed)
            decisions.email(email_id, record)
            return decisions.decision

        done = await self._executor(lambda: self._store.transact(Plan(emails=(email_id,)), decide))
        self._logbook.recorded(done.recorded)
        self._wake()
