"""Serving on a real socket: an end in order, bodies that are too large, clients that are too slow."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
from starlette.types import ASGIApp

from adapters.memory.event_store import MemoryEventStore
from application.ports import StoreUnavailable
from domain.circuit import CircuitPolicy
from entrypoints.config_schema import Listen
from entrypoints.http import linger, protocol, server
from entrypoints.http.app import HttpOptions, create_app
from entrypoints.http.server import CannotListen, bind, run, serve
from entrypoints.service import Service
from tests.entrypoints.http_api import PLAIN, SHOP, Log, SetClock, service_on

ANYWHERE = Listen("127.0.0.1", 0)
OPTIONS = HttpOptions(default_from=SHOP, request_max=1_000_000)
WITHIN_S = 15.0


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Serving sets up the whole process; put back what it changes."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@dataclass
class Served:
    """A service that is being served."""

    service: Service
    store: MemoryEventStore
    port: int
    task: asyncio.Task[int]

    async def ask(self, octets: bytes, *, end: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Send these octets on a connection of their own; the answer's status, headers and body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(octets)
        if end:
            writer.write_eof()
        try:
            return await answer(reader)
        finally:
            writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The next answer on a connection."""
    async with asyncio.timeout(WITHIN_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split()[1]), headers, body


@asynccontextmanager
async def served(
    options: HttpOptions = OPTIONS,
    wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    change: Callable[[Service], Service] = lambda service: service,
) -> AsyncIterator[Served]:
    """Serve, and end by SIGTERM unless the test did."""
    clock = SetClock()
    store = MemoryEventStore(clock=clock, circuit=CircuitPolicy())
    service = change(service_on(store, clock, Log()))
    urls: asyncio.Queue[str] = asyncio.Queue()
    sock = bind(ANYWHERE)
    app = wrap(create_app(service, options))
    task = asyncio.create_task(serve(service, app, sock, urls.put_nowait))
    async with asyncio.timeout(WITHIN_S):
        url = await urls.get()
    yield Served(service=service, store=store, port=int(url.rpartition(":")[2]), task=task)
    if not task.done():
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(WITHIN_S):
            assert 0 == await task


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    if not headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def get(path: str) -> bytes:
    """The same for reading."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


SEND = post("/send-email", json.dumps(PLAIN).encode())


# --- from start to end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    """What was asked is answered, the service is stopped, and the exit code is 0."""
    async with served() as one:
        assert 202 == (await one.ask(SEND))[0]
        os.kill(os.getpid(), number)
        async with asyncio.timeout(WITHIN_S):
            assert 0 == await one.task

        assert [] == [task for task in asyncio.all_tasks() if task.get_name() in ("committer", "counter")]
        with pytest.raises(ConnectionRefusedError):
            await one.ask(SEND)


async def test_the_url_is_told_once_it_is_true() -> None:
    """Port 0 is told as what it became, and a wildcard as loopback."""
    urls: list[str] = []
    service = service_on(MemoryEventStore(clock=SetClock(), circuit=CircuitPolicy()), SetClock(), Log())
    sock = bind(Listen("0.0.0.0", 0))
    port = sock.getsockname()[1]
    task = asyncio.create_task(serve(service, create_app(service, OPTIONS), sock, urls.append))
    while not urls:
        await asyncio.sleep(0.01)
    assert [f"http://127.0.0.1:{port}"] == urls

    os.kill(os.getpid(), signal.SIGTERM)
    assert 0 == await task


async def test_an_idle_connection_does_not_hold_up_the_end() -> None:
    """Clients keep theirs open for as long as we let them."""
    async with served() as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(get("/healthz"))
        assert 200 == (await answer(reader))[0]
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(3):
            assert 0 == await one.task
        writer.close()


def slow(seconds: float) -> Callable[[ASGIApp], ASGIApp]:
    """Every answer takes so long."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def waiting(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(seconds)
            await app(scope, receive, send)

        return waiting

    return wrap


