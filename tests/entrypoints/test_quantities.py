"""Durations and sizes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from entrypoints.quantities import length, pace, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("800ms", timedelta(milliseconds=800)),
        ("30s", timedelta(seconds=30)),
        (" 5 m ", timedelta(minutes=5)),
        ("1.5h", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        ("36500d", timedelta(days=36_500)),
    ],
)
def test_durations(text: str, duration: timedelta) -> None:
    """A number and a unit."""
    assert duration == parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "5", "m", "5 weeks", "-5s", "1h30m", "5M", "0s", "0.0001ms", "36501d", "9" * 99]
)
def test_no_durations(text: str) -> None:
    """What is wrong, and after a semicolon what would be right."""
    with pytest.raises(ValueError, match="; "):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1B", 1), ("512KB", 512_000), ("40MB", 40_000_000), ("32 MiB", 2**25), ("1.5kb", 1500)],
)
def test_sizes(text: str, size: int) -> None:
    """Powers of 1000, or of 1024 where an i says so."""
    assert size == parse_size(text)


@pytest.mark.parametrize("text", ["", "40", "MB", "40M", "-1MB", "0MB", "3GB", "40iB", "9" * 99 + "B"])
def test_no_sizes(text: str) -> None:
    """What is wrong, and after a semicolon what would be right."""
    with pytest.raises(ValueError, match="; "):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0"),
        (0.0304, "30ms"),
        (1, "1s"),
        (12.34, "12.3s"),
        (60, "1m"),
        (2403, "40m03s"),
        (7500, "2h05m"),
        (7200, "2h"),
    ],
)
def test_lengths_are_written_as_they_are_read(seconds: float, written: str) -> None:
    """Short, and no more exact than anybody looks."""
    assert written == length(seconds)


@pytest.mark.parametrize(
    ("per_s", "written"), [(50, "50/s"), (1 / 30, "2/m"), (0.5, "30/m"), (1e-5, "0.864/d"), (0, "0/d")]
)
def test_paces_are_written_in_the_unit_that_has_a_whole_one(per_s: float, written: str) -> None:
    """The first of second, minute, hour."""
    assert written == pace(per_s)
