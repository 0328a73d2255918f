"""`report`: what was sent and how it went, as tables and plots, JSON or CSV."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from application.projections.reports import HOUR, Measure
from application.report_ports import By, Span, TooMuch
from application.report_reading import Report, ReportRow
from entrypoints import shapes
from entrypoints.bootstrap import open_reader
from entrypoints.cli.database import database_errors
from entrypoints.cli.options import AsJson, ConfigFile, configuration
from entrypoints.cli.output import BadUsage, columns, print_json, printable, show
from entrypoints.config import Config
from entrypoints.report_query import SINCE_DEFAULT, parse_span

if TYPE_CHECKING:
    from rich.console import RenderableType

Since = Annotated[
    str, Parameter(help="From when on: '24h' or '7d' before now, '2026-11-24', '2026-11-24T18:00:00Z'.")
]
SplitBy = Annotated[By, Parameter(help="What to tell apart. An email with several tags counts for each.")]
AsCsv = Annotated[bool, Parameter(name="--csv", negative="", help="Print CSV: a row by hour and name.")]

NOBODY = {By.PROVIDER: "(no attempt)"}
"""How a row without a name is called."""

BARS, PLAIN_BARS = " ▁▂▃▄▅▆▇█", " .:-=+*%#"
"""From nothing to most; the second where the output can't show the first."""

WIDTH_ALONE = 120
"""Columns that a plot may take where there is no terminal."""

NAMES_MAX = 30
"""Names that people are shown, those with the most; JSON and CSV have all."""

EMAILS = ((Measure.REQUESTED, "requested"), (Measure.SENT, "sent"), (Measure.FAILED, "failed"))
ATTEMPTS = (
    (Measure.ATTEMPTS, "attempts"),
    (Measure.ATTEMPTS_FAILED, "failed"),
    (Measure.UNCERTAIN, "uncertain"),
    (Measure.SWITCHES, "switches"),
    (Measure.DUPLICATES_ACCEPTED, "duplicates"),
)
KINDS = (
    (Measure.ATTEMPTS_FAILED, "attempts failed"),
    (Measure.UNCERTAIN, "uncertain"),
    (Measure.SWITCHES, "switches"),
    (Measure.FAILED, "emails failed"),
)
PLOTTED = {By.KIND: Measure.ATTEMPTS_FAILED}
"""What the plot is of; else of what was sent."""


