"""What must hold once an email has come to its end, whatever its life was."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

from domain.email.events import (
    AttemptStarted,
    Cancelled,
    DuplicateRiskAccepted,
    Failed,
    FailReason,
    Redriven,
    Sent,
)
from domain.email.state import Attempt, Recipient
from domain.failures import FailureKind
from domain.routing import OnUncertain

if TYPE_CHECKING:
    from tests.domain.world import World

ENDS = Sent | Failed | Cancelled


class Broken(AssertionError):
    """An invariant does not hold; `name` says which."""

    def __init__(self, name: str, what: object) -> None:
        super().__init__(f"{name}: {what}")
        self.name = name


def check(holds: bool, name: str, what: object) -> None:
    """Raise `Broken` where it does not hold."""
    if not holds:
        raise Broken(name, what)


def check_backoff(world: World) -> None:
    """With all providers free and nobody interfering, none is asked twice without a pause in between."""
    last: dict[str, tuple[datetime, Attempt]] = {}
    for at, number in world.started_in_drain:
        attempt = world.email.attempts[number - 1]
        before, previous = last.get(attempt.provider, (None, None))
        if before is not None and previous is not None and previous.kind is not FailureKind.NOT_TRIED:
            check(at >= before + world.retry.base, "spinning", (previous, attempt))
        last[attempt.provider] = (at, attempt)


def check_copies(world: World) -> None:
    """I3 and I4: no second copy in silence, by what the providers really took."""
    risks = [(n, e) for n, e in enumerate(world.log) if isinstance(e, DuplicateRiskAccepted)]
    starts = {e.attempt: n for n, e in enumerate(world.log) if isinstance(e, AttemptStarted)}
    copies = Counter(index for _, recipients in world.taken for index in recipients)
    for index, copied in copies.items():
        check(copied <= 1 + len(risks), "I4", (index, copied, risks))
    if world.on_uncertain is not OnUncertain.RETRY:
        check(all(risk.by != "policy" for _, risk in risks), "I4", risks)
    for one, its in world.taken:
        for other, others in world.taken:
            if one < other and set(its) & set(others):
                named = any(at < starts[other] and one in risk.attempts for at, risk in risks)
                check(named, "I3", (one, other))


def check_ends(world: World) -> None:
    """I2: exactly one end since it was last redriven; and nobody is said to have, or not to have, what is not so."""
    ends = 0
    for event in world.log:
        if isinstance(event, Redriven):
            check(ends == 1, "I2", world.log)
            ends = 0
        ends += isinstance(event, ENDS)
    check(ends == 1, "I2", world.log)
    reached = {n for n, state in enumerate(world.email.recipients) if state is Recipient.ACCEPTED}
    check(reached <= world.took(), "said to be sent", (reached, world.taken))
    last = next(event for event in reversed(world.log) if isinstance(event, ENDS))
    if isinstance(last, Failed) and last.reason in (FailReason.EXPIRED, FailReason.REJECTED):
        check(not world.took() & set(last.pending), "denied", (last, world.taken))
