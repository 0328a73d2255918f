"""`tail`: the last events of the log, and what is recorded from then on, read beside whoever is writing."""

from __future__ import annotations

import asyncio
import json
import select
import sys
from collections.abc import Iterable
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from application.facts import facts, severity
from application.feed import LOOKED_AT_MAX, Feed
from application.ports import StoreUnavailable
from application.projections.emails import email_id_of
from application.recorded import CIRCUIT_PREFIX, EMAIL_PREFIX, Recorded
from application.selection import Wanted
from domain.email.events import Sent
from entrypoints import shapes
from entrypoints.bootstrap import open_reader
from entrypoints.cli.database import database_errors
from entrypoints.cli.options import AsJson, ConfigFile, configuration
from entrypoints.cli.output import BadUsage, moment, print_error, printable
from entrypoints.config import Config
from entrypoints.filters import parse_wanted

LINES = 20
LINES_MAX = 10_000
"""More than anybody reads; whoever wants it all begins with --after."""

LOOK_FOR_READER_S = 1.0
"""How often it is seen whether somebody still reads what we print, while there is nothing to print."""

TYPE_WIDTH = len("DuplicateRiskAccepted")
ID_WIDTH = 36
COLOURS = {"error": "red", "warning": "yellow", "info": ""}

Follow = Annotated[bool, Parameter(name=("--follow", "-f"), help="Go on with what is recorded from now on.")]
After = Annotated[
    int | None, Parameter(help="Begin behind this position, with the oldest; 0 is the whole log.")
]
Lines = Annotated[int | None, Parameter(help=f"How many of the last ones to begin with; default: {LINES}.")]
Types = Annotated[list[str] | None, Parameter(name="--type", help="Only this type of event, like Sent.")]
Providers = Annotated[
    list[str] | None, Parameter(name="--provider", help="Only what is about this provider.")
]
Statuses = Annotated[
    list[str] | None, Parameter(name="--status", help="Only what leaves its email in this status.")
]


def tail(
    *,
    follow: Follow = False,
    after: After = None,
    lines: Lines = None,
    types: Types = None,
    providers: Providers = None,
    statuses: Statuses = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the last events of the log, and follow it."""
    wanted = _wanted(types or (), providers or (), statuses or ())
    if after is not None and lines is not None:
        raise BadUsage("--after and --lines both say where to begin; give one of them")
    if after is not None and after < 0:
        raise BadUsage("--after: a position is 0 or more")
    if lines is not None and not 0 <= lines <= LINES_MAX:
        raise BadUsage(f"--lines: from 0 to {LINES_MAX}; all there are: --after 0")
    show = _Printer(as_json)
    work = _tail(configuration(config), wanted, LINES if lines is None else lines, after, follow, show)
    with database_errors():
        asyncio.run(work)


def _wanted(types: Iterable[str], providers: Iterable[str], statuses: Iterable[str]) -> Wanted:
    wrong: list[str] = []
    wanted = parse_wanted(
        types=types,
        providers=providers,
        statuses=statuses,
        complain=lambda field, message: wrong.append(f"--{field} {message}"),
    )
    if wrong:
        raise BadUsage("; ".join(wrong))
    return wanted


async def _tail(
    config: Config, wanted: Wanted, lines: int, after: int | None, follow: bool, show: _Printer
) -> None:
    opened = open_reader(config, _troubled)
    try:
        position = await _begin(opened.feed, wanted, lines, after, show)
        until = None if follow else position if after is None else await opened.feed.end()
        batches = opened.feed.follow(position, wanted, until=until, idle_s=LOOK_FOR_READER_S)
        async with aclosing(batches):
            async for batch in batches:
                show(batch.events)
    finally:
        await opened.close()


async def _begin(feed: Feed, wanted: Wanted, lines: int, after: int | None, show: _Printer) -> int:
    """The position to go on from, with what comes before it shown."""
    if after is not None:
        highest = await feed.highest()
        if after > highest:
            raise BadUsage(f"--after: the log ends at position {highest}")
        return after
    last = await feed.last(lines, wanted)
    show(last.events)
    if last.is_cut:
        print_error(f"only the last {LOOKED_AT_MAX} events were looked at; --after POSITION begins earlier")
    return last.position


def _troubled(error: StoreUnavailable) -> None:
    print_error(f"the database can't be read, trying again: {error}")


class _Printer:
    """Prints events as they come, one a line."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._console: Any = None
        if not as_json and sys.stdout.isatty():
            from rich.console import Console

            self._console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)

    def __call__(self, events: Iterable[Recorded]) -> None:
        for one in events:
            if self._as_json:
                print(msgspec.json.encode(shapes.logged(one)).decode())
            elif self._console is None:
                print("  ".join(_cells(one)).rstrip())
            else:
                self._in_colour(one)
        sys.stdout.flush()
        if _reader_is_gone():
            raise BrokenPipeError

    def _in_colour(self, one: Recorded) -> None:
        from rich.text import Text

        at, name, whose, what = _cells(one)
        colour = "green" if isinstance(one.event, Sent) else COLOURS[severity(one)]
        self._console.print(
            Text.assemble((at, "dim"), "  ", (name, colour), "  ", (whose, "dim"), "  ", what)
        )


def _cells(one: Recorded) -> tuple[str, str, str, str]:
    whose = (
        email_id_of(one.stream)
        if one.stream.startswith(EMAIL_PREFIX)
        else one.stream.removeprefix(CIRCUIT_PREFIX)
    )
    told = [f"{name}={_value(value)}" for name, value in facts(one).items() if value not in (None, "", [])]
    name = type(one.event).__name__
    return (
        moment(one.at),
        f"{name:<{TYPE_WIDTH}}",
        f"{printable(whose):<{ID_WIDTH}}",
        printable(" ".join(told)),
    )


def _value(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text else text


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more: writing would tell, but there may be nothing."""
    try:
        output = sys.stdout.fileno()
    except OSError:  # none of the system's
        return False
    poll = select.poll()
    poll.register(output, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
