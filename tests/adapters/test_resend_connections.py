"""Resend's connections: what happens before anything is sent, cancellation, bounds, the way in and the way out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from adapters.providers.resend import ResendSettings
from application.provider_port import ProviderUnfit
from domain.failures import Accepted, FailureKind, NotAccepted, Unanswered
from tests.adapters.resend_bench import QUICK_S, resend, resend_bench
from tests.contract.provider_contract import send, submission, until
from tests.support.resend_script import Do, hang, refuse, slow, suspend
from tests.support.resend_server import FULL_ACCESS, SENDING_ACCESS, ResendServer
from tests.support.smtp_server import certificates

LARGE = "A line of a text that no socket buffer holds in one piece.\n" * 200_000
"""12 MB."""


def closed_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@asynccontextmanager
async def deaf_server(read_each_s: float | None = None) -> AsyncIterator[int]:
    """Accepts connections; reads a mebibyte every so often, or never, and answers once nothing more comes."""

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            while read_each_s is not None:
                await asyncio.sleep(read_each_s)
                if (await reader.read(1_048_576)).endswith(b"}"):
                    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"id":"1"}')
            await asyncio.sleep(60)
        finally:
            writer.transport.abort()

    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    listening.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(serve, sock=listening, limit=1_048_576)
    try:
        yield listening.getsockname()[1]
    finally:
        server.close()
        for task in serving:
            task.cancel()


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:{closed}",
        "https://api.stagepost.invalid",
        "https://127.0.0.1:{deaf}",
        "https://127.0.0.1:{http}",
    ],
    ids=["refused", "no such host", "a handshake that stalls", "no TLS there"],
)
async def test_without_a_connection_nothing_was_sent(base_url: str) -> None:
    """Whatever keeps us from one: another provider may have the email at once."""
    async with deaf_server() as deaf, ResendServer() as server:
        url = base_url.format(closed=closed_port(), deaf=deaf, http=server.port)
        provider = resend(base_url=url, timeout_s=QUICK_S)
        outcome = await send(provider, submission())
        await provider.close()

    assert isinstance(outcome, NotAccepted)
    assert FailureKind.TRANSIENT == outcome.kind
    assert outcome.detail


async def test_a_certificate_is_verified() -> None:
    """By the system's authorities, unless told others: a stranger gets neither key nor email."""
    ours, known_to_us = certificates()
    async with resend_bench(server={"tls_context": ours}) as bench:
        outcome = await send(bench.provider, submission())

        assert isinstance(outcome, NotAccepted)
        assert FailureKind.TRANSIENT == outcome.kind
        assert [] == bench.server.arrivals
        trusting = resend(base_url=bench.server.url, tls_context=known_to_us)
        assert isinstance(await send(trusting, submission()), Accepted)
        await trusting.close()
        await until("nothing stays open", lambda: bench.server.open_connections == 0)


async def test_without_a_slot_in_time_it_is_not_tried() -> None:
    """All connections are busy: that is no failure, and nothing was sent."""
    async with resend_bench(hang(), concurrency=1, timeout_s=QUICK_S) as bench:
        first, second = await asyncio.gather(
            *(send(bench.provider, submission(number)) for number in (1, 2)), return_exceptions=True
        )

        assert isinstance(first, Unanswered)
        assert isinstance(second, NotAccepted)
        assert FailureKind.NOT_TRIED == second.kind
        assert 1 == len(bench.server.calls)


async def test_connections_are_kept_and_bounded() -> None:
    """One after the other takes one connection; many at once take as many as are configured."""
    async with resend_bench(concurrency=3) as bench:
        for number in range(5):
            await send(bench.provider, submission(number))
        assert 1 == bench.server.connections

        await asyncio.gather(*(send(bench.provider, submission(number)) for number in range(5, 25)))

        assert bench.server.connections <= 3
        assert 25 == len(bench.server.emails)


async def test_a_connection_that_died_meanwhile_is_replaced() -> None:
    """A server that was restarted while nobody looked."""
    async with resend_bench() as bench:
        await send(bench.provider, submission(1))
        await bench.server.shut()
        await bench.server.open()
        await asyncio.sleep(0.05)

        assert isinstance(await send(bench.provider, submission(2)), Accepted)


