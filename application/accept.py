"""Taking an email in: durable before it is acknowledged, and once for each key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from application.committer import Committer, Overloaded
from application.identity import email_id_of, key_for_the_log, salted
from application.ports import Clock, EventStore, Executor, Ids
from application.projections.emails import Status, folded
from application.recorded import (
    Conflict,
    NewEvent,
    Recorded,
    StoredContent,
    StreamAppend,
    Unit,
    email_stream,
)
from application.settings import Settings
from domain.content import Content
from domain.email.commands import Circumstances, Request
from domain.email.decide import decide
from domain.email.events import EmailEvent, Requested
from domain.email.state import UNREQUESTED
from domain.errors import KeyErased
from domain.frozen import quick
from domain.routing import OnUncertain


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class SendRequest:
    """A valid request for an email.

    `key`: the client's id, or none. `given`: what the client asked for in one canonical form, before defaults:
    two requests with the same key are the same exactly if it is. `size`: octets of the content. `marks`: see
    StoredContent.
    """

    key: str | None
    content: Content
    given: bytes
    size: int
    tags: tuple[str, ...] = ()
    send_at: datetime | None = None
    expires_after: timedelta | None = None
    on_uncertain: OnUncertain | None = None
    tenant: str = ""
    correlation_id: str = ""
    marks: tuple[str, ...] | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a client is told. `replayed`: this key was accepted before, and this is the answer it got then."""

    id: str
    email_id: str
    status: Status
    replayed: bool = False


class QueueFull(Overloaded):
    """As many emails wait as may wait."""

    retry_after_s = 30


class Acceptor:
    """Accepts emails. Needs a running `Committer`."""

    def __init__(
        self,
        *,
        store: EventStore,
        committer: Committer,
        executor: Executor,
        clock: Clock,
        ids: Ids,
        settings: Settings,
    ) -> None:
        self._store = store
        self._committer = committer
        self._executor = executor
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._waiting = 0

    async def accept(self, request: SendRequest) -> Receipt:
        """Record the request, or find it recorded already.

        Raises Overloaded or QueueFull (nothing was accepted), StoreUnavailable (it may have been, if a COMMIT was not
        answered: asking again with the same key tells), KeyMisused, KeyErased.
        """
        if self._waiting >= self._settings.queue_max:
            if request.key is None:
                raise QueueFull
            # Whoever asks again with the key of an accepted email must not hear that nothing was accepted.
            return await self._replay(request, request.key, email_id_of(request.tenant, request.key))
        now = self._clock.now()
        key = request.key or self._ids.new_id(now)
        email_id = email_id_of(request.tenant, key)
        salt = self._ids.salt()
        events = decide(self._command(request, key, salt), UNREQUESTED, Circumstances(now=now))
        unit = self._unit(request, key, email_id, salt, events, now)
        result = await self._committer.submit(unit)
        if isinstance(result, Conflict):
            return await self._replay(request, key, email_id)
        self._waiting += 1
        return Receipt(id=key, email_id=email_id, status=_first_status(result.recorded[0]))

    async def count_waiting(self) -> None:
        """Refresh what `queue_max` is compared with; between two counts only what comes in is added."""
        self._waiting = await self._executor(self._store.waiting)

    def _command(self, request: SendRequest, key: str, salt: bytes) -> Request:
        domain = request.content.sender.domain
        route = self._settings.route_for(tags=request.tags, from_domain=domain)
        return Request(
            key=key_for_the_log(salt, key),
            digest=salted(salt, request.given),
            size=request.size,
            recipient_domains=tuple(one.domain for one in request.content.envelope),
            sender_domain=domain,
            route=route.name,
            expires_after=request.expires_after or route.expires_after or self._settings.retry.expires_after,
            on_uncertain=request.on_uncertain or route.on_uncertain or self._settings.on_uncertain,
            priority=route.priority,
            tags=request.tags,
            tenant=request.tenant,
            send_at=request.send_at,
        )

    def _unit(
        self,
        request: SendRequest,
        key: str,
        email_id: str,
        salt: bytes,
        events: tuple[EmailEvent, ...],
        now: datetime,
    ) -> Unit:
        correlation_id = request.correlation_id or email_id
        return Unit(
            at=now,
            appends=(
                StreamAppend(
                    stream=email_stream(email_id),
                    expected_version=0,
                    events=tuple(
                        NewEvent(event_id=self._ids.new_id(now), event=event, correlation_id=correlation_id)
                        for event in events
                    ),
                ),
            ),
            content=StoredContent(
                email_id=email_id, key=key, salt=salt, content=request.content, marks=request.marks
            ),
        )

    async def _replay(self, request: SendRequest, key: str, email_id: str) -> Receipt:
        """The key is taken: the same request gets its first answer again, another one is refused.

        Raises QueueFull where it isn't taken after all, which is only looked for where the queue is full.
        """
        history = await self._executor(lambda: self._store.read_stream(email_stream(email_id)))
        if not history:
            raise QueueFull
        stored = (await self._executor(lambda: self._store.contents([email_id]))).get(email_id)
        if stored is None:
            raise KeyErased("What this id was used for is erased; use a new id.")
        email = folded(history[:1]).email
        decide(self._command(request, key, stored.salt), email, Circumstances(now=self._clock.now()))
        return Receipt(id=key, email_id=email_id, status=_first_status(history[0]), replayed=True)


def _first_status(recorded: Recorded) -> Status:
    assert isinstance(recorded.event, Requested)
    return Status.QUEUED if recorded.event.send_at is None else Status.SCHEDULED
