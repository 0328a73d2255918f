"""What operators and clients do to emails and providers that are already there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from application.decisions import Decisions
from application.identity import candidates
from application.logbook import Logbook
from application.ports import Decision, EventStore, Executor, Ids, Locked, Plan
from application.projections.emails import Status
from application.settings import Settings
from domain.circuit import CircuitCommand, Pause, Reset, Resume
from domain.email.commands import Cancel, LaterCommand, Reschedule, Retry
from domain.errors import KeyErased, NotRequested


class UnknownProvider(Exception):
    """The configuration has no provider of that name."""


class Operator:
    """Acts for a person or a client; `by` in every call says for whom."""

    def __init__(
        self,
        *,
        store: EventStore,
        executor: Executor,
        ids: Ids,
        settings: Settings,
        logbook: Logbook,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._executor = executor
        self._ids = ids
        self._settings = settings
        self._logbook = logbook
        self._wake = wake

    async def cancel(self, ref: str, by: str) -> Status:
        """Call an email off. Raises NotRequested, AlreadyEnded, AttemptIsOpen."""
        return await self._decide(ref, Cancel(by=by))

    async def retry(self, ref: str, by: str, *, accept_duplicate_risk: bool = False) -> Status:
        """Reopen a failed email or let a held one go.

        Raises NotRequested, NothingToRetry, MayHaveBeenSent, KeyErased (there is nothing left to send).
        """
        return await self._decide(ref, Retry(by=by, accept_duplicate_risk=accept_duplicate_risk))

    async def reschedule(self, ref: str, by: str, send_at: datetime) -> Status:
        """Send at another time. Raises NotRequested, AlreadyEnded, AlreadyAttempted."""
        return await self._decide(ref, Reschedule(by=by, send_at=send_at))

    async def pause(self, provider: str, by: str) -> None:
        """Start no attempt at this provider until it is resumed. Raises UnknownProvider."""
        await self._act(provider, Pause(by=by))

    async def resume(self, provider: str, by: str) -> None:
        """Use the provider again. Raises UnknownProvider."""
        await self._act(provider, Resume(by=by))

    async def reset(self, provider: str, by: str) -> None:
        """Close the provider's circuit. Raises UnknownProvider."""
        await self._act(provider, Reset(by=by))

    async def _decide(self, ref: str, command: LaterCommand) -> Status:
        ids = candidates(ref)
        needs_content = isinstance(command, Retry)
        seed = self._ids.chance()
        status = Status.QUEUED

        def decide(locked: Locked) -> Decision:
            nonlocal status
            email_id = next((one for one in ids if one in locked.emails), None)
            if email_id is None:
                raise NotRequested("There is no such email.")
            decisions = Decisions(locked, self._settings, self._ids, seed)
            decisions.email(email_id, command)
            if needs_content and decisions.units and email_id not in locked.kept:
                raise KeyErased("The content of this email is erased; there is nothing left to send.")
            view = decisions.view(email_id)
            assert view is not None
            status = view.status_at(locked.now)
            return decisions.decision

        plan = Plan(emails=ids, kept=needs_content)
        done = await self._executor(lambda: self._store.transact(plan, decide))
        self._logbook.recorded(done.recorded)
        self._wake()
        return status

    async def _act(self, provider: str, command: CircuitCommand) -> None:
        if provider not in self._settings.providers:
            raise UnknownProvider(provider)
        seed = self._ids.chance()

        def decide(locked: Locked) -> Decision:
            decisions = Decisions(locked, self._settings, self._ids, seed)
            decisions.circuit(provider, command)
            return decisions.decision

        done = await self._executor(lambda: self._store.transact(Plan(), decide))
        self._logbook.recorded(done.recorded)
        self._wake()
