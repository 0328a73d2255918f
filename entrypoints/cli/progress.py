"""A progress bar on standard error, for whoever waits at a terminal; nobody else sees one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Told = Callable[[str, int, int | None], None]
"""Hears what is being done, how far it is, and how far it will go, where that is known."""


@contextmanager
def progress() -> Iterator[Told]:
    """A bar for each thing that is being done. They are gone once the block has ended."""
    if not sys.stderr.isatty():
        yield lambda label, done, whole: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    parts = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*parts, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def told(label: str, done: int, whole: int | None) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=whole)
            bars.update(tasks[label], completed=done, total=whole)

        yield told
