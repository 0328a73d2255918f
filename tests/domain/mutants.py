"""The rules of an email, broken on purpose, one at a time; `MUTANTS` says which invariant has to notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.email import decide as deciding
from domain.email import evolve as folding
from domain.email import outcomes, settle
from domain.email.commands import Circumstances, Retry
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    Cancelled,
    DuplicateRiskAccepted,
    EmailEvent,
    Failed,
    FailReason,
    Held,
    LateResultObserved,
    OutcomeUncertain,
    PartlySent,
    Redriven,
    Sent,
)
from domain.email.state import NO_TRIES, Attempt, AttemptState, Email, Recipient
from domain.failures import Accepted, FailureKind, NotAccepted, Outcome, Unanswered
from domain.routing import Lane

Break = Callable[[pytest.MonkeyPatch], None]


def folds(patch: pytest.MonkeyPatch, changed: Callable[[Email, EmailEvent, Email], Email]) -> None:
    """Events leave the email otherwise than they do: `changed(before, event, after)`."""
    right = folding.evolve

    def wrong(email: Email, event: EmailEvent) -> Email:
        return changed(email, event, right(email, event))

    for module in (folding, settle, outcomes):
        patch.setattr(module, "evolve", wrong)


def closes(patch: pytest.MonkeyPatch, changed: Callable[[EmailEvent, Email], EmailEvent]) -> None:
    """An attempt is closed by another event than it should."""
    right = outcomes.closing

    def wrong(attempt: Attempt, outcome: Outcome, email: Email, given: Circumstances) -> EmailEvent:
        return changed(right(attempt, outcome, email, given), email)

    patch.setattr(deciding, "closing", wrong)


def settles(
    patch: pytest.MonkeyPatch, changed: Callable[[EmailEvent | None, Email], EmailEvent | None]
) -> None:
    """Something else follows than should."""
    right = settle._settlement

    def wrong(email: Email, given: Circumstances) -> EmailEvent | None:
        return changed(right(email, given), email)

    patch.setattr(settle, "_settlement", wrong)


# --- the flags of the sketch ----------------------------------------------------------------------------


def uncertain_whole(patch: pytest.MonkeyPatch) -> None:
    """No answer: nobody is refused or deferred, although some were."""
    closes(patch, lambda e, _: replace(e, refused=(), deferred=()) if isinstance(e, OutcomeUncertain) else e)


def failed_no_recipients(patch: pytest.MonkeyPatch) -> None:
    """A failure forgets whom it refused."""
    closes(patch, lambda e, _: replace(e, refused=()) if isinstance(e, AttemptFailed) else e)


def any_answer_clears(patch: pytest.MonkeyPatch) -> None:
    """A refusal of the same key is taken as an answer about the first attempt."""

    def changed(before: Email, event: EmailEvent, after: Email) -> Email:
        return folding._proven(after, event.attempt) if isinstance(event, AttemptFailed) else after

    folds(patch, changed)


def cancel_open(patch: pytest.MonkeyPatch) -> None:
    """Cancelled while an attempt is open."""
    patch.setattr(deciding, "_cancel", lambda by, story: story.email.end or story.add(Cancelled(by=by)))


def expire_open(patch: pytest.MonkeyPatch) -> None:
    """Expired while an attempt is open."""
    right = settle._settlement

    def wrong(email: Email, given: Circumstances) -> EmailEvent | None:
        if not email.end and given.now >= email.expires_at:
            return settle._failed(email, FailReason.EXPIRED)
        return right(email, given)

    patch.setattr(settle, "_settlement", wrong)


def late_sent_whole(patch: pytest.MonkeyPatch) -> None:
    """A late acceptance of some ends the email."""

    def changed(event: EmailEvent | None, email: Email) -> EmailEvent | None:
        known = any(
            attempt.state is AttemptState.KNOWN and attempt.kind is None for attempt in email.attempts
        )
        if email.end is None and email.open_attempt is None and known and email.anyone_accepted:
            return replace(settle._sent_by_evidence(email), refused=())
        return event

    settles(patch, changed)


def late_ignored_after_end(patch: pytest.MonkeyPatch) -> None:
    """After the end nobody listens."""
    folds(
        patch,
        lambda before, event, after: (
            before if before.end and isinstance(event, LateResultObserved) else after
        ),
    )


def redrive_all(patch: pytest.MonkeyPatch) -> None:
    """A redriven email starts with everybody."""

    def changed(before: Email, event: EmailEvent, after: Email) -> Email:
        if isinstance(event, Redriven):
            return replace(after, recipients=(Recipient.PENDING,) * len(after.recipients))
        return after

    folds(patch, changed)


def late_uncertain_clears(patch: pytest.MonkeyPatch) -> None:
    """A late `uncertain` is taken for an answer."""

    def changed(before: Email, event: EmailEvent, after: Email) -> Email:
        if isinstance(event, LateResultObserved) and event.kind is FailureKind.UNCERTAIN:
            return folding._freed(folding._proven(after, event.attempt), event.observed_at)
        return after

    folds(patch, changed)


def set_only(patch: pytest.MonkeyPatch) -> None:
    """Only what blocks is in doubt: who takes a risk knows."""
    patch.setattr(Email, "in_doubt", property(lambda email: email.blocking))


# --- and more -------------------------------------------------------------------------------------------


def nothing_blocks(patch: pytest.MonkeyPatch) -> None:
    """An attempt in doubt keeps nobody out."""
    folds(
        patch,
        lambda before, event, after: (
            replace(after, blocking=frozenset(), due_at=after.due_at or event.resolve_by)
            if isinstance(event, OutcomeUncertain)
            else after
        ),
    )


def any_provider_while_bound(patch: pytest.MonkeyPatch) -> None:
    """The key in doubt binds to no provider."""
    right = Email.lane.fget  # type: ignore[attr-defined]  # a property

    def wrong(email: Email) -> Lane | None:
        lane: Lane | None = right(email)
        return lane and replace(lane, bound=None)

    patch.setattr(Email, "lane", property(wrong))


def key_of_other_recipients(patch: pytest.MonkeyPatch) -> None:
    """The same provider is thought to be the same key."""

    def wrong(email: Email) -> Attempt | None:
        first = email.attempts[min(email.blocking) - 1]
        return None if first.key is None else first

    patch.setattr(Email, "bound", property(wrong))


def keys_live_forever(patch: pytest.MonkeyPatch) -> None:
    """The provider is thought to remember what it has forgotten."""

    def changed(before: Email, event: EmailEvent, after: Email) -> Email:
        if isinstance(event, AttemptStarted) and event.key_until is not None:
            forever = event.key_until + timedelta(days=365)
            return folding._with_attempt(after, event.attempt, key_until=forever)
        return after

    folds(patch, changed)


def lost_is_failed(patch: pytest.MonkeyPatch) -> None:
    """A worker that died is thought not to have sent."""
    right = outcomes.closing

    def wrong(attempt: Attempt, outcome: Outcome, email: Email, given: Circumstances) -> EmailEvent:
        if isinstance(outcome, Unanswered) and outcome.kind is FailureKind.LOST:
            return right(attempt, NotAccepted(kind=FailureKind.NOT_TRIED), email, given)
        return right(attempt, outcome, email, given)

    patch.setattr(deciding, "closing", wrong)


def redriven_in_silence(patch: pytest.MonkeyPatch) -> None:
    """An operator reopens what is in doubt, and nobody says who took the risk."""
    right = deciding._retry

    def wrong(command: Retry, story: settle.Story, given: Circumstances) -> None:
        right(replace(command, accept_duplicate_risk=True), story, given)
        story.events = tuple(e for e in story.events if not isinstance(e, DuplicateRiskAccepted))

    patch.setattr(deciding, "_retry", wrong)
    folds(
        patch,
        lambda before, event, after: (
            replace(after, blocking=frozenset()) if isinstance(event, Redriven) else after
        ),
    )


def partly_sent_to_all_again(patch: pytest.MonkeyPatch) -> None:
    """The accepted are carried again."""
    folds(
        patch,
        lambda before, event, after: (
            replace(after, recipients=before.recipients) if isinstance(event, PartlySent) else after
        ),
    )


def silence_is_acceptance(patch: pytest.MonkeyPatch) -> None:
    """Whoever the answer does not name is thought to have it."""
    right = outcomes._accepted

    def wrong(attempt: Attempt, outcome: Accepted, email: Email, given: Circumstances) -> EmailEvent:
        return right(attempt, replace(outcome, accepted=email.pending), email, given)

    patch.setattr(outcomes, "_accepted", wrong)


def refusal_wins(patch: pytest.MonkeyPatch) -> None:
    """Acceptance comes too late for who was refused before."""
    right = folding._accepting

    def wrong(email: Email, indexes: Any) -> Email:
        refused = {n for n, state in enumerate(email.recipients) if state is Recipient.REFUSED}
        return right(email, set(indexes) - refused)

    patch.setattr(folding, "_accepting", wrong)


def held_forever(patch: pytest.MonkeyPatch) -> None:
    """What is held does not expire."""
    settles(patch, lambda event, email: None if email.held and isinstance(event, Failed) else event)


def nobody_resolves(patch: pytest.MonkeyPatch) -> None:
    """The policy is never asked."""
    settles(
        patch,
        lambda event, email: None if isinstance(event, DuplicateRiskAccepted | Held) else event,
    )


def each_silence_prolongs(patch: pytest.MonkeyPatch) -> None:
    """The wait is that of the last silence, not of the first: it outlives the key."""

    def changed(before: Email, event: EmailEvent, after: Email) -> Email:
        if isinstance(event, OutcomeUncertain):
            return replace(after, resolve_by=after.expires_at)
        return after

    folds(patch, changed)


def crashes_do_not_count(patch: pytest.MonkeyPatch) -> None:
    """A poisoned email takes one worker after the other."""
    patch.setattr(settle, "CRASHES_MAX", 10**6)


def ruled_out_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A provider that refused the message gets it again."""
    folds(patch, lambda before, event, after: replace(after, ruled_out=frozenset()))


