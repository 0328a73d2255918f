"""Durations and sizes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from entrypoints.quantities import parse_duration, parse_size


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
