"""`status` and `explain`: what there is to know about one email, read beside whoever is writing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import Parameter

from application.explain import Explanation, NotYetRequested
from application.projections.emails import Status
from application.queries import AttemptRow, StatusRow
from application.reading import Reader
from application.sentences import length, recipients
from domain.errors import NotRequested
from entrypoints import shapes
from entrypoints.bootstrap import open_reader
from entrypoints.cli.database import database_errors
from entrypoints.cli.options import AsJson, ConfigFile, configuration
from entrypoints.cli.output import BadUsage, CannotDo, clock, columns, moment, print_json, printable, show
from entrypoints.config import Config
from entrypoints.moments import parse_moment
from entrypoints.shapes import rfc3339

if TYPE_CHECKING:
    from rich.text import Text

T = TypeVar("T")
Ref = Annotated[str, Parameter(name="ID", help="The id that the request had, or the email_id that it got.")]
At = Annotated[
    str | None,
    Parameter(
        help="As it stood then: a time with its offset, like 2026-12-24T18:00:00Z, or how long ago, like 10m."
    ),
]
COLOURS = {
    Status.SENT: "green",
    Status.RETRYING: "yellow",
    Status.UNCERTAIN: "yellow",
    Status.HELD: "red",
    Status.FAILED: "red",
}

ERASED = "erased: it can't be sent again"


def status(ref: Ref, /, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show how an email stands."""
    row = _ask(config, lambda reader: reader.status(ref), ref)
    if as_json:
        print_json(shapes.status(row))
    else:
        _print_card(row)


def explain(ref: Ref, /, *, at: At = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Tell what happened to an email, why, and what comes next."""
    try:
        then = None if at is None else parse_moment(at, datetime.now(UTC))
    except ValueError as error:
        raise BadUsage(f"--at: {error}") from error
    try:
        told = _ask(config, lambda reader: reader.explain(ref, then), ref)
    except NotYetRequested as error:
        accepted = rfc3339(error.requested_at)
        raise CannotDo(f"{ref}: --at is too early: the email was accepted at {accepted}") from error
    if as_json:
        print_json(shapes.explanation(told))
    else:
        _print_story(told)


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
    facts += [("content", ERASED)] if row.erased else []
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
    took = "" if one.finished_at is None else length(one.finished_at - one.started_at)
    return (
        str(one.attempt),
        one.provider,
        one.outcome,
        one.kind or "",
        one.code or "",
        clock(one.started_at),
        took,
    )


def _print_story(told: Explanation) -> None:
    story = columns([(moment(line.at), line.text) for line in told.lines], indent=2)
    people: dict[str, list[int]] = {}
    for one in told.recipients:
        people.setdefault(one.text, []).append(one.index)
    fates = [(recipients(indexes), text) for text, indexes in people.items()]
    end = [("next:", told.next)]
    if told.took is not None:
        end.insert(0, ("took:", f"{length(told.took)}, from acceptance to its end"))
    if told.erased:
        end.insert(-1, ("content:", ERASED))
    head = _headline(told.id, told.status)
    show(head.append("" if told.at is None else f" (as it stood at {moment(told.at)})"), "", story, "")
    show(columns(fates, indent=2), "", columns(end))
