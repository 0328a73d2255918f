"""What must hold of a log, as far as a log can show it: the invariants of the design, by their numbers.

    I2   after an end nothing else ends the email, until it is redriven
    I3   a recipient that two attempts with different keys were accepted for had its risk declared in between
    I5   an outcome belongs to an attempt that was started
    I7   behind an open circuit nothing starts but granted probes, so many at a time; nor at a paused provider
    I8   one open attempt per email; a worker's fencing tokens never fall
    I9   the versions of a stream are contiguous
    I11  nothing follows an end but feedback, late evidence, or a redrive
    I12  no attempt carries a recipient that was refused, or accepted, for good

I6 (limits) needs the limits: `worst_window`. Hashes and views are `verify`'s business. What the providers really
received only they can tell.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.recorded import CIRCUIT_PREFIX, EMAIL_PREFIX, Recorded
from domain.circuit import (
    CircuitClosed,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitPolicy,
    ProviderPaused,
    ProviderResumed,
)
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    Cancelled,
    DuplicateRiskAccepted,
    Failed,
    Feedback,
    LateResultObserved,
    OutcomeUncertain,
    PartlySent,
    Redriven,
    Requested,
    Sent,
)
from domain.failures import Refusal

Closing = AttemptFailed | PartlySent | OutcomeUncertain | Sent
End = Sent | Failed | Cancelled


@dataclass(frozen=True, slots=True)
class Violation:
    """An event that breaks an invariant, and how."""

    invariant: str
    position: int
    stream: str
    what: str


@dataclass(slots=True)
class Start:
    """An attempt that was started. `key`: where the provider honours it. `probe`: its circuit's epoch, and its number.

    `taken`: recipients it is known to have been accepted for.
    """

    position: int
    provider: str
    key: str | None
    recipients: frozenset[int]
    probe: tuple[int, int] | None
    taken: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Story:
    """What has to be remembered of one stream."""

    version: int = 0
    ended: bool = False
    open: int | None = None
    starts: dict[int, Start] = field(default_factory=dict)
    settled: frozenset[int] = frozenset()
    risks: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Circuit:
    """What the log says of a provider's circuit: `closed`, `open` or `half_open`; `out`: probes under way."""

    phase: str = "closed"
    epoch: int = 0
    paused: bool = False
    out: set[int] = field(default_factory=set)


class LogCheck:
    """Reads a log from its first event on, in order. A kilobyte or so is kept for each email."""

    def __init__(self, policy: CircuitPolicy | None = None) -> None:
        """`policy` says how many probes may be under way at a time."""
        self._streams: dict[str, StreamCheck] = {}
        self._gates = GateCheck((policy or CircuitPolicy()).probes)

    def check(self, events: Iterable[Recorded]) -> Iterator[Violation]:
        """The violations among the next events of the log, by position."""
        for recorded in events:
            stream = self._streams.get(recorded.stream)
            if stream is None:
                stream = self._streams[recorded.stream] = StreamCheck()
            yield from stream.check(recorded)
            event = recorded.event
            if isinstance(event, AttemptStarted):
                wrong = self._gates.started(
                    provider=event.provider,
                    epoch=event.epoch,
                    probe=event.probe,
                    worker=event.worker,
                    token=event.token,
                )
                yield from (Violation(name, recorded.position, recorded.stream, what) for name, what in wrong)
            elif isinstance(event, Closing) and event.attempt is not None:
                self._gates.ended(stream.start(event.attempt))
            elif isinstance(event, CircuitEvent):
                self._gates.circuit(recorded.stream.removeprefix(CIRCUIT_PREFIX), event)


class StreamCheck:
    """Reads one stream from its first event on: what holds of each by itself."""

    def __init__(self) -> None:
        self._story = _Story()

    def check(self, recorded: Recorded) -> Iterator[Violation]:
        """What is wrong with the next event."""
        for invariant, what in self._wrong(recorded):
            yield Violation(invariant, recorded.position, recorded.stream, what)

    def start(self, attempt: int) -> Start | None:
        """How an attempt was started."""
        return self._story.starts.get(attempt)

    def _wrong(self, recorded: Recorded) -> Iterator[tuple[str, str]]:
        story = self._story
        if recorded.version != story.version + 1:
            yield "I9", f"version {recorded.version} follows {story.version}"
        story.version = recorded.version
        if recorded.stream.startswith(EMAIL_PREFIX):
            yield from self._on_email(recorded, story)

    def _on_email(self, recorded: Recorded, story: _Story) -> Iterator[tuple[str, str]]:
        event = recorded.event
        if isinstance(event, Requested) is not (recorded.version == 1):
            yield "I9", f"{type(event).__name__} is version {recorded.version}"
        if story.ended and not isinstance(event, Feedback | LateResultObserved | Redriven):
            yield "I2" if isinstance(event, End) else "I11", f"{type(event).__name__} after an end"
        if isinstance(event, AttemptStarted):
            yield from _started(event, recorded.position, story)
        elif isinstance(event, Closing) and event.attempt is not None:
            yield from _closed(event, event.attempt, story)
        elif isinstance(event, LateResultObserved):
            yield from _taken(story, event.attempt, event.accepted)
            story.settled |= _refused(event.refused)
        elif isinstance(event, Feedback):
            yield from _taken(story, event.attempt, (event.recipient,))
        elif isinstance(event, DuplicateRiskAccepted):
            story.risks.update(dict.fromkeys(event.attempts, recorded.position))
        elif isinstance(event, Redriven):
            if not story.ended:
                yield "I11", "redriven before its end"
            story.ended = False
        if isinstance(event, End):
            if story.open is not None:
                yield "I2", f"it ends while attempt {story.open} is open"
            story.ended = True


