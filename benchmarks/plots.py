"""What was measured, as pictures (SVG) with nothing from outside."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.results import Measure, number

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 960, 420, 40, 50, 50
INK, GRID, P50, P99, REACHED, MISSED = "#222222", "#d9dee3", "#2a6f97", "#c1121f", "#5a8f5a", "#c1121f"
ROW = 26

LATENCY_LEFT, LATENCY_TALL = 70, 260


def latency(rounds: Sequence[Mapping[str, Any]]) -> str:
    """p50 and p99 of an accept by the rate that is offered, of `benchmarks.latency`'s rounds: medians and spread."""
    offered = [one["by_load"]["offered"] for one in rounds]
    parts = sorted(offered[0], key=float)
    seen = {part: [one[part] for one in offered] for part in parts}
    rates = [statistics.median(one["offered_per_s"] for one in seen[part]) for part in parts]
    most_ms = max(one["accepted_p99_ms"] for each in seen.values() for one in each)
    across = _Scale(0, max(rates), LATENCY_LEFT, WIDTH - RIGHT)
    down = _Scale(0, most_ms, TOP + LATENCY_TALL, TOP)
    body = [
        _text(LATENCY_LEFT, 24, "An accept by the rate that is offered, ms", size=15),
        _text(WIDTH - RIGHT, TOP + LATENCY_TALL + 36, "requests offered a second", anchor="end"),
        _line(LATENCY_LEFT, down.at(0), WIDTH - RIGHT, down.at(0), INK),
        _text(LATENCY_LEFT - 8, down.at(0), "0", anchor="end"),
        _text(LATENCY_LEFT - 8, down.at(most_ms) + 4, number(most_ms), anchor="end"),
    ]
    for part, rate in zip(parts, rates, strict=True):
        label = f"{number(rate)} ({float(part):.0%})"
        body.append(_text(across.at(rate), TOP + LATENCY_TALL + 18, label, anchor="middle"))
    for place, (rank, colour) in enumerate((("p50", P50), ("p99", P99))):
        values = [[one[f"accepted_{rank}_ms"] for one in seen[part]] for part in parts]
        points = [
            (across.at(rate), down.at(statistics.median(each)))
            for rate, each in zip(rates, values, strict=True)
        ]
        joined = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        body.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for (x, y), each in zip(points, values, strict=True):
            body += [_line(x, down.at(min(each)), x, down.at(max(each)), colour), _dot(x, y, colour)]
        body.append(_text(LATENCY_LEFT + 20 + 60 * place, TOP + 4, rank, colour=colour))
    return _picture("An accept by the rate that is offered", TOP + LATENCY_TALL + BOTTOM, body)


def wanted(measures: Sequence[Measure]) -> str:
    """Every measure of which something is wanted: its median and spread against "at least" (1) and "aim"."""
    rows = [one for one in measures if one.at_least and min(one.values) > 0]
    seen = [value for one in rows for value in _parts(one)]
    scale = _Scale(
        math.log(min([*seen, 0.5]) * 0.9), math.log(max([*seen, 2]) * 1.1), LEFT, WIDTH - RIGHT, math.log
    )
    height = TOP + ROW * len(rows) + BOTTOM
    body = [_text(20, 24, 'How far it is from "at least" (1): to the right is better', size=15)]
    for tick in (0.25, 0.5, 1, 2, 4):
        if LEFT <= scale.at(tick) <= WIDTH - RIGHT:
            body.append(
                _line(scale.at(tick), TOP - 8, scale.at(tick), height - BOTTOM, INK if tick == 1 else GRID)
            )
            body.append(_text(scale.at(tick), height - BOTTOM + 18, f"{tick:g}", anchor="middle"))
    for place, one in enumerate(rows):
        body += _row(one, TOP + ROW * place + ROW / 2, scale)
    body.append(_text(WIDTH - RIGHT, height - 12, "| aim   ● median   — spread of the rounds", anchor="end"))
    return _picture("Measured against what is wanted", height, body)


def _row(one: Measure, y: float, scale: _Scale) -> Iterator[str]:
    median, low, high, *aim = (scale.at(value) for value in _parts(one))
    colour = REACHED if one.reaches(one.at_least) else MISSED
    yield _text(LEFT - 12, y + 4, f"{one.name}: {number(one.median)}", anchor="end")
    yield _line(low, y, high, y, colour)
    yield _dot(median, y, colour)
    for x in aim:
        yield _line(x, y - 8, x, y + 8, INK)


def _parts(one: Measure) -> list[float]:
    """Median, worst, best, and the aim if there is one, each as a part of "at least"; more is better."""
    assert one.at_least
    values = [one.median, min(one.values), max(one.values), *([one.aim] if one.aim else [])]
    return [one.at_least / value if one.less else value / one.at_least for value in values]


class _Scale:
    """From values to places; `by`: of what the places are a straight function."""

    def __init__(self, low: float, high: float, first: float, last: float, by: Any = float) -> None:
        self._low, self._first, self._by = low, first, by
        self._step = (last - first) / ((high - low) or 1)

    def at(self, value: float) -> float:
        return float(self._first + (self._by(value) - self._low) * self._step)


def _picture(title: str, height: float, body: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {_n(height)}" width="{WIDTH}" '
            f'height="{_n(height)}" font-family="system-ui, sans-serif" font-size="12" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{_n(height)}" fill="#ffffff"/>',
            *body,
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, colour: str = INK) -> str:
    at = f'x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f"<text {at}>{escape(text)}</text>"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<path d="M{_n(x1)} {_n(y1)}L{_n(x2)} {_n(y2)}" stroke="{colour}" stroke-width="1.5"/>'


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="4" fill="{colour}"/>'


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
