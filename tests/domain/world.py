"""One email among unreliable providers: whatever it decides is checked against what they really received.

The world knows the truth that the email can only guess at. Each step checks what must hold at any time, `drain`
lets everything under way end and checks what must hold then. `Broken` names the invariant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from domain.email import decide as deciding
from domain.email import evolve as folding
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
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    Delivered,
    DuplicateRiskAccepted,
    EmailEvent,
    Failed,
    FailReason,
    Feedback,
    LateResultObserved,
    OutcomeUncertain,
    PartlySent,
    Redriven,
    Released,
    Requested,
    Sent,
)
from domain.email.state import Email, End, Recipient
from domain.errors import Refused
from domain.failures import RULES_OUT, FailureKind, NotAccepted, Outcome
from domain.retry import RetryPolicy
from domain.routing import Blocked, OnLimit, OnUncertain, Opening, walk
from tests.domain.fake_provider import FakeProvider, Reaction
from tests.domain.invariants import Broken, check, check_backoff, check_copies, check_ends

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
EMAIL_ID = "0195-email"
BEGIN_WITHIN = timedelta(seconds=10)
CRASHES_MAX = 3
DRAIN_ROUNDS_MAX = 400
"""A day of backoff is some thirty tries; many more would be spinning."""


@dataclass
class World:
    """Time, providers, their workers, and the one email."""

    providers: Mapping[str, FakeProvider]
    recipients: int = 1
    on_uncertain: OnUncertain = OnUncertain.RETRY
    expires_after: timedelta = timedelta(hours=24)
    send_in: timedelta | None = None
    on_limit: OnLimit = OnLimit.WAIT
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    resolve_within: timedelta = timedelta(minutes=2)
    chance: Callable[[], float] = lambda: 0.5

    def __post_init__(self) -> None:
        self.now = T0
        self.email = Email()
        self.log: list[EmailEvent] = []
        self.answers: dict[int, Outcome] = {}
        """What came of the calls that were made."""
        self.not_before: dict[str, datetime] = {}
        """When throttled providers want to be asked again."""
        self.zombies: set[int] = set()
        """Attempts whose lease ran out while their worker lives."""
        self.taken: list[tuple[int, tuple[int, ...]]] = []
        """(attempt, recipients) of every copy that a provider really took."""
        self.told_refused: set[int] = set()
        self.started_in_drain: list[tuple[datetime, int]] = []
        """When, and which attempt."""
        send_at = None if self.send_in is None else T0 + self.send_in
        self.request = Request(
            key="k",
            digest="d",
            size=1,
            recipient_domains=("example.org",) * self.recipients,
            sender_domain="example.com",
            route="default",
            expires_after=self.expires_after,
            on_uncertain=self.on_uncertain,
            send_at=send_at,
        )
        self.do(self.request)

    # --- what can happen -------------------------------------------------------------------------------

    def wait(self, time: timedelta) -> None:
        """Time passes."""
        self.now += time

    def start(self, blocked: Mapping[str, Blocked] | None = None) -> bool:
        """A worker asks for an attempt while these providers are blocked. Whether one was started."""
        before = len(self.email.attempts)
        self.do(StartAttempt(email_id=EMAIL_ID, worker="w", token=1, begin_within=BEGIN_WITHIN), blocked)
        return len(self.email.attempts) > before

    def call(self, number: int, reaction: Reaction) -> None:
        """The worker of an attempt makes its call, once, unless it is too late for that."""
        attempt = self.email.attempts[number - 1]
        if number in self.answers:
            return
        if self.now >= attempt.deadline:
            self.answers[number] = NotAccepted(kind=FailureKind.NOT_TRIED)
            return
        answer, taken = self.providers[attempt.provider].call(attempt, reaction, self.now)
        self.answers[number] = answer
        if taken is not None:
            self.taken.append((number, taken.accepted))

    def record(self, number: int) -> None:
        """The worker brings the outcome, in time or late."""
        outcome, closes = self.answers[number], self._open() == number
        before = len(self.log)
        if self.do(RecordOutcome(attempt=number, outcome=outcome, worker="w", token=1)) and (
            closes or len(self.log) > before
        ):
            self.told_refused |= {refusal.index for refusal in outcome.refused}

    def lose(self, *, survives: bool) -> None:
        """The lease of the open attempt runs out; its worker may be alive all the same."""
        number = self._open()
        if number is not None:
            self.do(LoseAttempt(attempt=number))
            if survives:
                self.zombies.add(number)

    def tell(self, feedback: Feedback) -> None:
        """The provider tells us about a recipient of what it took."""
        self.do(RecordFeedback(feedback=feedback), idempotent=False)

    def tick(self) -> None:
        """The clock is looked at."""
        self.do(Tick())

    def cancel(self) -> None:
        """Somebody calls it off."""
        self.do(Cancel(by="alice"))

    def redo(self, *, accept_duplicate_risk: bool) -> None:
        """Somebody asks for a retry."""
        self.do(Retry(by="alice", accept_duplicate_risk=accept_duplicate_risk))

    def reschedule(self, time: timedelta) -> None:
        """Somebody wants it sent later."""
        self.do(Reschedule(by="alice", send_at=self.now + time))

    # --- what must hold at any time --------------------------------------------------------------------

    def do(
        self,
        command: EmailCommand,
        blocked: Mapping[str, Blocked] | None = None,
        *,
        idempotent: bool = True,
    ) -> bool:
        """Decide, check, fold, check; whether it was allowed."""
        given = Circumstances(
            now=self.now,
            chance=self.chance(),
            openings=self._openings(blocked or {}),
            on_limit=self.on_limit,
            retry=self.retry,
            resolve_within=self.resolve_within,
        )
        try:
            events = deciding.decide(command, self.email, given)
        except Refused:
            return False
        for event in events:
            self._check_event(event)
            self.log.append(event)
            if isinstance(event, AttemptFailed) and event.not_before is not None:
                self.not_before[event.provider] = event.not_before
            self.email = folding.evolve(self.email, event)
        self._check_state()
        if idempotent:
            again = deciding.decide(command, self.email, given)
            check(again == (), "idempotent", (command, again))
        return True

    def _openings(self, blocked: Mapping[str, Blocked]) -> tuple[Opening, ...]:
        """The providers as their gates stand now: of the gate, only `not_before` is played here."""
        openings = list[Opening]()
        for name, provider in self.providers.items():
            reason, until = blocked.get(name), self.not_before.get(name)
            if reason is None and until is not None and self.now < until:
                reason = Blocked.NOT_BEFORE
            opening = Opening(provider=name, key_ttl=provider.key_ttl, tells=provider.feedback)
            openings.append(replace(opening, blocked=reason, until=until if reason else None))
        return tuple(openings)

    def _open(self) -> int | None:
        attempt = self.email.open_attempt
        return None if attempt is None else attempt.number

    def took(self) -> set[int]:
        """Recipients that some provider really took the email for."""
        return {index for _, recipients in self.taken for index in recipients}

    def _check_event(self, event: EmailEvent) -> None:
        email = self.email
        if email.end:
            check(isinstance(event, Feedback | LateResultObserved | Redriven), "I11", (email.end, event))
        if isinstance(event, Failed | Sent):
            check(email.open_attempt is None or event_attempt(event) == self._open(), "I8", event)
        match event:
            case AttemptStarted():
                self._check_start(event)
            case AttemptFailed(attempt=n) | PartlySent(attempt=n) | OutcomeUncertain(attempt=n):
                check(n == self._open(), "I8", event)
            case Failed(reason=FailReason.EXPIRED | FailReason.REJECTED, pending=pending):
                check(not self.took() & set(pending), "denied", (event, self.taken))
            case Sent(attempt=None, refused=refused):
                refused_now = {refusal.index for refusal in refused}
                check(not self.took() & refused_now, "denied", (event, self.taken))
            case DuplicateRiskAccepted(attempts=attempts):
                check(bool(attempts), "risk without doubt", event)
            case _:
                pass

    def _check_start(self, event: AttemptStarted) -> None:
        email, carried = self.email, set(event.recipients)
        check(email.open_attempt is None and event.attempt == len(email.attempts) + 1, "I8", event)
        check(not carried & self.told_refused, "I12", (event, self.told_refused))
        known = {n for n, state in enumerate(email.recipients) if state is not Recipient.PENDING}
        check(bool(carried) and not carried & known, "settled carried again", (event, email.recipients))
        check(event.recipients == email.pending, "somebody left out", (event, email.pending))
        check(email.held is None, "started although held", event)
        check(email.due_at is not None and self.now >= email.due_at, "started too early", event)
        check(self.now < email.expires_at and event.deadline <= email.expires_at, "started too late", event)
        check(event.provider not in self._ruled_out(), "ruled out", event)
        for number in email.blocking:
            key = email.attempts[number - 1].key
            check(key is not None and key == event.provider_key, "I3", (event, email.blocking))
        check(self._crashes_in_this_life() < CRASHES_MAX, "poison", event)

    def _ruled_out(self) -> set[str]:
        ruled_out = set[str]()
        for event in self.log:
            if isinstance(event, Released | Redriven):
                ruled_out.clear()
            elif isinstance(event, AttemptFailed) and event.kind in RULES_OUT:
                ruled_out.add(event.provider)
        return ruled_out

    def _crashes_in_this_life(self) -> int:
        crashes = 0
        for event in self.log:
            if isinstance(event, Released | Redriven):
                crashes = 0
            elif isinstance(event, OutcomeUncertain) and event.kind is FailureKind.LOST:
                crashes += 1
        return crashes

    def _check_state(self) -> None:
        email = self.email
        under_way = not email.end and email.open_attempt is None
        check(under_way or email.due_at is None, "due", email)
        check(under_way == (email.deadline_at is not None), "deadline", email)
        if email.deadline_at is not None:
            check(email.deadline_at <= email.expires_at, "deadline", email)
        if not under_way or email.held:
            check(email.lane is None, "lane", email)
        elif not email.blocking:
            check(email.lane is not None, "lane", email)
        if email.end is End.SENT:
            check(not email.pending and email.anyone_accepted, "sent without somebody", email)
        check((email.fail_reason is not None) == (email.end is End.FAILED), "end", email)
        check(
            email.blocking <= {a.number for a in email.attempts if a.state == "uncertain"}, "blocking", email
        )

    # --- what must hold in the end ---------------------------------------------------------------------

    def drain(self, react: Callable[[], Reaction]) -> None:
        """Nobody interferes any more: woken only when it is due or has a deadline, the email comes to an end."""
        self.overdue()
        self.started_in_drain.clear()
        for _ in range(DRAIN_ROUNDS_MAX):
            if (number := self._open()) is not None:
                self.call(number, react())
                self.record(number)
            elif self.email.end:
                break
            else:
                self._wake()
        check(self.email.end is not None and self._open() is None, "I2", self.email)
        self._check_evidence(react)
        check_backoff(self)
        check_copies(self)
        check_ends(self)

    def overdue(self) -> None:
        """Looked at now with every provider free, nothing is left that should have happened."""
        self.tick()
        email = self.email
        if email.deadline_at is not None:
            check(self.now < email.deadline_at, "I14", email)

    def _wake(self) -> None:
        email = self.email
        due = None
        if email.lane is not None and email.due_at is not None:
            at = max(self.now, email.due_at)
            found = walk(self._openings({}), email.lane, self.on_limit)
            due = at if found.chosen is not None else found.until and max(at, found.until)
        wake = min(time for time in (due, email.deadline_at) if time is not None)
        self.now = max(self.now, wake)
        before = len(self.log)
        self.tick()
        if self.start():
            self.started_in_drain.append((self.now, len(self.email.attempts)))
        if len(self.log) == before:
            raise Broken("I14", email)

    def _check_evidence(self, react: Callable[[], Reaction]) -> None:
        """Every zombie arrives and every provider tells: who was reached is known to be, whatever the end."""
        end = self.email.end
        for number in sorted(self.zombies):
            self.call(number, react())
            self.record(number)
        for number, recipients in self.taken:
            for index in recipients:
                self.tell(Delivered(attempt=number, recipient=index, observed_at=self.now))
        reached = {n for n, state in enumerate(self.email.recipients) if state is Recipient.ACCEPTED}
        check(self.took() <= reached, "evidence lost", (self.taken, self.email.recipients))
        check(end is self.email.end, "I11", self.email.end)
        check(isinstance(self.log[0], Requested), "I11", self.log[0])


def event_attempt(event: EmailEvent) -> int | None:
    """The attempt that an end belongs to."""
    return event.attempt if isinstance(event, Sent) else None
