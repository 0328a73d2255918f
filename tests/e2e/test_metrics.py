"""`/metrics` of a service as it is wired: what its worker and its database did shows."""

from __future__ import annotations

from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from entrypoints.http.app import HttpOptions, create_app
from entrypoints.service import Service
from tests.e2e.running import config, ended, request, running, send

SANDBOX = '[providers.files]\ntype = "sandbox"\nrate = "600/m"\n'
SCRIPTED = (
    '[providers.picky]\ntype = "scripted"\nscript = ["content"]\n[routes.default]\nuse = ["picky", "files"]\n'
)


async def scraped(service: Service) -> dict[str, float]:
    """Every sample, by name and labels as they are written."""
    transport = httpx2.ASGITransport(app=create_app(service, HttpOptions(version="1")))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get("/metrics")
    samples = [one for family in text_string_to_metric_families(answer.text) for one in family.samples]
    return {f"{one.name} {' '.join(sorted(one.labels.values()))}".strip(): one.value for one in samples}


async def test_what_was_sent_shows(tmp_path: Path, database: str) -> None:
    """Accepted, tried at one provider, sent by the next; nothing waits any more, and the gates know it."""
    made = config(tmp_path, database, SANDBOX, SCRIPTED)
    async with running(made) as service:
        receipts = await send(service, *(request(f"k{n}") for n in range(5)))
        await ended(service, *receipts)
        shown = await scraped(service)

    assert 5 == shown["stagepost_emails_accepted_total"]
    assert 5 == shown["stagepost_attempts_total content picky"]
    assert 5 == shown["stagepost_attempts_total files sent"]
    assert 5 == shown["stagepost_emails_ended_total  sent"]
    assert 5 == shown["stagepost_delivery_delay_seconds_count"]
    assert 5 == shown["stagepost_batch_units_sum accept"]
    assert 15 <= shown["stagepost_batch_units_sum decide"]
    assert 0 < shown["stagepost_commit_seconds_sum accept"] < 30
    assert 1 == shown["stagepost_database_up"]
    assert 0 == shown["stagepost_queue_emails due normal"]
    assert 5 == shown["stagepost_provider_limit_used 600/m files"]
    assert 0 == shown["stagepost_provider_open_attempts files"]
