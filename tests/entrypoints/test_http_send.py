"""`POST /send-email`: what is answered when, and that nothing is acknowledged that isn't recorded."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from application.accept import QueueFull, Receipt, SendRequest
from application.committer import Overloaded
from application.ports import StoreUnavailable
from application.recorded import email_stream
from domain.email.events import Requested
from entrypoints.http import body as body_module
from entrypoints.http.app import HttpOptions
from entrypoints.http.body import Bodies
from entrypoints.http.intake import Intake
from entrypoints.http.problems import Problem
from entrypoints.service import Service
from tests.entrypoints.http_api import (
    PLAIN,
    SETTINGS,
    SHOP,
    errors_in,
    problem_in,
    running,
    without_worker,
)

JSON = {"content-type": "application/json"}


class Refusing:
    """An acceptor that raises."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def accept(self, request: SendRequest) -> Receipt:
        raise self._error

    async def count_waiting(self) -> None:
        pass


def refusing(error: BaseException) -> Callable[[Service], Service]:
    """Have the acceptor raise."""
    return lambda service: without_worker(service, acceptor=Refusing(error))


# --- accepted


async def test_an_accepted_email_is_recorded_before_the_answer() -> None:
    """202, with the ids and where it stands."""
    async with running() as api:
        answer = await api.send()

        assert 202 == answer.status_code
        assert "application/json" == answer.headers["content-type"]
        email_id = answer.json()["email_id"]
        assert {
            "id": "order-1",
            "email_id": email_id,
            "status": "queued",
            "message": "Email process initiated.",
        } == answer.json()
        assert [Requested] == [type(one.event) for one in api.store.read_stream(email_stream(email_id))]
        assert "idempotent-replayed" not in answer.headers


async def test_without_an_id_one_is_made() -> None:
    """Each time another one."""
    async with running() as api:
        first, second = await api.send(id=...), await api.send(id=...)

        assert first.json()["id"] != second.json()["id"]


async def test_a_later_email_is_scheduled() -> None:
    """The answer says so."""
    async with running() as api:
        assert "scheduled" == (await api.send(send_at="2026-01-02T00:00:00Z")).json()["status"]
        assert "queued" == (await api.send(id="b", send_at="2025-01-02T00:00:00Z")).json()["status"]


async def test_a_repeated_request_gets_the_first_answer_again() -> None:
    """Also in other words, and when things have moved on."""
    async with running() as api:
        first = await api.send(send_at="2026-01-02T00:00:00Z")
        await api.client.post("/emails/order-1/cancel")
        again = await api.send(to=["ann@EXAMPLE.org"], send_at="2026-01-02T01:00:00+01:00")

        assert (202, first.json()) == (again.status_code, again.json())
        assert "true" == again.headers["idempotent-replayed"]


async def test_simultaneous_repetitions_are_one_email() -> None:
    """One is first; all others are told the same."""
    async with running() as api:
        answers = await asyncio.gather(*(api.send() for _ in range(20)))

        assert {202} == {answer.status_code for answer in answers}
        assert 1 == len({answer.json()["email_id"] for answer in answers})
        assert 19 == sum("idempotent-replayed" in answer.headers for answer in answers)
        assert 1 == len(api.store.read_all(0, 100))


async def test_an_id_for_other_content_is_misused() -> None:
    """422, naming the id."""
    async with running() as api:
        await api.send()
        answer = await api.send(subject="Other")

        assert "key_misused" == problem_in(answer)["code"]
        assert ["id"] == list(errors_in(answer))


async def test_an_id_whose_content_is_erased_is_of_no_use() -> None:
    """409: whether it would be the same can't be told any more."""
    async with running() as api:
        api.store.erase(await api.accepted())
        answer = await api.send()

        assert (409, "key_erased") == (answer.status_code, problem_in(answer)["code"])


async def test_the_key_may_be_a_header() -> None:
    """The same key, wherever it stands."""
    async with running() as api:
        first = await api.client.post(
            "/send-email", json={**PLAIN, "id": None}, headers={"idempotency-key": "order-1"}
        )
        again = await api.send()
        both = await api.client.post("/send-email", json=PLAIN, headers={"idempotency-key": "order-2"})

        assert first.json() == again.json()
        assert "idempotent-replayed" in again.headers
        assert ["id"] == list(errors_in(both))


@pytest.mark.parametrize("name", ["X-Correlation-ID", "X-Request-ID"])
async def test_what_follows_carries_the_client_s_own_id(name: str) -> None:
    """In the events and in the log."""
    async with running() as api:
        answer = await api.client.post("/send-email", json=PLAIN, headers={name: "trace-7"})
        recorded = api.store.read_stream(email_stream(answer.json()["email_id"]))

        assert "trace-7" == recorded[0].correlation_id
        assert "trace-7" == api.log.lines[0][2]["correlation_id"]


