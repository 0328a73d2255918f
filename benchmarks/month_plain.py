"""What the domain decides about ordinary emails, without asking it: most of a month, in a fraction of the time.

`fill(careful=True)` compares each with the domain's decision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from application.projections.gate_fold import GateFold
from application.projections.gates import Gate, provider_gate, touched_by
from application.recorded import Recorded
from benchmarks.month_cast import SETTINGS
from domain.circuit import Phase
from domain.email.commands import RecordOutcome, StartAttempt
from domain.email.events import AttemptStarted, Requested, Sent
from domain.email.state import provider_key
from domain.failures import Accepted

QUIET = timedelta(minutes=1)
QUIET_STARTS = 300
"""So few starts in a minute are below every limit, also of a second, if they are not all at once."""

SECOND = timedelta(seconds=1)
SECOND_STARTS = 5


class Starts:
    """The gates, and how busy it was of late."""

    def __init__(self, fold: GateFold) -> None:
        self._fold = fold
        self._gates: dict[str, Gate] = {}
        self._moved: set[str] = set()
        self._recent: deque[datetime] = deque()

    def apply(self, recorded: Recorded) -> None:
        """The next event."""
        self._fold.apply(recorded)
        self._moved.update(touched_by(recorded))
        if isinstance(recorded.event, AttemptStarted):
            self._recent.append(recorded.at)
            while self._recent[0] <= recorded.at - QUIET:
                self._recent.popleft()

    def gates(self) -> Mapping[str, Gate]:
        """As they stand."""
        if self._moved:
            self._gates = {**self._gates, **{name: self._fold.at(name).gate() for name in self._moved}}
            self._moved.clear()
        return self._gates

    def is_closed(self, provider: str) -> bool:
        """Whether the provider's circuit is closed."""
        return self._fold.at(provider_gate(provider)).circuit.phase is Phase.CLOSED

    def plain(
        self, command: StartAttempt, history: Sequence[Recorded], now: datetime
    ) -> AttemptStarted | None:
        """The first attempt, at the route's first provider, where nothing speaks against it; None: decide."""
        requested = history[0].event
        if len(history) > 1 or not isinstance(requested, Requested) or now >= requested.expires_at:
            return None
        recent = self._recent
        if len(recent) >= QUIET_STARTS:
            return None
        if len(recent) >= SECOND_STARTS and recent[-SECOND_STARTS] > now - 2 * SECOND:
            return None
        provider = SETTINGS.providers[SETTINGS.route(requested.route).providers[0]]
        gate = self._fold.at(provider_gate(provider.name))
        circuit = gate.circuit
        if circuit.paused or circuit.phase is not Phase.CLOSED or gate.open_attempts >= provider.concurrency:
            return None
        if gate.not_before is not None and now < gate.not_before:
            return None
        recipients = tuple(range(requested.recipients))
        return AttemptStarted(
            attempt=1,
            provider=provider.name,
            route=requested.route,
            recipients=recipients,
            worker=command.worker,
            token=command.token,
            deadline=min(now + command.begin_within, requested.expires_at),
            epoch=circuit.epoch,
            probe=None,
            provider_key=provider_key(command.email_id, provider.name, recipients),
            key_until=None if provider.key_ttl is None else now + provider.key_ttl,
            passed_over=(),
        )


def plain_end(command: RecordOutcome, history: Sequence[Recorded]) -> Sent | None:
    """Accepted for everybody at the first try, by a provider whose circuit is closed; None: decide."""
    outcome = command.outcome
    if len(history) > 2 or not isinstance(outcome, Accepted) or outcome.refused or outcome.deferred:
        return None
    requested, started = history[0].event, history[1].event
    assert isinstance(requested, Requested)
    assert isinstance(started, AttemptStarted)
    if len(outcome.accepted) != requested.recipients:
        return None
    return Sent(
        attempt=1,
        provider=started.provider,
        message_id=outcome.message_id,
        accepted=outcome.accepted,
        refused=(),
        epoch=started.epoch,
        probe=started.probe,
    )
