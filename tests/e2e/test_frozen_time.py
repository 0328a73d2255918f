"""The machine's clock, frozen and moved by hand: when an email is scheduled, retried, and given up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from freezegun import freeze_time

from adapters.clock import SystemClock, SystemIds
from application.projections.emails import Status
from domain.email.events import AttemptStarted
from entrypoints.config import load_config
from tests.e2e.running import ended, request, running, send, smtp, until
from tests.support.smtp_script import At
from tests.support.smtp_server import ScriptedSmtpServer

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NO_JITTER = '[retry]\nbase = "60s"\ncap = "60s"\n'
SOON_RENEWED = '[worker]\nlease = "3s"\n'  # moving the clock makes a lease look old, until it is renewed


def test_the_system_clock_is_utc_to_the_microsecond() -> None:
    """What it says is what the machine says, with a zone."""
    with freeze_time("2026-03-01T12:00:00.123456+00:00"):
        now = SystemClock().now()

    assert T0.replace(microsecond=123456) == now


def test_ids_begin_with_their_time() -> None:
    """UUIDv7: 48 bits of milliseconds since 1970, then the version, then chance."""
    one, other = SystemIds(seed=1).new_id(T0), SystemIds(seed=2).new_id(T0)

    assert int(T0.timestamp() * 1000) == int(one.replace("-", "")[:12], 16)
    assert "7" == one[14]
    assert one[19] in "89ab"
    assert one != other


async def test_a_retry_waits_for_its_time(tmp_path: Path) -> None:
    """After a failure nothing happens for a minute; a moment after it, the next attempt starts."""
    async with ScriptedSmtpServer({At.MAIL: ["451 4.3.0 later"]}) as server:
        made = tmp_path / "stagepost.toml"
        made.write_text(smtp("only", server) + NO_JITTER + SOON_RENEWED)
        with freeze_time(T0, real_asyncio=True) as frozen:
            async with running(load_config(made, {})) as service:
                (receipt,) = await send(service, request("one"))
                (waiting,) = await until(lambda rows: rows[0].status is Status.RETRYING, service, receipt)
                frozen.tick(59)
                await asyncio.sleep(1.2)
                (still,) = await until(lambda _: True, service, receipt)
                frozen.tick(1.1)
                (row,) = await ended(service, receipt)
                history = await service.executor(lambda: service.store.read_all(0, 100))
        starts = [one.at for one in history if isinstance(one.event, AttemptStarted)]

        assert T0 + timedelta(seconds=60) == waiting.next_at
        assert Status.RETRYING is still.status
        assert Status.SENT is row.status
        assert [T0, T0 + timedelta(seconds=60.1)] == starts


async def test_a_scheduled_email_starts_when_its_time_has_come(tmp_path: Path) -> None:
    """`scheduled` until then, though nothing is recorded in between."""
    async with ScriptedSmtpServer() as server:
        made = tmp_path / "stagepost.toml"
        made.write_text(smtp("only", server) + SOON_RENEWED)
        with freeze_time(T0, real_asyncio=True) as frozen:
            async with running(load_config(made, {})) as service:
                (receipt,) = await send(service, request("one", send_at=T0 + timedelta(hours=2)))
                frozen.tick(7199)
                await asyncio.sleep(1.2)
                (before,) = await until(lambda _: True, service, receipt)
                frozen.tick(2)
                (row,) = await ended(service, receipt)

        assert Status.SCHEDULED is receipt.status is before.status
        assert Status.SENT is row.status
        assert 1 == len(server.messages)
