"""Stagepost as a peer of the others: one process that takes and sends, 32 HTTP connections, 32 under way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adapters.sql.migrate import migrate
from benchmarks import serving
from benchmarks.peers.peer import NO_POSTGRES, Machine, Peer, Place, Ready, Submitted


@contextmanager
def on_sqlite(place: Place) -> Iterator[Ready]:
    """Its database in the folder."""
    with serving.stagepost(place.folder, place.sink_port) as served:
        yield _ready(served)


@contextmanager
def on_postgres(place: Place) -> Iterator[Ready]:
    """A database of its own on the server that the peers use."""
    with place.machine.database() as url:
        migrate(url)
        with serving.stagepost(place.folder, place.sink_port, database=url) as served:
            yield _ready(served, *place.machine.servers)


def _ready(served: serving.Served, *servers: int) -> Ready:
    def submit(count: int, prefix: str) -> Submitted:
        seen = serving.load(served.port, count, prefix)
        return Submitted(begun_s=seen["begun_s"], per_s=seen["per_s"])

    return Ready(submit, (served.pid, *servers))


def _needs_postgres(machine: Machine) -> str | None:
    return NO_POSTGRES if machine.postgres is None else None


SQLITE = Peer(
    name="Stagepost, SQLite",
    ack="HTTP 202: committed and synced",
    missing=lambda machine: None,
    ready=on_sqlite,
)
POSTGRES = Peer(
    name="Stagepost, PostgreSQL",
    ack="HTTP 202: committed and synced",
    missing=_needs_postgres,
    ready=on_postgres,
)
OURS = (SQLITE, POSTGRES)
