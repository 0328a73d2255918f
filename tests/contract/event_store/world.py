"""Random but lawful histories: emails, attempts and circuits as the domain itself decides them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from random import Random

from application.ports import Decision, EventStore, Locked, Plan, Share, Transacted, Waiting
from application.projections.emails import EmailView, view_of
from application.projections.gates import Gate, counting_in, openings, provider_gate, touched_by
from application.projections.inline import InlineViews
from application.recorded import Event, NewEvent, Recorded, StreamAppend, Unit, circuit_stream, email_stream
from application.settings import ProviderSettings, Settings
from domain import circuit
from domain.circuit import CircuitPolicy
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
    AttemptFailed,
    AttemptStarted,
    Bounced,
    Delivered,
    OutcomeUncertain,
    PartlySent,
    Sent,
)
from domain.email.state import Attempt, AttemptState
from domain.errors import Refused
from domain.failures import Accepted, FailureKind, NotAccepted, Outcome, Refusal, Unanswered
from domain.rate_limit import Rate
from domain.routing import OnLimit, OnUncertain, Priority, Route
from tests.contract.event_store.given import ManualClock, an_id, content_of

CLOSING = AttemptFailed | PartlySent | Sent | OutcomeUncertain
TAGS: tuple[tuple[str, ...], ...] = ((), ("otp",), ("news", "weekly"), ("otp", "weekly"))


def settings(policy: CircuitPolicy) -> Settings:
    """Three providers of different kinds, two routes, limits that are reached."""
    hour = timedelta(hours=1)
    return Settings(
        providers={
            "ses": ProviderSettings(name="ses", type="ses", rates=(Rate.parse("5/s"), Rate.parse("40/m"))),
            "postmark": ProviderSettings(name="postmark", type="postmark", concurrency=3, key_ttl=hour),
            "smtp": ProviderSettings(name="smtp", type="smtp", feedback=True),
        },
        routes={
            "default": Route(name="default", providers=("ses", "postmark")),
            "bulk": Route(name="bulk", providers=("smtp", "ses", "postmark"), on_limit=OnLimit.OVERFLOW),
        },
        circuit=policy,
    )


def might_have(attempt: Attempt, later: Sequence[Attempt]) -> list[int]:
    """Recipients that the provider may tell something of: not those it had put off, whom a later attempt carries."""
    if attempt.state is AttemptState.UNCERTAIN:
        return list(attempt.recipients)
    carried = {index for one in later for index in one.recipients}
    return [index for index in attempt.recipients if index not in carried]


class Draft:
    """Units of one decision, folded as they come, so that each is decided on what those before it leave."""

    def __init__(self, locked: Locked) -> None:
        self.now = locked.now
        self.views = InlineViews(emails=locked.emails, gates=locked.gates)
        self.units: list[Unit] = []

    def email(self, email_id: str) -> EmailView:
        return self.views.emails.get(email_id) or view_of(email_id)

    def gate(self, provider: str) -> Gate:
        return self.views.gates.get(provider_gate(provider)) or Gate(name=provider_gate(provider))

    def add(self, *appends: tuple[str, int, Sequence[Event]]) -> None:
        """One unit: (stream, its version, events)."""
        added: list[StreamAppend] = []
        for stream, version, events in appends:
            new = tuple(
                NewEvent(event_id=an_id(), event=event, correlation_id=stream, causation_id="")
                for event in events
            )
            added.append(StreamAppend(stream=stream, expected_version=version, events=new))
            for number, one in enumerate(new, version + 1):
                self.views.apply([self._recorded(stream, number, one)])
        self.units.append(Unit(at=self.now, appends=tuple(added)))

    def decision(self, brings_views: bool) -> Decision:
        """What was drafted. Whether the store is given the views as well may make no difference."""
        return Decision(self.units, self.views if brings_views else None)

    def _recorded(self, stream: str, version: int, one: NewEvent) -> Recorded:
        return Recorded(
            position=0, event_id=one.event_id, stream=stream, version=version, at=self.now, event=one.event
        )


class World:
    """One worker, its providers, and clients, all ruled by one seed."""

    def __init__(self, store: EventStore, clock: ManualClock, policy: CircuitPolicy, seed: int) -> None:
        self.store, self.clock, self.random = store, clock, Random(seed)
        self.settings = settings(policy)
        self.lease = store.acquire_lease("w")
        self.ids: list[str] = []
        self.brings_views = bool(seed % 2)
        self.open: list[tuple[str, AttemptStarted]] = []

    def run(self, steps: int) -> None:
        """Let so many things happen."""
        for _ in range(steps):
            pause = self.random.choice((0, 0, 1, 20, 400, 3_000, 40_000))
            self.clock.time += timedelta(milliseconds=pause, microseconds=1)
            what = self.random.choices(
                (self.request, self.dispatch, self.command, self.feedback, self.operate, self.lose),
                weights=(20, 50, 12, 8, 4, 2),
            )
            what[0]()

    def given(self, gates: Mapping[str, Gate], route: str, now: datetime) -> Circumstances:
        return Circumstances(
            now=now,
            chance=self.random.random(),
            openings=openings(gates, self.settings, route, now),
            on_limit=self.settings.route(route).on_limit,
            retry=self.settings.retry,
        )

    def request(self) -> None:
        """Clients ask for a few emails, some of them at a later time."""
        units = []
        for _ in range(self.random.randint(1, 4)):
            email_id, now = an_id(), self.clock.now()
            domains = ("example.com", "example.org", "example.net")[: self.random.randint(1, 3)]
            command = Request(
                key=email_id,
                digest=email_id,
                size=100,
                recipient_domains=domains,
                sender_domain="shop.example",
                route=self.random.choice(("default", "bulk")),
                expires_after=self.random.choice((timedelta(minutes=2), timedelta(hours=24))),
                on_uncertain=self.random.choice(list(OnUncertain)),
                priority=self.random.choice(list(Priority)),
                send_at=self.random.choice((None, None, now + timedelta(seconds=self.random.randint(1, 90)))),
                tags=TAGS[len(self.ids) % len(TAGS)],
            )
            events = decide(command, view_of(email_id).email, Circumstances(now=now))
            new = tuple(NewEvent(event_id=an_id(), event=event, correlation_id=email_id) for event in events)
            append = StreamAppend(stream=email_stream(email_id), expected_version=0, events=new)
            units.append(Unit(at=now, appends=(append,), content=content_of(email_id, b"logo")))
            self.ids.append(email_id)
        self.store.append(units)

    def dispatch(self) -> None:
        """A worker's turn: outcomes of some open attempts, what is overdue, and what can start."""
        ended = [one for one in self.open if self.random.random() < 0.7]
        outcomes = [(email_id, started, self.outcome(started)) for email_id, started in ended]

        def decision(locked: Locked) -> Decision:
            draft = Draft(locked)
            for email_id, started, outcome in outcomes:
                self.apply(draft, email_id, self.recording(started, outcome))
            for email_id in locked.overdue:
                self.apply(draft, email_id, Tick())
            for email_id in locked.claimed:
                begin = timedelta(seconds=30)
                worker, token = self.lease.worker, self.lease.token
                self.apply(
                    draft,
                    email_id,
                    StartAttempt(email_id=email_id, worker=worker, token=token, begin_within=begin),
                )
            return draft.decision(self.brings_views)

        plan = Plan(
            lease=self.lease,
            emails=tuple(email_id for email_id, _, _ in outcomes),
            choose=self.choose,
            overdue_max=5,
        )
        transacted = self.store.transact(plan, decision)
        self.open = [one for one in self.open if one not in ended]
        self.note(transacted)

    def choose(self, waiting: Sequence[Waiting], gates: Mapping[str, Gate], now: datetime) -> Sequence[Share]:
        return [
            Share(lane=one.lane, priority=one.priority, count=self.random.randint(1, 3)) for one in waiting
        ]

    def note(self, transacted: Transacted) -> None:
        for one in transacted.recorded:
            if isinstance(one.event, AttemptStarted):
                self.open.append((one.stream.removeprefix("email-"), one.event))

    def recording(self, started: AttemptStarted, outcome: Outcome) -> RecordOutcome:
        worker, token = self.lease.worker, self.lease.token
        return RecordOutcome(attempt=started.attempt, outcome=outcome, worker=worker, token=token)

    def apply(self, draft: Draft, email_id: str, command: EmailCommand) -> None:
        """Decide a command, and what its events mean for the circuits; refusals change nothing."""
        view = draft.email(email_id)
        try:
            events = decide(command, view.email, self.given(draft.views.gates, view.email.route, draft.now))
        except Refused:
            return
        if not events:
            return
        for event in events:
            if isinstance(event, AttemptStarted) and event.probe is not None:
                self.move_circuit(draft, event.provider, circuit.HalfOpen(now=draft.now))
        observed = [(event, self.observed(event, draft)) for event in events if isinstance(event, CLOSING)]
        for event, result in observed:
            if result is not None and event.provider is not None:
                self.move_circuit(draft, event.provider, result)
        draft.add((email_stream(email_id), view.version, events))

    def observed(self, event: CLOSING, draft: Draft) -> circuit.ObserveResult | None:
        if event.provider is None:
            return None
        kind = event.kind if isinstance(event, AttemptFailed | OutcomeUncertain) else None
        chance = self.random.random()
        return circuit.ObserveResult(
            kind=kind, epoch=event.epoch, probe=event.probe, now=draft.now, chance=chance
        )

    def move_circuit(self, draft: Draft, provider: str, command: circuit.CircuitCommand) -> None:
        gate = draft.gate(provider)
        events = circuit.decide(command, gate.circuit, self.settings.circuit)
        if events:
            draft.add((circuit_stream(provider), gate.version, events))

    def outcome(self, started: AttemptStarted) -> Outcome:
        """What a provider of middling health answers."""
        who = started.recipients
        roll = self.random.random()
        if roll < 0.45:
            return Accepted(accepted=who, message_id=an_id())
        if roll < 0.6:
            refused = tuple(Refusal(index=index, code="550") for index in who[1:2])
            return Accepted(accepted=who[:1], refused=refused, deferred=who[2:], code="250")
        if roll < 0.75:
            return Unanswered(code="read timeout")
        kinds = [kind for kind in FailureKind if kind not in (FailureKind.UNCERTAIN, FailureKind.LOST)]
        return NotAccepted(
            kind=self.random.choice(kinds),
            code="400",
            refused=(Refusal(index=who[0]),) if roll > 0.95 else (),
        )

    def command(self) -> None:
        """Clients and operators want something of some email."""
        if not self.ids:
            return
        email_id = self.random.choice(self.ids)
        send_at = self.clock.now() + timedelta(minutes=1)
        commands: list[EmailCommand] = [
            Cancel(by="client"),
            Retry(by="ops", accept_duplicate_risk=self.random.random() < 0.5),
            Reschedule(by="client", send_at=send_at),
            Tick(),
        ]
        command = self.random.choice(commands)
        self.on_email(email_id, command)

    def on_email(self, email_id: str, command: EmailCommand) -> None:
        def decision(locked: Locked) -> Decision:
            draft = Draft(locked)
            self.apply(draft, email_id, command)
            return draft.decision(self.brings_views)

        self.note(self.store.transact(Plan(emails=(email_id,)), decision))

    def feedback(self) -> None:
        """A provider tells something of an attempt that it accepted, or may have."""
        if not self.ids:
            return
        email_id, at = self.random.choice(self.ids), self.clock.now()

        def decision(locked: Locked) -> Decision:
            draft = Draft(locked)
            states = (AttemptState.SENT, AttemptState.UNCERTAIN, AttemptState.PARTLY_SENT)
            every = draft.email(email_id).email.attempts
            attempts = [one for one in every if one.state in states]
            attempt = self.random.choice(attempts) if attempts else None
            indexes = [] if attempt is None else might_have(attempt, every[attempt.number :])
            if attempt is not None and indexes:
                index = self.random.choice(indexes)
                told = self.random.choice(
                    (
                        Delivered(attempt=attempt.number, recipient=index, observed_at=at),
                        Bounced(
                            attempt=attempt.number, recipient=index, permanent=True, code="", observed_at=at
                        ),
                    )
                )
                self.apply(draft, email_id, RecordFeedback(feedback=told))
            return draft.decision(self.brings_views)

        self.store.transact(Plan(emails=(email_id,), gates=False), decision)

    def operate(self) -> None:
        """An operator pauses, resumes or resets a provider."""
        provider = self.random.choice(list(self.settings.providers))
        command = self.random.choice(
            (circuit.Pause(by="ops"), circuit.Resume(by="ops"), circuit.Reset(by="ops"))
        )

        def decision(locked: Locked) -> Decision:
            draft = Draft(locked)
            self.move_circuit(draft, provider, command)
            return draft.decision(self.brings_views)

        self.store.transact(Plan(), decision)

    def lose(self) -> None:
        """The worker dies: a new one takes over its attempts; late results may still come."""
        lost, self.lease = self.lease, self.store.acquire_lease(self.random.choice("wxyz"))

        def decision(locked: Locked) -> Decision:
            draft = Draft(locked)
            for email_id, attempt in locked.taken_over:
                self.apply(draft, email_id, LoseAttempt(attempt=attempt))
            return draft.decision(self.brings_views)

        while self.store.transact(Plan(takes_over=lost, open_max=3), decision).locked.taken_over:
            pass
        self.store.release_lease(lost)


def folded(log: Sequence[Recorded], policy: CircuitPolicy) -> InlineViews:
    """The views of a whole log, from nothing."""
    names = {name for recorded in log for name in touched_by(recorded)}
    views = InlineViews(gates={name: counting_in(Gate(name=name), policy) for name in names})
    views.apply(log)
    return views


def whole_log(store: EventStore) -> list[Recorded]:
    """Everything recorded so far."""
    log: list[Recorded] = []
    while page := store.read_all(log[-1].position if log else 0, 500):
        log += page
    return log
