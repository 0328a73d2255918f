"""Moments as people name them: in the zone they like, as exactly as they know, or by how long ago."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from entrypoints.moments import parse_moment

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("10m", NOW - timedelta(minutes=10)),
        (" 1.5h ", NOW - timedelta(minutes=90)),
        ("2026-11-24T11:00:00.593001Z", datetime(2026, 11, 24, 11, 0, 0, 593001, UTC)),
        ("2026-11-24T11:00:00.593001999Z", datetime(2026, 11, 24, 11, 0, 0, 593001, UTC)),
        ("2026-11-24 11:00:00.593Z", datetime(2026, 11, 24, 11, 0, 0, 593999, UTC)),
        ("2026-11-24t11:00:00z", datetime(2026, 11, 24, 11, 0, 0, 999999, UTC)),
        ("2026-11-24T12:30:00.000000+01:00", datetime(2026, 11, 24, 11, 30, tzinfo=UTC)),
        ("2026-11-24T12:30:00.000000 01:00", datetime(2026, 11, 24, 11, 30, tzinfo=UTC)),
        ("2026-11-24T12:00:01Z", datetime(2026, 11, 24, 12, 0, 1, 999999, UTC)),
    ],
)
def test_a_moment(text: str, moment: datetime) -> None:
    """One that is written to the millisecond lasts until the millisecond is over."""
    assert moment == parse_moment(text, NOW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "0s",
        "10",
        "2026-11-24",
        "2026-11-24T11:00:00",
        "2026-11-24T11:00Z",
        "2026-13-24T11:00:00Z",
        "2026-11-24T11:00:60Z",
        "0001-01-01T00:00:00+10:00",
        "20261124T110000Z",
    ],
)
def test_what_is_no_moment(text: str) -> None:
    """Nothing is guessed: a time without a zone is one of two dozen."""
    with pytest.raises(ValueError, match=r"no moment; write|no time at all"):
        parse_moment(text, NOW)


def test_what_is_still_to_come() -> None:
    """But for as much as the database's clock may be ahead of ours."""
    with pytest.raises(ValueError, match="still to come"):
        parse_moment("2026-11-24T12:00:06Z", NOW)
