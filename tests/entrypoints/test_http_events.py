"""`GET /events`: live, from a position, filtered; bounded, and over when the service is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Message, Scope

from entrypoints.http import events as module
from entrypoints.http.app import HttpOptions
from tests.contract.event_store.given import failed, started
from tests.entrypoints.http_api import Api, errors_in, problem_in, running
from tests.entrypoints.test_http_server import as_before, get, post, served

__all__ = ["as_before"]

WITHIN_S = 10.0


@dataclass
class Listener:
    """A client of the stream, as the application sees it. It takes nothing while `takes` is not set."""

    chunks: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    takes: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.takes.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        self.ended = not message.get("more_body", False)
        self.chunks.put_nowait(message["body"])

    async def blocks(self, count: int) -> list[dict[str, str]]:
        """The next blocks, as fields by name; a comment is the field without one."""
        async with asyncio.timeout(WITHIN_S):
            while self.body.count(b"\n\n") < count:
                self.body += await self.chunks.get()
        *blocks, self.body = self.body.split(b"\n\n", count)
        return [
            {name: value.removeprefix(" ") for name, _, value in (line.partition(":") for line in lines)}
            for lines in (block.decode().split("\n") for block in blocks)
        ]

    async def events(self, count: int) -> list[Any]:
        """The data of the next events."""
        found: list[Any] = []
        while len(found) < count:
            found += [json.loads(one["data"]) for one in await self.blocks(1) if "data" in one]
        return found


@asynccontextmanager
async def listening(
    api: Api, query: str = "", headers: Mapping[str, str] = {}, takes: bool = True
) -> AsyncIterator[Listener]:
    """A client that listens, and goes away in the end."""
    listener = Listener()
    if takes:
        listener.takes.set()
    named = {"host": "localhost", **headers}
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/events",
        "raw_path": b"/events",
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }
    task = asyncio.ensure_future(api.app(scope, listener.receive, listener.send))
    try:
        yield listener
    finally:
        listener.gone.set()
        listener.takes.set()
        async with asyncio.timeout(WITHIN_S):
            await task


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is worth waiting for: what is recorded past the service is seen by polling."""
    monkeypatch.setattr("application.feed.POLL_S", 0.02)


async def attempted(api: Api, key: str, *providers: str) -> str:
    """An email that these providers were not able to take."""
    email_id = await api.accepted(id=key)
    for number, provider in enumerate(providers, 1):
        api.record(email_id, started(number, provider, recipients=(0,)))
        api.record(email_id, failed(number, provider))
    return email_id


async def test_a_stream_begins_live() -> None:
    """With what is recorded from now on; the position first, for a client that is cut off before anything comes."""
    async with running() as api:
        await api.accepted(id="before")
        async with listening(api) as client:
            first = await client.blocks(1)
            email_id = await api.accepted(id="after")
            (block,) = await client.blocks(1)
            (row,) = (await api.client.get("/emails/after/events")).json()["data"]

    assert 200 == client.status
    assert "text/event-stream; charset=utf-8" == client.headers["content-type"]
    assert "no-store" == client.headers["cache-control"]
    assert [{"": "live", "retry": "2000", "id": "1"}] == first
    assert ("2", "Requested") == (block["id"], block["event"])
    assert {**row, "stream": f"email-{email_id}", "email_id": email_id} == json.loads(block["data"])


async def test_a_stream_goes_on_at_every_position() -> None:
    """By the header a browser sends, or by the query; where both are there, the header is newer."""
    async with running() as api:
        for number in range(5):
            await api.accepted(id=f"k{number}")
        for after in range(6):
            asked: list[tuple[str, Mapping[str, str]]] = [
                (f"after={after}", {}),
                ("", {"last-event-id": str(after)}),
                ("after=0", {"last-event-id": str(after)}),
            ]
            for query, headers in asked:
                async with listening(api, query, headers) as client:
                    found = await client.events(5 - after)

                assert list(range(after + 1, 6)) == [one["position"] for one in found]


