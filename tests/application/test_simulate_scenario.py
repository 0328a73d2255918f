"""Scenarios: what comes in, and what providers do with it, drawn from one seed."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from application.simulate_scenario import (
    LATENCY_S,
    Burst,
    Luck,
    Manner,
    Pace,
    Sample,
    Scenario,
    Silence,
    Span,
    Trouble,
    arrivals,
)
from domain.failures import FailureKind

EMAILS = range(1, 4001)
MINUTE = Span(60.0, 120.0)


def scenario(**changes: object) -> Scenario:
    """Ten minutes of 20 a second."""
    given: dict[str, object] = {
        "per_s": 20.0,
        "lasts": timedelta(minutes=10),
        "samples": (Sample("otp", 0.2, ("otp",)), Sample("default", 0.8)),
    }
    return Scenario(**{**given, **changes})  # type: ignore[arg-type]


def test_as_many_come_in_as_the_rate_says() -> None:
    """Within what chance brings, in the order of time, numbered, none after the end."""
    found = list(arrivals(scenario()))

    assert len(found) == pytest.approx(12_000, rel=0.03)
    assert [*range(1, len(found) + 1)] == [one.number for one in found]
    assert sorted(found, key=lambda one: one.at_s) == found
    assert 600.0 > found[-1].at_s


def test_the_kinds_have_their_shares() -> None:
    """A fifth takes one route."""
    counts = Counter(one.sample.name for one in arrivals(scenario()))

    assert counts["otp"] / counts.total() == pytest.approx(0.2, abs=0.015)


def test_the_same_seed_is_the_same_mail_and_another_is_not() -> None:
    """Email by email."""
    assert list(arrivals(scenario(seed=7))) == list(arrivals(scenario(seed=7)))
    assert list(arrivals(scenario(seed=7))) != list(arrivals(scenario(seed=8)))


def test_a_burst_comes_at_once_among_the_others() -> None:
    """Also where nothing else comes in."""
    among = [one for one in arrivals(scenario(bursts=(Burst(500, 30.0),))) if one.at_s == 30.0]
    alone = list(arrivals(scenario(per_s=0.0, bursts=(Burst(3, 30.0), Burst(2, 10.0)))))

    assert 500 == len(among)
    assert [10.0, 10.0, 30.0, 30.0, 30.0] == [one.at_s for one in alone]


def test_troubles_have_their_shares_one_beside_the_other() -> None:
    """10 % and 20 % leave 70 %."""
    troubles = (Trouble(FailureKind.TRANSIENT, 0.1), Trouble(Silence.LOST, 0.2))
    luck, manner = Luck(1), Manner(troubles=troubles)
    fates = Counter(luck.fate(manner, "primary", email, 1, 0.0).what for email in EMAILS)

    assert fates[FailureKind.TRANSIENT] / len(EMAILS) == pytest.approx(0.1, abs=0.02)
    assert fates[Silence.LOST] / len(EMAILS) == pytest.approx(0.2, abs=0.025)
    assert {None, FailureKind.TRANSIENT, Silence.LOST} == set(fates)


def test_an_outage_has_its_time() -> None:
    """From its first moment on, and no longer at its last."""
    luck, manner = Luck(1), Manner(troubles=(Trouble(FailureKind.TRANSIENT, 1.0, MINUTE),))
    down = [luck.fate(manner, "primary", 1, 1, at_s).what for at_s in (59.9, 60.0, 119.9, 120.0)]

    assert [None, FailureKind.TRANSIENT, FailureKind.TRANSIENT, None] == down


def test_half_of_the_answers_take_no_longer_than_the_latency() -> None:
    """The last pace whose time it is holds."""
    luck, manner = Luck(1), Manner(paces=(Pace(0.8), Pace(5.0, MINUTE)))
    took = {
        at_s: sorted(luck.fate(manner, "primary", email, 1, at_s).takes_s for email in EMAILS)[2000]
        for at_s in (0.0, 60.0)
    }
    usual = sorted(luck.fate(Manner(), "primary", email, 1, 0.0).takes_s for email in EMAILS)[2000]

    assert took == {0.0: pytest.approx(0.8, rel=0.03), 60.0: pytest.approx(5.0, rel=0.03)}
    assert usual == pytest.approx(LATENCY_S, rel=0.03)


def test_an_answer_does_not_depend_on_what_was_asked_before() -> None:
    """So that two configurations meet the same answers, whatever else they do; attempts and providers differ."""
    manner = Manner(troubles=(Trouble(FailureKind.TRANSIENT, 0.5),))
    straight = [Luck(3).fate(manner, "primary", email, 1, 0.0) for email in EMAILS]
    luck = Luck(3)
    backwards = [luck.fate(manner, "primary", email, 1, 0.0) for email in reversed(EMAILS)]
    again = [luck.fate(manner, "primary", email, 2, 0.0) for email in EMAILS]
    elsewhere = [luck.fate(manner, "secondary", email, 1, 0.0) for email in EMAILS]

    assert straight == backwards[::-1]
    assert straight != again
    assert straight != elsewhere
