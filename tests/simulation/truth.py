"""What emails say of their recipients, against what providers really took, refused, and told.

I3      a second copy for a recipient only behind a `DuplicateRiskAccepted` that names the first attempt
I4      no more copies than risks taken, and no risk that the email's policy doesn't allow
I12     nobody whom a provider refused, and whose refusal was recorded, is carried again
said    nobody is said to have it who hasn't
denied  an end doesn't say that somebody hasn't got it who has, unless a provider said so of them
heard   what a worker was told, and lived to record, is recorded
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from application.recorded import Recorded
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    DuplicateRiskAccepted,
    Failed,
    FailReason,
    OutcomeUncertain,
    PartlySent,
    Sent,
)
from domain.email.settle import POLICY
from domain.email.state import Recipient
from domain.failures import Accepted, FailureKind
from domain.routing import OnUncertain
from tests.simulation.violated import hold

if TYPE_CHECKING:
    from tests.simulation.provider import Copy
    from tests.simulation.world import World

Closing = AttemptFailed | PartlySent | OutcomeUncertain | Sent
DENIALS = (FailReason.EXPIRED, FailReason.REJECTED)


def check(world: World, email_id: str, story: Sequence[Recorded], copies: Sequence[Copy]) -> None:
    """All of it, of one email."""
    _copies(world, email_id, story, copies)
    _denials(world, email_id, story, copies)
    _refused(world, email_id, story)


def _copies(world: World, email_id: str, story: Sequence[Recorded], copies: Sequence[Copy]) -> None:
    risks = [(one.position, one.event) for one in story if isinstance(one.event, DuplicateRiskAccepted)]
    for place, first in enumerate(sorted(copies, key=lambda one: one.attempt)):
        for second in sorted(copies, key=lambda one: one.attempt)[place + 1 :]:
            if not set(first.accepted) & set(second.accepted):
                continue
            hold(
                first.attempt != second.attempt, "I3", f"{email_id}: attempt {first.attempt} was taken twice"
            )
            start = world.audit.starts[email_id, second.attempt].position
            named = any(at < start and first.attempt in risk.attempts for at, risk in risks)
            hold(named, "I3", f"{email_id}: attempts {first.attempt} and {second.attempt} were both taken")
    many = Counter(index for copy in copies for index in copy.accepted)
    email = world.audit.views.emails[email_id].email
    hold(max(many.values(), default=0) <= 1 + len(risks), "I4", f"{email_id}: {many}, {len(risks)} risks")
    if email.on_uncertain is not OnUncertain.RETRY:
        hold(all(risk.by != POLICY for _, risk in risks), "I4", f"{email_id}: {email.on_uncertain}")


def _denials(world: World, email_id: str, story: Sequence[Recorded], copies: Sequence[Copy]) -> None:
    email = world.audit.views.emails[email_id].email
    took = {index for copy in copies for index in copy.accepted}
    said = {index for index, state in enumerate(email.recipients) if state is Recipient.ACCEPTED}
    hold(said <= took, "said", f"{email_id}: {said} are said to have it, {took} do")
    for one in story:
        denied: set[int] = set()
        if isinstance(one.event, Failed) and one.event.reason in DENIALS:
            denied = set(one.event.pending)
        elif isinstance(one.event, Sent) and one.event.attempt is None:
            denied = {refusal.index for refusal in one.event.refused}
        if not denied:
            continue
        for copy in copies:
            before = world.audit.starts[email_id, copy.attempt].position < one.position
            wrong = denied & set(copy.accepted)
            hold(
                not (before and wrong),
                "denied",
                f"{email_id}: {type(one.event).__name__}, but {wrong} have it",
            )


def _refused(world: World, email_id: str, story: Sequence[Recorded]) -> None:
    gone: set[int] = set()
    for one in story:
        event = one.event
        if isinstance(event, AttemptStarted):
            again = gone & set(event.recipients)
            hold(not again, "I12", f"{email_id}: attempt {event.attempt} carries {again}, who were refused")
        elif isinstance(event, Closing) and event.attempt is not None:
            lost = isinstance(event, OutcomeUncertain) and event.kind is FailureKind.LOST
            told = world.evidence.told.get((email_id, event.attempt))
            if told is not None and not lost:
                gone |= {refusal.index for refusal in told[1].refused}


def heard(world: World) -> None:
    """Of all emails: what those who are still there were told."""
    for (email_id, attempt), (node, outcome) in world.evidence.told.items():
        if node.dead or not isinstance(outcome, Accepted):
            continue
        states = world.audit.views.emails[email_id].email.recipients
        missing = [index for index in outcome.accepted if states[index] is not Recipient.ACCEPTED]
        hold(
            not missing,
            "heard",
            f"{email_id}: attempt {attempt} was accepted for {missing}, and nothing says so",
        )
