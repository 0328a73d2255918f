"""Questions about emails and providers, asked off the event loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from application.explain import Explanation, explain, explain_at
from application.identity import candidates
from application.ports import Clock, EventStore, Executor
from application.projections.emails import Status, email_id_of, folded
from application.queries import (
    PageKey,
    ProviderStatus,
    StatusReader,
    StatusRow,
    provider_status,
    why_it_waits,
    with_next_at,
)
from application.recorded import Recorded, email_stream
from application.settings import Settings
from domain.errors import NotRequested


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some rows, and where the next ones begin; none: there are no more."""

    rows: tuple[StatusRow, ...]
    next: PageKey | None


class Reader:
    """Answers from the views and from single streams; writes nothing. Everything may raise StoreUnavailable."""

    def __init__(
        self,
        *,
        store: EventStore,
        statuses: StatusReader,
        executor: Executor,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._store = store
        self._statuses = statuses
        self._executor = executor
        self._clock = clock
        self._settings = settings

    async def status(self, ref: str) -> StatusRow:
        """The email that a client's id or ours stands for. Raises NotRequested."""
        now = self._clock.now()
        rows, gates = await self._executor(
            lambda: (self._statuses.find(candidates(ref), now), self._statuses.gates())
        )
        if not rows:
            raise NotRequested("There is no such email.")
        return with_next_at(rows[0], gates, self._settings, now)

    async def page(
        self,
        *,
        limit: int,
        status: Status | None = None,
        provider: str | None = None,
        after: PageKey | None = None,
    ) -> Page:
        """One page of emails, newest first."""
        now = self._clock.now()
        rows, gates = await self._executor(
            lambda: (
                self._statuses.page(now=now, limit=limit + 1, status=status, provider=provider, before=after),
                self._statuses.gates(),
            )
        )
        shown = tuple(with_next_at(row, gates, self._settings, now) for row in rows[:limit])
        last = shown[-1] if len(rows) > limit else None
        return Page(rows=shown, next=None if last is None else PageKey(last.requested_at, last.email_id))

    async def events(self, ref: str) -> list[Recorded]:
        """The stream of an email, in order. Raises NotRequested."""
        for email_id in candidates(ref):
            stream = email_stream(email_id)
            history = await self._executor(lambda stream=stream: self._store.read_stream(stream))  # type: ignore[misc]
            if history:
                return list(history)
        raise NotRequested("There is no such email.")

    async def explain(self, ref: str, at: datetime | None = None) -> Explanation:
        """The story of an email, as it stands or as it stood `at` a time. Raises NotRequested, NotYetRequested."""
        history = await self.events(ref)
        # What no event says: the client's id where the log has a digest only, and whether there is content left.
        email_id = email_id_of(history[0].stream)
        rows = await self._executor(lambda: self._statuses.find([email_id], history[0].at))
        id, erased = (rows[0].id, rows[0].erased) if rows else (None, False)
        if at is not None:
            return replace(explain_at(history, at, id), erased=erased)
        gates = await self._executor(self._statuses.gates)
        now = self._clock.now()
        email = folded(history).email
        waits = ""
        if email.lane is not None:
            due_at = now if email.due_at is None else max(now, email.due_at)
            waits = why_it_waits(email.lane, gates, self._settings, due_at)
        return replace(explain(history, now, waits, id), erased=erased)

    async def providers(self) -> list[ProviderStatus]:
        """Every configured provider as it stands now."""
        gates = await self._executor(self._statuses.gates)
        now = self._clock.now()
        return [provider_status(one, gates, self._settings, now) for one in self._settings.providers.values()]
