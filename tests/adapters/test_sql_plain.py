"""The rows of plain emails, made from their stored events, are the ones that the projection gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codec import encode, encode_meta
from adapters.sql.dialect import Kind, stamp
from adapters.sql.plain import Plain, text_time
from adapters.sql.views import attempt_rows, email_row
from application.invariants import LogCheck
from application.projections.emails import folded
from application.recorded import Recorded, email_stream
from application.stored import Row
from domain.email.events import (
    Bounced,
    Cancelled,
    Delivered,
    DuplicateRiskAccepted,
    EmailEvent,
    ProviderSwitched,
    Sent,
    SwitchReason,
)
from domain.failures import FailureKind
from tests.domain.build import (
    T0,
    failed,
    late,
    partly_sent,
    refusals,
    requested,
    sent,
    started,
    uncertain,
)

EMAIL_ID = "0199c0de-0000-8000-8000-000000000001"
KINDS: tuple[Kind, ...] = ("sqlite", "postgresql")
SWITCHED = ProviderSwitched(from_provider="ses", to_provider="smtp", reason=SwitchReason.ACCOUNT)


def history(events: Iterable[EmailEvent]) -> list[Recorded]:
    """These events, one a millisecond."""
    return [
        Recorded(
            position=100 + version,
            event_id=str(version),
            stream=email_stream(EMAIL_ID),
            version=version,
            at=T0 + version * timedelta(milliseconds=1),
            event=event,
            correlation_id="" if version == 1 else "c",
        )
        for version, event in enumerate(events, 1)
    ]


def stored(kind: Kind, recorded: Sequence[Recorded], schema: int = 1) -> list[Row]:
    """Their rows."""
    rows = []
    for one in recorded:
        name, data = encode(one.event)
        meta = encode_meta(one.correlation_id, one.causation_id, schema)
        at = stamp(one.at) if kind == "sqlite" else one.at
        rows.append((one.stream, one.version, name, at, meta, data, one.position))
    return rows


def expected(kind: Kind, recorded: Sequence[Recorded]) -> tuple[Row, list[Row]]:
    """What the projection gives."""
    view = folded(recorded)
    write = stamp if kind == "sqlite" else lambda at: at
    return email_row(view, write), attempt_rows(None, view, write)


PLAIN: dict[str, list[EmailEvent]] = {
    "at once": [requested(), started(1), sent(1)],
    "scheduled": [requested(send_at=T0 + timedelta(hours=1)), started(1), sent(1)],
    "after failures": [
        requested(2),
        started(1, recipients=(0, 1)),
        failed(1, code="421"),
        SWITCHED,
        started(2, "smtp", (0, 1)),
        failed(2, "smtp", FailureKind.THROTTLED),
        started(3, "smtp", (0, 1)),
        replace(sent(3, "smtp"), accepted=(0, 1)),
    ],
    "with feedback": [
        requested(),
        started(1),
        sent(1),
        Delivered(attempt=1, recipient=0, observed_at=T0),
        Bounced(attempt=1, recipient=0, permanent=True, code="5", observed_at=T0),
    ],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PLAIN)
def test_plain_emails_are_made_without_a_fold(kind: Kind, name: str) -> None:
    """Their rows are those of the projection."""
    recorded = history(PLAIN[name])

    assert expected(kind, recorded) == Plain(kind).rows(EMAIL_ID, stored(kind, recorded))


@st.composite
def emails(draw: st.DrawFn) -> list[EmailEvent]:
    """Any story that events can tell, most of them nearly plain."""
    count = draw(st.integers(1, 3))
    everyone = tuple(range(count))
    events: list[EmailEvent] = [
        requested(count, send_at=draw(st.sampled_from((None, T0 + timedelta(days=1)))))
    ]
    for number in range(1, draw(st.integers(0, 3)) + 1):
        if draw(st.booleans()):
            events.append(SWITCHED)
        events.append(started(number, draw(st.sampled_from(("ses", "smtp"))), everyone))
        some = draw(st.sets(st.sampled_from(everyone)).map(sorted).map(tuple))
        ends: dict[str, list[EmailEvent]] = {
            "failed": [failed(number, code=draw(st.sampled_from(("", "421"))))],
            "refused": [failed(number, refused=some)],
            "partly": [partly_sent(number, accepted=some, deferred=())],
            "uncertain": [uncertain(number)],
            "risked": [
                uncertain(number),
                DuplicateRiskAccepted(attempts=(number,), by="policy", why="", retry_at=T0),
            ],
            "sent": [replace(sent(number), accepted=everyone)],
            "sent to some": [
                replace(sent(number), accepted=some, refused=refusals(set(everyone) - set(some)))
            ],
            "open": [],
            "cancelled": [failed(number), Cancelled(by="x")],
        }
        chosen = draw(st.sampled_from(("failed", "failed", "sent", "sent", *ends)))
        events += ends[chosen]
        if chosen == "open" or isinstance(events[-1], Sent | Cancelled):
            break
    attempts = sum(1 for one in events if type(one).__name__ == "AttemptStarted")
    for _ in range(draw(st.integers(0, 2)) if attempts else 0):
        number = draw(st.integers(1, attempts))
        proof = Delivered(attempt=number, recipient=draw(st.sampled_from(everyone)), observed_at=T0)
        told: tuple[EmailEvent, ...] = (proof, proof, late(number, accepted=everyone))
        events.append(draw(st.sampled_from(told)))
    return events


@given(st.sampled_from(KINDS), emails())
def test_whatever_is_made_is_what_the_projection_gives(kind: Kind, events: list[EmailEvent]) -> None:
    """Or nothing is made, and it is left to the projection. What is made breaks no invariant."""
    recorded = history(events)
    made = Plain(kind).rows(EMAIL_ID, stored(kind, recorded))

    assert made in (None, expected(kind, recorded))
    assert made is None or [] == list(LogCheck().check(recorded))


@pytest.mark.parametrize("kind", KINDS)
def test_news_of_an_earlier_attempt_is_left_to_the_projection(kind: Kind) -> None:
    """It failed, and was delivered all the same: two copies, of which nobody took the risk."""
    told = Delivered(attempt=1, recipient=0, observed_at=T0)
    story: list[EmailEvent] = [requested(), started(1), failed(1), started(2, "smtp"), sent(2, "smtp"), told]
    recorded = history(story)

    assert ["I3"] == [one.invariant for one in LogCheck().check(recorded)]
    assert None is Plain(kind).rows(EMAIL_ID, stored(kind, recorded))


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_read_at_sight_is_left_to_the_projection(kind: Kind) -> None:
    """Data of another schema, a version left out, a stream that begins in another way."""
    recorded = history(PLAIN["with feedback"])
    plain = Plain(kind)

    assert None is plain.rows(EMAIL_ID, stored(kind, recorded, schema=2))
    assert None is plain.rows(EMAIL_ID, stored(kind, recorded[:3] + recorded[4:]))
    assert None is plain.rows(EMAIL_ID, stored(kind, recorded[1:]))


def test_times_of_events_become_those_of_rows() -> None:
    """An event leaves out microseconds that are none."""
    whole, part = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 0, 1, UTC)

    assert stamp(whole) == text_time("2026-01-01T00:00:00Z")
    assert stamp(part) == text_time("2026-01-01T00:00:00.000001Z")
    with pytest.raises(ValueError):
        text_time("2026-01-01T00:00:00+01:00")
