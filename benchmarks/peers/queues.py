"""The peers that a driver of ours runs, each in its own interpreter: `drivers/` says how each is used and tuned."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from benchmarks.peers.peer import NO_POSTGRES, SUBMITTED_S_MAX, Machine, Peer, Place, Ready, Submitted
from benchmarks.peers.processes import ROOT, last_line, printed, running
from benchmarks.peers.sink import ANYWHERE
from benchmarks.serving import free_port, until_it_listens

PREPARED_S_MAX = 60.0
DRIVERS = ROOT / "benchmarks" / "peers" / "drivers"
CELERY_PROCESSES = 4

NOT_INSTALLED = "{} isn't installed: python -m benchmarks.peers --install {}"
NO_REDIS = "there is no redis-server (Debian: apt install redis-server)"
IN_REDIS = "in Redis' memory, synced each second: a power cut takes up to a second of mail"


@contextmanager
def redis(place: Place) -> Iterator[tuple[str, int]]:
    """A server of its own, with an append-only file that is synced each second: its URL and its process."""
    port = free_port()
    command = [
        shutil.which("redis-server", path=ANYWHERE) or "redis-server",
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(place.folder)),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
    ]
    with running(command, place.folder / "redis.log") as server:
        until_it_listens(port)
        yield f"redis://127.0.0.1:{port}/0", server.pid


@contextmanager
def driven(
    place: Place, work: Sequence[str], produce: Sequence[str], env: Mapping[str, str], servers: Sequence[int]
) -> Iterator[Ready]:
    """Its worker runs; its producer is started for each submission."""
    log = place.folder / "worker.log"
    with running(work, log, env) as worker:

        def submit(count: int, prefix: str) -> Submitted:
            said = json.loads(printed([*produce, str(count), prefix], SUBMITTED_S_MAX, env))
            if worker.poll() is not None:
                raise RuntimeError(f"its worker ended with {worker.returncode}: {last_line(log)}")
            return Submitted(begun_s=said["begun_s"], per_s=said["per_s"])

        yield Ready(submit, (worker.pid, *servers))


def _env(place: Place, **more: str) -> dict[str, str]:
    # TMPDIR: django-post_office has a lock there, of which each run wants its own.
    return {"PEERS_SMTP_PORT": str(place.sink_port), "TMPDIR": str(place.folder), **more}


def _module(place: Place, name: str) -> list[str]:
    return [str(place.machine.python), "-m", f"benchmarks.peers.drivers.{name}"]


@contextmanager
def celery(place: Place) -> Iterator[Ready]:
    """Four processes."""
    with redis(place) as (url, server):
        app = ["-A", "benchmarks.peers.drivers.celery_mail", "worker", "-c", str(CELERY_PROCESSES)]
        calm = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR"]
        work = [str(place.machine.python), "-m", "celery", *app, *calm]
        env = _env(place, PEERS_REDIS=url)
        with driven(place, work, _module(place, "celery_mail"), env, [server]) as ready:
            yield ready


@contextmanager
def bullmq(place: Place) -> Iterator[Ready]:
    """One process of node."""
    node = shutil.which("node") or "node"
    command = [node, str(DRIVERS / "bullmq_mail.cjs")]
    packages = str(place.machine.installed / "node" / "node_modules")
    with redis(place) as (url, server):
        env = _env(place, PEERS_REDIS=url, NODE_PATH=packages)
        with driven(place, [*command, "work"], [*command, "produce"], env, [server]) as ready:
            yield ready


@contextmanager
def procrastinate(place: Place) -> Iterator[Ready]:
    """One asynchronous worker."""
    with _on_postgres(place, "procrastinate_mail") as ready:
        yield ready


@contextmanager
def post_office(place: Place) -> Iterator[Ready]:
    """On PostgreSQL where there is one, else on SQLite."""
    if place.machine.postgres is not None:
        with _on_postgres(place, "django_mail") as ready:
            yield ready
        return
    env = _env(place, PEERS_SQLITE=str(place.folder / "post_office.db"))
    with _prepared(place, "django_mail", env, ()) as ready:
        yield ready


@contextmanager
def _on_postgres(place: Place, module: str) -> Iterator[Ready]:
    with place.machine.database() as url:
        env = _env(place, PEERS_DATABASE=url)
        with _prepared(place, module, env, place.machine.servers) as ready:
            yield ready


@contextmanager
def _prepared(place: Place, module: str, env: Mapping[str, str], servers: Sequence[int]) -> Iterator[Ready]:
    command = _module(place, module)
    printed([*command, "prepare"], PREPARED_S_MAX, env)
    with driven(place, [*command, "work"], [*command, "produce"], env, servers) as ready:
        yield ready


def _missing(*packages: str, redis: bool = False, postgres: bool = False) -> Callable[[Machine], str | None]:
    def missing(machine: Machine) -> str | None:
        for package in packages:
            if machine.lacks(package):
                return NOT_INSTALLED.format(package, machine.installed)
        if redis and shutil.which("redis-server", path=ANYWHERE) is None:
            return NO_REDIS
        return NO_POSTGRES if postgres and machine.postgres is None else None

    return missing


def _without_node(machine: Machine) -> str | None:
    if shutil.which("node") is None:
        return "there is no node (Debian: apt install nodejs npm)"
    for package in ("bullmq", "ioredis", "nodemailer"):
        if not (machine.installed / "node" / "node_modules" / package).is_dir():
            return NOT_INSTALLED.format(package, machine.installed)
    return NO_REDIS if shutil.which("redis-server", path=ANYWHERE) is None else None


CELERY = Peer("Celery + Redis", IN_REDIS, _missing("celery", "redis", redis=True), celery)
PROCRASTINATE = Peer(
    "procrastinate",
    "committed in PostgreSQL, synced",
    _missing("procrastinate", "aiosmtplib", postgres=True),
    procrastinate,
)
POST_OFFICE = Peer(
    "django-post_office", "committed in its database, synced", _missing("django", "post_office"), post_office
)
BULLMQ = Peer("BullMQ + nodemailer", IN_REDIS, _without_node, bullmq)
