"""SIGTERM under load, and answers that are lost under load."""

from __future__ import annotations

from pathlib import Path

from tests.faults.cluster import cluster, settled
from tests.faults.load import Load
from tests.support.smtp_script import At, Do, Turn, slow, take_and_drop
from tests.support.smtp_server import ScriptedSmtpServer

STOPS = 2
SLOW_S = 1.0
"""What some messages take at the provider: longer than everything else that a stop waits for."""


def test_stopped_under_load_nothing_is_left_in_doubt(
    tmp_path: Path, database: str, sink: ScriptedSmtpServer
) -> None:
    """Exit code 0, each time; attempts in flight have ended; what was not accepted yet, clients hand in again."""
    sink.script = {At.DOT: lambda turn: slow(SLOW_S if turn.message % 10 == 0 else 0.02)}
    with cluster(tmp_path, database, sink, lease="6s") as running, Load(running.url) as load:
        for _ in range(STOPS):
            load.wait_for(40)
            codes = running.stop()

            assert {0} == set(codes), [one.text[-2000:] for one in running.parts]
            running.start()
        told = load.end()
        counted = settled(running, told, sink)
        print(f"stopped {STOPS} times: {told}; {counted}")

    assert (0, 0, 0) == (counted.uncertain, counted.risks, counted.twice)
    assert {"sent": counted.emails} == counted.ends


def test_answers_lost_after_the_dot(tmp_path: Path, database: str, sink: ScriptedSmtpServer) -> None:
    """Every third message is taken and the connection dropped: what is sent again was declared before."""

    def drop_some(turn: Turn) -> Do | None:
        return take_and_drop() if turn.at is At.DOT and turn.message % 3 == 0 else None

    sink.script = drop_some
    with cluster(tmp_path, database, sink, lease="6s") as running, Load(running.url) as load:
        load.wait_for(120)
        told = load.end()
        counted = settled(running, told, sink)
        print(f"every third answer lost: {told}; {counted}")

    assert counted.uncertain > 0
    assert counted.twice > 0
