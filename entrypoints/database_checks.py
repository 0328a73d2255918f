"""What `doctor` looks at in a database, and in the service that holds it."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from application.diagnosis import judge_clock, judge_lag, judge_queue, judge_workers
from application.doctor import Check, Finding, failed, passed, warned
from application.ports import StoreUnavailable
from application.report_ports import REPORTS
from application.reports import Lag
from entrypoints import lockfile
from entrypoints.bootstrap import Patient, migration_status, open_patient
from entrypoints.config import Config

ANSWER_MAX_S = 3.0
"""A service that takes longer to say whether it is ready is not."""
ANSWER_OCTETS_MAX = 100_000


def database_checks(config: Config, patient: Patient) -> Iterator[Check]:
    """Whether it answers, is whole, can be written, and how what is in it stands."""
    health, executor = patient.health, patient.executor
    path = config.sqlite_path()

    def check(name: str, look: Callable[[], Sequence[Finding]], needs: str | None = None) -> Check:
        return Check(name=name, look=lambda: executor(look), needs=needs)

    yield check("database", lambda: _missing(path) or _reached(patient))
    yield check("version", health.version, "database")
    yield check("migrations", lambda: [_migrations(config)], "database")
    yield check("append-only", health.guards, "migrations")
    yield check("durability", health.durability, "database")
    if path is None:
        yield check("sessions", health.sessions, "database")
        yield check("writable", lambda: [_write(patient)], "migrations")
    else:
        yield check("lock", lambda: [_lock(path)])
        yield check("service", lambda: _service(config, path), "migrations")
    yield check("clock", lambda: [_clock(patient)], "migrations")
    yield check("workers", lambda: [_workers(config, patient)], "migrations")
    yield check("queue", lambda: judge_queue(patient.standings.standing(), config.settings()), "migrations")
    yield check("reports", lambda: [_reports(patient)], "migrations")


def _missing(path: Path | None) -> list[Finding]:
    if path is None or path.exists():
        return []
    to_do = "`stagepost serve` makes it; if there should be one, see which file `database` names"
    return [warned("database", f"there is no file {path} yet", to_do)]


def _reached(patient: Patient) -> list[Finding]:
    try:
        return patient.health.reached()
    except StoreUnavailable as error:
        return [failed("database", str(error), "see that it runs, and that `database` names it")]


def _migrations(config: Config) -> Finding:
    found = migration_status(config)
    if not found.pending:
        return passed("migrations", f"at {found.head}")
    told = f"at {found.current or 'none'}, this version works with {found.head}"
    if config.sqlite_path() is None:
        return failed("migrations", told, "run `stagepost migrate`")
    return warned("migrations", told, "nothing: the next `stagepost serve` migrates it")


def _write(patient: Patient) -> Finding:
    try:
        patient.store.check()
    except StoreUnavailable as error:
        to_do = "see that the disk isn't full, and that we may write to the database"
        return failed("writable", str(error), to_do)
    return passed("writable", "wrote a row, and it was committed")


def _lock(path: Path) -> Finding:
    owner = _holder(path)
    if owner is None:
        return passed("lock", "nobody holds it: no service runs")
    who = f"process {owner.pid}{'' if _is_seen(owner.pid) else ', not to be seen from here (a container?),'}"
    where = "serves no HTTP" if owner.url is None else f"listens on {owner.url}"
    return passed("lock", f"{who} holds it and {where}")


def _holder(path: Path) -> lockfile.Owner | None:
    """Who has the lock, other than we ourselves, who hold it for a moment to try whether we can write."""
    owner = lockfile.read(path)
    return None if owner is not None and owner.pid == os.getpid() else owner


def _is_seen(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _service(config: Config, path: Path) -> list[Finding]:
    """Whoever holds the lock is asked whether it can write; while nobody does, we try it ourselves."""
    try:
        with lockfile.acquire(path):
            patient = open_patient(config, writes=True)
            try:
                return [_write(patient)]
            finally:
                patient.close()
    except lockfile.Locked as locked:
        if locked.url is None:
            to_do = "look again when it is done; a service that has just been started says so in its log"
            return [warned("service", f"process {locked.pid} holds the database and serves no HTTP", to_do)]
        return _readiness(locked.url, locked.pid)
    except OSError as error:
        return [failed("writable", f"{error.filename}: {error.strerror}", "change its permissions")]


def _readiness(url: str, pid: int | None) -> list[Finding]:
    try:
        answer = _ready(url)
    except (OSError, ValueError) as error:
        told = f"process {pid} holds the database, but at {url} nobody says that it is ready: {error}"
        return [failed("service", told, "look into its log; if it hangs, stop it and start it again")]
    problems, alerts = answer.get("problems") or (), answer.get("alerts") or ()
    if problems:
        return [failed("service", f"{url} is not ready: {'; '.join(problems)}", "look into its log")]
    ready = passed("service", f"{url} is ready: it can write")
    if not alerts:
        return [ready]
    return [
        ready,
        warned("alerts", f"{len(alerts)} since it began, the last: {alerts[-1]}", "look into its log"),
    ]


def _ready(url: str) -> dict[str, Any]:
    """What `/readyz` says, with 200 or 503. It is on this machine, whatever proxy is set."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/readyz", timeout=ANSWER_MAX_S) as response:
            said = response.read(ANSWER_OCTETS_MAX)
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(ANSWER_OCTETS_MAX)
    answer = json.loads(said)
    if not isinstance(answer, dict):
        raise ValueError("the answer is not one of ours")
    return answer


def _clock(patient: Patient) -> Finding:
    seen = patient.health.clocks()
    return judge_clock(seen.apart, seen.within, seen.last_event_at, seen.now)


def _workers(config: Config, patient: Patient) -> Finding:
    path = config.sqlite_path()
    leases = patient.store.stale_leases(timedelta(0))
    if path is not None and _holder(path) is None:
        dead = leases  # whoever has one on SQLite has the lock
    else:
        dead = patient.store.stale_leases(config.worker.lease)
    return judge_workers(leases, dead, waits=bool(patient.standings.standing().oldest))


def _reports(patient: Patient) -> Finding:
    seen = patient.reports.progress(REPORTS)
    if seen is None:
        return failed("reports", "their checkpoint is gone", "run `stagepost replay --rebuild reports`")
    return judge_lag(Lag.of(seen, seen.position, patient.health.clocks().now))
