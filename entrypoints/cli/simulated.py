"""What a simulation found, for people at a terminal: tables, and a timeline."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from application.simulate_results import PERCENTS, Line, Outage, Results
from application.simulate_scenario import Scenario
from domain.circuit import Phase
from entrypoints.cli.output import columns, printable
from entrypoints.quantities import length, pace

if TYPE_CHECKING:
    from rich.console import RenderableType

BARS, PLAIN_BARS = " ▁▂▃▄▅▆▇█", " .:-=+*%#"
"""From nothing to most; the second where the output can't show the first."""

OPEN, PLAIN_OPEN = "━", "x"
"""A circuit that is open."""

OUTAGES_MAX = 12
"""Open circuits that are told one by one; JSON has all."""

TICK_STEPS = 12
"""The timeline is marked every so many steps."""


def parts(scenario: Scenario, runs: Mapping[str, Results]) -> list[RenderableType]:
    """All that is to be shown; `runs` by the name of their configuration."""
    shown: list[RenderableType] = [_head(scenario)]
    if len(runs) > 1:
        shown += ["", _compared(runs)]
    for name, found in runs.items():
        shown += ["", printable(name)] if len(runs) > 1 else []
        shown += _run(found)
    return shown


def _head(scenario: Scenario) -> str:
    bursts = "".join(f", {one.count} at once after {length(one.at_s)}" for one in scenario.bursts)
    workers = "1 worker" if scenario.workers == 1 else f"{scenario.workers} workers"
    lasts = length(scenario.lasts.total_seconds())
    return f"{pace(scenario.per_s)} for {lasts}{bursts}; {workers}, seed {scenario.seed}; simulated, nothing is sent"


def _compared(runs: Mapping[str, Results]) -> RenderableType:
    """A row for each number, a column for each configuration."""
    rows: list[tuple[str, Callable[[Results], str]]] = [
        ("emails requested", lambda one: str(one.whole.requested)),
        ("sent", lambda one: str(one.whole.sent)),
        ("failed", lambda one: str(one.whole.failed)),
        ("held at the end", lambda one: str(one.held)),
        ("refused: too many waited", lambda one: str(one.refused)),
        (
            "delay " + " / ".join(f"p{each}" for each in PERCENTS),
            lambda one: " / ".join(_delays(one.whole)[:-1]),
        ),
        ("longest delay", lambda one: _delays(one.whole)[-1]),
        ("waiting at most", lambda one: str(one.waiting_most)),
        ("attempts", lambda one: str(one.whole.attempts)),
        ("attempts failed", lambda one: str(one.whole.attempts_failed.total())),
        ("possible duplicates", lambda one: str(one.risks)),
        ("real duplicates", lambda one: str(one.duplicates)),
        ("circuits opened", lambda one: str(one.opened.total())),
    ]
    cells = [(title, *(tell(one) for one in runs.values())) for title, tell in rows]
    return columns(cells, head=("", *runs))


def _run(found: Results) -> list[RenderableType]:
    if not found.whole.requested and not found.refused:
        return ["", "no email came in"]
    return [
        "",
        _emails(found),
        "",
        _providers(found),
        *_routes(found),
        *_sentences(found),
        *_limits(found),
        *_outages(found),
        *_timeline(found),
    ]


def _emails(found: Results) -> RenderableType:
    whole = found.whole
    head = ["emails", "sent", "failed", "held", *_percents(), "longest", "waiting at most"]
    row = [str(whole.requested), str(whole.sent), str(whole.failed), str(found.held)]
    return columns([[*row, *_delays(whole), str(found.waiting_most)]], head=head)


def _providers(found: Results) -> RenderableType:
    head = [
        "provider",
        "sent",
        "attempts",
        "failed",
        "uncertain",
        *_percents(),
        "longest",
        "circuit opened",
        "open for",
    ]
    rows = [
        [
            name,
            str(line.sent),
            str(line.attempts),
            str(line.attempts_failed.total()),
            str(line.uncertain),
            *_delays(line),
            str(found.opened[name]),
            length(found.open_s[name]) if name in found.open_s else "-",
        ]
        for name, line in found.providers.items()
    ]
    return columns(rows, head=head)


def _routes(found: Results) -> list[RenderableType]:
    if len(found.routes) < 2:
        return []
    head = ["route", "emails", "sent", "failed", *_percents(), "longest"]
    rows = [
        [name, str(line.requested), str(line.sent), str(line.failed), *_delays(line)]
        for name, line in sorted(found.routes.items())
    ]
    return ["", columns(rows, head=head)]


