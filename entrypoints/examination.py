"""What `doctor` looks at: the configuration, this machine, the database, the service that holds it, and providers."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import resource
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from application.diagnosis import (
    judge_clock,
    judge_disk,
    judge_files,
    judge_lag,
    judge_queue,
    judge_timer,
    judge_workers,
)
from application.doctor import Check, Finding, failed, passed, warned
from application.ports import StoreUnavailable
from application.provider_port import ProviderUnfit
from application.report_ports import REPORTS
from application.reports import Lag
from entrypoints import lockfile
from entrypoints.bootstrap import Patient, make_provider, migration_status, open_patient
from entrypoints.config import Config
from entrypoints.config_schema import SandboxConfig
from entrypoints.config_source import ConfigError

ANSWER_MAX_S = 3.0
"""A service that takes longer to say whether it is ready is not."""
ANSWER_OCTETS_MAX = 100_000
TIMER_S = 0.05
CLOSING_MAX_S = 1.0
PYTHON_MIN = (3, 11)


def checks_of(config: Config, patient: Patient | None, *, offline: bool) -> Iterator[Check]:
    """All that is looked at. `patient`: None where the configuration names no database that could be opened.

    `offline`: providers are not asked.
    """
    yield Check(name="configuration", look=_plainly(lambda: _configuration(config)))
    yield Check(name="python", look=_plainly(_python))
    yield Check(name="timer", look=_timer)
    yield Check(name="open files", look=_plainly(lambda: _files(config)))
    if patient is not None:
        yield Check(name="disk", look=lambda: patient.executor(lambda: _disks(config)))
        yield from _of_the_database(config, patient)
    for name in config.providers:
        yield Check(name=f"provider {name}", look=_provider(config, name, offline=offline))


def wrong_configuration(error: ConfigError) -> Finding:
    """What is to be said of a configuration that can't be used."""
    where = ": ".join(part for part in (error.file, error.key) if part)
    return failed("configuration", f"{where}: {error.wrong}", error.right)


def _plainly(look: Callable[[], Sequence[Finding]]) -> Callable[[], Any]:
    async def looked() -> Sequence[Finding]:
        return look()

    return looked


def _configuration(config: Config) -> list[Finding]:
    try:
        config.check_for_serving()
        admin = config.tokens().admin
    except ConfigError as error:
        return [wrong_configuration(error)]
    count = len(config.providers)
    told = f"{config.source.file}: {count} provider{'' if count == 1 else 's'}, to listen on {config.listen}"
    return [passed("configuration", told + ("" if admin else ", open to every user of this machine"))]


def _python() -> list[Finding]:
    if sys.version_info < PYTHON_MIN:
        return [failed("python", platform.python_version(), f"use {'.'.join(map(str, PYTHON_MIN))} or newer")]
    return [passed("python", platform.python_version())]


async def _timer() -> list[Finding]:
    wall, steady = time.time(), time.monotonic()
    await asyncio.sleep(TIMER_S)
    return [judge_timer(TIMER_S, steady_s=time.monotonic() - steady, wall_s=time.time() - wall)]


def _files(config: Config) -> list[Finding]:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    concurrency = sum(one.concurrency for one in config.providers.values())
    return [judge_files(sys.maxsize if limit == resource.RLIM_INFINITY else limit, concurrency)]


def _disks(config: Config) -> list[Finding]:
    """Of the database's folder and of each sandbox's; folders on one disk are one finding."""
    database = config.sqlite_path()
    places = {} if database is None else {"disk": database.parent}
    for name, one in config.providers.items():
        if isinstance(one, SandboxConfig):
            places[f"disk of {name}"] = one.folder
    findings: dict[int, Finding] = {}
    for name, folder in places.items():
        there = next(one for one in (folder, *folder.parents) if one.exists())
        usage = shutil.disk_usage(there)
        finding = judge_disk(name, str(there), free=usage.free, total=usage.total)
        findings.setdefault(there.stat().st_dev, finding)
    return list(findings.values())


def _of_the_database(config: Config, patient: Patient) -> Iterator[Check]:
    health, executor = patient.health, patient.executor
    path = config.sqlite_path()

    def check(name: str, look: Callable[[], Sequence[Finding]], needs: str | None = None) -> Check:
        return Check(name=name, look=lambda: executor(look), needs=needs)

    yield check("database", lambda: _missing(path) or health.reached())
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
    owner = lockfile.read(path)
    if owner is None:
        return passed("lock", "nobody holds it: no service runs")
    who = f"process {owner.pid}{'' if _is_seen(owner.pid) else ', not to be seen from here (a container?),'}"
    where = "serves no HTTP" if owner.url is None else f"listens on {owner.url}"
    return passed("lock", f"{who} holds it and {where}")


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
    lease = config.worker.lease
    leases, stale = patient.store.stale_leases(timedelta(0)), patient.store.stale_leases(lease)
    return judge_workers(leases, stale, waits=bool(patient.standings.standing().oldest), lease=lease)


def _reports(patient: Patient) -> Finding:
    seen = patient.reports.progress(REPORTS)
    if seen is None:
        return failed("reports", "their checkpoint is gone", "run `stagepost replay --rebuild reports`")
    return judge_lag(Lag.of(seen, seen.position, patient.health.clocks().now))


def _provider(config: Config, name: str, *, offline: bool) -> Callable[[], Any]:
    async def look() -> list[Finding]:
        title = f"provider {name}"
        try:
            provider = make_provider(config, name)
        except ConfigError as error:
            return [failed(title, f"{error.file}: {error.key}: {error.wrong}", error.right)]
        try:
            seen = f"a {provider.type} provider, not asked" if offline else await provider.check()
        except ProviderUnfit as error:
            return [failed(title, str(error), f"`stagepost providers test {name}` tries it again")]
        finally:
            with suppress(TimeoutError):
                await asyncio.wait_for(provider.close(), CLOSING_MAX_S)
        return [passed(title, seen)]

    return look
