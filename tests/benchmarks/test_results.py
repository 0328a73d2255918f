"""What benchmarks make of their rounds: ratios, spreads, and whether that is what was wanted. No test measures time."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from benchmarks import plots
from benchmarks.__main__ import BENCHMARKS, chosen, named
from benchmarks.results import Measure, in_parts, measure_of, number, percentile, ratios, table, told

FAST = Measure(name="accept", limit="bare", values=(0.5, 0.4, 0.6), at_least=0.4, aim=0.55)
LARGE = Measure(name="memory", unit="MB", values=(180.0,), less=True, at_least=300, aim=150)


def test_a_ratio_is_of_one_round() -> None:
    """Each value through the limit that was measured beside it; a round that is missing is a mistake."""
    assert (0.5, 0.25) == ratios([1.0, 2.0], [2.0, 8.0])
    with pytest.raises(ValueError, match="longer"):
        ratios([1.0], [2.0, 8.0])


def test_the_median_decides_whether_it_is_reached() -> None:
    """More is better, or less."""
    assert {"at_least": True, "aim": False} == FAST.as_json()["reached"]
    assert {"at_least": True, "aim": False} == LARGE.as_json()["reached"]
    assert [0.5, 0.4, 0.6, 3] == [FAST.as_json()[key] for key in ("median", "low", "high", "rounds")]


def test_nothing_wanted_is_not_reached_and_not_missed() -> None:
    """It is only told."""
    only = Measure(name="p99", unit="ms", values=(1.0,))

    assert {"at_least": None, "aim": None} == only.as_json()["reached"]
    assert table([only]).splitlines()[1].endswith("–")


def test_without_a_round_nothing_is_said() -> None:
    """An empty measure would look like a good one."""
    with pytest.raises(ValueError, match="accept: nothing was measured"):
        Measure(name="accept", values=())


def test_what_is_printed_can_be_read_again() -> None:
    """One JSON object, from which the same measures can be made."""
    printed = told("serving", conditions={"requests": 3}, measures=[FAST, LARGE], rounds=[1], as_json=True)
    read = json.loads(printed)

    assert [FAST, LARGE] == [measure_of(one) for one in read["measures"]]
    assert ("serving", {"requests": 3}, [1]) == (read["benchmark"], read["conditions"], read["rounds"])


def test_a_table_says_what_was_reached() -> None:
    """Measure, limit, median, spread, rounds, at least, aim, and how far it came."""
    slow = Measure(name="slow", limit="bare", values=(0.1,), at_least=0.4, aim=0.55)
    best = Measure(name="best", limit="bare", values=(0.9,), at_least=0.4, aim=0.55)
    lines = [line.split() for line in table([FAST, LARGE, slow, best]).splitlines()]

    assert ["accept", "bare", "0.50", "0.40", "–", "0.60", "3", "0.40", "0.55", "yes"] == lines[1]
    assert ["memory", "–", "180", "MB", "180", "–", "180", "1", "≤", "300", "≤", "150", "yes"] == lines[2]
    assert ["no", "aim"] == [line[-1] for line in lines[3:]]


def test_many_short_measurements_are_a_few_rounds() -> None:
    """Medians of parts, in order; whatever doesn't fill one is left out."""
    assert (1, 2) == in_parts([1, 1, 9, 2, 2, 9, 7], parts=2)
    assert (1, 2) == in_parts([1, 2], parts=5)


def test_a_percentile_is_one_of_the_values() -> None:
    """The last one at most."""
    values = list(range(100))

    assert [50, 99, 99] == [percentile(values, share) for share in (0.5, 0.99, 1)]


def test_numbers_have_three_digits() -> None:
    """More would be noise."""
    assert ["0.12", "1.23", "12.3", "1,234"] == [number(one) for one in (0.123, 1.234, 12.34, 1234.4)]


def test_names_of_benchmarks_are_their_own() -> None:
    """And what isn't there is said, with what is."""
    names = [one.name for one in BENCHMARKS]

    assert len(set(names)) == len(names)
    assert ["store"] == [one.name for one in chosen(["store"])]
    with pytest.raises(SystemExit, match="storm: there is no such benchmark; there are serving"):
        chosen(["storm"])


def test_measures_on_postgresql_say_so() -> None:
    """The same module is run on both."""
    found = {"measures": [FAST.as_json()]}
    postgres = next(one for one in BENCHMARKS if one.name == "store-postgres")

    assert ["accept, PostgreSQL"] == [one.name for one in named(postgres, found)]


def test_the_pictures_are_well_formed() -> None:
    """With a line for each measure of which something is wanted, and a point for each rate."""
    seen = {"accepted_p50_ms": 2.0, "accepted_p99_ms": 9.0}
    offered = {part: {**seen, "offered_per_s": 1000 * float(part)} for part in ("0.5", "0.9")}
    latency = ElementTree.fromstring(plots.latency([{"by_load": {"offered": offered}}] * 2))
    zero = Measure(name="lost", values=(0.0,), at_least=0, less=True)
    wanted = ElementTree.fromstring(plots.wanted([FAST, LARGE, zero]))
    svg = "{http://www.w3.org/2000/svg}"

    assert 4 == len(latency.findall(f"{svg}circle"))
    assert 2 == len(wanted.findall(f"{svg}circle"))