async def test_a_slow_answer_is_waited_for() -> None:
    """Slow, and within the timeout."""
    async with resend_bench(slow(0.1)) as bench:
        assert isinstance(await send(bench.provider, submission()), Accepted)


async def test_a_large_email_may_take_long() -> None:
    """As long as some of it goes out within each timeout: this one takes several."""
    text = LARGE * 2
    async with deaf_server(read_each_s=0.05) as port:
        provider = resend(base_url=f"http://127.0.0.1:{port}", timeout_s=1.0)
        started = asyncio.get_running_loop().time()
        outcome = await send(provider, submission(text=text))
        took_s = asyncio.get_running_loop().time() - started
        await provider.close()

    assert Accepted(accepted=(0,), message_id="1", code="200") == outcome
    assert took_s > 1.0


async def test_a_large_email_that_stalls_ends() -> None:
    """Nobody reads: after the timeout it is given up, and as some of it is gone, it may have been taken."""
    async with deaf_server() as port:
        provider = resend(base_url=f"http://127.0.0.1:{port}", timeout_s=QUICK_S)
        outcome = await send(provider, submission(text=LARGE))
        await provider.close()

    assert isinstance(outcome, Unanswered)


async def test_a_refusal_amid_the_body_counts() -> None:
    """The server needn't read all of it to say that it is too much; the connection isn't used again."""
    async with resend_bench([], concurrency=1) as bench:
        bench.server.plan = refuse("too_large", status=413)
        bench.server.plan = replace(bench.server.plan, unread=True)
        outcome = await send(bench.provider, submission(1, text=LARGE))
        bench.server.plan = None
        again = await send(bench.provider, submission(2))

        assert isinstance(outcome, NotAccepted)
        assert FailureKind.TOO_LARGE == outcome.kind
        assert isinstance(again, Accepted)
        assert 2 == bench.server.connections


async def test_cancelled_before_it_was_sent_it_is_not_tried() -> None:
    """While it waits for a slot, and while it connects."""
    async with deaf_server() as deaf:
        provider = resend(base_url=f"https://127.0.0.1:{deaf}", concurrency=1)
        tasks = [asyncio.create_task(provider.send(submission(number))) for number in (1, 2)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks)
        await provider.close()

    for outcome in outcomes:
        assert isinstance(outcome, NotAccepted)
        assert (FailureKind.NOT_TRIED, "cancelled") == (outcome.kind, outcome.code)


async def test_cancelled_while_an_answer_is_out_it_says_so() -> None:
    """It may have been taken, which only CancelledError says; and nothing stays open."""
    async with resend_bench(hang()) as bench:
        task = asyncio.create_task(bench.provider.send(submission()))
        await until("it arrives", lambda: len(bench.server.calls) == 1)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        await until("the connection is closed", lambda: bench.server.open_connections == 0)


