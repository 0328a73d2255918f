"""What `doctor` looks at: the configuration, this machine, the database, the service that holds it, and providers."""

from __future__ import annotations

import asyncio
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from application.diagnosis import judge_disk, judge_files, judge_timer
from application.doctor import Check, Finding, failed, passed
from application.provider_port import ProviderUnfit
from entrypoints.bootstrap import Patient
from entrypoints.bootstrap_providers import make_provider
from entrypoints.config import Config
from entrypoints.config_schema import SandboxConfig
from entrypoints.config_source import ConfigError
from entrypoints.database_checks import database_checks

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
        yield from database_checks(config, patient)
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
