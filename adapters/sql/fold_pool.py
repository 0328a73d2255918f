"""Reading a whole log in processes of their own: half of a fold is reading, the other half is Python."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

from adapters.sql.dialect import Sql
from adapters.sql.engine import Database, Session
from adapters.sql.folding import Folded, fold, spans
from application.ports import StoreUnavailable

T = TypeVar("T")

WORKERS_MAX = 4
"""More readers than that are in each other's way."""

ALONE_EVENTS = 200_000
"""A shorter log is folded before other processes would have started and been of any use."""

AHEAD = 2
"""Pieces of work handed out for each process: none waits for the next, and little piles up."""

# An index is walked whose rows lie anywhere: with a smaller cache (KiB), most pages are read twice. Mapped (octets),
# they aren't even copied, which halves the time it takes to read. Not where mail is taken: of a file that somebody
# cuts off, what was mapped ends the process.
READING_MUCH = (Sql("PRAGMA cache_size = -64000"), Sql("PRAGMA mmap_size = 1099511627776"))


Job = Callable[[Database], T]
"""A piece of work on the database, which another process can be handed."""


def folded(database: Database, events: int, *, compare: bool, workers: int | None = None) -> Iterator[Folded]:
    """Every span of the log, of about so many events, in the order in which they are done.

    `workers`: see `worked`. Raises StoreUnavailable.
    """
    jobs = (partial(fold, span=span, compare=compare) for span in spans(events))
    return worked(database, jobs, workers_for(events, ALONE_EVENTS) if workers is None else workers)


def workers_for(events: int, alone: int) -> int:
    """How many processes read so many events fastest; up to `alone` it is none but this one: 0."""
    return min(WORKERS_MAX, os.cpu_count() or 1) if events > alone else 0


def worked(database: Database, jobs: Iterable[Job[T]], workers: int) -> Iterator[T]:
    """What each piece of work gives, in the order in which they are done; they begin in their own order.

    `workers`: processes, which only read; 0: none, it is done here. Raises StoreUnavailable.
    """
    if workers == 0:
        for job in jobs:
            yield job(database)
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
        yield from _each(pool, iter(jobs), workers * AHEAD)
    except BrokenProcessPool as error:
        raise StoreUnavailable("a process that read the log was ended from outside") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _each(pool: ProcessPoolExecutor, waiting: Iterator[Job[T]], ahead: int) -> Iterator[T]:
    def submitted(count: int) -> set[Future[T]]:
        return {pool.submit(_work, job) for job in islice(waiting, count)}

    running = submitted(ahead)
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for one in done:
            running |= submitted(1)
            yield one.result()


_database: Database


def _begin(url: str) -> None:
    """What a process of the pool does first."""
    global _database
    gc.disable()  # rows hold no circles: looking for them was a sixth of a fold
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us is told, and ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _database = Database(url, read_only=True)
    if _database.kind == "sqlite":
        _database.read(_read_much)


def _read_much(session: Session) -> None:
    for pragma in READING_MUCH:
        session.run(pragma)


def _end_with_parent() -> None:
    """Nobody tells us to end where our parent was killed."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _work(job: Job[T]) -> T:
    return job(_database)
