"""Everything that runs on one database: on SQLite one service; on PostgreSQL one that takes mail, and two that send."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.test_processes import free_port
from tests.entrypoints.cli_process import call
from tests.faults.audit import Counted, audit, copies_at, settle, statuses
from tests.faults.children import Child, readiness
from tests.faults.load import Acknowledged
from tests.faults.steady import until
from tests.support.smtp_server import ScriptedSmtpServer

QUICK = """
[retry]
base = "50ms"
cap = "200ms"

[circuit]
open_for = "200ms"
open_for_max = "400ms"
"""

ON_SQLITE = (("serve",),)
ON_POSTGRESQL = (("serve", "--no-worker"), ("worker",), ("worker",))


def configure(
    folder: Path, database: str, sink: ScriptedSmtpServer, *, lease: str = "1500ms", more: str = ""
) -> str:
    """Write the configuration; the URL at which `serve` will listen."""
    port = free_port()
    (folder / "stagepost.toml").write_text(
        f'database = "{database}"\nlisten = "127.0.0.1:{port}"\nfrom = "shop@example.com"\n'
        f'[providers.only]\ntype = "smtp"\nhost = "127.0.0.1"\nport = {sink.port}\ntls = "none"\n'
        f'concurrency = 8\ntimeout = "5s"\nfinal_timeout = "5s"\n'
        f'[worker]\nlease = "{lease}"\ngrace = "5s"\n{QUICK}{more}'
    )
    return f"http://127.0.0.1:{port}"


class Cluster:
    """The processes of one database, by number; the first of them takes mail.

    Who ends by himself is started anew, as a service manager does it, and counted in `revived`.
    """

    def __init__(self, folder: Path, database: str, url: str) -> None:
        self.folder = folder
        self.database = database
        self.url = url
        self.commands = ON_SQLITE if database.startswith("sqlite") else ON_POSTGRESQL
        self.parts: list[Child] = []
        self.revived = 0
        self._meant_to_run = False
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._minder = threading.Thread(target=self._mind, daemon=True)

    def start(self) -> None:
        """Start all of them, and wait until mail is taken and sent."""
        with self._lock:
            self.parts = [Child(self.folder, *command) for command in self.commands]
            self._meant_to_run = True
        if not self._minder.ident:
            self._minder.start()
        until(lambda: readiness(self.url) == 200, lambda: self.parts[0].text[-2000:])
        until(lambda: all('"lease_acquired"' in one.text for one in self._senders()))

    def kill(self) -> None:
        """`kill -9` for all."""
        with self._lock:
            self._meant_to_run = False
            for one in self.parts:
                one.kill()

    def replace(self, numbers: Sequence[int]) -> None:
        """`kill -9` for these, at once, and start them anew."""
        with self._lock:
            for number in numbers:
                self.parts[number].kill()
            for number in numbers:
                self.parts[number] = Child(self.folder, *self.commands[number])

    def stop(self, numbers: Sequence[int] | None = None) -> list[int]:
        """End these, or all, in order; their exit codes. One of many is started anew."""
        with self._lock:
            self._meant_to_run = numbers is not None
            codes = [self.parts[number].stop() for number in numbers or range(len(self.parts))]
            for number in numbers or ():
                self.parts[number] = Child(self.folder, *self.commands[number])
        return codes

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        self._closing.set()
        self.kill()

    def _senders(self) -> list[Child]:
        return [one for one in self.parts if "--no-worker" not in one.arguments]

    def _mind(self) -> None:
        while not self._closing.wait(0.05):
            with self._lock:
                ended = [n for n, one in enumerate(self.parts) if self._meant_to_run and not one.is_alive]
                for number in ended:
                    self.parts[number] = Child(self.folder, *self.commands[number])
                    self.revived += 1


@contextmanager
def cluster(
    folder: Path, database: str, sink: ScriptedSmtpServer, *, lease: str = "1500ms", more: str = ""
) -> Iterator[Cluster]:
    """A cluster that is up; the database is migrated already."""
    made = Cluster(folder, database, configure(folder, database, sink, lease=lease, more=more))
    try:
        made.start()
        yield made
    finally:
        made.close()


def settled(
    made: Cluster, told: Acknowledged, *sinks: ScriptedSmtpServer, ends_itself: bool = False
) -> Counted:
    """Let everything come to its end, stop in order, and check it all. What is held by then, an operator lets go.

    `ends_itself`: a process may have ended by itself, which it does where it has no database as it begins.
    """
    settle(made.database)
    while held := call(f"{made.url}/statuses?status=held&limit=100")[1]["data"]:
        for one in held:
            code, _ = call(f"{made.url}/emails/{one['id']}/retry", b'{"accept_duplicate_risk": true}')

            assert code == 200, (code, one)
        settle(made.database)
    codes = made.stop()

    assert {0} == set(codes), [one.text[-2000:] for one in made.parts]
    assert made.revived == 0 or ends_itself
    counted = audit(made.folder, made.database, told, copies_at(*sinks))

    assert counted.emails == sum(statuses(made.database).values())
    return counted
