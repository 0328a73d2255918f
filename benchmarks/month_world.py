"""What goes on in a month, moment by moment: emails come in, providers answer, workers die, operators act."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from random import Random

from adapters.clock import SystemIds
from adapters.ledger import Entry
from application.accept import SendRequest
from application.decisions import Decisions
from application.identity import email_id_of, key_for_the_log, salted
from application.ports import Locked
from application.projections import gates
from application.projections.emails import EmailView, project, view_of
from application.projections.gate_fold import GateFold
from application.projections.gates import Gate, openings
from application.recorded import (
    Event,
    NewEvent,
    Recorded,
    StoredContent,
    Unit,
    circuit_stream,
    email_stream,
)
from benchmarks.month_cast import DAY, ERASED, SETTINGS, T0, Clients, Providers, feedback, takes_s
from benchmarks.month_plain import Starts, plain_end
from benchmarks.month_rows import Rows
from domain.circuit import CircuitPolicy, Pause, Reset, Resume
from domain.email.commands import (
    Cancel,
    Circumstances,
    LaterCommand,
    LoseAttempt,
    RecordFeedback,
    RecordOutcome,
    Request,
    Reschedule,
    Retry,
    StartAttempt,
    Tick,
)
from domain.email.decide import decide
from domain.email.events import (
    AttemptStarted,
    Requested,
    Sent,
)
from domain.email.state import UNREQUESTED, End
from domain.errors import Refused
from domain.failures import Accepted, Unanswered
from domain.routing import walk

BLOCKED_POLL = timedelta(seconds=2)
"""When an email that found no provider free is looked at again, where the gates don't say."""

CRASH_EVERY_S = 20 * 3600.0
OPERATOR_EVERY_S = 60 * 3600.0


class Live:
    """An email that something may still happen to; folded when somebody asks what is so."""

    __slots__ = ("_folded", "_view", "email_id", "history", "open")

    def __init__(self, email_id: str) -> None:
        self.email_id = email_id
        self.history: list[Recorded] = []
        self.open: AttemptStarted | None = None
        self._view = view_of(email_id)
        self._folded = 0

    @property
    def view(self) -> EmailView:
        for recorded in self.history[self._folded :]:
            self._view = project(self._view, recorded)
        self._folded = len(self.history)
        return self._view

    @property
    def version(self) -> int:
        return len(self.history)

    def add(self, recorded: Recorded) -> None:
        self.history.append(recorded)
        event = recorded.event
        self.open = event if isinstance(event, AttemptStarted) else None


