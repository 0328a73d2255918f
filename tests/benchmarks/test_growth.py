"""What emails leave in a database is told table by table, on both databases."""

import re

import pytest

from benchmarks.growth import GROUP, Traffic, lines, seen
from tests.adapters.sql_urls import KINDS, migrated_url


@pytest.mark.parametrize("kind", KINDS)
def test_emails_go_through_and_what_they_leave_is_told(kind: str, request: pytest.FixtureRequest) -> None:
    """All of them end, and every table that they are in has grown."""
    url, emails = migrated_url(kind, request), 4 * GROUP
    before, traffic = seen(url), Traffic(url)
    said = traffic.part(emails)
    traffic.close()
    told = list(lines(before, seen(url), emails))
    grown = {found[1] for line in told if (found := re.match(r"  (\w+) +\d+ octets an email", line))}

    assert said.startswith(f"{emails} emails, 3.")
    assert {"events", "contents", "emails", "attempts"} <= grown
    assert emails == traffic.ended
