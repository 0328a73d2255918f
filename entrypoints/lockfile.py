"""The writer's lock of a SQLite database: one process owns the file, and says who it is and where it listens.

`<database>.lock` holds one line of JSON, `{"pid": …, "url": …}`. What counts is the kernel's lock (flock), which
ends with its process however that ends; the text only says whom to talk to. **Invariant:** the file is never
removed or replaced, or two processes could each hold "the" lock, on two files of one name.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

POLL_S = 0.005
"""Between two looks at a lock somebody else holds."""
PATIENCE_S = 0.05
"""Tried this long in any case: `read` holds the lock for a moment, and a new owner needs one to write its line."""
LINE_OCTETS_MAX = 4096
"""More than a pid and a URL need, and one page: written and read in one call each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who holds the lock. `url` is none before it listens, and where it serves no HTTP at all."""

    pid: int | None
    url: str | None


class Locked(Exception):
    """Another process owns the database. `pid` is none only in the moment before it has written its line."""

    def __init__(self, database: Path, owner: Owner) -> None:
        who = "another process" if owner.pid is None else f"process {owner.pid}"
        where = "" if owner.url is None else f", which listens on {owner.url}"
        super().__init__(f"{database} is in use by {who}{where}; stop that one first")
        self.database = database
        self.pid = owner.pid
        self.url = owner.url


class Lock:
    """A lock this process holds, until `release` or the end of the process. Not inherited by programs it starts."""

    def __init__(self, descriptor: int, database: Path) -> None:
        self._descriptor: int | None = descriptor
        self.database = database

    def publish(self, url: str | None) -> None:
        """Say where this process listens; others send their writing commands there."""
        assert self._descriptor is not None, "the lock was released"
        line = json.dumps({"pid": os.getpid(), "url": url}).encode() + b"\n"
        # Written over, then cut: whoever reads in between sees a whole line and stops at its end.
        os.pwrite(self._descriptor, line, 0)
        os.ftruncate(self._descriptor, len(line))

    def release(self) -> None:
        """Let others have it. Idempotent."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_path(database: Path) -> Path:
    """Where the lock of this database file lies: beside the real file, by whatever link it was named."""
    real = database.resolve()
    return real.with_name(real.name + ".lock")


def acquire(database: Path, *, wait_s: float = 0.0, or_url: bool = False) -> Lock:
    """Take the lock, waiting up to `wait_s` seconds for it; its folder is made where it is missing.

    With `or_url` it also gives up as soon as the owner says where it listens: for commands that would rather go
    there. Raises Locked, and OSError where the file can't be made. Blocks: not for an event loop that is serving.
    """
    path = lock_path(database)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    patient_until = time.monotonic() + PATIENCE_S
    deadline = max(patient_until, time.monotonic() + wait_s)
    try:
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            now = time.monotonic()
            owner = _owner(descriptor)
            if now >= deadline or (or_url and owner.url is not None and now >= patient_until):
                raise Locked(database, owner)
            time.sleep(POLL_S)
        lock = Lock(descriptor, database)
        lock.publish(None)
    except BaseException:
        os.close(descriptor)
        raise
    return lock


def read(database: Path) -> Owner | None:
    """Who owns the database now; none if nobody does, whatever a dead process left in the file."""
    try:
        descriptor = os.open(lock_path(database), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return None if _try_lock(descriptor, fcntl.LOCK_SH) else _owner(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(descriptor: int) -> Owner:
    line = os.pread(descriptor, LINE_OCTETS_MAX, 0).partition(b"\n")[0]
    try:
        said = json.loads(line)
        return Owner(pid=int(said["pid"]), url=said["url"])
    except (ValueError, KeyError, TypeError):
        return Owner(pid=None, url=None)