def rejected_in_doubt(patch: pytest.MonkeyPatch) -> None:
    """Refused everywhere, says the end, of who may have it."""

    def changed(event: EmailEvent | None, email: Email) -> EmailEvent | None:
        if isinstance(event, Failed) and email.anyone_accepted and email.ruled_out and not email.blocking:
            return settle._sent_by_evidence(email)
        return event

    settles(patch, changed)


def no_pause_between_cycles(patch: pytest.MonkeyPatch) -> None:
    """The first provider of the next cycle counts as another one."""
    right = outcomes.retry_at

    def wrong(email: Email, *others: Any) -> Any:
        return right(replace(email, spent=frozenset(), cycle_tries=NO_TRIES), *others)

    patch.setattr(outcomes, "retry_at", wrong)


def due_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    """A backoff is only a suggestion."""
    folds(
        patch,
        lambda before, event, after: (
            replace(after, due_at=before.requested_at) if isinstance(event, AttemptFailed) else after
        ),
    )


def twice_recorded(patch: pytest.MonkeyPatch) -> None:
    """A late result is news every time."""
    folds(
        patch,
        lambda before, event, after: (
            folding._with_attempt(after, event.attempt, state=AttemptState.UNCERTAIN)
            if isinstance(event, LateResultObserved)
            else after
        ),
    )