@pytest.mark.parametrize(
    ("query", "types"),
    [
        ("type=AttemptFailed", ["AttemptFailed", "AttemptFailed"]),
        ("type=attempt_failed,Requested", ["Requested", "AttemptFailed", "AttemptFailed"]),
        ("type=requested&type=ProviderSwitched", ["Requested"]),
        ("provider=secondary", ["AttemptStarted", "AttemptFailed"]),
        ("status=retrying", ["AttemptFailed", "AttemptFailed"]),
        ("status=queued,sending&provider=primary", ["AttemptStarted"]),
        (
            "type=&status=",
            ["Requested", "AttemptStarted", "AttemptFailed", "AttemptStarted", "AttemptFailed"],
        ),
    ],
)
async def test_filters(query: str, types: list[str]) -> None:
    """Each may be given more than once, or with commas; all of them hold together."""
    async with running() as api:
        await attempted(api, "k", "primary", "secondary")
        async with listening(api, f"after=0&{query}") as client:
            found = await client.events(len(types))
            await asyncio.sleep(0.05)
            is_all = client.chunks.empty()

    assert types == [one["type"] for one in found]
    assert is_all


async def test_a_circuits_event_has_no_email() -> None:
    """But its stream, which names the provider."""
    async with running() as api, listening(api, "provider=primary") as client:
        await client.blocks(1)
        await api.client.post("/providers/primary/pause")
        (found,) = await client.events(1)

    assert ("ProviderPaused", "circuit-primary", None) == (found["type"], found["stream"], found["email_id"])
    assert {"by": "operator"} == found["data"]


@pytest.mark.parametrize(
    ("query", "header", "field", "says"),
    [
        ("type=AtemptFailed", "", "type", 'did you mean "AttemptFailed"?'),
        ("type=sent,snt", "", "type", "'snt'"),
        ("status=delivred", "", "status", "no status we know"),
        ("status=fialed", "", "status", 'did you mean "failed"?'),
        ("types=Sent", "", "types", 'did you mean "type"?'),
        ("after=x", "", "after", "must be a position"),
        ("after=-1", "", "after", "must be a position"),
        ("after=1&after=2", "", "after", "given twice"),
        ("after=3", "", "after", "beyond the end of the log, 1"),
        ("", "abc", "Last-Event-ID", "must be a position"),
        ("", "2", "Last-Event-ID", "beyond the end of the log, 1"),
    ],
)
async def test_what_can_not_be_meant_is_named(query: str, header: str, field: str, says: str) -> None:
    """A 422 for each bad parameter; a position of another log would leave out what this one has."""
    async with running() as api:
        await api.accepted()
        async with asyncio.timeout(WITHIN_S):
            answer = await api.client.get(
                f"/events?{query}", headers={"Last-Event-ID": header} if header else {}
            )

    assert says in errors_in(answer)[field]


async def test_everything_wrong_is_listed() -> None:
    """Not the first only."""
    async with running() as api:
        answer = await api.client.get("/events?type=x&status=y&after=z&colour=red")

    assert {"type", "status", "after", "colour"} == set(errors_in(answer))


async def test_a_head_is_answered_without_a_stream() -> None:
    """With its headers, at once."""
    async with running() as api:
        answer = await api.client.head("/events")

    assert (200, b"") == (answer.status_code, answer.content)
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_only_the_admin_may_follow() -> None:
    """Events say more than statuses."""
    options = HttpOptions(admin_token="adm1n", send_token="s3nd")
    async with running(options) as api:
        assert 401 == (await api.client.get("/events")).status_code
        answer = await api.client.get("/events", headers={"authorization": "Bearer s3nd"})
        assert "forbidden" == problem_in(answer)["code"]
        async with listening(api, "", {"authorization": "Bearer adm1n"}) as client:
            assert "live" == (await client.blocks(1))[0][""]


