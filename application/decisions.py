"""The decisions of one transaction: each sees what the ones before it decided, and becomes a unit of its own."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import datetime

from application.ports import Decision, Ids, Locked
from application.projections.emails import EmailView
from application.projections.gates import Gate, openings, provider_gate, shared_room
from application.projections.inline import InlineViews
from application.recorded import NewEvent, Recorded, StreamAppend, Unit, circuit_stream, email_stream
from application.settings import Settings
from domain import circuit as breaker
from domain.circuit import CircuitCommand, CircuitEvent
from domain.email.commands import Circumstances, LaterCommand, StartAttempt
from domain.email.decide import story_of
from domain.email.events import AttemptFailed, AttemptStarted, EmailEvent, OutcomeUncertain, PartlySent, Sent
from domain.email.state import Email


class Decisions:
    """Collects units. `seed` makes its chances repeatable, should the transaction have to be decided again."""

    def __init__(self, locked: Locked, settings: Settings, ids: Ids, seed: float) -> None:
        self._now = locked.now
        self._settings = settings
        self._ids = ids
        self._chance = random.Random(seed)
        self._views = InlineViews(locked.emails, locked.gates)
        self.units: list[Unit] = []

    @property
    def decision(self) -> Decision:
        """All of it, for the store."""
        return Decision(self.units, self._views)

    @property
    def next_due(self) -> datetime | None:
        """When the first of the emails decided on is due for another attempt."""
        changed = (self._views.emails[email_id].email for email_id in self._views.changed_emails)
        return min(
            (one.due_at for one in changed if one.due_at is not None and one.lane is not None), default=None
        )

    def view(self, email_id: str) -> EmailView | None:
        """The email as the decisions so far leave it; None: nobody requested it."""
        return self._views.emails.get(email_id)

    def email(self, email_id: str, command: LaterCommand) -> tuple[EmailEvent, ...]:
        """Decide on an email, and on the circuit of the provider concerned. Raises the domain's `Refused`."""
        view = self._views.emails[email_id]
        if isinstance(command, StartAttempt) and self._no_room(view.email.route):
            return ()
        story = story_of(command, view.email, self._given(view.email))
        events = story.events
        if not events:
            return ()
        first: list[StreamAppend] = []
        then: list[tuple[str, tuple[CircuitEvent, ...]]] = []
        for event in events:
            if isinstance(event, AttemptStarted) and event.probe is not None:
                opened = self._on_circuit(event.provider, breaker.HalfOpen(now=self._now))
                first += self._append_circuit(event.provider, opened, view)
            elif isinstance(event, AttemptFailed | PartlySent | OutcomeUncertain | Sent):
                then += self._observed(event)
        own = self._append(view, events, story.email)
        last = [one for provider, seen in then for one in self._append_circuit(provider, seen, view)]
        self.units.append(Unit(at=self._now, appends=(*first, own, *last)))
        return events

    def circuit(self, provider: str, command: CircuitCommand) -> tuple[CircuitEvent, ...]:
        """Decide on a provider's circuit alone."""
        events = self._on_circuit(provider, command)
        if events:
            self.units.append(Unit(at=self._now, appends=tuple(self._append_circuit(provider, events, None))))
        return events

    def _given(self, email: Email) -> Circumstances:
        return Circumstances(
            now=self._now,
            chance=self._chance.random(),
            openings=openings(self._views.gates, self._settings, email.route, self._now),
            on_limit=self._settings.route(email.route).on_limit,
            retry=self._settings.retry,
            resolve_within=self._settings.resolve_within,
        )

    def _no_room(self, route: str) -> bool:
        room, _ = shared_room(self._views.gates, self._settings, route, self._now)
        return room == 0

    def _gate(self, provider: str) -> Gate:
        name = provider_gate(provider)
        return self._views.gates.get(name) or Gate(name=name)

    def _observed(
        self, event: AttemptFailed | PartlySent | OutcomeUncertain | Sent
    ) -> list[tuple[str, tuple[CircuitEvent, ...]]]:
        """What the circuit makes of an outcome; decided before the outcome itself is folded into the gate."""
        if event.provider is None:
            return []
        result = breaker.ObserveResult(
            kind=event.kind if isinstance(event, AttemptFailed | OutcomeUncertain) else None,
            epoch=event.epoch,
            probe=event.probe,
            now=self._now,
            chance=self._chance.random(),
            reset_at=event.reset_at if isinstance(event, AttemptFailed) else None,
        )
        return [(event.provider, self._on_circuit(event.provider, result))]

    def _on_circuit(self, provider: str, command: CircuitCommand) -> tuple[CircuitEvent, ...]:
        return breaker.decide(command, self._gate(provider).circuit, self._settings.circuit)

    def _append_circuit(
        self, provider: str, events: tuple[CircuitEvent, ...], view: EmailView | None
    ) -> list[StreamAppend]:
        if not events:
            return []
        correlation, cause = ("", "") if view is None else (view.correlation_id, view.last_event_id)
        version = self._gate(provider).version
        return [self._fold(circuit_stream(provider), version, events, correlation, cause)]

    def _append(self, view: EmailView, events: tuple[EmailEvent, ...], after: Email) -> StreamAppend:
        stream = email_stream(view.email_id)
        return self._fold(stream, view.version, events, view.correlation_id, view.last_event_id, after)

    def _fold(
        self,
        stream: str,
        version: int,
        events: Iterable[EmailEvent | CircuitEvent],
        correlation_id: str,
        causation_id: str,
        after: Email | None = None,
    ) -> StreamAppend:
        """Name the events, and let the decisions that follow see them. `after`: what they leave of an email."""
        news = tuple(
            NewEvent(
                event_id=self._ids.new_id(self._now),
                event=event,
                correlation_id=correlation_id,
                causation_id=causation_id,
            )
            for event in events
        )
        for offset, new in enumerate(news, 1):
            recorded = Recorded(
                position=0,
                event_id=new.event_id,
                stream=stream,
                version=version + offset,
                at=self._now,
                event=new.event,
                correlation_id=correlation_id,
                causation_id=causation_id,
            )
            self._views.fold_one(recorded, after if offset == len(news) else None)
        return StreamAppend(stream=stream, expected_version=version, events=news)
