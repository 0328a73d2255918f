"""A full disk: nothing is acknowledged that is not kept, and with room again all goes on."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from adapters.sql.migrate import migrate
from tests.faults.children import readiness
from tests.faults.cluster import Cluster, cluster, settled
from tests.faults.load import Load
from tests.faults.small_disk import SmallDisk, small_disk
from tests.faults.steady import until
from tests.postgres import own_server
from tests.support.smtp_server import ScriptedSmtpServer

REFUSED = 20
SPARE_KB = 400
"""What is left to begin with: it runs full in the middle of the load."""


def fill_and_make_room(running: Cluster, disk: SmallDisk, sink: ScriptedSmtpServer) -> str:
    """Let it run full under load, stay so for a while, and have room again; what was counted."""
    with Load(running.url) as load:
        load.wait_for(30)
        disk.fill(SPARE_KB)
        until(lambda: load.told.answers["503"] >= REFUSED, lambda: load.told)
        until(lambda: readiness(running.url) == 503)
        refused_from, kept = time.monotonic(), len(load.told.emails)
        time.sleep(1.5)
        refused_s = time.monotonic() - refused_from
        meanwhile = len(load.told.emails) - kept
        disk.make_room()
        until(lambda: readiness(running.url) == 200)
        load.wait_for(30)
        told = load.end()
        counted = settled(running, told, sink)
    return f"full, not ready for {refused_s:.1f} s ({meanwhile} accepted meanwhile), then ready: {told}; {counted}"


def test_sqlite_on_a_full_disk(tmp_path: Path, sink: ScriptedSmtpServer) -> None:
    """503 and not ready; every acknowledged email is there afterwards, and is sent."""
    with small_disk(tmp_path / "disk", 32) as disk:
        database = f"sqlite:///{disk.folder / 'stagepost.db'}"
        with cluster(tmp_path, database, sink, lease="3s") as running:
            print(fill_and_make_room(running, disk, sink))


def test_postgresql_on_a_full_disk(tmp_path: Path, sink: ScriptedSmtpServer) -> None:
    """The same, whatever the server makes of it: refuse, or stop and start anew."""
    with (
        TemporaryDirectory(prefix="stagepost-pg-") as short,
        small_disk(Path(short) / "d", 160) as disk,
        own_server(disk.folder) as url,
    ):
        migrate(url)
        with cluster(tmp_path, url, sink, lease="3s") as running:
            print(fill_and_make_room(running, disk, sink))
