"""SIGSTOP for longer than the lease, then SIGCONT: a worker that everybody took for dead comes back."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path

from adapters.sql.migrate import migrate
from tests.faults.cluster import cluster, settled
from tests.faults.load import Load
from tests.faults.steady import until
from tests.faults.traps import is_caught, lost_all
from tests.support.smtp_script import At, slow
from tests.support.smtp_server import ScriptedSmtpServer

LEASE_S = 1.5
FREEZES = 3


def test_a_worker_that_was_frozen_comes_back_late(
    tmp_path: Path, postgres_url: str, sink: ScriptedSmtpServer
) -> None:
    """What it had in its hands is uncertain by then; what it still brings is kept, and it starts nothing unasked."""
    migrate(postgres_url)
    sink.script = {At.DOT: slow(0.05)}
    with (
        cluster(tmp_path, postgres_url, sink, lease=f"{LEASE_S}s") as running,
        Load(running.url, pause_s=0.02) as load,
    ):
        for n in range(FREEZES):
            load.wait_for(40)
            frozen = running.parts[1 + n % 2]
            until(partial(is_caught, postgres_url, frozen))
            until(partial(lost_all, postgres_url, frozen), pause_s=0.1)
            frozen.signal(signal.SIGCONT)
        load.wait_for(40)
        told = load.end()
        counted = settled(running, told, sink)
        print(f"{FREEZES} workers frozen until their lease was taken over: {told}; {counted}")

    assert counted.uncertain > 0
    assert counted.late > 0


def test_alone_nobody_takes_over(tmp_path: Path, sink: ScriptedSmtpServer) -> None:
    """On SQLite there is one process: after twice its lease it goes on as if nothing had been."""
    database = f"sqlite:///{tmp_path / 'stagepost.db'}"
    with (
        cluster(tmp_path, database, sink, lease=f"{LEASE_S}s") as running,
        Load(running.url, pause_s=0.02) as load,
    ):
        load.wait_for(50)
        running.parts[0].signal(signal.SIGSTOP)
        time.sleep(2 * LEASE_S)
        running.parts[0].signal(signal.SIGCONT)
        load.wait_for(50)
        told = load.end()
        counted = settled(running, told, sink)
        print(f"frozen for {2 * LEASE_S:g} s, twice the lease: {told}; {counted}")

    assert (0, 0) == (counted.uncertain, counted.twice)
