"""What follows once no attempt is open: an end, or the policy for what can't be learnt any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from domain.email.commands import Circumstances
from domain.email.events import DuplicateRiskAccepted, EmailEvent, Failed, FailReason, Held, HoldReason, Sent
from domain.email.evolve import evolve
from domain.email.outcomes import retry_at
from domain.email.state import Email
from domain.failures import FailureKind, Refusal
from domain.replace import replace
from domain.routing import OnUncertain

CRASHES_MAX = 3
"""An email that took so many workers with it waits for an operator."""

SETTLING_STEPS_MAX = 3
"""One settlement can call for another (a risk accepted, then expiry), but never for more than this."""

POLICY = "policy"
"""Who takes the risk where no operator does."""


@dataclass(slots=True)
class Story:
    """The events decided so far, and the email as they leave it."""

    email: Email
    events: tuple[EmailEvent, ...] = ()

    def add(self, *events: EmailEvent) -> None:
        """These follow."""
        for event in events:
            self.email = evolve(self.email, event)
        self.events += events


def settle(story: Story, given: Circumstances) -> None:
    """Add whatever follows by itself, until nothing does."""
    for _ in range(SETTLING_STEPS_MAX):
        event = _settlement(story.email, given)
        if event is None:
            return
        story.add(event)


def _settlement(email: Email, given: Circumstances) -> EmailEvent | None:
    """What follows once no attempt is open and nothing has ended: an end, or the policy for the uncertain."""
    if email.end or email.open_attempt is not None:
        return None
    if not email.pending:
        return _sent_by_evidence(email) if email.anyone_accepted else _failed(email, FailReason.REJECTED)
    names = [opening.provider for opening in given.openings]
    if names and not email.blocking and all(name in email.ruled_out for name in names):
        if email.anyone_accepted and not email.in_doubt:
            return _sent_by_evidence(email)
        return _failed(email, FailReason.REJECTED)
    if given.now >= email.expires_at:
        return _failed(email, FailReason.EXPIRED)
    if email.held:
        return None
    if email.crashes >= CRASHES_MAX:
        return Held(reason=HoldReason.POISON)
    if email.blocking and (email.resolve_by is None or given.now >= email.resolve_by):
        return _by_policy(email, given)
    return None


def _sent_by_evidence(email: Email) -> Sent:
    refused = tuple(Refusal(index=index, kind=FailureKind.CONTENT) for index in email.pending)
    return Sent(attempt=None, provider=None, message_id="", accepted=(), refused=refused, epoch=0, probe=None)


def _failed(email: Email, reason: FailReason) -> Failed:
    """A pending recipient in doubt makes it `outcome_unknown`, whatever brought the end about."""
    code = email.attempts[-1].code if email.attempts else ""
    return Failed(
        reason=FailReason.OUTCOME_UNKNOWN if email.in_doubt else reason, pending=email.pending, code=code
    )


def _by_policy(email: Email, given: Circumstances) -> EmailEvent:
    match email.on_uncertain:
        case OnUncertain.RETRY:
            return risk_accepted(email, by=POLICY, why="on_uncertain = retry", given=given)
        case OnUncertain.HOLD:
            return Held(reason=HoldReason.UNCERTAIN)
        case OnUncertain.FAIL:
            return _failed(email, FailReason.OUTCOME_UNKNOWN)
        case _:
            assert_never(email.on_uncertain)


def risk_accepted(email: Email, *, by: str, why: str, given: Circumstances) -> DuplicateRiskAccepted:
    """The policy takes the risk for what blocks; an operator for everything in doubt."""
    if by != POLICY:
        doubted = tuple(sorted(email.blocking | email.in_doubt))
        return DuplicateRiskAccepted(attempts=doubted, by=by, why=why, retry_at=given.now)
    risk = DuplicateRiskAccepted(attempts=tuple(sorted(email.blocking)), by=by, why=why, retry_at=given.now)
    last = email.attempts[-1].provider
    return replace(risk, retry_at=retry_at(evolve(email, risk), last, None, None, given))
