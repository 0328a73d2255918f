"""The query of `GET /statuses`: which emails, how many, and where to go on."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from application.projections.emails import Status
from application.queries import PAGE_DEFAULT, PAGE_MAX, PageKey, StatusRow
from entrypoints.config_source import suggestion
from entrypoints.http.problems import Errors

NAMES = ("status", "provider", "id", "limit", "after")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_is_limit = re.compile(r"[0-9]{1,3}").fullmatch
_is_place = re.compile(r"([0-9]{1,17}) ([0-9a-f-]{36})").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusQuery:
    """What is asked for; none: whatever it may be."""

    status: Status | None = None
    provider: str | None = None
    id: str | None = None
    limit: int = PAGE_DEFAULT
    after: PageKey | None = None

    def wants(self, row: StatusRow) -> bool:
        """Whether this row is one of those asked for."""
        after = self.after
        return (
            self.status in (None, row.status)
            and self.provider in (None, row.provider)
            and (after is None or (row.requested_at, row.email_id) < (after.requested_at, after.email_id))
        )


def parse_query(items: Iterable[tuple[str, str]]) -> StatusQuery:
    """Read the query. Empty is as good as absent. Raises a 422 that names every bad parameter."""
    errors = Errors()
    given: dict[str, str] = {}
    for name, value in items:
        if name not in NAMES:
            errors.add(name, f"is no parameter we know; {suggestion(name, NAMES)}")
        elif name in given:
            errors.add(name, "is given twice")
        elif value:
            given[name] = value
    status, limit, after = given.get("status"), given.get("limit"), given.get("after")
    query = StatusQuery(
        status=None if status is None else _status(status, errors),
        provider=given.get("provider"),
        id=given.get("id"),
        limit=PAGE_DEFAULT if limit is None else _limit(limit, errors),
        after=None if after is None else _place(after, errors),
    )
    if errors:
        raise errors.problem()
    return query


def cursor(key: PageKey) -> str:
    """Where a page ended, for a client to hand back: opaque, and safe in a URL."""
    place = f"{(key.requested_at - EPOCH) // MICROSECOND} {key.email_id}"
    return urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _place(text: str, errors: Errors) -> PageKey | None:
    try:
        place = _is_place(urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
        if place is None:
            raise ValueError
        return PageKey(EPOCH + int(place[1]) * MICROSECOND, place[2])
    except ValueError:
        errors.add("after", "is no cursor of ours: hand back what `next` said")
        return None


def _status(text: str, errors: Errors) -> Status | None:
    try:
        return Status(text)
    except ValueError:
        errors.add("status", "must be one of: " + ", ".join(Status))
        return None


def _limit(text: str, errors: Errors) -> int:
    limit = int(text) if _is_limit(text) else 0
    if not 1 <= limit <= PAGE_MAX:
        errors.add("limit", f"must be a whole number from 1 to {PAGE_MAX}")
    return limit
