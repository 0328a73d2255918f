"""Reading a log again, beside the `eventsourcing` library: `python -m benchmarks.peers.replay PACKAGES URL PEER_URL`.

A process of its own, as the library's folder comes onto the path here, behind all of ours. Both have the same events in
the same database system: Stagepost reads, decodes and folds them stream by stream, the library reads and decodes them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

from adapters.sql import open_store
from adapters.sql.engine import Database
from adapters.sql.migrate import migrate
from benchmarks.month import fill
from benchmarks.peers.peer import NO_POSTGRES, Machine
from benchmarks.peers.processes import printed
from benchmarks.peers.queues import NOT_INSTALLED
from benchmarks.replay import Log
from benchmarks.replay_peer import Peer

EVENTS = 30_000
REPLAYED_S_MAX = 300.0

NAME = "eventsourcing"


def missing(machine: Machine) -> str | None:
    """Why there is nothing to compare with, or None."""
    return NOT_INSTALLED.format(NAME, machine.installed) if machine.lacks(NAME) else None


def beside(machine: Machine, kind: str, folder: str, rounds: int) -> list[dict[str, float]]:
    """Events a second, of both, for each round on `sqlite` or `postgresql`.

    Raises RuntimeError if it doesn't work.
    """
    command = [sys.executable, "-m", __name__, str(machine.packages), "--rounds", str(rounds)]
    if kind == "sqlite":
        urls = [f"sqlite:///{folder}/log.db", f"sqlite:///{folder}/peer.db"]
        return _told(printed([*command, *urls], REPLAYED_S_MAX))
    if machine.postgres is None:
        raise RuntimeError(NO_POSTGRES)
    with machine.database() as url, machine.database() as peer_url:
        migrate(url)
        return _told(printed([*command, url, peer_url], REPLAYED_S_MAX))


def _told(text: str) -> list[dict[str, float]]:
    said: list[dict[str, float]] = json.loads(text)
    return said


def _rounds(url: str, peer_url: str, rounds: int) -> list[dict[str, float]]:
    fill(url, EVENTS)
    database, store = Database(url), open_store(url)
    log = Log(url, database, store, store.end())
    peer = Peer(peer_url)
    peer.store(log.recorded())
    taken = [{"Stagepost": _rate(log.folded), NAME: _rate(peer.replay)} for _ in range(rounds)]
    database.close()
    store.close()
    return taken


def _rate(read: Callable[[], int]) -> float:
    begun = time.perf_counter()
    return read() / (time.perf_counter() - begun)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for argument in ("packages", "url", "peer_url"):
        parser.add_argument(argument)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    sys.path.append(given.packages)
    print(json.dumps(_rounds(given.url, given.peer_url, given.rounds)))