@pytest.mark.parametrize("bad", ["ann@example.org", "x" * 129, "a b", "a\tb", "\xe4", ""])
async def test_an_id_that_may_not_be_logged_is_not(bad: str) -> None:
    """An address, a novel, another line: the request is fine, its trace is ours."""
    async with running() as api:
        headers = [(b"x-correlation-id", bad.encode("latin-1"))]
        answer = await api.client.post("/send-email", json=PLAIN, headers=headers)
        recorded = api.store.read_stream(email_stream(answer.json()["email_id"]))

        assert recorded[0].correlation_id == answer.json()["email_id"]


async def test_a_request_without_a_default_sender_has_to_name_one() -> None:
    """Where the configuration has none."""
    async with running(HttpOptions()) as api:
        assert ["from"] == list(errors_in(await api.send()))
        assert 202 == (await api.send(**{"from": "a@example.com"})).status_code


# --- refused


async def test_every_bad_field_is_in_the_answer() -> None:
    """What the intake found (see its own tests)."""
    async with running() as api:
        answer = await api.send(subject="a\nb", body=..., nonsense=1)

        assert {"subject", "body", "nonsense"} == set(errors_in(answer))
        assert not api.store.read_all(0, 10)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/json; charset=latin-1",
        "multipart/form-data; boundary=application/json",
    ],
)
async def test_only_json_is_taken(content_type: str | None) -> None:
    """A form is what a page from elsewhere can have a browser send without asking."""
    async with running() as api:
        headers = {} if content_type is None else {"content-type": content_type}
        answer = await api.client.post("/send-email", content=json.dumps(PLAIN), headers=headers)

        assert (415, "unsupported_media_type") == (answer.status_code, problem_in(answer)["code"])


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
    ],
)
async def test_json_by_any_spelling(content_type: str) -> None:
    """Case and charset don't matter as long as it is UTF-8."""
    async with running() as api:
        answer = await api.client.post(
            "/send-email", content=json.dumps(PLAIN), headers={"content-type": content_type}
        )

        assert 202 == answer.status_code


async def test_a_packed_body_is_not_unpacked() -> None:
    """It could be a thousand times as large."""
    async with running() as api:
        answer = await api.client.post(
            "/send-email", content=b"\x1f\x8b", headers={**JSON, "content-encoding": "gzip"}
        )

        assert 415 == answer.status_code


async def test_what_is_not_json_is_a_400() -> None:
    """Cut off, for example."""
    async with running() as api:
        answer = await api.client.post("/send-email", content=b'{"id": "a', headers=JSON)

        assert (400, "not_json") == (answer.status_code, problem_in(answer)["code"])


@pytest.mark.parametrize(
    ("error", "code", "after"),
    [
        (QueueFull(), "queue_full", "30"),
        (Overloaded(), "overloaded", "1"),
        (StoreUnavailable("FATAL: password of user x at /var/lib"), "store_unavailable", "5"),
        (asyncio.CancelledError(), "stopping", "5"),
    ],
)
async def test_what_can_t_be_recorded_now_is_a_503(error: BaseException, code: str, after: str) -> None:
    """With the time to try again, and without a word about how it looks inside."""
    async with running(change=refusing(error)) as api:
        answer = await api.send()

        assert (503, code) == (answer.status_code, problem_in(answer)["code"])
        assert after == answer.headers["retry-after"]
        assert "password" not in answer.text
        assert ("error", "request_refused", {"status": 503, "code": code}) in api.log.lines


async def test_a_full_queue_takes_no_more() -> None:
    """`limits.queue_max`, with the real acceptor."""
    async with running(settings=replace(SETTINGS, queue_max=1)) as api:
        assert 202 == (await api.send()).status_code
        assert "queue_full" == problem_in(await api.send(id="b"))["code"]


async def test_without_a_committer_nobody_waits_for_ever() -> None:
    """Its death is an answer."""
    async with running() as api:
        api.service.supervisor.dead["committer"] = "RuntimeError: x"
        answer = await asyncio.wait_for(api.send(), 5)

        assert (503, "stopping") == (answer.status_code, problem_in(answer)["code"])


async def test_a_committer_that_ends_lets_go_of_who_waits() -> None:
    """Whoever waits for it is told to try again; nothing was accepted."""

    def stuck(call: Callable[[], Any], /) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    async with running() as api:
        api.service.committer._executor = stuck
        first = asyncio.create_task(api.send())
        await asyncio.sleep(0.05)
        second = asyncio.create_task(api.send(id="b"))
        await asyncio.sleep(0.05)
        await api.service.supervisor.stop()

        assert 503 == (await asyncio.wait_for(second, 5)).status_code
        first.cancel()


async def test_a_request_that_is_cancelled_stays_cancelled() -> None:
    """A client that went away is no reason to answer somebody."""

    class Waiting(Refusing):
        async def accept(self, request: SendRequest) -> Receipt:
            await asyncio.sleep(60)
            raise AssertionError

    change = lambda service: without_worker(service, acceptor=Waiting(ValueError()))  # noqa: E731
    async with running(change=change) as api:
        task = asyncio.create_task(api.send())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# --- too large


