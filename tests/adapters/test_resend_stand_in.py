"""The stand-in for Resend is as strict as the real one, or the tests that use it prove nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from adapters.providers.resend import ResendProvider, ResendSettings
from domain.failures import Accepted
from tests.contract.provider_contract import send, submission
from tests.support.resend_api import refusal_of
from tests.support.resend_script import slow
from tests.support.resend_server import FULL_ACCESS, ResendServer

EMAIL = {"from": "a@example.org", "to": "b@example.net", "subject": "Hi", "text": "Hello"}


async def post(server: ResendServer, payload: object = EMAIL, **headers: str) -> tuple[int, dict[str, Any]]:
    """A bare call; `Idempotency_Key="1"` becomes a header."""
    named = {"Authorization": f"Bearer {FULL_ACCESS}"} | {k.replace("_", "-"): v for k, v in headers.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/emails", json=payload, headers=named) as answer,
    ):
        return answer.status, await answer.json()


async def test_a_key_is_kept_for_a_day() -> None:
    """The same payload gets the first answer, another one a refusal; after 24 hours the key is new."""
    now = [1_000_000.0]
    async with ResendServer(now=lambda: now[0]) as server:
        first = await post(server, Idempotency_Key="1")
        again = await post(server, Idempotency_Key="1")
        other = await post(server, EMAIL | {"text": "Bye"}, Idempotency_Key="1")
        now[0] += 86_399
        late = await post(server, Idempotency_Key="1")
        now[0] += 1
        too_late = await post(server, Idempotency_Key="1")
        keyless = [await post(server), await post(server)]

    assert [200, 200, 200, 200] == [first[0], again[0], late[0], too_late[0]]
    assert first == again == late
    assert first != too_late
    assert (409, "invalid_idempotent_request") == (other[0], other[1]["name"])
    assert keyless[0] != keyless[1]
    assert 4 == len(server.emails)


async def test_a_key_in_use_is_refused() -> None:
    """Until its first request is through; and that one goes through even if its client has gone."""
    async with ResendServer([slow(0.1)]) as server:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(post(server, Idempotency_Key="1"), 0.03)
        status, error = await post(server, Idempotency_Key="1")
        await asyncio.sleep(0.15)
        done, _ = await post(server, Idempotency_Key="1")

    assert (409, "concurrent_idempotent_requests", 409) == (status, error["name"], error["statusCode"])
    assert 200 == done
    assert 1 == len(server.emails)


@pytest.mark.parametrize(
    ("headers", "status", "name"),
    [
        ({"Authorization": ""}, 401, "missing_api_key"),
        ({"Authorization": "Bearer re_wrong"}, 403, "invalid_api_key"),
        ({"Idempotency_Key": ""}, 400, "invalid_idempotency_key"),
        ({"Idempotency_Key": "x" * 257}, 400, "invalid_idempotency_key"),
        ({"Content_Type": "text/plain"}, 422, "validation_error"),
    ],
)
async def test_headers_are_checked(headers: dict[str, str], status: int, name: str) -> None:
    """With the documented errors."""
    async with ResendServer() as server:
        found, error = await post(server, **headers)

    assert (status, name) == (found, error["name"])


@pytest.mark.parametrize(
    "change",
    [
        {"from": None},
        {"from": ["a@example.org"]},
        {"from": "a@example.org, b@example.org"},
        {"from": "Doe, A <a@example.org>"},
        {"from": "A <a@example.org"},
        {"to": []},
        {"to": [f"{n}@example.net" for n in range(51)]},
        {"to": [7]},
        {"to": "b@bücher.example"},
        {"cc": "nobody"},
        {"subject": ""},
        {"text": ""},
        {"text": 7},
        {"headers": [["X-A", "1"]]},
        {"headers": {"X-A": 1}},
        {"headers": {"X-A": "1\r\nX-B: 2"}},
        {"headers": {"X A": "1"}},
        {"tags": [{"name": "a b", "value": "1"}]},
        {"tags": [{"name": "a", "value": "x" * 257}]},
        {"tags": [{"name": "a", "value": "1"}] * 76},
        {"attachments": [{"filename": "a.pdf"}]},
        {"attachments": [{"filename": "a.pdf", "content": "no base64!"}]},
        {"attachments": [{"filename": "a.exe", "content": "AAAA"}]},
        {"attachments": [{"filename": "a.png", "content": "AAAA", "content_id": "x" * 128}]},
        {"attachments": [{"filename": "a.png", "content": "AAAA", "disposition": "inline"}]},
        {"reply-to": "c@example.org"},
    ],
)
def test_bodies_are_checked(change: dict[str, object]) -> None:
    """What the published schema doesn't have is refused."""
    assert refusal_of(EMAIL) is None
    assert refusal_of(EMAIL | change) is not None


def test_it_serves_code_that_blocks() -> None:
    """In a thread, stopped and started again on the same port; what it took and knows stays."""

    async def try_to_send() -> object:
        provider = ResendProvider(ResendSettings(name="a", key=FULL_ACCESS, base_url=server.url))
        try:
            return await send(provider, submission(recipients=(0, 1), of=2))
        finally:
            await provider.close()

    with ResendServer.in_thread() as server:
        first = asyncio.run(try_to_send())
        server.stop()
        gone = asyncio.run(try_to_send())
        server.start()
        again = asyncio.run(try_to_send())

        assert 1 == len(server.wait_for_emails(1))
    assert isinstance(first, Accepted)
    assert not isinstance(gone, Accepted)
    assert first == again
    assert {("email-1", "reader0@example.net"): 1, ("email-1", "reader1@example.net"): 1} == dict(
        server.copies_per_recipient()
    )
    assert 2 == len(server.arrivals)
