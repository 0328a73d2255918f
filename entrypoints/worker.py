"""A process that only sends: any number of them beside each other on one PostgreSQL."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import structlog

from entrypoints.bootstrap import open_service
from entrypoints.config import Config
from entrypoints.http.server import run
from entrypoints.service import Service

PARTS = ("committer", "lease", "dispatcher")
"""The background tasks without which nothing is sent."""


def run_worker(config: Config) -> int:
    """Send until SIGTERM or SIGINT, let attempts end, and return 0; 1 if it broke down by itself.

    Raises ConfigError on SQLite, NotMigrated, StoreUnavailable.
    """
    if config.sqlite_path() is not None:
        right = "on SQLite `stagepost serve` sends by itself; a worker of its own needs PostgreSQL"
        raise (config.place / "database").error("has one process that writes", right)
    return run(_run(config))


async def _run(config: Config) -> int:
    service = open_service(config, worker=True)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    log = structlog.get_logger("stagepost")
    try:
        await service.start()
        log.info("worker_started")
        await _first(told, service)
        log.info("worker_stopping")
    finally:
        await service.stop()
    return 0 if told.is_set() else 1


async def _first(told: asyncio.Event, service: Service) -> None:
    """Until somebody tells us to stop, or a part that everything depends on has ended by itself.

    There is nobody to ask this process whether it is ready: whoever started it sees its end, and starts another.
    """
    waits: list[asyncio.Task[Any]] = [asyncio.create_task(told.wait())]
    waits += [asyncio.create_task(service.supervisor.ended(part)) for part in PARTS]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
