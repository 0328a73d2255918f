"""The event store in memory: one lock, exact, and gone with the process. For simulation and for tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from threading import Lock

from adapters.codec import encode_new, micros
from adapters.content_codec import encode_content
from adapters.ledger import Admitted, DecisionRefused, admit, event_ids_of, refuse_gates, streams_of
from adapters.memory.queue import Queue
from application.ports import Clock, Decide, Decision, Lease, LeaseLost, Locked, Plan, Share, Transacted
from application.projections.emails import EmailView, email_id_of
from application.projections.gates import Gate, counting_in, touched_by
from application.projections.inline import InlineViews
from application.recorded import Committed, Conflict, Recorded, StoredContent, Unit, email_stream
from domain.circuit import CircuitPolicy
from domain.email.events import AttemptStarted, Cancelled, Failed, Redriven, Sent


class MemoryEventStore:
    """An `EventStore` (see there for what its methods promise). `clock` is its database clock."""

    def __init__(self, clock: Clock, circuit: CircuitPolicy) -> None:
        self._clock = clock
        self._circuit = circuit
        self._lock = Lock()
        self._log: list[Recorded] = []
        self._streams: dict[str, list[Recorded]] = {}
        self._ids: set[str] = set()
        self._emails: dict[str, EmailView] = {}
        self._gates: dict[str, Gate] = {}
        self._queue = Queue()
        self._contents: dict[str, StoredContent] = {}
        self._leases: dict[Lease, datetime] = {}
        self._last_token = 0

    def append(self, units: Sequence[Unit]) -> list[Committed | Conflict]:
        with self._lock:
            answers = self._admit(units)
            refuse_gates(one for one in answers if isinstance(one, Admitted))
            recorded = iter(self._record([one for one in answers if isinstance(one, Admitted)]))
            return [
                Committed(recorded=tuple(islice(recorded, len(answer.entries))))
                if isinstance(answer, Admitted)
                else answer
                for answer in answers
            ]

    def transact(self, plan: Plan, decide: Decide) -> Transacted:
        with self._lock:
            locked = self._locked(plan)
            answers = self._admit(Decision.of(decide(locked)).units)
            for answer in answers:
                if isinstance(answer, Conflict):
                    raise DecisionRefused(answer)
            admitted = [one for one in answers if isinstance(one, Admitted)]
            if not plan.gates:
                refuse_gates(admitted)
            recorded = self._record(admitted)
            started = [email_id_of(one.stream) for one in recorded if isinstance(one.event, AttemptStarted)]
            return Transacted(
                locked=locked,
                recorded=tuple(recorded),
                contents=self._kept(started),
                next_at=self._queue.next_at(locked.now),
            )

    def _locked(self, plan: Plan) -> Locked:
        alive = plan.lease is None or plan.lease in self._leases
        taken_over = () if plan.takes_over is None else self._taken_over(plan.takes_over, plan)
        gates = {name: counting_in(gate, self._circuit) for name, gate in self._gates.items()}
        times = [gate.last_at for gate in gates.values() if gate.last_at is not None]
        now = max(self._clock.now(), *times) if plan.gates and times else self._clock.now()
        claimed: tuple[str, ...] = ()
        if plan.choose is not None and plan.lease is not None and alive:
            claimed = tuple(self._claimed(plan.choose(self._queue.waiting(now), gates, now), now))
        overdue = tuple(self._queue.overdue(now, plan.overdue_max))
        named = (*plan.emails, *claimed, *overdue, *(email_id for email_id, _ in taken_over))
        return Locked(
            now=now,
            emails={email_id: self._emails[email_id] for email_id in named if email_id in self._emails},
            gates=gates if plan.gates else {},
            claimed=claimed,
            overdue=overdue,
            taken_over=taken_over,
            lease_alive=alive,
            kept=frozenset(self._kept(plan.emails)) if plan.kept else frozenset(),
        )

    def _taken_over(self, lease: Lease, plan: Plan) -> tuple[tuple[str, int], ...]:
        if lease not in self._leases:
            raise LeaseLost(f"the lease {lease.token} of {lease.worker} is gone")
        if plan.unseen_for and self._leases[lease] > self._clock.now() - plan.unseen_for:
            raise LeaseLost(f"the lease {lease.token} of {lease.worker} has been renewed")
        attempts = (
            (email_id, attempt.number)
            for email_id, view in sorted(self._queue.running.items())
            if (attempt := view.email.open_attempt) is not None
            and (attempt.worker, attempt.token) == (lease.worker, lease.token)
        )
        left = (one for one in attempts if plan.keep is None or one not in plan.keep)
        return tuple(islice(left, plan.open_max))

    def _claimed(self, shares: Sequence[Share], now: datetime) -> Iterator[str]:
        seen: set[str] = set()
        for share in shares:
            due = (one for one in self._queue.due((share.lane, share.priority), now) if one not in seen)
            for email_id in islice(due, share.count):
                seen.add(email_id)
                yield email_id

    def _admit(self, units: Sequence[Unit]) -> list[Admitted | Conflict]:
        _check(units)
        heads = {stream: len(self._streams.get(stream, ())) for stream in streams_of(units)}
        return admit(units, heads, self._ids.intersection(event_ids_of(units)))

    def _record(self, admitted: Sequence[Admitted]) -> list[Recorded]:
        entries = [entry for one in admitted for entry in one.entries]
        recorded = [entry.recorded(position) for position, entry in enumerate(entries, len(self._log) + 1)]
        views = self._views(recorded)
        views.apply(recorded)  # the last that may fail: below here everything is kept
        for one in recorded:
            self._streams.setdefault(one.stream, []).append(one)
            self._ids.add(one.event_id)
        self._log += recorded
        for email_id in views.changed_emails:
            self._emails[email_id] = views.emails[email_id]
            self._queue.put(views.emails[email_id])
        self._gates.update((name, views.gates[name]) for name in views.changed_gates)
        contents = (one.unit.content for one in admitted)
        self._contents.update((content.email_id, content) for content in contents if content is not None)
        return recorded

    def _views(self, events: Sequence[Recorded]) -> InlineViews:
        emails = {email_id_of(one.stream) for one in events} & self._emails.keys()
        gates = {name for one in events for name in touched_by(one)}
        return InlineViews(
            emails={email_id: self._emails[email_id] for email_id in emails},
            gates={
                name: counting_in(self._gates.get(name) or Gate(name=name), self._circuit) for name in gates
            },
        )

    def read_stream(self, stream: str) -> list[Recorded]:
        with self._lock:
            return list(self._streams.get(stream, ()))

    def read_all(self, after: int, limit: int) -> list[Recorded]:
        with self._lock:
            return self._log[after : after + limit]

    def read_back(self, before: int, limit: int) -> list[Recorded]:
        with self._lock:
            last = min(max(0, before - 1), len(self._log))
            return self._log[max(0, last - limit) : last][::-1]

    def end(self) -> int:
        with self._lock:
            return len(self._log)

    def contents(self, email_ids: Sequence[str]) -> dict[str, StoredContent]:
        with self._lock:
            return self._kept(email_ids)

    def _kept(self, email_ids: Sequence[str]) -> dict[str, StoredContent]:
        return {one: self._contents[one] for one in email_ids if one in self._contents}

    def erase(self, email_id: str) -> None:
        with self._lock:
            self._contents.pop(email_id, None)

    def erase_ended(self, ends: Mapping[str, int]) -> int:
        """Erase the content of the emails that still stand at these ends (versions); how many had some left."""
        with self._lock:
            over = [one for one, version in ends.items() if self._last_end(one) == version]
            return sum(self._contents.pop(one, None) is not None for one in over)

    def _last_end(self, email_id: str) -> int | None:
        """The version of the event that ended the email last, unless it was reopened since."""
        for recorded in reversed(self._streams[email_stream(email_id)]):
            if isinstance(recorded.event, Sent | Failed | Cancelled):
                return recorded.version
            if isinstance(recorded.event, Redriven):
                return None
        return None

    def acquire_lease(self, worker: str) -> Lease:
        with self._lock:
            self._last_token += 1
            lease = Lease(worker=worker, token=self._last_token)
            self._leases[lease] = self._clock.now()
            return lease

    def renew_lease(self, lease: Lease) -> bool:
        with self._lock:
            if lease not in self._leases:
                return False
            self._leases[lease] = self._clock.now()
            return True

    def release_lease(self, lease: Lease) -> None:
        with self._lock:
            if not any(
                (attempt.worker, attempt.token) == (lease.worker, lease.token)
                for view in self._queue.running.values()
                if (attempt := view.email.open_attempt) is not None
            ):
                self._leases.pop(lease, None)

    def stale_leases(self, unseen_for: timedelta) -> list[Lease]:
        with self._lock:
            limit = self._clock.now() - unseen_for
            return [lease for lease, seen_at in self._leases.items() if not unseen_for or seen_at <= limit]

    def waiting(self) -> int:
        with self._lock:
            return len(self._queue)

    def check(self) -> None:
        """Memory always answers."""

    def close(self) -> None:
        """There is nothing to let go of."""


def _check(units: Sequence[Unit]) -> None:
    """Raises ValueError for what no database would take: a time without a zone, text that is not Unicode."""
    for unit in units:
        micros(unit.at)
        if unit.content is not None:
            encode_content(unit.content)
        for append in unit.appends:
            for new in append.events:
                encode_new(new)
