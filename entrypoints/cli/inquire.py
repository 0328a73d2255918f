"""`status` and `explain`: what there is to know about one email, read beside whoever is writing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Parameter

from application.explain import Explanation
from application.queries import AttemptRow, StatusRow
from application.reading import Reader
from domain.errors import NotRequested
from entrypoints import shapes
from entrypoints.bootstrap import open_reader
from entrypoints.cli.database import database_errors
from entrypoints.cli.options import AsJson, ConfigFile
from entrypoints.cli.output import CannotDo, clock, columns, console, print_json
from entrypoints.config import Config, load_config

T = TypeVar("T")
Ref = Annotated[str, Parameter(name="ID", help="The id that the request had, or the email_id that it got.")]
COLOURS = {"sent": "green", "failed": "red", "held": "red", "uncertain": "yellow", "retrying": "yellow"}


def status(ref: Ref, /, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show how an email stands."""
    row = _ask(config, lambda reader: reader.status(ref), ref)
    if as_json:
        print_json(shapes.status(row))
    else:
        _print_card(row)


def explain(ref: Ref, /, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Tell what happened to an email, why, and what comes next."""
    told = _ask(config, lambda reader: reader.explain(ref), ref)
    if as_json:
        print_json(shapes.explanation(told))
    else:
        _print_story(ref, told)


def ask(config: Config, question: Callable[[Reader], Awaitable[T]]) -> T:
    """The answer to one question to the database. Raises CannotDo where it can't be read."""

    async def answer() -> T:
        opened = open_reader(config)
        try:
            return await question(opened.reader)
        finally:
            await opened.close()

    with database_errors():
        return asyncio.run(answer())


def _ask(config: Path | None, question: Callable[[Reader], Awaitable[T]], ref: str) -> T:
    try:
        return ask(load_config(config), question)
    except NotRequested as error:
        raise CannotDo(f"{ref}: {error.reason}") from error


def _print_card(row: StatusRow) -> None:
    from rich.text import Text

    out = console()
    by = f" by {row.provider}" if row.status.value == "sent" else ""
    out.print(Text.assemble((row.id, "bold"), ": ", (row.status.value, COLOURS.get(row.status, "cyan")), by))
    facts = [("email_id", row.email_id), ("requested", clock(row.requested_at))]
    facts += [("updated", clock(row.updated_at)), ("next", clock(row.next_at)), ("route", row.route)]
    out.print(columns(facts, indent=2))
    if row.attempts:
        out.print()
        head = ("attempt", "provider", "outcome", "kind", "code", "started", "took")
        out.print(columns([_attempt(one) for one in row.attempts], head=head, indent=2))
    out.print()
    recipients = [(str(index), outcome) for index, outcome in enumerate(row.recipients)]
    out.print(columns(recipients, head=("recipient", "outcome"), indent=2))


def _attempt(one: AttemptRow) -> tuple[str, ...]:
    took = "" if one.finished_at is None else _length(one.finished_at - one.started_at)
    return (
        str(one.attempt),
        one.provider,
        one.outcome,
        one.kind or "",
        one.code or "",
        clock(one.started_at),
        took,
    )


def _print_story(ref: str, told: Explanation) -> None:
    from rich.text import Text

    out = console()
    out.print(Text.assemble((ref, "bold"), ": ", (told.status.value, COLOURS.get(told.status, "cyan"))))
    out.print()
    out.print(columns([(_moment(line.at), line.text) for line in told.lines], indent=2))
    out.print()
    out.print(columns([("next:", told.next)]))


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")


def _length(length: timedelta) -> str:
    seconds = length.total_seconds()
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
