"""Points at which a process can be caught and killed: in the sink's dialogue, or with the database held fast."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import psycopg
from sqlalchemy import make_url

from tests.faults.audit import look
from tests.faults.children import Child
from tests.support.smtp_script import At, Do, Turn

CAUGHT_MAX_S = 30.0


class Trap:
    """A script for a sink: it does `do` at this point the next time a message for `key` gets there, and says so.

    Before a recipient is known (greeting, EHLO, MAIL) it is whoever comes first. `first` is called before anything
    is answered, in the sink's thread.
    """

    def __init__(self, at: At, key: str, do: Do, first: Callable[[], object] = str) -> None:
        self._at = at
        self._key = key
        self._do = do
        self._first = first
        self._sprung = threading.Event()

    def __call__(self, turn: Turn) -> Do | None:
        if turn.at is not self._at or self._sprung.is_set() or not self._is_meant(turn):
            return None
        self._first()
        self._sprung.set()
        return self._do

    def wait(self) -> None:
        """Block until somebody is in it."""
        assert self._sprung.wait(CAUGHT_MAX_S), f"nobody came to {self._at}"

    def _is_meant(self, turn: Turn) -> bool:
        known = (turn.argument, *turn.rcpt_tos) if turn.at is At.RCPT else turn.rcpt_tos
        return not known or any(self._key in one for one in known)


@contextmanager
def held_fast(database: str) -> Iterator[None]:
    """While inside, nobody else can record anything; reading goes on."""
    url = make_url(database)
    if url.get_backend_name() == "sqlite":
        held = sqlite3.connect(str(url.database), timeout=10, isolation_level=None, check_same_thread=False)
        with closing(held) as sqlite:
            sqlite.execute("BEGIN IMMEDIATE")
            yield
            with suppress(sqlite3.Error):
                sqlite.execute("ROLLBACK")
    else:
        with psycopg.connect(database) as postgres:
            postgres.execute("LOCK TABLE events IN EXCLUSIVE MODE")
            yield
            postgres.rollback()


def holds_some(database: str, worker: Child) -> bool:
    """Whether it has attempts open."""
    named = f"worker LIKE '%-{worker.process.pid}-%'"
    return bool(look(database, f"SELECT 1 FROM attempts WHERE outcome = 'open' AND {named} LIMIT 1"))


def lost_all(database: str, worker: Child) -> bool:
    """Whether somebody has closed them."""
    return not holds_some(database, worker)


def is_caught(database: str, worker: Child) -> bool:
    """Freeze it; let it go on for a moment where it has nothing in its hands just now."""
    worker.signal(signal.SIGSTOP)
    if holds_some(database, worker):
        return True
    worker.signal(signal.SIGCONT)
    return False