def feedback_is_nothing(patch: pytest.MonkeyPatch) -> None:
    """What a provider tells later proves nothing."""
    patch.setattr(folding, "_fed_back", lambda email, event: email)


def sent_at_the_first(patch: pytest.MonkeyPatch) -> None:
    """The email is sent as soon as anybody has it."""

    def changed(event: EmailEvent, email: Email) -> EmailEvent:
        if not isinstance(event, PartlySent):
            return event
        return Sent(
            attempt=event.attempt,
            provider=event.provider,
            message_id="",
            accepted=event.accepted,
            refused=event.refused,
            epoch=0,
            probe=None,
        )

    closes(patch, changed)


MUTANTS: dict[Break, set[str]] = {
    uncertain_whole: {"I12", "said to be sent"},
    failed_no_recipients: {"I12", "lane"},
    any_answer_clears: {"denied", "I3", "I4", "spinning"},
    cancel_open: {"I11"},
    expire_open: {"I8"},
    late_sent_whole: {"sent without somebody"},
    late_ignored_after_end: {"idempotent", "evidence lost"},
    redrive_all: {"I3", "I4", "I12", "denied"},
    late_uncertain_clears: {"denied", "I3", "I4"},
    set_only: {"denied"},
    nothing_blocks: {"I3", "I4", "spinning"},
    any_provider_while_bound: {"I3"},
    key_of_other_recipients: {"I3"},
    keys_live_forever: {"I3", "I4"},
    lost_is_failed: {"I3", "I4", "denied"},
    redriven_in_silence: {"I3", "I4"},
    partly_sent_to_all_again: {"I3", "I4", "I12", "denied"},
    silence_is_acceptance: {"said to be sent"},
    refusal_wins: {"evidence lost"},
    held_forever: {"I14"},
    nobody_resolves: {"I14", "poison"},
    each_silence_prolongs: {"I14"},
    crashes_do_not_count: {"poison"},
    ruled_out_is_forgotten: {"ruled out"},
    rejected_in_doubt: {"denied"},
    no_pause_between_cycles: {"spinning"},
    due_is_not_waited_for: {"spinning"},
    twice_recorded: {"idempotent"},
    feedback_is_nothing: {"evidence lost"},
    sent_at_the_first: {"sent without somebody"},
}
"""Each broken rule, and the invariants that may be the first to notice."""