def report(
    *,
    since: Since = SINCE_DEFAULT,
    by: SplitBy = By.PROVIDER,
    config: ConfigFile = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Count what was sent, and how it went, by the hour."""
    if as_json and as_csv:
        raise BadUsage("--json and --csv exclude each other")
    span, errors = parse_span(since, None, datetime.now(UTC))
    if span is None:
        raise BadUsage("; ".join(f"--{name} {message}" for name, message in errors.items()))
    found = _read(configuration(config), span, by)
    if as_json:
        print_json(_shape(found))
    elif as_csv:
        _print_csv(found)
    else:
        _print(found)


def _read(config: Config, span: Span, by: By) -> Report:
    async def read() -> Report:
        opened = open_reader(config)
        try:
            return await opened.reports.report(span, by)
        finally:
            await opened.close()

    with database_errors():
        try:
            return asyncio.run(read())
        except TooMuch:
            raise BadUsage("that is more than one answer holds; give a later --since") from None


def _shape(found: Report) -> shapes.Shape:
    return {
        "by": found.by.value,
        **shapes.report_head(found.span, found.lag),
        "totals": [shapes.report_row(row, found.by) for row in found.totals],
        "hourly": [shapes.report_row(row, found.by) for row in found.hourly],
    }


def _print_csv(found: Report) -> None:
    rows = [_flat(shapes.report_row(row, found.by)) for row in found.hourly]
    blank = ReportRow(
        hour=found.span.since, name="", counts=dict.fromkeys(Measure, 0), delay=None, open_seconds=0
    )
    names = list(_flat(shapes.report_row(blank, found.by)))
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _flat(row: shapes.Shape) -> shapes.Shape:
    """The row with percentiles as columns of their own."""
    if "delay_ms" not in row:
        return row
    delay = row["delay_ms"] or dict.fromkeys(("p50", "p95", "p99"))
    flat: shapes.Shape = {}
    for name, value in row.items():
        flat |= {f"{one}_ms": delay[one] for one in delay} if name == "delay_ms" else {name: value}
    return flat


def _print(found: Report) -> None:
    head = f"{_clock(found.span.since)} to {_clock(found.span.until)} UTC, by {found.by}"
    parts: list[RenderableType] = [head]
    shown = _shown(found)
    if not shown:
        parts += ["", "nothing happened in this time"]
    elif found.by is By.KIND:
        parts += ["", _table(found.by, shown, KINDS)]
    else:
        parts += ["", _table(found.by, shown, EMAILS, delay=True)]
        tried = [one for one in shown if one.open_seconds or any(one.counts[each] for each, _ in ATTEMPTS)]
        if tried:
            parts += ["", _table(found.by, tried, ATTEMPTS, circuit=found.by is By.PROVIDER)]
    parts += _plot(found, {one.name for one in shown})
    if len(shown) == NAMES_MAX < len(found.totals):
        parts += ["", f"and {len(found.totals) - NAMES_MAX} more, in --json and --csv"]
    if found.lag.events:
        parts += [
            "",
            f"not counted yet: up to {found.lag.events} events of the last {found.lag.seconds:.0f} s",
        ]
    show(*parts)


def _shown(found: Report) -> list[ReportRow]:
    """Those with the most, in the order of their names."""
    totals = found.totals
    if found.by is By.KIND:
        totals = tuple(one for one in totals if any(one.counts[measure] for measure, _ in KINDS))
    most = sorted(totals, key=lambda one: sum(one.counts.values()), reverse=True)[:NAMES_MAX]
    return sorted(most, key=lambda one: one.name)


def _table(
    by: By,
    rows: Sequence[ReportRow],
    measures: Sequence[tuple[Measure, str]],
    *,
    delay: bool = False,
    circuit: bool = False,
) -> RenderableType:
    head = [by.value, *(title for _, title in measures)]
    head += ["p50", "p95", "p99"] if delay else []
    head += ["circuit open"] if circuit else []
    cells = []
    for one in rows:
        row = [_name(one.name, by), *(str(one.counts[measure]) for measure, _ in measures)]
        if delay:
            took = one.delay
            row += ["-"] * 3 if took is None else map(_ms, (took.p50, took.p95, took.p99))
        if circuit:
            row.append(_length(one.open_seconds))
        cells.append(row)
    return columns(cells, head=head)


def _plot(found: Report, names: Collection[str]) -> list[RenderableType]:
    """A line of bars for each name, all on one scale."""
    measure = PLOTTED.get(found.by, Measure.SENT)
    counted = [row for row in found.hourly if row.name in names and row.counts[measure]]
    if not counted:
        return []
    longest = max(len(_name(row.name, found.by)) for row in counted)
    width = get_terminal_size().columns if sys.stdout.isatty() else WIDTH_ALONE
    hours = (found.span.until - found.span.since) // HOUR
    each = -(-hours // max(10, width - longest - len("  ||  most: 1000000")))
    bars: dict[str, list[int]] = defaultdict(lambda: [0] * -(-hours // each))
    for row in counted:
        assert row.hour is not None
        bars[row.name][(row.hour - found.span.since) // HOUR // each] += row.counts[measure]
    most = max(max(line) for line in bars.values())
    signs = _signs()
    rows = [
        (_name(name, found.by), f"|{''.join(_bar(n, most, signs) for n in line)}|", f"most: {max(line)}")
        for name, line in sorted(bars.items())
    ]
    long = "hour" if each == 1 else f"{each} hours"
    return ["", f"{measure.value.replace('_', ' ')}, a bar for each {long}", columns(rows)]


def _bar(n: int, most: int, signs: str) -> str:
    """Anything at all is seen."""
    return signs[0 if n == 0 else max(1, n * (len(signs) - 1) // most)]


def _signs() -> str:
    try:
        BARS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return PLAIN_BARS
    return BARS


def _name(name: str, by: By) -> str:
    return printable(name) or NOBODY.get(by, "(none)")


def _clock(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M")


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else _length(milliseconds / 1000)


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds else "-"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    days = timedelta(seconds=seconds) / timedelta(days=1)
    return f"{seconds / 3600:.1f} h" if days < 3 else f"{days:.1f} d"
