"""Which time a report is about, as people write it: `24h` before now, a day, or a moment."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import Annotated

import msgspec

from application.report_ports import Span
from application.report_reading import span_of
from entrypoints.quantities import parse_duration

SINCE_DEFAULT = "24h"
FORM = "write it like '24h' or '7d' (before now), '2026-11-24' or '2026-11-24T18:00:00Z'"

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_is_day = re.compile(r"\d{4}-\d\d-\d\d").fullmatch
_LOST_PLUS = re.compile(r"(?<=\d) (?=\d\d:\d\d$)")


def parse_moment(text: str, now: datetime) -> datetime:
    """A time in UTC. Raises ValueError with the form that would be right."""
    text = text.strip()
    try:
        if text[:1].isdigit() and text[-1:].isalpha() and text[-1:] not in "Zz":
            return now - parse_duration(text)
        if _is_day(text):
            return datetime.combine(date.fromisoformat(text), time(tzinfo=UTC))
        # In a URL an unescaped + is a space.
        return msgspec.convert(_LOST_PLUS.sub("+", text), _Moment).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"is no time; {FORM}") from None


def parse_span(since: str | None, until: str | None, now: datetime) -> tuple[Span | None, dict[str, str]]:
    """The whole hours meant, and what is wrong with which of the two; by default the last 24 hours up to now."""
    errors: dict[str, str] = {}
    moments = {"since": now, "until": now}
    for name, text in (("since", since or SINCE_DEFAULT), ("until", until)):
        try:
            moments[name] = now if text is None else parse_moment(text, now)
        except ValueError as error:
            errors[name] = str(error)
    if errors:
        return None, errors
    try:
        return span_of(moments["since"], moments["until"]), {}
    except (ValueError, OverflowError) as error:
        return None, {"since": str(error)}
