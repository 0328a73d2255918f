"""`kill -9` under load, at random moments: what `make torture` does for long, for a while."""

from __future__ import annotations

from pathlib import Path

from tests.faults.rounds import live_through
from tests.support.smtp_server import ScriptedSmtpServer

KILLS = 20
SEED = 20261124


def test_killed_at_random_nothing_is_lost(tmp_path: Path, database: str, sink: ScriptedSmtpServer) -> None:
    """Twenty times in a row, whoever it hits; clients repeat what was not answered."""
    lived = live_through(tmp_path, database, sink, seed=SEED, kills=KILLS)
    print(lived)

    assert lived.kills >= KILLS
    assert lived.counted.uncertain > 0
