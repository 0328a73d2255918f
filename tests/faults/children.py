"""The `stagepost` command in processes of their own that may be killed and frozen.

Each is forked from a process that has imported everything already, so that a start takes a quarter of a second and
not two, and a minute is enough for a hundred kills. What happens from the command line on is what always happens.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from tests.entrypoints.cli_process import call, environment

IMPORTED = (
    "pytest",
    "tests.faults.children",
    "entrypoints.cli.main",
    "entrypoints.cli.serve",
    "entrypoints.cli.verify",
    "entrypoints.worker",
    "entrypoints.http.app",
    "entrypoints.http.server",
    "encodings.idna",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.dialects.postgresql.psycopg",
    "uvicorn.lifespan.off",
    "uvloop",
)
READY_MAX_S = 60.0
"""A busy machine may take its time; nothing here waits longer."""
ENDS_MAX_S = 40.0


@cache
def nursery() -> ForkServerContext:
    """Where the processes come from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    return context


class Child:
    """One command: what it was told, what it said, and how it ended."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        ahead: timedelta = timedelta(0),
        first: Callable[[], object] = str,
        **env: str,
    ) -> None:
        """`folder` has the configuration; `ahead`: by how much its clock differs from this machine's; `first`: what
        its process does before anything else."""
        self.said = folder / f"{arguments[0]}-{time.monotonic_ns()}.txt"
        self.arguments = arguments
        told = (*arguments, "--config", str(folder / "stagepost.toml"))
        self.process: ForkServerProcess = nursery().Process(
            target=_run, args=(told, str(folder), str(self.said), environment(**env), ahead, first)
        )
        self._lock = threading.Lock()  # how a process ended is read once
        self.process.start()

    @property
    def is_alive(self) -> bool:
        with self._lock:
            return self.process.is_alive()

    @property
    def text(self) -> str:
        """Everything it printed and logged so far."""
        return self.said.read_text() if self.said.exists() else ""

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens where it has ended."""
        assert self.process.pid is not None
        if self.is_alive:
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it as a power cut would: `kill -9`."""
        self.signal(signal.SIGKILL)
        self.ended()

    def ended(self, within_s: float = ENDS_MAX_S) -> int:
        """Its exit code, once it has ended by itself."""
        with self._lock:
            self.process.join(within_s)
            code = self.process.exitcode
        assert code is not None, f"{self.arguments} does not end: {self.text[-2000:]}"
        return code

    def stop(self) -> int:
        """End it in order; its exit code."""
        self.signal(signal.SIGTERM)
        return self.ended()


def _run(
    told: tuple[str, ...],
    folder: str,
    said: str,
    env: dict[str, str],
    ahead: timedelta,
    first: Callable[[], object],
) -> None:
    first()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if ahead:
        _shift(ahead)
    from entrypoints.cli.main import main

    sys.exit(main(told))


def _shift(ahead: timedelta) -> None:
    """Let this process's clock differ, as a machine's may."""
    from adapters.clock import SystemClock

    SystemClock.now = lambda self: datetime.now(UTC) + ahead  # type: ignore[method-assign]


@contextmanager
def child(folder: Path, *arguments: str, ahead: timedelta = timedelta(0), **env: str) -> Iterator[Child]:
    """A command, killed at the end of the block unless it has ended."""
    made = Child(folder, *arguments, ahead=ahead, first=str, **env)
    try:
        yield made
    finally:
        made.kill()


def wait_until_ready(url: str, served_by: Child) -> None:
    """Until `readyz` says yes."""
    deadline = time.monotonic() + READY_MAX_S
    while readiness(url) != 200:
        assert served_by.is_alive, served_by.text[-2000:]
        assert time.monotonic() < deadline, served_by.text[-2000:]
        time.sleep(0.01)


def readiness(url: str) -> int:
    """What `readyz` answers; 0: nothing."""
    try:
        return call(f"{url}/readyz")[0]
    except (OSError, urllib.error.URLError):
        return 0


def verified(folder: Path, within_s: float = ENDS_MAX_S) -> dict[str, Any]:
    """What `stagepost verify --json` says of the database in this folder's configuration."""
    with child(folder, "verify", "--json") as verifying:
        code = verifying.ended(within_s)
        answer: dict[str, Any] = json.loads(verifying.text)
    assert (code == 0) == answer["ok"], answer
    return answer