def _sentences(found: Results) -> list[RenderableType]:
    """What isn't always so."""
    rows = []
    if found.reasons:
        rows.append(("emails failed", _counts(found.reasons)))
    if found.refused:
        rows.append(("refused", f"{found.refused}, since queue_max emails waited"))
    if found.whole.attempts_failed:
        rows.append(("attempts failed", _counts(found.whole.attempts_failed)))
    if found.switches:
        switches = {f"{one} to {other}: {why}": n for (one, other, why), n in found.switches.items()}
        rows.append(("switched", _counts(switches)))
    if found.risks or found.whole.uncertain:
        rows.append(("duplicates", f"{found.risks} possible, {found.duplicates} real"))
    if found.ended_s > found.lasts.total_seconds() + found.step_s:
        rows.append(("all over", f"after {length(found.ended_s)}"))
    return ["", columns(rows)] if rows else []


def _limits(found: Results) -> list[RenderableType]:
    rows = [
        [use.whose, use.limit, str(use.most), f"{use.full / use.looks:.1%}" if use.full else "-"]
        for use in found.uses
        if use.looks
    ]
    return ["", columns(rows, head=["limit of", "allows", "used at most", "full"])] if rows else []


def _outages(found: Results) -> list[RenderableType]:
    outages = found.outages()
    if not outages:
        return []
    rows = [("circuit open", *_outage(one)) for one in outages[:OUTAGES_MAX]]
    more = [f"and {len(outages) - OUTAGES_MAX} more, in --json"] if len(outages) > OUTAGES_MAX else []
    return ["", columns(rows), *more]


def _outage(one: Outage) -> tuple[str, str, str]:
    ends = "the end" if one.ends_s is None else length(one.ends_s)
    probes = f", {one.openings - 1} probes failed" if one.openings > 1 else ""
    return one.provider, f"{length(one.begins_s)} to {ends}", f"{one.reason.replace('_', ' ')}{probes}"


def _timeline(found: Results) -> list[RenderableType]:
    """Lines of bars, each on a scale of its own, and when circuits were open."""
    steps = [found.steps[number] for number in range(found.shown)]
    lines: list[tuple[str, Sequence[int]]] = [("emails in", [one.requested for one in steps])]
    lines += [(f"{name} sent", [one.sent[name] for one in steps]) for name in found.providers]
    lines += [("waiting", [one.waiting for one in steps]), ("failed", [one.failed for one in steps])]
    rows = []
    for title, counts in lines:
        if any(counts):
            rows.append((title, f"|{''.join(_bars(counts))}|", f"most: {max(counts)}"))
            rows += _circuit(found, title.removesuffix(" sent"))
    rows += [("", f" {_ticks(found)}", "")]
    step = length(found.step_s)
    return ["", f"a bar for each {step}", columns(rows)]


def _circuit(found: Results, provider: str) -> Iterator[tuple[str, str, str]]:
    if found.opened[provider]:
        sign = OPEN if _shows(OPEN) else PLAIN_OPEN
        line = "".join(sign if one is Phase.OPEN else " " for one in found.phases(provider))
        yield "  circuit open", f"|{line}|", ""


def _bars(counts: Sequence[int]) -> Iterator[str]:
    """Anything at all is seen."""
    signs, most = BARS if _shows(BARS) else PLAIN_BARS, max(counts)
    for n in counts:
        yield signs[0 if n == 0 else max(1, n * (len(signs) - 1) // most)]


def _ticks(found: Results) -> str:
    marks = range(0, found.shown, TICK_STEPS)
    return "".join(f"{length(step * found.step_s):<{TICK_STEPS}}" for step in marks).rstrip()


def _shows(signs: str) -> bool:
    try:
        signs.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _percents() -> list[str]:
    return [f"p{percent}" for percent in PERCENTS]


def _delays(line: Line) -> list[str]:
    """The percentiles and the longest."""
    if not line.delays.counts:
        return ["-"] * (len(PERCENTS) + 1)
    found = [line.delays.percentile(percent) for percent in PERCENTS]
    return [_delay(one) for one in (*found, line.delays.longest)]


def _delay(delay: timedelta | None) -> str:
    return "-" if delay is None else length(delay.total_seconds())


def _counts(counts: Mapping[str, int]) -> str:
    """The most first."""
    found = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in found)
