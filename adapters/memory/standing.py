"""How the queue stands, folded from a log: beside the event store in memory."""

from __future__ import annotations

from collections import Counter

from application.ports import Clock, EventStore
from application.projections.emails import EmailView, Status
from application.projections.gates import Gate, counting_in, touched_by
from application.projections.inline import InlineViews
from application.standing import COUNTED_MAX, LATE_AFTER, Depth, Standing
from domain.circuit import CircuitPolicy
from domain.routing import Priority

PAGE = 1000


class MemoryStandings:
    """A `StandingReader` (see there for what its methods promise) that follows the log whenever it is asked."""

    def __init__(self, log: EventStore, clock: Clock, circuit: CircuitPolicy) -> None:
        self._log = log
        self._clock = clock
        self._circuit = circuit
        self._views = InlineViews()
        self._position = 0

    def standing(self) -> Standing:
        now, emails = self._clock.now(), self._emails()
        dues = [
            (one.email.priority, one.email.due_at)
            for one in emails
            if one.email.lane is not None and one.email.due_at is not None and one.email.due_at <= now
        ]
        statuses = Counter(one.status for one in emails)
        deadlines = [one.email.deadline_at for one in emails]
        late = sum(at is not None and at <= now - LATE_AFTER for at in deadlines)
        return Standing(
            now=now,
            oldest={
                priority: min(at for other, at in dues if other is priority)
                for priority in Priority
                if any(other is priority for other, _ in dues)
            },
            overdue=min(late, COUNTED_MAX),
            held=min(statuses[Status.HELD], COUNTED_MAX),
            uncertain=min(statuses[Status.UNCERTAIN], COUNTED_MAX),
            gates=dict(self._views.gates),
        )

    def depth(self) -> Depth:
        now = self._clock.now()
        waiting = [one.email for one in self._emails() if one.email.lane is not None]
        due = Counter(one.priority for one in waiting if one.due_at is not None and one.due_at <= now)
        every = Counter(one.priority for one in waiting)
        return Depth(
            due={priority: due[priority] for priority in Priority},
            later={priority: every[priority] - due[priority] for priority in Priority},
        )

    def _emails(self) -> list[EmailView]:
        while page := self._log.read_all(self._position, PAGE):
            for name in {name for one in page for name in touched_by(one)} - self._views.gates.keys():
                self._views.gates[name] = counting_in(Gate(name=name), self._circuit)
            self._views.apply(page)
            self._position = page[-1].position
        return list(self._views.emails.values())
