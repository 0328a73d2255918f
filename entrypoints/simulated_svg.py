"""What a simulation found, as a picture (SVG): the same timeline as at the terminal, and nothing from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from application.simulate_results import Results
from application.simulate_scenario import Scenario
from domain.circuit import Phase
from entrypoints.quantities import length, pace

WIDTH, LEFT, RIGHT = 960, 130, 30
PANEL, STRIP, GAP, HEAD = 130, 12, 26, 44
PLOT = WIDTH - LEFT - RIGHT
COLOURS = ("#2a6f97", "#e09f3e", "#5a8f5a", "#8e5ea2", "#4d908e", "#b56576", "#7f7f7f", "#c2a878")
FAILED, WAITING, INCOMING = "#c1121f", "#9aa5b1", "#222222"
TICK_STEPS = 12


def drawn(scenario: Scenario, runs: Mapping[str, Results]) -> str:
    """The picture; `runs` by the name of their configuration, one below the other."""
    body: list[str] = []
    y = 0.0
    for name, found in runs.items():
        y = _run(body, scenario, name, found, y)
    height = round(y + GAP)
    title = f"{pace(scenario.per_s)} for {length(scenario.lasts.total_seconds())}, simulated with {', '.join(runs)}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" font-family="system-ui, sans-serif" font-size="12" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *body,
            "</svg>\n",
        ]
    )


def _run(body: list[str], scenario: Scenario, name: str, found: Results, y: float) -> float:
    """Draw one run from `y` on; where it ends."""
    colours = {one: COLOURS[n % len(COLOURS)] for n, one in enumerate(found.providers)}
    steps = [found.steps[number] for number in range(found.shown)]
    body.append(_text(LEFT, y + 24, name, size=15))
    _legend(body, colours, y + 24)
    y += HEAD
    sent = {one: [step.sent[one] for step in steps] for one in colours}
    incoming = [step.requested for step in steps]
    stacks = [(colours[one], counts) for one, counts in sent.items()]
    stacks.append((FAILED, [step.failed for step in steps]))
    most = max(1, *incoming, *(sum(each) for each in zip(*(counts for _, counts in stacks), strict=True)))
    body += _axis(y, f"emails in {length(found.step_s)}", most)
    body += _stacked(stacks, y, most)
    body.append(_line(incoming, y, most))
    y += PANEL + GAP
    waiting = [step.waiting for step in steps]
    body += _axis(y, "waiting", max(1, *waiting))
    body += _stacked([(WAITING, waiting)], y, max(1, *waiting))
    y += PANEL + GAP / 2
    for one, colour in colours.items():
        body.append(_text(LEFT - 8, y + STRIP - 2, f"{one} circuit", anchor="end"))
        body.append(_rect(LEFT, y, PLOT, STRIP, "#eef1f4"))
        body += _open(found, one, colour, y)
        y += STRIP + 6
    body += _ticks(found, y + 10)
    return y + 16


def _legend(body: list[str], colours: Mapping[str, str], y: float) -> None:
    x = WIDTH - RIGHT
    for name, colour in (("came in", INCOMING), ("failed", FAILED), *reversed(tuple(colours.items()))):
        body.append(_text(x, y, name, anchor="end"))
        x -= 7 * len(name) + 8
        body.append(_rect(x - 10, y - 9, 10, 10, colour))
        x -= 24


def _axis(y: float, title: str, most: int) -> Iterator[str]:
    yield _text(LEFT - 8, y + 10, str(most), anchor="end")
    yield _text(LEFT - 8, y + PANEL / 2 + 4, title, anchor="end")
    yield _text(LEFT - 8, y + PANEL, "0", anchor="end")
    yield f'<path d="M{LEFT} {_n(y)}V{_n(y + PANEL)}H{WIDTH - RIGHT}" fill="none" stroke="#444444"/>'


def _stacked(stacks: Sequence[tuple[str, Sequence[int]]], y: float, most: int) -> Iterator[str]:
    """Bars, one part above the other."""
    width = PLOT / len(stacks[0][1])
    below = [0] * len(stacks[0][1])
    for colour, counts in stacks:
        for step, count in enumerate(counts):
            if count:
                tall = PANEL * count / most
                bottom = y + PANEL * (1 - below[step] / most)
                yield _rect(LEFT + step * width, bottom - tall, width - 1, tall, colour)
                below[step] += count


def _line(counts: Sequence[int], y: float, most: int) -> str:
    width = PLOT / len(counts)
    points = " ".join(
        f"{_n(LEFT + (step + 0.5) * width)},{_n(y + PANEL * (1 - count / most))}"
        for step, count in enumerate(counts)
    )
    return f'<polyline points="{points}" fill="none" stroke="{INCOMING}" stroke-width="1.5"/>'


def _open(found: Results, provider: str, colour: str, y: float) -> Iterator[str]:
    width = PLOT / found.shown
    for step, phase in enumerate(found.phases(provider)):
        if phase is Phase.OPEN:
            yield _rect(LEFT + step * width, y, width, STRIP, colour)


def _ticks(found: Results, y: float) -> Iterator[str]:
    for step in range(0, found.shown + 1, TICK_STEPS):
        anchor = "start" if step == 0 else "middle" if step < found.shown else "end"
        yield _text(LEFT + PLOT * step / found.shown, y, length(step * found.step_s), anchor=anchor)


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" fill="{fill}"/>'


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
