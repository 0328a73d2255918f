"""A service as `serve` builds it, on a real database, in the test's own event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from application.accept import Receipt, SendRequest
from application.projections.emails import Status
from application.queries import StatusRow
from application.recorded import Recorded, email_stream
from domain.content import Address, Content
from entrypoints import bootstrap
from entrypoints.config import Config, load_config
from entrypoints.service import Service
from tests.support.smtp_server import ScriptedSmtpServer

WAIT_MAX_S = 30.0
ENDED = (Status.SENT, Status.FAILED, Status.CANCELLED)

QUICK = """
[retry]
base = "50ms"
cap = "200ms"

[worker]
lease = "3s"
grace = "5s"
"""


def smtp(name: str, server: ScriptedSmtpServer, more: str = "") -> str:
    """The table of a provider that is this server."""
    return (
        f'[providers.{name}]\ntype = "smtp"\nhost = "{server.host}"\nport = {server.port}\n'
        f'tls = "none"\ntimeout = "3s"\nfinal_timeout = "3s"\n{more}\n'
    )


def config(folder: Path, database: str, *tables: str) -> Config:
    """The configuration of these tables, from a file as users write it."""
    file = folder / "stagepost.toml"
    head = f'database = "{database}"\nfrom = "Shop <shop@example.com>"\n'
    file.write_text("\n".join((head, *tables, QUICK)))
    return load_config(file, {})


def request(key: str, *to: str, **changes: object) -> SendRequest:
    """An email whose every part would be recognised in a log."""
    content = Content(
        sender=Address(address="shop@example.com", name="Shop"),
        to=tuple(Address(address=one) for one in to or (f"{key}@secret-person.example",)),
        subject=f"secret subject {key}",
        text=f"secret body {key}\r\n",
    )
    return SendRequest(key=key, content=content, given=key.encode(), size=100, **changes)  # type: ignore[arg-type]


@asynccontextmanager
async def running(made: Config, *, worker: bool = True) -> AsyncIterator[Service]:
    """The service, started; stopped in order at the end."""
    service = bootstrap.open_service(made, worker=worker)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def send(service: Service, *requests: SendRequest) -> list[Receipt]:
    """Have all of them accepted at once."""
    return list(await asyncio.gather(*(service.acceptor.accept(one) for one in requests)))


async def until(
    holds: Callable[[list[StatusRow]], bool], service: Service, *receipts: Receipt
) -> list[StatusRow]:
    """The rows of these emails once `holds` does."""
    deadline = time.monotonic() + WAIT_MAX_S
    while True:
        rows = [await service.reader.status(one.email_id) for one in receipts]
        if holds(rows):
            return rows
        assert time.monotonic() < deadline, [(row.id, row.status, row.attempts) for row in rows]
        await asyncio.sleep(0.05)


async def ended(service: Service, *receipts: Receipt) -> list[StatusRow]:
    """The rows of these emails once all have reached an end."""
    return await until(lambda rows: all(row.status in ENDED for row in rows), service, *receipts)


async def whole_log(service: Service, after: int = 0) -> list[Recorded]:
    """All that is recorded behind `after`. Positions may have gaps, which it takes a moment to be sure of."""
    log: list[Recorded] = []
    empty = 0
    while empty < 5:
        position = log[-1].position if log else after
        page = await service.executor(partial(service.store.read_all, position, 10_000))
        log += page
        empty = 0 if page else empty + 1
        await asyncio.sleep(0 if page else 0.02)
    return log


async def names(service: Service, receipt: Receipt) -> list[str]:
    """The types of an email's events, in order."""
    history = await service.executor(lambda: service.store.read_stream(email_stream(receipt.email_id)))
    return [type(one.event).__name__ for one in history]
