"""The event store in memory for very many emails: it folds nothing twice, and can let go of what is over.

For simulations. Keeping everything, it is held to the same contract as the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from adapters.ledger import Admitted, admit, streams_of
from adapters.memory.event_store import MemoryEventStore
from application.ports import Clock, Decide, Decision, Locked, Plan, Transacted, Waiting
from application.projections.emails import EmailView, is_over
from application.projections.gates import Gate, counting_in
from application.projections.inline import InlineViews
from application.recorded import Conflict, Recorded, Unit, email_stream
from domain.circuit import CircuitPolicy
from domain.email.state import AttemptState

DOUBTFUL_KEPT = timedelta(hours=1)
"""Whoever looks an uncertain attempt up reads the stream after the email's end as well."""

DOUBTFUL = frozenset({AttemptState.UNCERTAIN, AttemptState.KNOWN})


class _Folded(InlineViews):
    """Views that have seen their events already, but for the positions."""

    def __init__(self, views: InlineViews) -> None:
        self.emails, self.changed_emails = views.emails, views.changed_emails
        self.gates, self.changed_gates = views.gates, views.changed_gates

    def apply(self, events: Iterable[Recorded], *, with_gates: bool = True) -> None:
        self.at_positions(events)


class PassingEventStore(MemoryEventStore):
    """A `MemoryEventStore` that takes over what a decision has folded.

    With `forgets` it keeps no log and nothing of emails that have ended (for a while of those that were in doubt),
    so that its size is that of what waits: then `read_all`, `read_back` and ended streams are empty. Nor does it
    look for what a database would refuse.
    """

    def __init__(self, clock: Clock, circuit: CircuitPolicy, *, forgets: bool) -> None:
        super().__init__(clock, circuit)
        self._forgets = forgets
        self._position = 0
        self._folded: InlineViews | None = None
        self._doubtful: deque[tuple[datetime, str]] = deque()

    def gates(self) -> Mapping[str, Gate]:
        """All gates, as a transaction would find them now."""
        return {name: counting_in(gate, self._circuit) for name, gate in self._gates.items()}

    def move(self, gate: Gate) -> None:
        """Have a gate stand like this, without any event that says so."""
        self._gates[gate.name] = gate

    def due(self, now: datetime) -> Sequence[Waiting]:
        """The lanes with an email that is due."""
        return self._queue.waiting(now)

    def transact(self, plan: Plan, decide: Decide) -> Transacted:
        def decided(locked: Locked) -> Decision:
            decision = Decision.of(decide(locked))
            self._folded = decision.views
            return decision

        try:
            return super().transact(plan, decided)
        finally:
            self._folded = None

    def _views(self, events: Sequence[Recorded]) -> InlineViews:
        return super()._views(events) if self._folded is None else _Folded(self._folded)

    def _admit(self, units: Sequence[Unit]) -> list[Admitted | Conflict]:
        if not self._forgets:
            return super()._admit(units)
        return admit(units, {stream: len(self._streams.get(stream, ())) for stream in streams_of(units)})

    def _record(self, admitted: Sequence[Admitted]) -> list[Recorded]:
        if not self._forgets:
            return super()._record(admitted)
        entries = [entry for one in admitted for entry in one.entries]
        recorded = [entry.recorded(position) for position, entry in enumerate(entries, self._position + 1)]
        views = self._views(recorded)
        views.apply(recorded)
        self._position += len(recorded)
        for one in recorded:
            self._streams.setdefault(one.stream, []).append(one)
        contents = (one.unit.content for one in admitted)
        self._contents.update((content.email_id, content) for content in contents if content is not None)
        self._gates.update((name, views.gates[name]) for name in views.changed_gates)
        for email_id in views.changed_emails:
            self._keep(views.emails[email_id])
        return recorded

    def _keep(self, view: EmailView) -> None:
        self._queue.put(view)
        if not is_over(view):
            self._emails[view.email_id] = view
        elif any(attempt.state in DOUBTFUL for attempt in view.email.attempts):
            self._emails[view.email_id] = view
            self._doubtful.append((self._clock.now() + DOUBTFUL_KEPT, view.email_id))
        else:
            self._forget(view.email_id)
        while self._doubtful and self._doubtful[0][0] <= self._clock.now():
            self._forget(self._doubtful.popleft()[1])

    def _forget(self, email_id: str) -> None:
        self._emails.pop(email_id, None)
        self._contents.pop(email_id, None)
        self._streams.pop(email_stream(email_id), None)
