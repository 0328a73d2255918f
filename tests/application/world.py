"""A whole Stagepost in one thread: the real use cases over a store, scripted providers and virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from adapters.memory.event_store import MemoryEventStore
from adapters.providers.scripted import ScriptedProvider
from adapters.virtual import SeededIds, VirtualClock, inline
from application.accept import Acceptor, Receipt, SendRequest
from application.committer import Committer
from application.dispatch import Dispatcher
from application.lease import LeaseKeeper
from application.logbook import Logbook
from application.lookups import Lookups
from application.operate import Operator
from application.ports import EventStore
from application.projections import emails
from application.projections.emails import EmailView, view_of
from application.recorded import Event, Recorded, email_stream
from application.settings import ProviderSettings, Settings
from application.supervise import Supervisor
from domain.circuit import CircuitPolicy
from domain.content import Address, Content
from domain.routing import Route


def settings(*providers: str | ProviderSettings, **changes: Any) -> Settings:
    """Settings with these providers, in this order, on the default route."""
    known = [
        one if isinstance(one, ProviderSettings) else ProviderSettings(name=one, type="scripted")
        for one in providers
    ]
    route = Route(name="default", providers=tuple(one.name for one in known))
    made = Settings(providers={one.name: one for one in known}, routes={"default": route})
    return replace(made, **changes)


def request(
    key: str | None = "k1", to: tuple[str, ...] = ("ann@example.org",), **changes: Any
) -> SendRequest:
    """A plain request."""
    content = Content(
        sender=Address(address="shop@example.com"),
        to=tuple(Address(address=one) for one in to),
        subject="Hello",
        text="Your order is on its way.",
    )
    made = SendRequest(key=key, content=content, given=b"given", size=100)
    return replace(made, **changes)


class World:
    """One store, and any number of workers on it. Use inside `run_virtually`."""

    def __init__(
        self,
        clock: VirtualClock,
        configured: Settings,
        providers: Mapping[str, ScriptedProvider],
        store: EventStore | None = None,
    ) -> None:
        self.clock = clock
        self.settings = configured
        self.providers = providers
        self.store = store or MemoryEventStore(clock=clock, circuit=CircuitPolicy())
        self.ids = SeededIds()
        self.logbook = Logbook()
        self.supervisor = Supervisor(self.logbook)
        self.committer = Committer(self.store, inline, self._committed)
        self.acceptor = Acceptor(
            store=self.store,
            committer=self.committer,
            executor=inline,
            clock=clock,
            ids=self.ids,
            settings=configured,
        )
        self.operator = Operator(
            store=self.store,
            executor=inline,
            ids=self.ids,
            settings=configured,
            logbook=self.logbook,
            wake=self._wake,
        )
        self.lookups = Lookups(
            store=self.store,
            executor=inline,
            clock=clock,
            ids=self.ids,
            settings=configured,
            providers={name: one for name, one in providers.items() if configured.providers[name].lookup},
            logbook=self.logbook,
            wake=self._wake,
        )
        self.workers: dict[str, Dispatcher] = {}
        self.supervisor.start("committer", self.committer.run())

    async def worker(self, name: str = "w1") -> Dispatcher:
        """Start one more worker."""
        common: dict[str, Any] = {
            "store": self.store,
            "executor": inline,
            "clock": self.clock,
            "ids": self.ids,
            "settings": self.settings,
            "logbook": self.logbook,
            "observe": self._observed,
        }
        keeper = LeaseKeeper(worker=name, **common)
        dispatcher = Dispatcher(providers=self.providers, lease=keeper, poll_s=5.0, **common)
        await keeper.acquire()
        self.supervisor.start(f"lease {name}", keeper.run(lambda: dispatcher.holds))
        self.supervisor.start(name, dispatcher.run())
        self.workers[name] = dispatcher
        return dispatcher

    async def kill(self, name: str) -> None:
        """End a worker as `kill -9` would: nothing is recorded any more, whatever the provider did."""
        attempts = self.workers.pop(name)._in_flight.values()
        named = [task for task in asyncio.all_tasks() if task.get_name() in (name, f"lease {name}")]
        for task in (*named, *attempts):
            task.cancel()
        await asyncio.sleep(0)

    async def send(self, key: str | None = "k1", **changes: Any) -> Receipt:
        """Have a plain email accepted."""
        return await self.acceptor.accept(request(key, **changes))

    def history(self, email_id: str) -> list[Recorded]:
        return self.store.read_stream(email_stream(email_id))

    def events(self, email_id: str) -> list[Event]:
        return [recorded.event for recorded in self.history(email_id)]

    def names(self, email_id: str) -> list[str]:
        """The types of an email's events, in order."""
        return [type(event).__name__ for event in self.events(email_id)]

    def view(self, email_id: str) -> EmailView:
        view = view_of(email_id)
        for recorded in self.history(email_id):
            view = emails.project(view, recorded)
        return view

    async def until(self, holds: Callable[[], bool], within: timedelta = timedelta(hours=30)) -> None:
        """Let time pass until something holds."""
        begun = self.clock.now()
        last = begun + within
        while not holds():
            if self.clock.now() > last:
                raise AssertionError(f"not within {within}")
            assert not self.supervisor.dead, self.supervisor.dead
            await self.clock.sleep(0.05 if self.clock.now() - begun < timedelta(seconds=30) else 5)

    async def ended(self, email_id: str) -> EmailView:
        """The email once it has reached its end."""
        await self.until(lambda: self.view(email_id).email.end is not None)
        return self.view(email_id)

    def _committed(self, events: Iterable[Recorded]) -> None:
        self.logbook.recorded(events)
        self._wake()

    def _observed(self, events: Sequence[Recorded]) -> None:
        self.logbook.recorded(events)
        self.lookups.observe(events)

    def _wake(self) -> None:
        for dispatcher in self.workers.values():
            dispatcher.wake()
