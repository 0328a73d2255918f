"""The database is there, and can't be used: locked by somebody else, stopped, killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from adapters.sql.migrate import migrate
from tests.faults.children import readiness
from tests.faults.cluster import cluster, settled
from tests.faults.load import Load
from tests.faults.steady import until
from tests.postgres import crash, own_server
from tests.support.smtp_server import ScriptedSmtpServer

LOCKED_S = 2.5
LOCK = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
held.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked_by_another(file: Path) -> Iterator[None]:
    """A process of its own holds the file's write lock."""
    with subprocess.Popen(
        [sys.executable, "-c", LOCK, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert "locked\n" == other.stdout.readline()
        yield
        other.kill()


def test_a_file_that_another_process_has_locked(tmp_path: Path, sink: ScriptedSmtpServer) -> None:
    """Whoever asks gets a 503 after a bounded wait; what was in flight is recorded once the lock is gone."""
    file = tmp_path / "stagepost.db"
    with cluster(tmp_path, f"sqlite:///{file}", sink, lease="3s") as running, Load(running.url) as load:
        load.wait_for(40)
        with locked_by_another(file):
            kept = len(load.told.emails)
            until(lambda: load.told.answers["503"] >= 2, lambda: load.told)
            until(lambda: readiness(running.url) == 503)
            time.sleep(LOCKED_S)
            meanwhile = len(load.told.emails) - kept
        until(lambda: readiness(running.url) == 200)
        load.wait_for(40)
        told = load.end()
        counted = settled(running, told, sink)
        print(f"locked for more than {LOCKED_S:g} s: {told}; {counted}")

    assert meanwhile <= 2  # those whose answers were on their way
    assert (0, 0) == (counted.uncertain, counted.twice)


def test_postgresql_stopped_and_killed(tmp_path: Path, sink: ScriptedSmtpServer) -> None:
    """Stopped and started, then killed and started, under load: 503 meanwhile, and then all goes on."""
    with TemporaryDirectory(prefix="stagepost-pg-") as short, ExitStack() as up:
        server = Path(short)
        with own_server(server) as url:
            migrate(url)
            running = up.enter_context(cluster(tmp_path, url, sink, lease="3s"))
            load = up.enter_context(Load(running.url, pause_s=0.01))
            load.wait_for(60)
        until(lambda: readiness(running.url) != 200)
        with own_server(server):
            until(lambda: readiness(running.url) == 200)
            load.wait_for(60)
            crash(server)
        until(lambda: readiness(running.url) != 200)
        with own_server(server):
            until(lambda: readiness(running.url) == 200)
            load.wait_for(60)
            told = load.end()
            counted = settled(running, told, sink)
    print(f"PostgreSQL stopped, started, killed, started: {told}; {counted}")

    assert told.answers["503"] > 0
    assert (0, 0) == (counted.risks, counted.twice)
