"""Rules of the email itself, broken on purpose as `tests/domain/mutants.py` does, and for the views as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from application.projections import emails
from domain.email import decide as deciding
from domain.email import evolve as folding
from domain.email import outcomes, settle
from domain.email.events import FailReason
from domain.email.state import Email
from domain.failures import FailureKind
from tests.domain import mutants as domain_mutants

Patch = pytest.MonkeyPatch
Break = Callable[[Patch], None]


def in_the_domain(patch: Patch, broken: Break) -> None:
    """A rule of the email itself, broken for the views as well."""
    broken(patch)
    patch.setattr(emails, "evolve", folding.evolve)


def deferred_recipients_dropped(patch: Patch) -> None:
    """Those who were put off are forgotten once somebody has it."""
    in_the_domain(patch, domain_mutants.sent_at_the_first)


def later_failure_clears_doubt(patch: Patch) -> None:
    """A refusal of the second try is taken for an answer about the first."""
    in_the_domain(patch, domain_mutants.any_answer_clears)


def expired_while_uncertain(patch: Patch) -> None:
    """It is said to have expired although somebody may have it."""

    def wrong(email: Email, reason: FailReason) -> Any:
        made = right(email, reason)
        return replace(made, reason=reason)

    right = settle._failed
    patch.setattr(settle, "_failed", wrong)


def key_in_doubt_binds_nobody(patch: Patch) -> None:
    """While a key is in doubt at one provider, another one may be asked."""
    in_the_domain(patch, domain_mutants.any_provider_while_bound)


def redriven_in_silence(patch: Patch) -> None:
    """An operator reopens what is in doubt, and nobody says who took the risk."""
    in_the_domain(patch, domain_mutants.redriven_in_silence)


def refused_are_carried_again(patch: Patch) -> None:
    """A failure forgets whom it refused for good."""
    in_the_domain(patch, domain_mutants.failed_no_recipients)


def held_for_ever(patch: Patch) -> None:
    """What waits for an operator does not expire."""
    in_the_domain(patch, domain_mutants.held_forever)


def late_results_are_dropped(patch: Patch) -> None:
    """What a worker brings that has lost the attempt is nobody's business."""
    patch.setattr(deciding, "_is_news", lambda attempt, outcome: False)


def what_was_cut_off_counts_as_heard_out(patch: Patch) -> None:
    """A worker that stopped in the middle of a call is thought to know whom the provider had refused."""
    for module in (deciding, folding, outcomes):
        patch.setattr(module, "heard_out", lambda kind, code: kind is not FailureKind.LOST)