async def test_after_the_signal_nothing_more_is_claimed() -> None:
    """Not even while requests that came before are still answered: the worker hears of it at once."""
    left: list[bool] = []

    class Leaving(Service):
        def leave(self) -> None:
            left.append(True)

    def watched(service: Service) -> Service:
        return Leaving(**{field.name: getattr(service, field.name) for field in fields(service)})

    async with served(wrap=slow(1.0), change=watched) as one:
        asked = asyncio.create_task(one.ask(SEND))
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.1)
        heard, answered = list(left), asked.done()
        await asked

    assert [True] == heard
    assert not answered


async def test_an_open_request_is_still_answered() -> None:
    """It came before the signal."""
    async with served(wrap=slow(0.5)) as one:
        asked = asyncio.create_task(one.ask(SEND))
        await asyncio.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

        assert 202 == (await asked)[0]
        assert 0 == await one.task
        assert 1 == len(one.store.read_all(0, 10))


async def test_an_endless_request_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has `CLOSING_MAX_S`; a second signal doesn't wait even for that."""
    monkeypatch.setattr(server, "CLOSING_MAX_S", 0.3)
    async with served(wrap=slow(60)) as one:
        asked = asyncio.create_task(one.ask(SEND))
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            assert 0 == await one.task
        await asyncio.wait([asked])
        asked.exception()


async def test_a_second_signal_waits_for_nobody() -> None:
    """Whoever presses Ctrl-C twice has decided."""
    async with served(wrap=slow(60)) as one:
        asked = asyncio.create_task(one.ask(SEND))
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(3):
            assert 0 == await one.task
        asked.cancel()


async def test_a_service_that_can_t_start_is_put_away() -> None:
    """The socket is free again, what was opened is closed, and the reason is the caller's."""
    closed: list[bool] = []

    class Stuck:
        async def count_waiting(self) -> None:
            raise StoreUnavailable("the disk is full")

    async def close() -> None:
        closed.append(True)

    service: Any = service_on(MemoryEventStore(clock=SetClock(), circuit=CircuitPolicy()), SetClock(), Log())
    service = replace(service, acceptor=Stuck(), close=close)
    sock = bind(ANYWHERE)
    with pytest.raises(StoreUnavailable):
        await serve(service, create_app(service, OPTIONS), sock, lambda url: None)

    assert [True] == closed
    assert -1 == sock.fileno()


async def test_who_can_t_be_told_the_url_ends_it() -> None:
    """The lock file can't be written, say: nobody would find the service."""
    service = service_on(MemoryEventStore(clock=SetClock(), circuit=CircuitPolicy()), SetClock(), Log())

    def refuse(url: str) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await serve(service, create_app(service, OPTIONS), bind(ANYWHERE), refuse)
    assert [] == [task for task in asyncio.all_tasks() if task.get_name() in ("committer", "counter")]


# --- binding


def test_a_port_that_is_taken_is_said_so() -> None:
    """Before anything else is opened, in words that say what to do."""
    with bind(ANYWHERE) as first, pytest.raises(CannotListen) as caught:
        bind(Listen("127.0.0.1", first.getsockname()[1]))

    assert "another process listens there" in str(caught.value.strerror)


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_that_is_not_ours_is_said_so(host: str) -> None:
    """An address of somebody else's, a name that leads nowhere."""
    with pytest.raises(CannotListen) as caught:
        bind(Listen(host, 0))

    assert caught.value.strerror


def test_ipv6_will_do() -> None:
    """Where the machine has it."""
    try:
        with bind(Listen("::1", 0)) as sock:
            assert "::1" == sock.getsockname()[0]
    except CannotListen:
        pytest.skip("no IPv6 here")


def test_a_port_can_be_used_again_at_once() -> None:
    """A restart doesn't wait for the kernel to forget connections that we closed first."""
    with bind(ANYWHERE) as sock:
        address = sock.getsockname()
        with socket.create_connection(address) as client:
            sock.accept()[0].close()
            assert b"" == client.recv(1)
    bind(Listen(*address)).close()


def test_it_runs_on_uvloop_where_that_is_there() -> None:
    """And hands the exit code on."""
    uvloop = pytest.importorskip("uvloop")

    async def main() -> int:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        return 3

    assert 3 == run(main())


# --- over the wire


