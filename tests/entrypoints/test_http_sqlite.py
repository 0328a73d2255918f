"""The HTTP interface over a real SQLite database: taken in, sent, asked about, restarted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from entrypoints.bootstrap import open_service
from entrypoints.config import dev_config
from entrypoints.http.app import HttpOptions, create_app
from tests.entrypoints.http_api import BASE_URL, PLAIN

WITHIN_S = 20.0


@asynccontextmanager
async def serving(folder: Path, *, worker: bool = True) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a service on the database in `folder`."""
    config = dev_config(folder, {})
    service = open_service(config, worker=worker)
    app = create_app(service, HttpOptions(default_from=config.default_from))
    await service.start()
    try:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL) as client:
            yield client
    finally:
        await service.stop()


async def until(client: httpx2.AsyncClient, path: str, holds: Callable[[Any], bool]) -> Any:
    """The answer at `path` once something holds of it."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            answer = (await client.get(path)).json()
            if holds(answer):
                return answer
            await asyncio.sleep(0.02)


async def test_an_email_goes_all_the_way(tmp_path: Path) -> None:
    """Accepted, sent by the worker, told about; a strange id and an odd name on the way."""
    key = "a/b?c d@x"
    async with serving(tmp_path) as client:
        attachments = [{"filename": "ü.txt", "content": "aGk="}]
        request = {**PLAIN, "id": key, "to": "Änn <ann@example.org>", "attachments": attachments}
        answer = await client.post("/send-email", json=request)
        assert 202 == answer.status_code
        path = f"/statuses/{quote(key, safe='')}"
        row = await until(client, path, lambda row: row["status"] == "sent")

        assert (key, "sandbox") == (row["id"], row["provider"])
        assert ["sent"] == [one["outcome"] for one in row["attempts"]]
        assert [{"index": 0, "outcome": "accepted"}] == row["recipients"]
        assert 1 == len(list((tmp_path / "outbox").glob("*.eml")))
        story = (await client.get(f"/emails/{quote(key, safe='')}/explain")).json()
        assert ["Requested", "AttemptStarted", "Sent"] == [line["event"] for line in story["lines"]]
        events = (await client.get(f"/emails/{row['email_id']}/events")).json()["data"]
        assert "@" not in events[0]["data"]["key"], "an id that may be an address is not in the log"
        assert {"status": "ready", "alerts": []} == (await client.get("/readyz")).json()


async def test_what_was_accepted_is_known_after_a_restart(tmp_path: Path) -> None:
    """The same answer to the same request, and a misuse stays one."""
    async with serving(tmp_path, worker=False) as client:
        first = await client.post("/send-email", json=PLAIN)

    async with serving(tmp_path, worker=False) as client:
        again = await client.post("/send-email", json=PLAIN)
        other = await client.post("/send-email", json={**PLAIN, "body": "Other"})

        assert (202, first.json(), "true") == (
            again.status_code,
            again.json(),
            again.headers["idempotent-replayed"],
        )
        assert 422 == other.status_code
        assert "queued" == (await client.get("/statuses/order-1")).json()["status"]


async def test_pages_cancel_and_retry(tmp_path: Path) -> None:
    """The same as over the store in memory."""
    async with serving(tmp_path, worker=False) as client:
        answers = await asyncio.gather(
            *(client.post("/send-email", json={**PLAIN, "id": f"e{n}"}) for n in range(120))
        )
        assert {202} == {answer.status_code for answer in answers}
        seen: list[str] = []
        after: str | None = ""
        while after is not None:
            page = (await client.get(f"/statuses?limit=50&status=queued&after={after}")).json()
            seen += [row["id"] for row in page["data"]]
            after = page["next"]
        assert sorted(f"e{n}" for n in range(120)) == sorted(seen)

        assert "cancelled" == (await client.post("/emails/e5/cancel")).json()["status"]
        assert ["e5"] == [
            row["id"] for row in (await client.get("/statuses?status=cancelled")).json()["data"]
        ]
        assert 409 == (await client.post("/emails/e5/retry")).status_code
        assert "queued" == (await client.post("/emails/e6/retry")).json()["status"]
        assert (await client.post("/providers/sandbox/pause")).json()["paused"]
        assert (await client.get("/providers")).json()["data"][0]["paused"]
