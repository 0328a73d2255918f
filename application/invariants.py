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
class _Start:
    """An attempt that was started. `taken`: recipients it is known to have been accepted for."""

    position: int
    provider: str
    key: str
    recipients: frozenset[int]
    probe: tuple[int, int] | None
    taken: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Story:
    """What has to be remembered of one stream."""

    version: int = 0
    ended: bool = False
    open: int | None = None
    starts: dict[int, _Start] = field(default_factory=dict)
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
    """Reads a log from its first event on, in order. A kilobyte or so is kept for each email until it is let go."""

    def __init__(self, policy: CircuitPolicy | None = None) -> None:
        """`policy` says how many probes may be under way at a time."""
        self._probes = (policy or CircuitPolicy()).probes
        self._stories: dict[str, _Story] = {}
        self._circuits: dict[str, _Circuit] = {}
        self._tokens: dict[str, int] = {}

    def check(self, events: Iterable[Recorded]) -> Iterator[Violation]:
        """The violations among the next events of the log, by position."""
        for recorded in events:
            for invariant, what in self._wrong(recorded):
                yield Violation(invariant, recorded.position, recorded.stream, what)

    def let_go(self, stream: str) -> None:
        """Keep nothing of a stream any more: before its next event, if there is one, `recall` its history."""
        self._stories.pop(stream, None)

    def recall(self, history: Iterable[Recorded]) -> None:
        """Know a stream again by the events of it that were checked already. Nothing else is touched by them."""
        apart = LogCheck()
        for recorded in history:
            list(apart.check((recorded,)))
        self._stories.update(apart._stories)

    def _wrong(self, recorded: Recorded) -> Iterator[tuple[str, str]]:
        story = self._stories.setdefault(recorded.stream, _Story())
        if recorded.version != story.version + 1:
            yield "I9", f"version {recorded.version} follows {story.version}"
        story.version = recorded.version
        if recorded.stream.startswith(CIRCUIT_PREFIX):
            self._on_circuit(recorded)
        elif recorded.stream.startswith(EMAIL_PREFIX):
            yield from self._on_email(recorded, story)

    def _on_circuit(self, recorded: Recorded) -> None:
        circuit = self._circuit(recorded.stream.removeprefix(CIRCUIT_PREFIX))
        match recorded.event:
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

    def _on_email(self, recorded: Recorded, story: _Story) -> Iterator[tuple[str, str]]:
        event = recorded.event
        if isinstance(event, Requested) is not (recorded.version == 1):
            yield "I9", f"{type(event).__name__} is version {recorded.version}"
        if story.ended and not isinstance(event, Feedback | LateResultObserved | Redriven):
            yield "I2" if isinstance(event, End) else "I11", f"{type(event).__name__} after an end"
        if isinstance(event, AttemptStarted):
            yield from self._started(event, recorded.position, story)
        elif isinstance(event, Closing) and event.attempt is not None:
            yield from self._closed(event, event.attempt, story)
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

    def _started(self, event: AttemptStarted, position: int, story: _Story) -> Iterator[tuple[str, str]]:
        if story.open is not None:
            yield "I8", f"attempt {event.attempt} starts while attempt {story.open} is open"
        if event.token < self._tokens.get(event.worker, 0):
            yield "I8", f"{event.worker} starts with token {event.token} after a later one"
        self._tokens[event.worker] = event.token
        if again := story.settled & set(event.recipients):
            yield "I12", f"attempt {event.attempt} carries recipients {sorted(again)}, who are settled"
        yield from self._gate_passed(event)
        story.open = event.attempt
        probe = None if event.probe is None else (event.epoch, event.probe)
        story.starts[event.attempt] = _Start(
            position, event.provider, event.provider_key, frozenset(event.recipients), probe
        )

    def _gate_passed(self, event: AttemptStarted) -> Iterator[tuple[str, str]]:
        circuit = self._circuit(event.provider)
        if circuit.paused:
            yield "I7", f"a start at {event.provider}, which is paused"
        if circuit.phase == "open" or (circuit.phase == "half_open" and event.probe is None):
            yield "I7", f"a start at {event.provider} behind its open circuit (epoch {circuit.epoch})"
        if event.probe is not None and circuit.phase == "half_open":
            circuit.out.add(event.probe)
            if len(circuit.out) > self._probes:
                yield "I7", f"{len(circuit.out)} probes under way at {event.provider}"

    def _closed(self, event: Closing, attempt: int, story: _Story) -> Iterator[tuple[str, str]]:
        start = story.starts.get(attempt)
        if start is None or story.open != attempt:
            yield "I5", f"{type(event).__name__} of attempt {attempt}, which is not open"
        story.open = None
        if start is not None and start.probe is not None:
            circuit = self._circuit(start.provider)
            if circuit.epoch == start.probe[0]:
                circuit.out.discard(start.probe[1])
        story.settled |= _refused(event.refused)
        if isinstance(event, Sent | PartlySent):
            yield from _taken(story, attempt, event.accepted)

    def _circuit(self, provider: str) -> _Circuit:
        return self._circuits.setdefault(provider, _Circuit())


def _refused(refused: Iterable[Refusal]) -> frozenset[int]:
    return frozenset(one.index for one in refused)


def _taken(story: _Story, attempt: int, recipients: Iterable[int]) -> Iterator[tuple[str, str]]:
    """`attempt` was accepted for these recipients: nobody else may have been before, in silence."""
    start = story.starts.get(attempt)
    if start is None:
        yield "I5", f"evidence of attempt {attempt}, which was never started"
        return
    start.taken |= set(recipients)
    story.settled |= start.taken
    for number, other in story.starts.items():
        if number == attempt or other.key == start.key or not other.taken & start.taken:
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