async def test_a_slash_in_an_id_survives_the_wire() -> None:
    """Percent-encoded, decoded once."""
    async with served() as one:
        await one.ask(post("/send-email", json.dumps({**PLAIN, "id": "a/b?c d@x%2F"}).encode()))
        status, _, body = await one.ask(get("/statuses/a%2Fb%3Fc%20d%40x%252F"))

        assert (200, "a/b?c d@x%2F") == (status, json.loads(body)["id"])


async def test_several_requests_on_one_connection() -> None:
    """One after the other, or all at once."""
    async with served() as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        for _ in range(3):
            writer.write(SEND)
            assert 202 == (await answer(reader))[0]
        writer.write(get("/healthz") + SEND + get("/statuses"))
        assert [200, 202, 200] == [(await answer(reader))[0] for _ in range(3)]
        writer.close()


async def test_a_client_hears_that_its_body_is_too_large() -> None:
    """Even if it sends all of it before it listens; and the connection can be used again."""
    async with served() as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(post("/send-email", b"x" * 3_000_000))
        await writer.drain()
        status, headers, body = await answer(reader)
        assert (413, "application/problem+json") == (status, headers["content-type"])
        assert "too_large" == json.loads(body)["code"]

        writer.write(get("/healthz"))
        assert 200 == (await answer(reader))[0]
        writer.close()


REFUSED = [
    (OPTIONS, "/send-email", 413),
    (replace(OPTIONS, request_max=9_000_000), "/send-email", 400),
    (replace(OPTIONS, admin_token="t0ken"), "/send-email", 401),
    (OPTIONS, "/nowhere", 404),
    (OPTIONS, "/statuses", 405),
]


@pytest.mark.parametrize("last", ["Connection: close", "Connection: Close", "HTTP/1.0"])
@pytest.mark.parametrize(("options", "path", "expected"), REFUSED)
async def test_a_client_that_closes_hears_it_too(
    options: HttpOptions, path: str, expected: int, last: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Python's own client, for one: it sends all, then listens, and a reset would be all it gets."""
    body = b"x" * 8_000_000
    octets = post(path, body, f"Content-Length: {len(body)}", last if ":" in last else "X-A: b")
    if last == "HTTP/1.0":
        octets = octets.replace(b"HTTP/1.1", b"HTTP/1.0")
    async with served(options) as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(octets)
        await asyncio.wait_for(writer.drain(), WITHIN_S)
        await asyncio.sleep(0.2)

        assert expected == (await answer(reader))[0]
        assert b"" == await asyncio.wait_for(reader.read(-1), WITHIN_S)
        assert [] == [
            one for one in caplog.records if one.name == "uvicorn.error" and one.levelname == "ERROR"
        ]
        writer.close()


async def test_a_client_that_closes_is_answered_before_it_is_done() -> None:
    """The answer doesn't wait for the rest of the body; the connection does, but not for ever."""
    async with served() as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(post("/send-email", b"x", "Content-Length: 3000000", "Connection: close"))
        assert 413 == (await answer(reader))[0]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(-1), 0.3)
        writer.write(b"x" * 2_999_999)
        assert b"" == await asyncio.wait_for(reader.read(-1), WITHIN_S)
        writer.close()


