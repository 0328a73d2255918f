"""Following the log of a running service: whatever it records is told at once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.e2e.running import config, request, running, send

LONG_S = 600.0
WITHIN_S = 20.0
SANDBOX = '[providers.only]\ntype = "sandbox"\n'


async def test_what_a_service_records_is_seen_without_polling(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepting, sending and operating: each hints at what it recorded, in order and once."""
    monkeypatch.setattr("application.feed.POLL_S", LONG_S)
    async with running(config(tmp_path, database, SANDBOX)) as service:
        found: list[tuple[str, int]] = []
        async with (
            asyncio.timeout(WITHIN_S),
            aclosing(service.feed.follow(await service.feed.end())) as batches,
        ):
            for act, events in (
                (send(service, request("k1")), 3),
                (service.operator.pause("only", "ann"), 1),
                (send(service, request("k2")), 1),
                (service.operator.resume("only", "ann"), 3),
            ):
                doing = asyncio.ensure_future(act)
                expected = len(found) + events
                while len(found) < expected:
                    batch = await anext(batches)
                    found += [(type(one.event).__name__, one.position) for one in batch.events]
                await doing

    assert [
        *("Requested", "AttemptStarted", "Sent"),
        "ProviderPaused",
        "Requested",
        *("ProviderResumed", "AttemptStarted", "Sent"),
    ] == [name for name, _ in found]
    assert sorted(position for _, position in found) == [position for _, position in found]
