"""A database filled with a busy month: a log of any size that the rules themselves have written.

    python -m benchmarks.month URL [--events 1000000] [--seed 1]

Events are decided by the domain, on gates and emails as they stood at that moment (`month_plain`: all but the
plainest); only clients, providers, workers and operators are played (`month_cast`), in virtual time. So every
invariant holds, hashes chain, and the views and the content store are what a service would have left. The same
seed gives the same rows.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from random import Random

from adapters.clock import SystemIds
from adapters.ledger import Entry
from adapters.sql.migrate import migrate
from application.accept import SendRequest
from application.decisions import Decisions
from application.identity import email_id_of, key_for_the_log, salted
from application.ports import Locked
from application.projections.emails import EmailView, project, view_of
from application.projections.gates import Gate, openings, touched_by
from application.projections.gates import project as project_gate
from application.recorded import EMAIL_PREFIX, NewEvent, StoredContent, StreamAppend, Unit, email_stream
from benchmarks.month_cast import DAY, ERASED, SETTINGS, T0, Clients, Providers, takes_s
from benchmarks.month_plain import plain_end, plain_start
from benchmarks.month_rows import Rows
from domain.circuit import Pause, Reset, Resume
from domain.email.commands import (
    Cancel,
    Circumstances,
    EmailCommand,
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
    Bounced,
    Clicked,
    Complained,
    Delivered,
    Feedback,
    Opened,
    Sent,
)
from domain.email.state import UNREQUESTED, End
from domain.errors import Refused
from domain.failures import Accepted, Unanswered
from domain.replace import replace
from domain.routing import walk

EVENTS_PER_EMAIL = 3.3
"""About so many there are, so that the events asked for take about a month."""

DAYS = 30
BLOCKED_POLL = timedelta(seconds=2)
"""When an email that found no provider free is looked at again, where the gates don't say."""

CRASH_EVERY_S = 20 * 3600.0
OPERATOR_EVERY_S = 60 * 3600.0


@dataclass(frozen=True, slots=True)
class Filled:
    """What was written: so many events and emails, the last of them at `until`."""

    events: int
    emails: int
    until: datetime
    types: Counter[str]
    statuses: Counter[str]


