"""Provider texts quote what they were given: none of it gets into the log."""

from __future__ import annotations

import pytest

from application.scrub import CODE_MAX, DETAIL_MAX, scrubbed
from domain.content import Address, Content
from domain.failures import Accepted, FailureKind, NotAccepted, Refusal

CONTENT = Content(
    sender=Address(address="billing@shop.example", name="Shop Billing"),
    to=(Address(address="ann.smith@example.org", name="Ann Smith"),),
    subject="Your biopsy result",
    text="t",
)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("no such user ann.smith@example.org here", "no such user … here"),
        ("<stranger@example.net> is unknown", "<<address>> is unknown"),
        ("mailbox ann.smith is full", "mailbox … is full"),
        ('subject "Your biopsy result" looks like spam', 'subject "…" looks like spam'),
        ("Ann Smith from Shop Billing", "… from …"),
        ("two\r\nlines\0", "two lines"),
        ("try again later", "try again later"),
    ],
)
def test_a_text_says_what_is_wrong_and_nothing_of_the_email(said: str, kept: str) -> None:
    """Addresses known and unknown, local parts, names and the subject; the rest stays readable."""
    outcome = scrubbed(NotAccepted(kind=FailureKind.CONTENT, detail=said), CONTENT)

    assert isinstance(outcome, NotAccepted)
    assert kept == outcome.detail


def test_codes_and_message_ids_are_scrubbed_too() -> None:
    """Wherever a provider may put an address; and everything has a bound."""
    refused = (Refusal(index=0, code="550 ann.smith@example.org" + "x" * 100),)
    outcome = scrubbed(
        Accepted(accepted=(1,), refused=refused, message_id="ann.smith@example.org-7" + "y" * 300), CONTENT
    )

    assert isinstance(outcome, Accepted)
    assert outcome.refused[0].code.startswith("550 …")
    assert CODE_MAX == len(outcome.refused[0].code)
    assert outcome.message_id.startswith("…-7")
    assert DETAIL_MAX == len(outcome.message_id)