class GateCheck:
    """Starts against circuits, pauses and tokens, by position: what no stream shows by itself."""

    def __init__(self, probes: int) -> None:
        """`probes`: how many may be under way at a time."""
        self._probes = probes
        self._circuits: dict[str, _Circuit] = {}
        self._tokens: dict[str, int] = {}

    def circuit(self, provider: str, event: CircuitEvent) -> None:
        """A circuit changed."""
        circuit = self._circuit(provider)
        match event:
            case CircuitOpened(epoch=epoch):
                circuit.phase, circuit.epoch, circuit.out = "open", epoch, set()
            case CircuitHalfOpened():
                circuit.phase = "half_open"
            case CircuitClosed():
                circuit.phase, circuit.out = "closed", set()
            case ProviderPaused():
                circuit.paused = True
            case ProviderResumed():
                circuit.paused = False

    def started(
        self, *, provider: str, epoch: int, probe: int | None, worker: str, token: int
    ) -> list[tuple[str, str]]:
        """An attempt started: the invariants that it breaks, and how."""
        wrong = []
        if token < self._tokens.get(worker, 0):
            wrong.append(("I8", f"{worker} starts with token {token} after a later one"))
        self._tokens[worker] = token
        circuit = self._circuit(provider)
        if circuit.paused:
            wrong.append(("I7", f"a start at {provider}, which is paused"))
        if circuit.phase == "open" or (circuit.phase == "half_open" and probe is None):
            wrong.append(("I7", f"a start at {provider} behind its open circuit (epoch {circuit.epoch})"))
        if probe is not None and circuit.phase == "half_open":
            circuit.out.add(probe)
            if len(circuit.out) > self._probes:
                wrong.append(("I7", f"{len(circuit.out)} probes under way at {provider}"))
        return wrong

    def ended(self, start: Start | None) -> None:
        """An attempt ended, that started like this."""
        if start is not None and start.probe is not None:
            circuit = self._circuit(start.provider)
            if circuit.epoch == start.probe[0]:
                circuit.out.discard(start.probe[1])

    def _circuit(self, provider: str) -> _Circuit:
        circuit = self._circuits.get(provider)
        if circuit is None:
            circuit = self._circuits[provider] = _Circuit()
        return circuit


def _started(event: AttemptStarted, position: int, story: _Story) -> Iterator[tuple[str, str]]:
    if story.open is not None:
        yield "I8", f"attempt {event.attempt} starts while attempt {story.open} is open"
    if again := story.settled & set(event.recipients):
        yield "I12", f"attempt {event.attempt} carries recipients {sorted(again)}, who are settled"
    story.open = event.attempt
    probe = None if event.probe is None else (event.epoch, event.probe)
    key = None if event.key_until is None else event.provider_key
    story.starts[event.attempt] = Start(position, event.provider, key, frozenset(event.recipients), probe)


def _closed(event: Closing, attempt: int, story: _Story) -> Iterator[tuple[str, str]]:
    if attempt not in story.starts or story.open != attempt:
        yield "I5", f"{type(event).__name__} of attempt {attempt}, which is not open"
    story.open = None
    story.settled |= _refused(event.refused)
    if isinstance(event, Sent | PartlySent):
        yield from _taken(story, attempt, event.accepted)


def _refused(refused: Iterable[Refusal]) -> frozenset[int]:
    return frozenset(one.index for one in refused)


def _same(one: Start, other: Start) -> bool:
    """Whether the provider answers the later of them from the earlier."""
    return one.key is not None and one.key == other.key


def _taken(story: _Story, attempt: int, recipients: Iterable[int]) -> Iterator[tuple[str, str]]:
    """`attempt` was accepted for these recipients: nobody else may have been before, in silence."""
    start = story.starts.get(attempt)
    if start is None:
        yield "I5", f"evidence of attempt {attempt}, which was never started"
        return
    start.taken |= set(recipients)
    story.settled |= start.taken
    for number, other in story.starts.items():
        if number == attempt or _same(other, start) or not other.taken & start.taken:
            continue
        first, second = min(number, attempt), max(number, attempt)
        if not story.risks.get(first, story.starts[second].position) < story.starts[second].position:
            yield (
                "I3",
                f"attempts {first} and {second} were both accepted for {sorted(other.taken & start.taken)}",
            )


def worst_window(starts: Iterable[datetime], window: timedelta) -> int:
    """The most starts that lie within any `window` (its end excluded); `starts` in any order."""
    inside: deque[datetime] = deque()
    worst = 0
    for at in sorted(starts):
        while inside and at - inside[0] >= window:
            inside.popleft()
        inside.append(at)
        worst = max(worst, len(inside))
    return worst
