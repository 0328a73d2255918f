"""What the domain decides about ordinary emails, without asking it: most of a month, in a fraction of the time.

`fill(careful=True)` compares each with the domain's decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from application.projections.emails import EmailView
from application.projections.gates import Gate, opening, provider_gate, shared_room
from benchmarks.month_cast import SETTINGS
from domain.circuit import Phase
from domain.email.commands import RecordOutcome, StartAttempt
from domain.email.events import AttemptStarted, Sent
from domain.email.state import provider_key
from domain.failures import Accepted


def plain_start(
    command: StartAttempt, view: EmailView, gates: Mapping[str, Gate], now: datetime
) -> AttemptStarted | None:
    """The first attempt, at the route's first provider, where nothing speaks against it; None: decide."""
    email = view.email
    if (
        email.attempts
        or email.end is not None
        or email.due_at is None
        or not email.due_at <= now < email.expires_at
    ):
        return None
    provider = SETTINGS.providers[SETTINGS.route(email.route).providers[0]]
    gate = gates.get(provider_gate(provider.name)) or Gate(name=provider_gate(provider.name))
    found = opening(gate, provider, SETTINGS.circuit, now)
    if found.blocked is not None or found.probe is not None:
        return None
    if shared_room(gates, SETTINGS, email.route, now)[0] == 0:
        return None
    recipients = email.pending
    return AttemptStarted(
        attempt=1,
        provider=provider.name,
        route=email.route,
        recipients=recipients,
        worker=command.worker,
        token=command.token,
        deadline=min(now + command.begin_within, email.expires_at),
        epoch=found.epoch,
        probe=None,
        provider_key=provider_key(command.email_id, provider.name, recipients),
        key_until=None if provider.key_ttl is None else now + provider.key_ttl,
        passed_over=(),
    )


def plain_end(command: RecordOutcome, view: EmailView, gates: Mapping[str, Gate]) -> Sent | None:
    """Accepted for everybody by a provider whose circuit is closed; None: decide."""
    attempt, outcome = view.email.open_attempt, command.outcome
    if attempt is None or attempt.number != command.attempt or not isinstance(outcome, Accepted):
        return None
    if outcome.accepted != view.email.pending or outcome.refused or outcome.deferred:
        return None
    if gates[provider_gate(attempt.provider)].circuit.phase is not Phase.CLOSED:
        return None
    return Sent(
        attempt=attempt.number,
        provider=attempt.provider,
        message_id=outcome.message_id,
        accepted=outcome.accepted,
        refused=(),
        epoch=attempt.epoch,
        probe=attempt.probe,
    )
