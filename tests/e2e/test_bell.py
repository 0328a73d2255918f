"""Services apart on one PostgreSQL: what one records, another hears; and where it doesn't, it finds out by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import pytest

from adapters.sql.engine import Database
from adapters.sql.migrate import migrate
from application.accept import Receipt
from application.bell import HEARING_POLL_S
from entrypoints.config import Config
from entrypoints.service import Service
from tests.contract.test_bell import end_listeners, until
from tests.e2e.running import config, ended, names, request, running, send

LONG_S = 600.0
WITHIN_S = 20.0
SANDBOX = '[providers.only]\ntype = "sandbox"\n'


@pytest.fixture
def made(tmp_path: Path, postgres_url: str) -> Config:
    """The configuration of all services of a test."""
    migrate(postgres_url)
    return config(tmp_path, postgres_url, SANDBOX)


@pytest.fixture
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever hears the others does nothing by itself."""
    monkeypatch.setattr("application.dispatch.HEARING_POLL_S", LONG_S)
    monkeypatch.setattr("application.feed.HEARING_POLL_S", LONG_S)


@asynccontextmanager
async def apart(made: Config) -> AsyncIterator[tuple[Service, Service]]:
    """One that takes emails in and one that sends them, idle, hearing each other."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running(made, worker=False))
        worker = await stack.enter_async_context(running(made))
        await until(lambda: api.bell.hears and worker.bell.hears)
        await asyncio.sleep(0.1)  # the round that hearing began with
        yield api, worker


async def waits_s(service: Service, receipt: Receipt) -> float:
    """How long the email waited for its attempt."""
    await ended(service, receipt)
    row = await service.reader.status(receipt.email_id)
    return (row.attempts[0].started_at - row.requested_at).total_seconds()


async def test_an_email_starts_at_once_although_nobody_looks_for_it(made: Config, nobody_looks: None) -> None:
    """Accepted here, sent there: without the hint it would wait for minutes. (benchmarks/idle_start.py measures it.)"""
    async with apart(made) as (api, _), asyncio.timeout(WITHIN_S):
        waited = sorted([await waits_s(api, *await send(api, request(f"k{n}"))) for n in range(5)])

        assert waited[len(waited) // 2] < HEARING_POLL_S / 2


async def test_what_an_operator_does_elsewhere_is_heard(made: Config, nobody_looks: None) -> None:
    """Also by a command that ends as soon as it has done it."""
    async with apart(made) as (api, worker), asyncio.timeout(WITHIN_S):
        await api.operator.pause("only", "ann")
        (receipt,) = await send(api, request("k1"))
        await asyncio.sleep(0.2)
        assert ["Requested"] == await names(api, receipt)
        async with running(made, worker=False) as command:
            await command.operator.resume("only", "ann")
        await ended(worker, receipt)

        assert ["Requested", "AttemptStarted", "Sent"] == await names(api, receipt)


async def test_whoever_follows_the_log_elsewhere_hears_what_is_sent(made: Config, nobody_looks: None) -> None:
    """The worker rings too: its events are news as well."""
    found: list[str] = []
    async with (
        apart(made) as (api, _),
        asyncio.timeout(WITHIN_S),
        aclosing(api.feed.follow(await api.feed.end())) as batches,
    ):
        await send(api, request("k1"))
        while len(found) < 3:
            found += [type(one.event).__name__ for one in (await anext(batches)).events]

    assert ["Requested", "AttemptStarted", "Sent"] == found


async def test_what_a_dead_worker_left_is_heard_of(
    made: Config, nobody_looks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes over its attempts says so: what they held is free."""
    async with apart(made) as (api, worker), asyncio.timeout(WITHIN_S):
        assert worker.worker is not None
        rung: list[str] = []
        monkeypatch.setattr(worker.bell, "ring", rung.append)
        (receipt,) = await send(api, request("k1"))
        await ended(api, receipt)
        keeper = worker.worker.keeper
        seen = await worker.executor(lambda: worker.store.read_stream(f"email-{receipt.email_id}"))
        keeper._observe(seen)

    assert "work" == rung[-1]


async def test_a_hint_that_is_lost_costs_one_look(made: Config) -> None:
    """A process that dies between its commit and its ring has accepted the email all the same."""
    async with apart(made) as (api, _), asyncio.timeout(WITHIN_S):
        await api.bell.close()
        waited_s = await waits_s(api, *await send(api, request("k1")))

        assert waited_s < 2 * HEARING_POLL_S


async def test_who_hears_nothing_looks_as_often_as_ever(
    made: Config, postgres_url: str, nobody_looks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener's connection is killed: looking delivers meanwhile, and then the listener is back."""
    monkeypatch.setattr("adapters.sql.bell.AGAIN_S", 1.5)
    async with apart(made) as (api, worker), asyncio.timeout(WITHIN_S):
        end_listeners(postgres_url)
        await until(lambda: not worker.bell.hears)
        first = await waits_s(api, *await send(api, request("k1")))
        was_deaf = not worker.bell.hears
        await until(lambda: worker.bell.hears)
        second = await waits_s(api, *await send(api, request("k2")))

        assert was_deaf
        assert max(first, second) < HEARING_POLL_S


async def test_a_pooler_that_keeps_no_sessions_is_found_out(
    made: Config, nobody_looks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LISTEN is answered and nothing is ever heard: it is said once, and looking goes on as ever."""
    monkeypatch.setattr("adapters.sql.bell.ECHO_S", 0.05)
    monkeypatch.setattr("adapters.sql.bell.AGAIN_S", 0.01)
    whole = Database.apart
    monkeypatch.setattr(Database, "apart", lambda self, statement: whole(self, "SELECT 'LISTEN'"))
    async with running(made) as worker, asyncio.timeout(WITHIN_S):
        said: list[str] = []
        monkeypatch.setattr(worker.bell, "_deaf", said.append)
        waited_s = await waits_s(worker, *await send(worker, request("k1")))
        async with running(made, worker=False) as api:
            waited_s = max(waited_s, await waits_s(api, *await send(api, request("k2"))))
        await until(lambda: len(said) > 0)
        await asyncio.sleep(0.3)

        assert not worker.bell.hears
        assert 1 == len(said)
        assert "pooler" in said[0]
        assert waited_s < HEARING_POLL_S