@dataclass(slots=True)
class _World:
    """All that is going on. `timers`: (when, order, what to do)."""

    rows: Rows
    chance: Random
    ids: SystemIds
    clients: Clients
    providers: Providers
    now: datetime = T0
    token: int = 1
    position: int = 0
    emails: dict[str, EmailView] = field(default_factory=dict)
    gates: dict[str, Gate] = field(default_factory=dict)
    moved_at: dict[str, int] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)
    timers: list[tuple[datetime, int, Callable[[], object]]] = field(default_factory=list)
    order: count[int] = field(default_factory=count)
    careful: bool = False
    requested: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)

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
            recipient_domains=tuple(one.domain for one in asked.content.envelope),
            sender_domain=asked.content.sender.domain,
            route=route.name,
            expires_after=route.expires_after or SETTINGS.retry.expires_after,
            on_uncertain=asked.on_uncertain or route.on_uncertain or SETTINGS.on_uncertain,
            priority=route.priority,
            tags=asked.tags,
            send_at=asked.send_at,
        )
        (event,) = decide(command, UNREQUESTED, Circumstances(now=self.now))
        new = NewEvent(event_id=self.ids.new_id(self.now), event=event, correlation_id=email_id)
        stream = email_stream(email_id)
        kept = StoredContent(email_id=email_id, key=key, salt=salt, content=asked.content, marks=asked.marks)
        unit = Unit(at=self.now, appends=(StreamAppend(stream=stream, expected_version=0, events=(new,)),))
        self.rows.content(kept)
        (recorded,) = self.record([unit])
        self.emails[email_id] = project(view_of(email_id), recorded.recorded(self.position))
        self.look_again(email_id)
        if asked.send_at is not None and self.chance.random() < 0.2:
            change = self.chance.uniform(0.1, 0.9) * (asked.send_at - self.now).total_seconds()
            self.after(change, lambda: self.change(email_id))

    def change(self, email_id: str) -> None:
        """What was scheduled is called off or put off."""
        if self.chance.random() < 0.5:
            self.email(email_id, Cancel(by="client"))
        else:
            self.email(email_id, Reschedule(by="client", send_at=self.now + timedelta(hours=1)))

    # Workers

    def look_again(self, email_id: str) -> None:
        """Come back to the email when time alone changes something."""
        view = self.emails[email_id]
        moments = [view.email.deadline_at, view.email.due_at if view.email.lane is not None else None]
        when = min((one for one in moments if one is not None), default=None)
        if when is not None:
            self.at(when, lambda: self.serve(email_id, view.version))
        elif view.email.end is not None and view.email.open_attempt is None:
            self.ended(email_id, view)

    def serve(self, email_id: str, version: int) -> None:
        view = self.emails.get(email_id)
        if view is None or view.version != version:
            return
        deadline = view.email.deadline_at
        if deadline is not None and deadline <= self.now:
            self.email(email_id, Tick())
        elif not self.started(email_id, view):
            found = self.blocked_until(view)
            self.at(min(found, deadline or found), lambda: self.serve(email_id, version))

    def blocked_until(self, view: EmailView) -> datetime:
        lane = view.email.lane
        assert lane is not None
        seen = openings(self.gates, SETTINGS, lane.route, self.now)
        until = walk(seen, lane, SETTINGS.route(lane.route).on_limit).until
        return self.now + BLOCKED_POLL if until is None or until <= self.now else until

    def started(self, email_id: str, view: EmailView) -> bool:
        """Start an attempt, if a provider is free; whether one was."""
        command = StartAttempt(
            email_id=email_id, worker=self.worker, token=self.token, begin_within=SETTINGS.lease
        )
        plain = plain_start(command, view, self.gates, self.now)
        if plain is None:
            return self.email(email_id, command)
        self.keep_plain(view, command, plain)
        self.call(email_id, plain)
        return True

    def email(self, email_id: str, command: EmailCommand) -> bool:
        """Decide on an email, record what follows, and have the provider answer; whether anything did."""
        view = self.emails.get(email_id)
        if view is None:
            return False
        if isinstance(command, RecordOutcome) and (plain := plain_end(command, view, self.gates)) is not None:
            self.keep_plain(view, command, plain)
            self.open.pop(email_id, None)
            self.look_again(email_id)
            return True
        decisions = self.decisions(email_id, view)
        try:
            events = decisions.email(email_id, command)
        except Refused:
            return False
        if not events:
            return False
        self.keep(decisions)
        for event in events:
            if isinstance(event, AttemptStarted):
                self.call(email_id, event)
        if email_id in self.emails and self.emails[email_id].email.open_attempt is None:
            self.open.pop(email_id, None)
            self.look_again(email_id)
        return True

    def call(self, email_id: str, started: AttemptStarted) -> None:
        """The provider answers after a while, to this worker or, if that is gone by then, too late."""
        self.open[email_id] = started.attempt
        outcome = self.providers.answer(started.provider, self.now, started.recipients, self.chance)
        record = RecordOutcome(
            attempt=started.attempt, outcome=outcome, worker=started.worker, token=started.token
        )
        self.after(takes_s(outcome, self.chance), lambda: self.answered(email_id, started, record))

    def answered(self, email_id: str, started: AttemptStarted, record: RecordOutcome) -> None:
        if record.token != self.token and self.chance.random() < 0.7:
            return  # nobody is left who could bring it
        self.email(email_id, record)
        if not SETTINGS.providers[started.provider].feedback:
            return
        told: tuple[int, ...] = ()
        if isinstance(record.outcome, Accepted):
            told = record.outcome.accepted
        elif isinstance(record.outcome, Unanswered) and self.chance.random() < 0.5:
            told = started.recipients
        self.after(self.chance.uniform(0.5, 60), lambda: self.tell(email_id, started.attempt, told))

    def crash(self) -> None:
        """The worker dies; the next one takes over what it left open."""
        self.after(self.chance.expovariate(1 / CRASH_EVERY_S), self.crash)
        self.token += 1
        for email_id, attempt in sorted(self.open.items()):
            self.email(email_id, LoseAttempt(attempt=attempt))

    # Feedback, operators

    def tell(self, email_id: str, attempt: int, recipients: Sequence[int]) -> None:
        for recipient in recipients:
            for feedback in self.feedback(attempt, recipient):
                self.email(email_id, RecordFeedback(feedback=feedback))

    def feedback(self, attempt: int, recipient: int) -> list[Feedback]:
        chance = self.chance.random()
        told: list[Feedback] = []
        if chance < 0.01:
            told = [
                Bounced(
                    attempt=attempt, recipient=recipient, permanent=True, code="5.1.1", observed_at=self.now
                )
            ]
        else:
            told = [Delivered(attempt=attempt, recipient=recipient, observed_at=self.now)]
        if 0.5 < chance < 0.7:
            told.append(Opened(attempt=attempt, recipient=recipient, observed_at=self.now))
        if 0.6 < chance < 0.65:
            told.append(Clicked(attempt=attempt, recipient=recipient, observed_at=self.now))
        if 0.7 < chance < 0.702:
            told.append(Complained(attempt=attempt, recipient=recipient, observed_at=self.now))
        return told

    def operate(self) -> None:
        """Somebody takes a provider out of use for a while, closes a circuit, and reopens what failed."""
        self.after(self.chance.expovariate(1 / OPERATOR_EVERY_S), self.operate)
        name = self.chance.choice(sorted(SETTINGS.providers))
        self.circuit(name, Pause(by="operator"))
        self.after(self.chance.uniform(60, 1800), lambda: self.circuit(name, Resume(by="operator")))
        self.circuit(self.chance.choice(sorted(SETTINGS.providers)), Reset(by="operator"))
        for email_id in [one for one, view in self.emails.items() if view.email.held][:20]:
            self.email(email_id, Retry(by="operator", accept_duplicate_risk=True))

    def circuit(self, name: str, command: Pause | Resume | Reset) -> None:
        decisions = Decisions(self.locked({}), SETTINGS, self.ids, 0.5)
        if decisions.circuit(name, command):
            self.keep(decisions)

    # Recording

    def locked(self, emails: dict[str, EmailView]) -> Locked:
        return Locked(now=self.now, emails=emails, gates=self.gates)

    def decisions(self, email_id: str, view: EmailView) -> Decisions:
        return Decisions(self.locked({email_id: view}), SETTINGS, self.ids, self.chance.random())

    def keep_plain(self, view: EmailView, command: EmailCommand, event: AttemptStarted | Sent) -> None:
        """Record the one event that every decision would come to here."""
        if self.careful:
            # With chances and ids of its own: the month is the same as without.
            decisions = Decisions(self.locked({view.email_id: view}), SETTINGS, SystemIds(0), 0.5)
            assert (event,) == decisions.email(view.email_id, command)
        new = NewEvent(
            event_id=self.ids.new_id(self.now),
            event=event,
            correlation_id=view.correlation_id,
            causation_id=view.last_event_id,
        )
        append = StreamAppend(
            stream=email_stream(view.email_id), expected_version=view.version, events=(new,)
        )
        (entry,) = self.record([Unit(at=self.now, appends=(append,))])
        recorded = entry.recorded(self.position)
        self.emails[view.email_id] = project(view, recorded)
        for name in touched_by(recorded):
            gate = self.gates.get(name) or Gate(name=name)
            self.gates[name] = project_gate(gate, recorded)
            self.moved_at[name] = self.position

    def keep(self, decisions: Decisions) -> None:
        """Record what was decided, and go on from the views that the decisions have folded already."""
        entries = self.record(decisions.units)
        views = decisions._views
        self.gates = views.gates
        last: dict[str, int] = {}
        for position, entry in enumerate(entries, self.position - len(entries) + 1):
            recorded = entry.recorded(position)
            self.moved_at.update(dict.fromkeys(touched_by(recorded), position))
            last[entry.stream] = position
        for email_id in views.changed_emails:
            position = last[EMAIL_PREFIX + email_id]
            self.emails[email_id] = replace(views.emails[email_id], position=position)

    def record(self, units: Sequence[Unit]) -> list[Entry]:
        entries = []
        for unit in units:
            for append in unit.appends:
                for version, new in enumerate(append.events, append.expected_version + 1):
                    entry = Entry(stream=append.stream, version=version, at=unit.at, new=new)
                    self.position += 1
                    self.types[type(new.event).__name__] += 1
                    self.rows.event(self.position, entry)
                    entries.append(entry)
        return entries

    def ended(self, email_id: str, view: EmailView) -> None:
        """Nothing happens by itself any more. Somebody may reopen it, feedback may come: it is kept for a day."""
        failed = view.email.end is End.FAILED
        if failed and self.chance.random() < 0.1:
            retry = Retry(by="operator", accept_duplicate_risk=True)
            self.after(self.chance.uniform(600, 7200), lambda: self.email(email_id, retry))
        keep = DAY if failed or _may_be_told_of(view) else timedelta(minutes=2)
        self.at(self.now + keep, lambda: self.forget(email_id, view.version))

    def forget(self, email_id: str, version: int) -> None:
        view = self.emails.get(email_id)
        if view is not None and view.version == version:
            self.statuses[view.status.value] += 1
            self.rows.email(self.emails.pop(email_id))
            if self.chance.random() < ERASED:
                self.rows.erase(email_id)

    def finish(self) -> None:
        """Write what is still under way, as it stands."""
        for email_id in list(self.emails):
            view = self.emails.pop(email_id)
            self.statuses[view.status.value] += 1
            self.rows.email(view)
        self.rows.gates([replace(one, position=self.moved_at[name]) for name, one in self.gates.items()])
        self.rows.lease(self.token, self.worker, self.now)


