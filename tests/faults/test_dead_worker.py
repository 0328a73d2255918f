"""A worker is killed: the other one goes on at once, and what the dead one had in its hands is soon known."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from adapters.sql.migrate import migrate
from domain.email.events import AttemptStarted, OutcomeUncertain
from tests.faults.audit import log_of, look
from tests.faults.cluster import cluster, settled
from tests.faults.load import Load
from tests.faults.steady import until
from tests.faults.traps import is_caught
from tests.support.smtp_script import At, slow
from tests.support.smtp_server import ScriptedSmtpServer

LEASE_S = 1.5
BUSY_S = 1.0
"""What a machine that does other things as well may add."""


def test_a_dead_worker_is_made_up_for_within_two_leases(
    tmp_path: Path, postgres_url: str, sink: ScriptedSmtpServer
) -> None:
    """By the database's clock: its attempts are in doubt by then, and others have started all the while."""
    sink.script = {At.DOT: slow(0.1)}
    migrate(postgres_url)
    with (
        cluster(tmp_path, postgres_url, sink, lease=f"{LEASE_S}s") as running,
        Load(running.url, pause_s=0.02) as load,
    ):
        load.wait_for(40)
        other = f"-{running.parts[2].process.pid}-"
        until(partial(is_caught, postgres_url, running.parts[1]))
        running.replace([1])
        ((killed_at,),) = look(postgres_url, "SELECT now()")
        load.wait_for(40)
        told = load.end()
        counted = settled(running, told, sink)
    log = log_of(postgres_url)
    starts = [
        (one.at - killed_at).total_seconds()
        for one in log
        if isinstance(one.event, AttemptStarted) and other in one.event.worker
    ]
    doubts = [(one.at - killed_at).total_seconds() for one in log if isinstance(one.event, OutcomeUncertain)]
    first = min(one for one in starts if one > 0)
    print(f"killed: others go on after {first:.2f} s, in doubt after {max(doubts):.2f} s; {told}; {counted}")

    assert first < BUSY_S
    assert max(doubts) < 2 * LEASE_S + BUSY_S
    assert counted.uncertain == len(doubts) > 0
