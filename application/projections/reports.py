"""The report projection: what each event adds to the counts of its hour.

It sums over streams, so it runs behind the log, page by page. What it has to know of an email beside the event
at hand (its route, its tags, since when it may be sent) are `EmailFacts`, a fold of the stream's own earlier events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum, unique

from application.histogram import MICROSECOND, bucket_of
from application.recorded import CIRCUIT_PREFIX, Recorded
from domain.circuit import CircuitClosed, CircuitEvent, CircuitOpened
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    Cancelled,
    DuplicateRiskAccepted,
    EmailEvent,
    Failed,
    Feedback,
    Held,
    LateResultObserved,
    OutcomeUncertain,
    PartlySent,
    ProviderSwitched,
    Redriven,
    Requested,
    Rescheduled,
    Sent,
)
from domain.email.settle import POLICY
from domain.frozen import quick
from domain.replace import replace

TAGS_MAX = 1000
"""Tags that one hour tells apart, the first ones of its log; the others are counted together."""

OTHER_TAGS = "(other)"
OPERATOR = "operator"
ACCEPTED = "accepted"
HOUR = timedelta(hours=1)


@unique
class Measure(StrEnum):
    """What is counted: each is one type of event, so that its sum is the number of these events."""

    REQUESTED = "requested"
    ATTEMPTS = "attempts"
    SENT = "sent"
    PARTLY_SENT = "partly_sent"
    ATTEMPTS_FAILED = "attempts_failed"
    UNCERTAIN = "uncertain"
    LATE_RESULTS = "late_results"
    SWITCHES = "switches"
    DUPLICATES_ACCEPTED = "duplicates_accepted"
    HELD = "held"
    REDRIVEN = "redriven"
    FAILED = "failed"
    CANCELLED = "cancelled"


@quick
@dataclass(frozen=True, slots=True)
class EmailFacts:
    """What is known of an email at one version of its stream.

    `due_at`: since when it may be sent: its acceptance, or its `send_at`, if that is later. `providers`: of each
    attempt. `accepted_by`: who is known to have accepted it last, for whomever; empty: nobody.
    """

    version: int
    route: str
    tags: tuple[str, ...]
    accepted_at: datetime
    due_at: datetime
    providers: tuple[str, ...] = ()
    accepted_by: str = ""

    @property
    def provider(self) -> str:
        """The last provider attempted; empty before the first attempt."""
        return self.providers[-1] if self.providers else ""


def follow(facts: EmailFacts | None, recorded: Recorded) -> EmailFacts:
    """The facts after the next event of the stream. Raises ValueError for any other event."""
    event = recorded.event
    if (0 if facts is None else facts.version) != recorded.version - 1:
        raise ValueError(f"{recorded.stream}: version {recorded.version} does not follow")
    if isinstance(event, Requested):
        due_at = recorded.at if event.send_at is None else max(recorded.at, event.send_at)
        return EmailFacts(1, event.route, tuple(dict.fromkeys(event.tags)), recorded.at, due_at)
    if facts is None:
        raise ValueError(f"{recorded.stream} begins with {type(event).__name__}")
    if isinstance(event, AttemptStarted):
        return replace(facts, version=recorded.version, providers=(*facts.providers, event.provider))
    if isinstance(event, PartlySent) or (isinstance(event, LateResultObserved) and event.accepted):
        return replace(facts, version=recorded.version, accepted_by=event.provider)
    if isinstance(event, Rescheduled):
        return replace(facts, version=recorded.version, due_at=max(facts.accepted_at, event.send_at))
    if isinstance(event, Feedback):
        by = facts.providers[event.attempt - 1]
        return replace(facts, version=recorded.version, accepted_by=by)
    return replace(facts, version=recorded.version)


def tally(facts: EmailFacts, event: EmailEvent) -> tuple[Measure, str, str] | None:
    """What an event is counted as: measure, kind, provider. None: not at all. `facts`: those before it."""
    match event:
        case AttemptStarted(provider=provider):
            return Measure.ATTEMPTS, "", provider
        case Sent(provider=provider):
            return Measure.SENT, "", provider or facts.accepted_by or facts.provider
        case Requested():
            return Measure.REQUESTED, "", ""
        case AttemptFailed(kind=kind, provider=provider):
            return Measure.ATTEMPTS_FAILED, kind.value, provider
        case ProviderSwitched(reason=reason, from_provider=provider):
            return Measure.SWITCHES, reason.value, provider
        case PartlySent(provider=provider):
            return Measure.PARTLY_SENT, "", provider
        case OutcomeUncertain(kind=kind, provider=provider):
            return Measure.UNCERTAIN, kind.value, provider
        case LateResultObserved(kind=late, provider=provider):
            return Measure.LATE_RESULTS, ACCEPTED if late is None else late.value, provider
        case DuplicateRiskAccepted(by=by):
            return Measure.DUPLICATES_ACCEPTED, POLICY if by == POLICY else OPERATOR, facts.provider
        case Held(reason=why):
            return Measure.HELD, why.value, facts.provider
        case Redriven():
            return Measure.REDRIVEN, "", facts.provider
        case Failed(reason=cause):
            return Measure.FAILED, cause.value, facts.provider
        case Cancelled():
            return Measure.CANCELLED, "", facts.provider
        case _:
            return None


TallyKey = tuple[datetime, str, str, Measure, str, int]
"""Hour, provider, route, measure, kind, bucket. The bucket is that of the delay where something was sent, else 0."""

TagKey = tuple[datetime, str, Measure, str, int]
"""Hour, tag, measure, kind, bucket."""


@dataclass(slots=True)
class Increments:
    """What a page of the log adds. `open_us`: by hour and provider. `circuits`: open since when now, None: closed."""

    tallies: Counter[TallyKey] = field(default_factory=Counter)
    tags: Counter[TagKey] = field(default_factory=Counter)
    open_us: Counter[tuple[datetime, str]] = field(default_factory=Counter)
    circuits: dict[str, datetime | None] = field(default_factory=dict)


class Projection:
    """The projection at one position of the log: what it knows, and how the next events add to it.

    Before a page is applied it has to know the emails that `unknown` names, and the tags of the page's hours.
    `emails_max` bounds how many emails it remembers: what it forgets can be read again.
    """

    def __init__(self, circuits: Mapping[str, datetime], emails_max: int) -> None:
        self._circuits = dict(circuits)
        self._emails_max = emails_max
        self._emails: dict[str, EmailFacts] = {}
        self._ended: list[str] = []
        self._tags: dict[datetime, set[str]] = {}

    def unknown(self, page: Iterable[Recorded]) -> dict[str, int]:
        """Streams whose earlier events it has to be told, each with the version before its first one here."""
        seen: set[str] = set()
        missing: dict[str, int] = {}
        for one in page:
            stream = one.stream
            if stream in seen or stream.startswith(CIRCUIT_PREFIX):
                continue
            seen.add(stream)
            known = self._emails.get(stream)
            if one.version > 1 and (known is None or known.version != one.version - 1):
                missing[stream] = one.version - 1
        return missing

    def unknown_hours(self, page: Sequence[Recorded]) -> set[datetime]:
        """Hours of the page whose tags it has to be told."""
        times = [one.at for one in page]
        hours = {hour_of(min(times)), hour_of(max(times))}
        if len(hours) > 1:
            hours = {hour_of(at) for at in times}
        return hours - self._tags.keys()

    def learn(self, history: Iterable[Recorded]) -> None:
        """Fold the earlier events of streams that it does not know, each in order and from its beginning."""
        for one in history:
            before = None if one.version == 1 else self._emails.get(one.stream)
            self._emails[one.stream] = follow(before, one)

    def learn_tags(self, tags: Mapping[datetime, Iterable[str]]) -> None:
        """The tags that these hours tell apart so far."""
        self._tags.update({hour: {*names} - {OTHER_TAGS} for hour, names in tags.items()})

    def apply(self, page: Iterable[Recorded]) -> Increments:
        """Add the next events of the log, in order."""
        added = Increments()
        for one in page:
            if isinstance(one.event, CircuitEvent):
                self._add_circuit(one, added)
            else:
                self._add_email(one, one.event, added)
        self._forget()
        return added

    def _add_email(self, one: Recorded, event: EmailEvent, added: Increments) -> None:
        before = self._emails.get(one.stream)
        after = follow(before, one)
        counted = tally(before or after, event)
        self._emails[one.stream] = after
        if isinstance(event, Sent | Failed | Cancelled):
            self._ended.append(one.stream)
        if counted is None:
            return
        measure, kind, provider = counted
        hour = hour_of(one.at)
        bucket = bucket_of(one.at - after.due_at) if measure is Measure.SENT else 0
        added.tallies[hour, provider, after.route, measure, kind, bucket] += 1
        if after.tags:
            for tag in self._told_apart(hour, after.tags):
                added.tags[hour, tag, measure, kind, bucket] += 1

    def _told_apart(self, hour: datetime, tags: tuple[str, ...]) -> set[str]:
        known = self._tags.setdefault(hour, set())
        for tag in tags:
            if len(known) < TAGS_MAX and tag != OTHER_TAGS:
                known.add(tag)
        return {tag if tag in known else OTHER_TAGS for tag in tags}

    def _add_circuit(self, one: Recorded, added: Increments) -> None:
        provider = one.stream.removeprefix(CIRCUIT_PREFIX)
        if isinstance(one.event, CircuitOpened):
            added.circuits[provider] = self._circuits.setdefault(provider, one.at)
        elif isinstance(one.event, CircuitClosed) and provider in self._circuits:
            since = self._circuits.pop(provider)
            added.circuits[provider] = None
            for hour, length_us in by_hour(since, one.at):
                added.open_us[hour, provider] += length_us

    def _forget(self) -> None:
        for stream in self._ended:  # little follows, and what does can be read again
            self._emails.pop(stream, None)
        self._ended.clear()
        for stream in list(self._emails)[: max(0, len(self._emails) - self._emails_max)]:
            del self._emails[stream]
        for hour in sorted(self._tags)[:-HOURS_MAX]:
            del self._tags[hour]


HOURS_MAX = 24
"""Hours whose tags are remembered; mostly all events of a page are of one or two."""


def hour_of(at: datetime) -> datetime:
    """The hour (UTC) that a time lies in."""
    return at.replace(minute=0, second=0, microsecond=0)


def by_hour(since: datetime, until: datetime) -> Iterator[tuple[datetime, int]]:
    """A span of time, split at the hours: each hour with its part (µs). None at all where it ends before it begins."""
    hour = hour_of(since)
    while since < until:
        end = min(hour + HOUR, until)
        yield hour, (end - since) // MICROSECOND
        since = hour = hour + HOUR