def _may_be_told_of(view: EmailView) -> bool:
    return any(SETTINGS.providers[one.provider].feedback for one in view.email.attempts)


def fill(url: str, events: int, *, seed: int = 1, careful: bool = False) -> Filled:
    """Migrate the empty database at `url`, and fill it with a month of about so many events (a few more).

    `careful`: have the domain decide on the ordinary emails as well, and compare.
    """
    migrate(url)
    collecting = gc.isenabled()
    gc.disable()  # nothing here is garbage before it is written, and the collector would look at all of it
    try:
        with Rows(url) as rows:
            chance, providers = Random(seed), Providers(Random(seed + 1), days=2 * DAYS)
            per_s = events / EVENTS_PER_EMAIL / (DAYS * DAY.total_seconds())
            world = _World(
                rows=rows,
                chance=chance,
                ids=SystemIds(seed),
                clients=Clients(per_s=per_s, outages=providers.outages(), chance=Random(seed + 2), days=DAYS),
                providers=providers,
                careful=careful,
            )
            world.run(events)
            world.finish()
    finally:
        if collecting:
            gc.enable()
    return Filled(world.position, world.requested, world.now, world.types, world.statuses)


def main() -> None:
    """Fill, and say what with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("url")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    before = time.perf_counter()
    filled = fill(options.url, options.events, seed=options.seed)
    took = time.perf_counter() - before
    print(
        f"{filled.events} events of {filled.emails} emails until {filled.until:%Y-%m-%d %H:%M} in {took:.1f} s"
    )
    for title, counted in (("events", filled.types), ("emails", filled.statuses)):
        print(f"{title}: " + ", ".join(f"{name} {number}" for name, number in counted.most_common()))


if __name__ == "__main__":
    main()
