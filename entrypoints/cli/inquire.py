"""`status` and `explain`: what there is to know about one email, read beside whoever is writing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import Parameter

from application.explain import Explanation
from application.projections.emails import Status
from application.queries import AttemptRow, StatusRow
from application.reading import Reader
from domain.errors import NotRequested
from entrypoints import shapes
from entrypoints.bootstrap import open_reader
from entrypoints.cli.database import database_errors
from entrypoints.cli.options import AsJson, ConfigFile, configuration
from entrypoints.cli.output import CannotDo, clock, columns, print_json, printable, show
from entrypoints.config import Config

if TYPE_CHECKING:
    from rich.text import Text

T = TypeVar("T")
Ref = Annotated[str, Parameter(name="ID", help="The id that the request had, or the email_id that it got.")]
COLOURS = {
    Status.SENT: "green",
    Status.RETRYING: "yellow",
    Status.UNCERTAIN: "yellow",
    Status.HELD: "red",
    Status.FAILED: "red",
}


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
        return ask(configuration(config), question)
    except NotRequested as error:
        raise CannotDo(f"{ref}: {error.reason}") from error


def _print_card(row: StatusRow) -> None:
    facts = [("email_id", row.email_id), ("requested", clock(row.requested_at))]
    facts += [("updated", clock(row.updated_at)), ("next", clock(row.next_at)), ("route", row.route)]
    show(_headline(row.id, row.status, by=row.provider), columns(facts, indent=2))
    if row.attempts:
        head = ("attempt", "provider", "outcome", "kind", "code", "started", "took")
        show("", columns([_attempt(one) for one in row.attempts], head=head, indent=2))
    recipients = [(str(index), outcome) for index, outcome in enumerate(row.recipients)]
    show("", columns(recipients, head=("recipient", "outcome"), indent=2))


def _headline(ref: str, status: Status, *, by: str | None = None) -> Text:
    from rich.text import Text

    text = Text.assemble((printable(ref), "bold"), ": ", (status.value, COLOURS.get(status, "cyan")))
    return text.append(f" by {by}" if by is not None and status is Status.SENT else "")


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
    story = columns([(_moment(line.at), line.text) for line in told.lines], indent=2)
    show(_headline(ref, told.status), "", story, "", columns([("next:", told.next)]))


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(" ", "milliseconds").replace("+00:00", "Z")


def _length(length: timedelta) -> str:
    seconds = length.total_seconds()
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
