"""procrastinate on PostgreSQL: `… prepare`, `… work`, `… produce COUNT PREFIX`.

Tuned: one asynchronous worker with 32 jobs under way, told of new jobs by PostgreSQL, jobs that succeeded are deleted,
up to 32 database connections, 32 kept SMTP connections of aiosmtplib, mail put together by hand. Submitting is
`defer_async()`, 32 at once in one process.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import aiosmtplib
from procrastinate import App, PsycopgConnector  # type: ignore[import-not-found]

from benchmarks.peers.drivers import mail

app = App(
    connector=PsycopgConnector(
        conninfo=os.environ["PEERS_DATABASE"], min_size=4, max_size=mail.CONCURRENCY, timeout=30
    )
)

_free: list[aiosmtplib.SMTP] = []
"""Connections that nobody uses right now."""


async def send(to: str, subject: str, text: str) -> None:
    """Send one, over a connection that is free."""
    connection = _free.pop() if _free else await _connected()
    await connection.sendmail(mail.SENDER, [to], mail.message(to, subject, text))
    _free.append(connection)


async def _connected() -> aiosmtplib.SMTP:
    connection = aiosmtplib.SMTP(
        hostname="127.0.0.1",
        port=mail.smtp_port(),
        use_tls=False,
        start_tls=False,
        timeout=mail.SMTP_TIMEOUT_S,
    )
    await connection.connect()
    return connection


task = app.task(name="send", retry=3)(send)


async def prepare() -> None:
    """Make the tables."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def work() -> None:
    """Send until told to stop."""
    async with app.open_async():
        await app.run_worker_async(concurrency=mail.CONCURRENCY, delete_jobs="successful")


async def produce(count: int, prefix: str) -> None:
    """Submit so many."""
    keys = iter([f"{prefix}{number}" for number in range(count)])

    async def one_after_the_other() -> None:
        for key in keys:
            await task.defer_async(to=mail.address(key), subject=mail.SUBJECT, text=mail.TEXT)

    async with app.open_async():
        begun_s = time.monotonic()
        await asyncio.gather(*(one_after_the_other() for _ in range(mail.CONCURRENCY)))
        mail.submitted(begun_s, count)


if __name__ == "__main__":
    if sys.argv[1] == "produce":
        asyncio.run(produce(int(sys.argv[2]), sys.argv[3]))
    else:
        asyncio.run({"prepare": prepare, "work": work}[sys.argv[1]]())
