"""What commands print, and how they fail: answers on standard output, one line about an error on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

FINE, NOT, USAGE = 0, 1, 2
"""Exit codes: it is so or was done; it isn't, or can't be done; the command or the configuration is wrong."""

WIDTH_OF_FILES = 250
"""Columns where nobody looks on: a pipe gets whole lines, however narrow the terminal behind it."""


class CannotDo(Exception):
    """The command can't do what it was asked (exit 1). The message says what to do instead."""


class BadUsage(Exception):
    """The command was asked for something that makes no sense (exit 2)."""


def print_json(shape: Mapping[str, Any]) -> None:
    """One JSON document on one line."""
    print(json.dumps(shape))


def print_error(text: str) -> None:
    """One line on standard error."""
    print("stagepost:", printable(" ".join(text.split())), file=sys.stderr)


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, aligned."""
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f"{name:<{width}}  {printable(value)}".rstrip())


def show(*parts: RenderableType) -> None:
    """Print what `columns` made, and texts, one below the other; an empty one is an empty line."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDTH_OF_FILES
    # What providers say is no markup.
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(*parts, sep="\n")
    for line in captured.get().splitlines():
        print(line.rstrip())


def columns(rows: Sequence[Sequence[str]], *, head: Sequence[str] = (), indent: int = 0) -> RenderableType:
    """Aligned columns; the last one wraps where the terminal ends."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=bool(head), header_style="dim")
    count = max(len(head), *(len(row) for row in rows))
    for number in range(count):
        title = head[number] if head else ""
        table.add_column(title, no_wrap=number < count - 1, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return Padding(table, (0, 0, 0, indent), expand=False)


def printable(text: str) -> str:
    """The text without anything that a terminal would obey instead of showing."""
    return "".join(one if one.isprintable() else "�" for one in text)


def moment(at: datetime) -> str:
    """A time for people who compare it with others, to the millisecond, UTC."""
    return at.astimezone(UTC).isoformat(" ", "milliseconds").replace("+00:00", "Z")


def clock(at: datetime | None) -> str:
    """A time for people, UTC."""
    return "-" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