async def test_a_place_is_free_again_once_its_client_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then one client too many is told when to ask again."""
    monkeypatch.setattr(module, "STREAMS_MAX", 2)
    async with running() as api:
        async with listening(api) as one, listening(api) as other:
            await one.blocks(1)
            await other.blocks(1)
            answer = await api.client.get("/events")
        async with listening(api) as third:
            await third.blocks(1)

    assert (503, "too_many_streams") == (answer.status_code, problem_in(answer)["code"])
    assert answer.headers["retry-after"].isdigit()


async def test_a_silent_stream_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a comment; and where events went by that were not asked for, with the position behind them."""
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.05)
    async with running() as api, listening(api, "type=Sent") as client:
        await client.blocks(1)
        silent = await client.blocks(1)
        await api.accepted()
        async with asyncio.timeout(WITHIN_S):
            while "id" not in (moved := (await client.blocks(1))[0]):
                pass

    assert [{"": ""}] == silent
    assert {"": "", "id": "1"} == moved


async def test_a_slow_client_slows_only_itself() -> None:
    """While it takes nothing of a long log, another one gets all of it; and then it gets the same."""
    async with running() as api:
        for number in range(600):
            await api.accepted(id=f"k{number}")
        async with listening(api, "after=0", takes=False) as slow, listening(api, "after=0") as fast:
            everything = await fast.events(600)
            kept = slow.chunks.qsize()
            slow.takes.set()
            later = await slow.events(600)

    assert 0 == kept
    assert list(range(1, 601)) == [one["position"] for one in everything]
    assert everything == later


async def test_a_client_that_takes_nothing_loses_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds nobody up, and can come back to where it was."""
    monkeypatch.setattr(module, "TAKING_MAX_S", 0.1)
    monkeypatch.setattr(module, "STREAMS_MAX", 1)
    async with running() as api, listening(api, takes=False) as slow:
        async with asyncio.timeout(WITHIN_S):
            while "events_not_taken" not in [word for _, word, _ in api.log.lines]:
                await asyncio.sleep(0.01)
        async with listening(api) as other:
            await other.blocks(1)

    assert 0 == slow.status


async def test_streams_end_when_the_service_leaves() -> None:
    """Properly, so that clients ask again; and nobody begins a new one."""
    async with running() as api:
        async with listening(api) as client:
            await client.blocks(1)
            api.service.leave()
            async with asyncio.timeout(WITHIN_S):
                while not client.ended:
                    await asyncio.sleep(0.01)
        answer = await api.client.get("/events")

    assert (503, "stopping") == (answer.status_code, problem_in(answer)["code"])


# --- on a real socket


async def test_an_open_stream_does_not_hold_up_the_end() -> None:
    """Of a process that is told to go: the stream ends, whole, and everything after it as ever."""
    async with served() as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(get("/events"))
        async with asyncio.timeout(WITHIN_S):
            await reader.readuntil(b"retry: 2000\nid: 0\n\n")
            body = json.dumps({"id": "k", "to": "a@example.org", "subject": "s", "body": "b"}).encode()
            assert 202 == (await one.ask(post("/send-email", body)))[0]
            await reader.readuntil(b"event: Requested\n")
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(3):
            rest = await reader.read()
            assert 0 == await one.task
        writer.close()

    assert rest.endswith(b"\r\n0\r\n\r\n")


async def test_a_client_that_hangs_up_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as the connection is gone: its place is another's."""
    monkeypatch.setattr(module, "STREAMS_MAX", 1)
    async with served() as one:
        for _ in range(3):
            async with asyncio.timeout(WITHIN_S):
                line = b""
                while b" 200 " not in line:  # the server hears of the hang-up a moment later
                    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
                    writer.write(get("/events"))
                    line = await reader.readuntil(b"\r\n")
                    writer.close()
                    await asyncio.sleep(0.01)