@dataclass(slots=True)
class World:
    """All that is going on. `timers`: (when, order, what to do). `careful`: see `fill`."""

    rows: Rows
    chance: Random
    ids: SystemIds
    clients: Clients
    providers: Providers
    careful: bool = False
    now: datetime = T0
    token: int = 1
    position: int = 0
    requested: int = 0
    types: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    emails: dict[str, Live] = field(default_factory=dict)
    starts: Starts = field(default_factory=lambda: Starts(GateFold(CircuitPolicy().window)))
    folded: dict[str, Gate] = field(default_factory=dict)
    timers: list[tuple[datetime, int, Callable[[], object]]] = field(default_factory=list)
    order: count[int] = field(default_factory=count)

    @property
    def worker(self) -> str:
        return f"mail-1-{self.token:06x}"

    def at(self, when: datetime, what: Callable[[], object]) -> None:
        heapq.heappush(self.timers, (when, next(self.order), what))

    def after(self, seconds: float, what: Callable[[], object]) -> None:
        self.at(self.now + timedelta(seconds=seconds), what)

    def run(self, events: int) -> None:
        """Until so many events are recorded."""
        self.after(0, self.accept)
        self.after(CRASH_EVERY_S * 0.6, self.crash)
        self.after(OPERATOR_EVERY_S * 0.4, self.operate)
        while self.position < events:
            when, _, what = heapq.heappop(self.timers)
            self.now = max(self.now, when)
            what()

    # Clients

    def accept(self) -> None:
        """Some client hands an email in; the next one will."""
        self.after(self.clients.pause_s(self.now, self.chance), self.accept)
        self.request(self.clients.ask(self.now, self.requested, self.chance))

    def request(self, asked: SendRequest) -> None:
        self.requested += 1
        key = asked.key or self.ids.new_id(self.now)
        email_id, salt = email_id_of("", key), self.ids.salt()
        route = SETTINGS.route_for(tags=asked.tags, from_domain=asked.content.sender.domain)
        command = Request(
            key=key_for_the_log(salt, key),
            digest=salted(salt, asked.given),
            size=asked.size,
            recipient_domains=tuple([one.domain for one in asked.content.envelope]),
            sender_domain=asked.content.sender.domain,
            route=route.name,
            expires_after=route.expires_after or SETTINGS.retry.expires_after,
            on_uncertain=asked.on_uncertain or route.on_uncertain or SETTINGS.on_uncertain,
            priority=route.priority,
            tags=asked.tags,
            send_at=asked.send_at,
        )
        (event,) = decide(command, UNREQUESTED, Circumstances(now=self.now))
        content = StoredContent(
            email_id=email_id, key=key, salt=salt, content=asked.content, marks=asked.marks
        )
        self.rows.content(content)
        live = self.emails[email_id] = Live(email_id)
        self.record(live, self.new(event, email_id, ""))
        self.at(asked.send_at or self.now, lambda: self.serve(live, 1))
        if asked.send_at is not None and self.chance.random() < 0.2:
            change = self.chance.uniform(0.1, 0.9) * (asked.send_at - self.now).total_seconds()
            self.after(change, lambda: self.change(live))

    def change(self, live: Live) -> None:
        """What was scheduled is called off or put off."""
        if self.chance.random() < 0.5:
            self.email(live, Cancel(by="client"))
        else:
            self.email(live, Reschedule(by="client", send_at=self.now + timedelta(hours=1)))

    # Workers

    def look_again(self, live: Live) -> None:
        """Come back to the email when time alone changes something."""
        email = live.view.email
        moments = (email.deadline_at, email.due_at if email.lane is not None else None)
        when = min((one for one in moments if one is not None), default=None)
        version = live.version
        if when is not None:
            self.at(when, lambda: self.serve(live, version))
        elif email.end is not None and email.open_attempt is None:
            if email.end is End.FAILED and self.chance.random() < 0.1:
                retry = Retry(by="operator", accept_duplicate_risk=True)
                self.after(self.chance.uniform(600, 7200), lambda: self.email(live, retry))
            self.ended(live, may_return=email.end is End.FAILED)

    def serve(self, live: Live, version: int) -> None:
        if live.version != version or live.email_id not in self.emails:
            return
        command = StartAttempt(
            email_id=live.email_id, worker=self.worker, token=self.token, begin_within=SETTINGS.lease
        )
        plain = self.starts.plain(command, live.history, self.now)
        if plain is not None:
            self.record_plain(live, command, plain)
            self.call(live, plain)
            return
        deadline = live.view.email.deadline_at
        if deadline is not None and deadline <= self.now:
            self.email(live, Tick())
        elif not self.email(live, command):
            found = self.blocked_until(live.view)
            self.at(min(found, deadline or found), lambda: self.serve(live, version))

    def blocked_until(self, view: EmailView) -> datetime:
        lane = view.email.lane
        assert lane is not None
        seen = openings(self.starts.gates(), SETTINGS, lane.route, self.now)
        until = walk(seen, lane, SETTINGS.route(lane.route).on_limit).until
        return self.now + BLOCKED_POLL if until is None or until <= self.now else until

    def email(self, live: Live, command: LaterCommand) -> bool:
        """Decide on an email, record what follows, and have the provider answer; whether anything did."""
        if live.email_id not in self.emails:
            return False
        decisions = self.decisions(live)
        try:
            events = decisions.email(live.email_id, command)
        except Refused:
            return False
        if not events:
            return False
        self.keep(decisions.units)
        for event in events:
            if isinstance(event, AttemptStarted):
                self.call(live, event)
        if live.open is None:
            self.look_again(live)
        return True

    def call(self, live: Live, started: AttemptStarted) -> None:
        """The provider answers after a while, to this worker or, if that is gone by then, too late."""
        outcome = self.providers.answer(started.provider, self.now, started.recipients, self.chance)
        record = RecordOutcome(
            attempt=started.attempt, outcome=outcome, worker=started.worker, token=started.token
        )
        self.after(takes_s(outcome, self.chance), lambda: self.answered(live, started, record))

    def answered(self, live: Live, started: AttemptStarted, record: RecordOutcome) -> None:
        if record.token != self.token and self.chance.random() < 0.7:
            return  # nobody is left who could bring it
        plain = None
        if live.open is started and self.starts.is_closed(started.provider):
            plain = plain_end(record, live.history)
        if plain is not None:
            self.record_plain(live, record, plain)
            self.ended(live, may_return=False)
        else:
            self.email(live, record)
        if not SETTINGS.providers[started.provider].feedback:
            return
        told: tuple[int, ...] = ()
        if isinstance(record.outcome, Accepted):
            told = record.outcome.accepted
        elif isinstance(record.outcome, Unanswered) and self.chance.random() < 0.5:
            told = started.recipients
        self.after(self.chance.uniform(0.5, 60), lambda: self.tell(live, started.attempt, told))

    def crash(self) -> None:
        """The worker dies; the next one takes over what it left open."""
        self.after(self.chance.expovariate(1 / CRASH_EVERY_S), self.crash)
        self.token += 1
        for live in [one for one in self.emails.values() if one.open is not None]:
            assert live.open is not None
            self.email(live, LoseAttempt(attempt=live.open.attempt))

    # Feedback, operators

    def tell(self, live: Live, attempt: int, recipients: Sequence[int]) -> None:
        for recipient in recipients:
            for one in feedback(self.chance.random(), self.now, attempt, recipient):
                self.email(live, RecordFeedback(feedback=one))

    def operate(self) -> None:
        """Somebody takes a provider out of use for a while, closes a circuit, and lets go what is held."""
        self.after(self.chance.expovariate(1 / OPERATOR_EVERY_S), self.operate)
        name = self.chance.choice(sorted(SETTINGS.providers))
        self.circuit(name, Pause(by="operator"))
        self.after(self.chance.uniform(60, 1800), lambda: self.circuit(name, Resume(by="operator")))
        self.circuit(self.chance.choice(sorted(SETTINGS.providers)), Reset(by="operator"))
        for live in [one for one in self.emails.values() if one.version > 3 and one.view.email.held][:20]:
            self.email(live, Retry(by="operator", accept_duplicate_risk=True))

    def circuit(self, name: str, command: Pause | Resume | Reset) -> None:
        decisions = Decisions(self.locked(), SETTINGS, self.ids, 0.5)
        decisions.circuit(name, command)
        self.keep(decisions.units)

    # Recording

    def locked(self, *live: Live) -> Locked:
        views = {one.email_id: one.view for one in live}
        over = bool(live) and all(view.email.end is not None for view in views.values())
        return Locked(now=self.now, emails=views, gates={} if over else self.starts.gates())

    def decisions(self, live: Live) -> Decisions:
        return Decisions(self.locked(live), SETTINGS, self.ids, self.chance.random())

    def keep(self, units: Sequence[Unit]) -> None:
        """Record what was decided."""
        for unit in units:
            for append in unit.appends:
                live = self.emails.get(append.stream.removeprefix(email_stream("")))
                for version, new in enumerate(append.events, append.expected_version + 1):
                    if live is not None:
                        self.record(live, new)
                    else:
                        assert append.stream.startswith(circuit_stream(""))
                        self.put(append.stream, version, new)

    def record_plain(self, live: Live, command: LaterCommand, event: AttemptStarted | Sent) -> None:
        """Record the one event that every decision would come to here."""
        if self.careful:
            # With chances and ids of its own: the month is the same as without.
            decisions = Decisions(self.locked(live), SETTINGS, SystemIds(0), 0.5)
            assert (event,) == decisions.email(live.email_id, command)
        first, last = live.history[0], live.history[-1]
        self.record(live, self.new(event, first.correlation_id, last.event_id))

    def new(self, event: Event, correlation_id: str, causation_id: str) -> NewEvent:
        return NewEvent(
            event_id=self.ids.new_id(self.now),
            event=event,
            correlation_id=correlation_id,
            causation_id=causation_id,
        )

    def record(self, live: Live, new: NewEvent) -> None:
        live.add(self.put(email_stream(live.email_id), live.version + 1, new))

    def put(self, stream: str, version: int, new: NewEvent) -> Recorded:
        self.position += 1
        self.types[type(new.event).__name__] += 1
        entry = Entry(stream=stream, version=version, at=self.now, new=new)
        self.rows.event(self.position, entry)
        recorded = entry.recorded(self.position)
        if not isinstance(new.event, Requested):
            self.starts.apply(recorded)
        if self.careful:
            for name in gates.touched_by(recorded):
                gate = self.folded.get(name) or Gate(name=name)
                self.folded[name] = gates.project(gate, recorded)
        return recorded

    def ended(self, live: Live, *, may_return: bool) -> None:
        """Nothing happens by itself any more. Somebody may reopen it, feedback may come: it is kept for a while."""
        told = any(
            isinstance(one.event, AttemptStarted) and SETTINGS.providers[one.event.provider].feedback
            for one in live.history
        )
        keep = DAY if may_return else timedelta(minutes=5) if told else timedelta(minutes=1)
        version = live.version
        self.at(self.now + keep, lambda: self.forget(live, version))

    def forget(self, live: Live, version: int) -> None:
        if live.version == version and self.emails.pop(live.email_id, None) is not None:
            self.write(live)
            if self.chance.random() < ERASED:
                self.rows.erase(live.email_id)

    def write(self, live: Live) -> None:
        view = live.view if self.careful or not self.rows.plain(live.email_id) else None
        self.statuses[self.rows.email(live.email_id, view)] += 1

    def finish(self) -> None:
        """Write what is still under way, as it stands."""
        for live in self.emails.values():
            self.write(live)
        folded = self.starts.gates()
        assert not self.careful or self.folded == folded
        self.rows.gates(list(folded.values()))
        self.rows.lease(self.token, self.worker, self.now)