async def test_a_client_that_never_ends_is_not_listened_to_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has been answered long since."""
    monkeypatch.setattr(linger, "LINGER_MAX_S", 0.3)
    async with served() as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(post("/send-email", b"x", "Content-Length: 3000000", "Connection: close"))
        assert 413 == (await answer(reader))[0]
        assert b"" == await asyncio.wait_for(reader.read(-1), 5)
        writer.close()


async def test_a_request_that_closes_is_like_any_other() -> None:
    """With and without a body."""
    async with served() as one:
        sent = await one.ask(SEND.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        read = await one.ask(get("/healthz").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))

        assert (202, 200) == (sent[0], read[0])
        assert "close" == sent[1]["connection"]


async def test_an_endless_body_is_refused_while_it_comes() -> None:
    """Chunked, it never says how much there will be."""
    async with served() as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(post("/send-email", b"", "Transfer-Encoding: chunked"))
        for _ in range(40):
            writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            await writer.drain()

        assert 413 == (await answer(reader))[0]
        assert not one.store.read_all(0, 10)
        writer.close()


async def test_a_client_that_asks_first_need_not_send() -> None:
    """`Expect: 100-continue` and a length beyond the limit: 413 at once, and no 100."""
    async with served() as one:
        status, _, _ = await one.ask(
            post("/send-email", b"", "Content-Length: 3000000", "Expect: 100-continue")
        )

        assert 413 == status


async def test_a_stranger_s_body_is_not_read() -> None:
    """401 before the first octet of it."""
    async with served(replace(OPTIONS, admin_token="t0ken")) as one:
        status, _, _ = await one.ask(post("/send-email", b"", "Content-Length: 1000", "Expect: 100-continue"))

        assert 401 == status


async def test_what_is_not_http_is_a_400() -> None:
    """And the end of the connection."""
    async with served() as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert 400 == (await answer(reader))[0]
        assert b"" == await asyncio.wait_for(reader.read(), WITHIN_S)
        writer.close()


async def test_a_head_without_end_is_cut_off() -> None:
    """Nobody has shown a token yet: memory isn't for strangers to fill."""
    async with served() as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError, AssertionError)):
            for _ in range(1000):
                writer.write(b"x" * 10_000)
                await writer.drain()
                await asyncio.sleep(0)
            status, _, _ = await answer(reader)
            assert 200 == status
        writer.close()
        assert 200 == (await one.ask(get("/healthz")))[0]


async def test_a_large_head_is_no_endless_one() -> None:
    """Cookies of other services on this machine, say."""
    async with served() as one:
        head = f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nCookie: {'x' * 30_000}\r\n\r\n"

        assert 200 == (await one.ask(head.encode()))[0]


async def test_a_body_before_a_head_does_not_count_as_head() -> None:
    """Two requests in one go, the first one larger than a head may be."""
    async with served() as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        large = post("/send-email", json.dumps({**PLAIN, "body": "x" * 300_000}).encode())
        writer.write(large + get("/healthz")[:20])
        await writer.drain()
        assert 202 == (await answer(reader))[0]
        writer.write(get("/healthz")[20:])
        assert 200 == (await answer(reader))[0]
        writer.close()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: loc",
        get("/healthz") + b"GET /healthz",
        post("/send-email", b'{"id":', "Content-Length: 100"),
    ],
)
async def test_who_keeps_us_waiting_is_let_go(octets: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing, with half a head, with a second one, with half a body."""
    monkeypatch.setattr(server, "SWEEP_TICKS", 1)
    monkeypatch.setattr(protocol, "HEAD_MAX_S", 0.3)
    monkeypatch.setattr(protocol, "SILENT_MAX_S", 0.3)
    async with served() as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(octets)
        async with asyncio.timeout(5):
            await reader.read(-1)
        writer.close()


async def test_who_was_refused_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a body that is dropped as it comes, then nothing."""
    monkeypatch.setattr(server, "SWEEP_TICKS", 1)
    monkeypatch.setattr(protocol, "SILENT_MAX_S", 0.3)
    async with served() as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(post("/send-email", b"", "Content-Length: 2000000"))
        assert 413 == (await answer(reader))[0]
        writer.write(b"x" * 1000)
        async with asyncio.timeout(5):
            assert b"" == await reader.read(-1)
        writer.close()


async def test_who_is_at_work_is_not_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow answer, a slow body, a pause between two requests: none of these is a stale connection."""
    monkeypatch.setattr(server, "SWEEP_TICKS", 1)
    monkeypatch.setattr(protocol, "HEAD_MAX_S", 0.4)
    monkeypatch.setattr(protocol, "SILENT_MAX_S", 0.4)
    async with served(wrap=slow(0.8)) as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        for at in range(0, len(SEND), 60):
            writer.write(SEND[at : at + 60])
            await asyncio.sleep(0.1)
        assert 202 == (await answer(reader))[0]
        await asyncio.sleep(1.0)
        writer.write(get("/healthz")[:20])
        await asyncio.sleep(0.25)
        writer.write(get("/healthz")[20:])
        assert 200 == (await answer(reader))[0]
        writer.close()
