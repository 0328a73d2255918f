"""More than can be answered in time: a 503 at once for who comes too late, and nothing else changes."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from entrypoints.http import server
from tests.entrypoints.http_api import PLAIN, Log, problem_in, running
from tests.entrypoints.test_http_server import Served, answer, as_before, get, post, served

__all__ = ["as_before"]

BODY = json.dumps(PLAIN).encode()
LENGTH = f"Content-Length: {len(BODY)}"


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may come in any more, from the beginning."""
    monkeypatch.setattr("application.admission.AT_FIRST", 0)


async def told(serving: Served, *requests: bytes) -> list[tuple[int, str]]:
    """Status and Retry-After of each answer, to requests one after the other on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
    found = []
    try:
        for octets in requests:
            writer.write(octets)
            status, headers, _ = await answer(reader)
            found.append((status, headers.get("retry-after", "")))
    finally:
        writer.close()
    return found


@pytest.mark.usefixtures("closed")
async def test_who_may_not_come_in_hears_it_at_once_and_may_ask_again() -> None:
    """With the answer to everything else that is refused, on a connection that stays; other requests are served."""
    async with served() as serving:
        first, then, status = await told(serving, *2 * [post("/send-email", BODY)], get("/healthz"))
        refused = serving.service.admission.refused
        serving.service.admission.limit = 1
        (again,) = await told(serving, post("/send-email", BODY))

        assert [(503, "1"), (503, "1"), (200, "")] == [first, then, status]
        assert 2 == refused
        assert (202, "") == again


@pytest.mark.usefixtures("closed")
async def test_a_refusal_comes_before_all_that_costs() -> None:
    """The application doesn't hear of it: what refusing costs, accepting doesn't have."""
    heard: list[str] = []

    def hearing(app: ASGIApp) -> ASGIApp:
        async def heard_by(scope: Scope, receive: Receive, send: Send) -> None:
            heard.append(scope["path"])
            await app(scope, receive, send)

        return heard_by

    async with served(wrap=hearing) as serving:
        found = await told(serving, post("/send-email", BODY), get("/healthz"))

        assert [(503, "1"), (200, "")] == found
        assert ["/healthz"] == heard


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("how", ["in parts", "closes", "asks first", "behind another"])
async def test_a_request_that_comes_otherwise_hears_the_same(how: str) -> None:
    """In pieces, on a connection that ends, with a question before its body, without waiting for an earlier answer."""
    plain = post("/send-email", BODY)
    octets = {
        "in parts": plain[:-5],
        "closes": post("/send-email", BODY, LENGTH, "Connection: close"),
        "asks first": post("/send-email", b"", LENGTH, "Expect: 100-continue"),
        "behind another": get("/healthz") + plain,
    }[how]
    async with served() as serving:
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        writer.write(octets)
        if how == "behind another":
            assert 200 == (await answer(reader))[0]
        status, headers, body = await answer(reader)
        writer.close()

        assert (503, "1") == (status, headers["retry-after"])
        assert "overloaded" == json.loads(body)["code"]


async def test_whoever_is_let_in_leaves_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepted or refused for what it says: nobody stays counted, or the door would close for ever."""
    monkeypatch.setattr("application.admission.AT_FIRST", 1)
    async with running() as api:
        answers = [(await api.send()).status_code for _ in range(2)]
        wrong = (await api.send(to="nobody")).status_code

        assert [202, 202] == answers
        assert 422 == wrong
        assert 0 == api.service.admission.under_way


@pytest.mark.usefixtures("closed")
async def test_a_refusal_costs_no_line_but_is_told() -> None:
    """One line says how many there were; and whoever sweeps sees how late the event loop is."""
    async with running() as api:
        refused = [problem_in(await api.send()) for _ in range(3)]
        sweeper = server._Server(server._config(api.service, api.app), api.service, lambda: None)
        await sweeper.on_tick(server.SWEEP_TICKS)
        punctual = api.service.admission.lag_s
        sweeper._ticked_at -= 3
        await sweeper.on_tick(server.SWEEP_TICKS + 1)

        assert 3 * ["overloaded"] == [one["code"] for one in refused]
        assert [("error", "overloaded", {"refused": 3})] == lines(api.log)
        assert 0 == punctual
        assert 2.5 < api.service.admission.lag_s


def lines(log: Log) -> list[object]:
    """Those about refusals."""
    return [line for line in log.lines if line[1] in ("overloaded", "request_refused")]
