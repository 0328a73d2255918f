"""Spans of a log folded in processes of their own: half of a fold is reading, the other half is Python."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import connection, get_context, parent_process

from adapters.sql.dialect import Sql
from adapters.sql.engine import Database
from adapters.sql.folding import Folded, Folder, Span, spans
from application.ports import StoreUnavailable

WORKERS_MAX = 4
"""More readers than that are in each other's way."""

ALONE_EVENTS = 50_000
"""A shorter log is folded before other processes would have started."""

AHEAD = 2
"""Spans handed out for each process: none waits for the next, and little piles up."""

# KiB. An index is walked whose rows lie anywhere: with less, most pages are read twice.
CACHE = Sql("PRAGMA cache_size = -64000")


def folded(database: Database, events: int, *, compare: bool, workers: int | None = None) -> Iterator[Folded]:
    """Every span of the log, of about so many events, in the order in which they are done.

    `workers`: processes; 0: none, fold here. Raises StoreUnavailable.
    """
    if workers is None:
        workers = min(WORKERS_MAX, os.cpu_count() or 1) if events > ALONE_EVENTS else 0
    if workers == 0:
        folder = Folder(database)
        for span in spans(events):
            yield folder.fold(span, compare=compare)
        return
    url = database.url.render_as_string(hide_password=False)
    pool = ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=_begin,
        initargs=(url,),
        max_tasks_per_child=None,
    )
    try:
        yield from _each(pool, iter(spans(events)), workers * AHEAD, compare)
    except BrokenProcessPool as error:
        raise StoreUnavailable("a process that read the log was ended from outside") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _each(pool: ProcessPoolExecutor, waiting: Iterator[Span], ahead: int, compare: bool) -> Iterator[Folded]:
    def submitted(count: int) -> set[Future[Folded]]:
        return {pool.submit(_fold, span, compare=compare) for span in islice(waiting, count)}

    running = submitted(ahead)
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for one in done:
            running |= submitted(1)
            yield one.result()


_folder: Folder


def _begin(url: str) -> None:
    """What a process of the pool does first."""
    global _folder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us is told, and ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    database = Database(url, read_only=True)
    if database.kind == "sqlite":
        database.read(lambda session: session.run(CACHE))
    _folder = Folder(database)


def _end_with_parent() -> None:
    """Nobody tells us to end where our parent was killed."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _fold(span: Span, *, compare: bool) -> Folded:
    return _folder.fold(span, compare=compare)