async def test_cancelled_when_the_answer_is_known_it_is_told() -> None:
    """The status is the answer; the rest of it is only an id."""
    half = Do(take=True, then="hang", raw=b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id":')
    async with resend_bench(half) as bench:
        task = asyncio.create_task(bench.provider.send(submission()))
        await until("it is taken", lambda: len(bench.server.emails) == 1)
        await asyncio.sleep(0.05)
        task.cancel()

        assert Accepted(accepted=(0,), code="200") == await task


async def test_cancelled_at_any_moment_the_outcome_is_true() -> None:
    """Step by step of the event loop: what is called not tried was never taken."""
    async with resend_bench(concurrency=2) as bench:
        ends: set[str] = set()
        for steps in range(60):
            what = submission(steps)
            task = asyncio.create_task(bench.provider.send(what))
            for _ in range(steps // 2):
                await asyncio.sleep(0)
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(outcome, NotAccepted):
                await asyncio.sleep(0.003)
                assert 0 == bench.server.copies()[what.email_id], (
                    f"taken, and cancelled after {steps // 2} steps"
                )
            ends.add(type(outcome).__name__)

    assert {"NotAccepted", "CancelledError"} <= ends


async def test_after_close_nothing_is_sent() -> None:
    """Closed is closed, however often; what is under way ends."""
    async with resend_bench(hang()) as bench:
        task = asyncio.create_task(bench.provider.send(submission()))
        await until("it arrives", lambda: len(bench.server.calls) == 1)

        await bench.provider.close()
        await bench.provider.close()
        late = await send(bench.provider, submission(2))

        assert isinstance(await task, Unanswered)
        assert isinstance(late, NotAccepted)
        assert FailureKind.NOT_TRIED == late.kind
        await until("nothing stays open", lambda: bench.server.open_connections == 0)


@pytest.mark.parametrize(
    ("key", "says"),
    [(FULL_ACCESS, "verified domains: example.com, example.org"), (SENDING_ACCESS, "may send")],
)
async def test_check_tells_what_the_key_may(key: str, says: str) -> None:
    """A key that may only send is proven by the refusal it gets; nothing is sent, no connection is left."""
    domains = frozenset({"example.org", "example.com"})
    async with resend_bench(server={"domains": domains}, key=key) as bench:
        seen = await bench.provider.check()

        assert says in seen
        assert [] == bench.server.calls
        await until("nothing stays open", lambda: bench.server.open_connections == 0)


@pytest.mark.parametrize(
    ("plan", "settings", "says"),
    [
        (None, {"key": "re_unknown"}, "403 invalid_api_key: API key is invalid. Check key"),
        (suspend(), {}, "403 suspended_api_key: This API key is suspended. Check key"),
        (refuse("not_found"), {}, "Check base_url"),
        (refuse("service_unavailable"), {}, "Try again"),
        (hang(), {"timeout_s": QUICK_S}, "can't be reached: no answer within 0.25 s. Check base_url"),
    ],
)
async def test_check_says_what_to_do(plan: Do | None, settings: dict[str, object], says: str) -> None:
    """What was seen, and whose turn it is."""
    async with resend_bench(plan, **settings) as bench:
        with pytest.raises(ProviderUnfit) as unfit:
            await bench.provider.check()

    assert says in str(unfit.value)


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.resend.com",
        "https://gateway.example/resend/",
        "http://localhost:8080",
        "http://[::1]:1",
        "http://127.9.9.9",
    ],
)
def test_a_base_url_is_https_or_this_machine(base_url: str) -> None:
    """Paths are kept; the clear is for stand-ins on this machine."""
    assert base_url == ResendSettings(name="a", key="re_1", base_url=base_url).base_url


@pytest.mark.parametrize(
    ("base_url", "says"),
    [
        ("http://api.resend.com", "in the clear: begin it with https://"),
        ("http://127.0.0.1.example.com", "in the clear"),
        ("api.resend.com", "write it like https://"),
        ("ftp://api.resend.com", "write it like https://"),
        ("https://", "write it like https://"),
        ("https://user:secret@api.resend.com", "more than scheme, host, port and path"),
        ("https://api.resend.com?region=eu", "more than scheme, host, port and path"),
        ("https://api.resend.com:99999", "no URL"),
        ("", "write it like https://"),
    ],
)
def test_other_base_urls_are_refused(base_url: str, says: str) -> None:
    """Naming the setting and what would be right, and no secret that stands in it."""
    with pytest.raises(ValueError) as refused:
        ResendSettings(name="a", key="re_1", base_url=base_url)

    assert "base_url" in str(refused.value)
    assert says in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("key", ["", "re_1\r\nX-Evil: 1", "re 1", "ré_1"])
def test_a_key_is_one_word(key: str) -> None:
    """It goes into a header; and it isn't shown."""
    with pytest.raises(ValueError, match="key is no API key") as refused:
        ResendSettings(name="a", key=key)

    assert not key or key not in str(refused.value)


async def test_a_path_before_the_api_is_kept() -> None:
    """For those who have a gateway between."""
    async with ResendServer() as server:
        provider = resend(base_url=f"{server.url}/v9/")
        outcome = await send(provider, submission())
        await provider.close()

    assert isinstance(outcome, NotAccepted)
    assert (FailureKind.ACCOUNT, "404 not_found") == (outcome.kind, outcome.code)
    assert ["not_found"] == server.violations
