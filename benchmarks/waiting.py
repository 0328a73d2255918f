"""A database in which any number of emails wait, each with its event, its rows and its content.

python -m benchmarks.waiting URL [--emails 1000000]
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

from adapters.clock import SystemIds
from adapters.ledger import Entry
from adapters.sql.migrate import migrate
from application.projections.emails import project, view_of
from application.recorded import NewEvent, StoredContent, email_stream
from benchmarks.month_copies import multiply
from benchmarks.month_rows import Rows
from domain.content import Address, Content
from domain.email.events import Requested
from domain.routing import OnUncertain, Priority

YEAR = timedelta(days=365)
MILLISECOND = timedelta(milliseconds=1)
MADE = 10_000
"""One by one; the rest are copies of them (`benchmarks.month_copies`)."""

TEXT = "All is well. " * 77

DIGEST = "0" * 64
SALT = b"benchmarks only."
SENDER = Address(address="shop@example.com", name="Shop")


def fill_waiting(url: str, emails: int, *, seed: int = 1) -> None:
    """Fill the empty database with about so many: all of them due, none tried, nothing ended. The reports count as
    up to date."""
    migrate(url)
    ids, chance = SystemIds(seed), Random(seed)
    made = min(emails, MADE)
    now = datetime.now(UTC) - made * MILLISECOND
    with Rows(url) as rows:
        for number in range(made):
            email_id = str(UUID(int=chance.getrandbits(128), version=4))
            _waiting(rows, ids, email_id, number, now + number * MILLISECOND)
    multiply(url, max(1, round(emails / made)))


def _waiting(rows: Rows, ids: SystemIds, email_id: str, number: int, at: datetime) -> None:
    key = f"waiting-{number}"
    event = Requested(
        key=key,
        digest=DIGEST,
        size=len(TEXT),
        recipients=1,
        recipient_domains=("example.org",),
        sender_domain=SENDER.domain,
        route="default",
        priority=Priority.NORMAL,
        tags=(),
        tenant="",
        requested_at=at,
        send_at=None,
        expires_at=at + YEAR,
        on_uncertain=OnUncertain.RETRY,
    )
    entry = Entry(
        stream=email_stream(email_id),
        version=1,
        at=at,
        new=NewEvent(event_id=ids.new_id(at), event=event, correlation_id=email_id),
    )
    rows.event(number + 1, entry)
    rows.email(email_id, project(view_of(email_id), entry.recorded(number + 1)))
    content = Content(
        sender=SENDER, to=(Address(address=f"{key}@example.org"),), subject="Your order", text=TEXT
    )
    rows.content(StoredContent(email_id=email_id, key=key, salt=SALT, content=content))


def main() -> None:
    """Fill, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("url")
    parser.add_argument("--emails", type=int, default=1_000_000)
    given = parser.parse_args()
    before = time.perf_counter()
    fill_waiting(given.url, given.emails)
    took = time.perf_counter() - before
    print(f"{given.emails} emails in {took:.0f} s, {given.emails / took:.0f} a second")


if __name__ == "__main__":
    main()