class Stream:
    """A body in pieces that counts how many were asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.taken += 1
            yield piece


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    """`limits.request_max`, against Content-Length."""
    async with running(HttpOptions(default_from=SHOP, request_max=1000)) as api:
        stream = Stream(iter([b"x" * 1001]))
        answer = await api.client.post(
            "/send-email", content=stream, headers={**JSON, "content-length": "1001"}
        )

        assert (413, "too_large") == (answer.status_code, problem_in(answer)["code"])
        assert "1000 octets" in answer.text
        assert 0 == stream.taken


async def test_a_body_that_becomes_too_large_is_read_no_further() -> None:
    """Whatever it said, or didn't."""
    async with running(HttpOptions(default_from=SHOP, request_max=1000)) as api:
        stream = Stream(b"x" * 100 for _ in range(1000))
        answer = await api.client.post("/send-email", content=stream, headers=JSON)

        assert 413 == answer.status_code
        assert stream.taken <= 12

        whole = await api.client.post(
            "/send-email", content=b"x" * 1001, headers={**JSON, "content-length": "1"}
        )
        assert 413 == whole.status_code


async def test_a_body_of_just_the_limit_is_read() -> None:
    """In one piece or in many."""
    octets = json.dumps(PLAIN).encode()
    async with running(HttpOptions(default_from=SHOP, request_max=len(octets))) as api:
        assert 202 == (await api.client.post("/send-email", content=octets, headers=JSON)).status_code
        pieces = Stream(octets[at : at + 1] for at in range(len(octets)))
        assert 202 == (await api.client.post("/send-email", content=pieces, headers=JSON)).status_code


async def test_a_large_email_arrives_whole() -> None:
    """It is decoded beside the event loop."""
    async with running() as api:
        email_id = await api.accepted(body="ä" * 400_000)

        assert "ä" * 400_000 == api.store.contents([email_id])[email_id].content.text
        assert 800_002 == api.store.read_stream(email_stream(email_id))[0].event.size  # type: ignore[union-attr]


@pytest.mark.parametrize(("size", "elsewhere"), [(1000, False), (1_000_000, True)])
async def test_large_emails_are_decoded_beside_the_event_loop(
    size: int, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody else would wait for them; for small ones a thread costs more than it saves."""
    threads: list[threading.Thread] = []
    read = Intake.request

    def watching(self: Intake, *args: Any, **kwargs: Any) -> SendRequest:
        threads.append(threading.current_thread())
        return read(self, *args, **kwargs)

    monkeypatch.setattr(Intake, "request", watching)
    async with running() as api:
        await api.accepted(body="x" * size)

    assert [elsewhere] == [one is not threading.main_thread() for one in threads]


def messages(*pieces: bytes) -> Callable[[], Any]:
    """A `receive` that gives these pieces of a body, then waits for ever."""
    left = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    left[-1]["more_body"] = False

    async def receive() -> Any:
        return left.pop(0) if left else await asyncio.Event().wait()

    return receive


async def test_large_bodies_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many at once are told to come again, and room that was taken is given back."""
    monkeypatch.setattr(body_module, "HELD_MAX_OCTETS", 400_000)
    bodies = Bodies(100_000)
    held = [await bodies.read({}, messages(b"x" * 50_000, b"x" * 50_000)) for _ in range(4)]

    with pytest.raises(Problem, match="large requests at once"):
        await bodies.read({}, messages(b"x" * 70_000))
    assert await bodies.read({}, messages(b"x" * 10)), "small ones are not counted"

    bodies.done(held.pop())
    assert await bodies.read({}, messages(b"x" * 70_000))


async def test_a_small_limit_holds_for_small_bodies() -> None:
    """In one piece, without a length."""
    with pytest.raises(Problem, match="1000 octets"):
        await Bodies(1000).read({}, messages(b"x" * 1001))


async def test_room_is_given_back_whatever_happens() -> None:
    """Too large, cut off, refused, accepted: afterwards nothing is held."""
    bodies = Bodies(100_000)

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    for receive in (messages(b"x" * 80_000, b"x" * 80_000), gone):
        with pytest.raises((Problem, ClientDisconnect)):
            await bodies.read({}, receive)
    for size in (0, 10, 65_536, 65_537, 100_000):
        bodies.done(await bodies.read({}, messages(b"x" * size)))
    for size in (10, 65_536, 65_537):
        bodies.done(await bodies.read({}, messages(*[b"x"] * 3, b"x" * size)))
    assert 0 == bodies._held


async def test_a_client_that_goes_away_is_no_failure() -> None:
    """Nothing is accepted, nothing is logged as an error."""
    async with running() as api:
        scope = _scope("POST", "/send-email", [(b"content-type", b"application/json")])
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await api.app(scope, receive, send)

        assert [] == [line for line in api.log.lines if line[0] == "error"]
        assert not api.store.read_all(0, 10)


def _scope(method: str, path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), *headers],
    }
