"""What a benchmark found, and whether that is what was wanted: in the same words for all of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RATIO = "×"
"""The unit of what is divided by its limit of the same round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One thing that was measured: a value for each round.

    `limit`: what it is divided by, measured in the same round; empty: nothing, it stands for itself in `unit`.
    `at_least` and `aim`: what is wanted of its median; none: it is only told. `less`: smaller is better.
    """

    name: str
    values: tuple[float, ...]
    limit: str = ""
    unit: str = RATIO
    at_least: float | None = None
    aim: float | None = None
    less: bool = False

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.name}: nothing was measured; run at least one round")

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def reaches(self, wanted: float | None) -> bool | None:
        """Whether the median is as good as that; none where nothing is wanted."""
        if wanted is None:
            return None
        return self.median <= wanted if self.less else self.median >= wanted

    def as_json(self) -> dict[str, Any]:
        """All of it, and what follows from it."""
        return {
            "name": self.name,
            "limit": self.limit,
            "unit": self.unit,
            "values": list(self.values),
            "median": self.median,
            "low": min(self.values),
            "high": max(self.values),
            "rounds": len(self.values),
            "at_least": self.at_least,
            "aim": self.aim,
            "less": self.less,
            "reached": {"at_least": self.reaches(self.at_least), "aim": self.reaches(self.aim)},
        }


def measure_of(told: Mapping[str, Any]) -> Measure:
    """What `as_json` said."""
    return Measure(
        name=told["name"],
        values=tuple(told["values"]),
        limit=told.get("limit", ""),
        unit=told.get("unit", RATIO),
        at_least=told.get("at_least"),
        aim=told.get("aim"),
        less=told.get("less", False),
    )


def ratios(values: Sequence[float], limits: Sequence[float]) -> tuple[float, ...]:
    """Each round's value through the same round's limit: what else the machine did slowed both."""
    return tuple(value / limit for value, limit in zip(values, limits, strict=True))


def in_parts(values: Sequence[float], parts: int = 5) -> tuple[float, ...]:
    """The medians of so many parts of many short measurements, in their order: what a round is elsewhere."""
    size = max(1, len(values) // parts)
    whole = range(0, len(values) - size + 1, size)
    return tuple(statistics.median(values[start : start + size]) for start in whole)


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Of values in order, one that so large a share doesn't exceed. Raises IndexError where there are none."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def told(
    benchmark: str,
    *,
    conditions: Mapping[str, Any],
    measures: Sequence[Measure],
    rounds: Sequence[Any] = (),
    as_json: bool,
) -> str:
    """What a benchmark prints: one JSON object, or a table."""
    if not as_json:
        said = ", ".join(f"{name} {value}" for name, value in conditions.items())
        return f"{benchmark}: {said}\n{table(measures)}"
    return json.dumps(
        {
            "benchmark": benchmark,
            "conditions": dict(conditions),
            "measures": [one.as_json() for one in measures],
            "rounds": list(rounds),
        }
    )


HEADINGS = ("measure", "limit of the same run", "median", "spread", "rounds", "at least", "aim", "reached")


def table(measures: Sequence[Measure]) -> str:
    """A line for each."""
    lines = [HEADINGS, *(_cells(one) for one in measures)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = []
    for cells in lines:
        padded = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        texts.append("  ".join(padded).rstrip())
    return "\n".join(texts)


def _cells(one: Measure) -> tuple[str, ...]:
    unit = "" if one.unit == RATIO else f" {one.unit}"
    return (
        one.name,
        one.limit or "–",
        f"{number(one.median)}{unit}",
        f"{number(min(one.values))} – {number(max(one.values))}",
        str(len(one.values)),
        _wanted(one, one.at_least),
        _wanted(one, one.aim),
        _reached(one),
    )


def _wanted(one: Measure, value: float | None) -> str:
    return "–" if value is None else f"{'≤ ' if one.less else ''}{number(value)}"


def _reached(one: Measure) -> str:
    if one.at_least is None and one.aim is None:
        return "–"
    if one.reaches(one.aim):
        return "aim"
    return (
        "no" if one.reaches(one.at_least) is False else "yes" if one.at_least is not None else "not the aim"
    )


def number(value: float) -> str:
    """Three digits that mean something, and no more."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
