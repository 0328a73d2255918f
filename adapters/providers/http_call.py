"""One HTTP call, as every provider with an API makes it: where it ended, what was answered, how long to wait.

aiohttp carries it. It repeats no POST by itself and is told to follow no redirect. The request's body is a payload
of ours: aiohttp keeps the head back until the body's first octets, so that a payload nobody asked for any is proof
that nothing left us, and its progress is what the timeouts go by. **Invariant:** no answer but `NotSent` says that
nothing was sent, and `NotSent` is never said once the first octet may have left.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from domain.failures import FailureKind

ANSWER_BYTES_MAX = 65_536
"""Octets of an answer that are read: APIs say in a few hundred what became of an email."""

BLOCK_BYTES = 262_144
"""A body is written in blocks of this size. Each gets the whole timeout: a large email may take long, not stall."""

IDLE_S_MAX = 15.0
"""Seconds a connection waits for the next call; servers and firewalls hang up after a minute or more."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The server's word. `body` is empty where it broke off, was compressed unasked, or went on for too long."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing left us, for this reason."""

    kind: FailureKind
    detail: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """The request, or some of it, may have arrived, and no answer did."""

    detail: str


Called = Answered | NotSent | Lost
"""How a call ended."""


class HttpCaller:
    """Calls with the same headers, at most `concurrency` at a time over kept connections, in one event loop.

    `timeout_s` bounds each step: waiting for a free slot, connecting, every block of the body, the whole answer.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str],
        timeout_s: float,
        concurrency: int,
        tls_context: ssl.SSLContext | None,
    ) -> None:
        self._headers = headers
        self._timeout_s = timeout_s
        self._concurrency = concurrency
        self._tls_context = tls_context
        self._slots = asyncio.Semaphore(concurrency)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def call(
        self,
        method: str,
        url: URL,
        *,
        body: Sequence[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Called:
        """One call, with its body in pieces.

        Raises CancelledError where the request may have left and wasn't answered, and nothing else.
        Without a body nobody can tell whether it left, so that no answer is `Lost`, whatever the reason.
        """
        try:
            if not await self._slot():
                return NotSent(
                    FailureKind.NOT_TRIED, f"every connection stayed busy for {self._timeout_s:g} s"
                )
        except asyncio.CancelledError:
            return _CANCELLED
        try:
            if self._closed:
                return NotSent(FailureKind.NOT_TRIED, "the provider is closed")
            return await self._exchange(method, url, body, headers)
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Close every connection, those in use as well. Idempotent."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _slot(self) -> bool:
        if self._slots.locked():
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._slots.acquire()
            except TimeoutError:
                return False
        return await self._slots.acquire()

    async def _exchange(
        self, method: str, url: URL, body: Sequence[bytes] | None, headers: Mapping[str, str] | None
    ) -> Called:
        upload: _Upload | None = None
        response: aiohttp.ClientResponse | None = None
        answer = b""
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                upload = None if body is None else _Upload(body, deadline, self._timeout_s)
                response = await self._opened().request(
                    method, url, data=upload, headers=headers, allow_redirects=False
                )
                answer = await _read(response)
        except asyncio.CancelledError:
            if response is None:
                if upload is None or upload.begun:
                    raise
                return _CANCELLED
        except Exception as exc:
            if response is None:
                return self._unanswered(exc, begun=upload is None or upload.begun)
        finally:
            if response is not None:
                response.close()  # nothing is left to close where all was read: the connection went back
        return Answered(response.status, response.headers, answer)

    def _unanswered(self, exc: Exception, *, begun: bool) -> NotSent | Lost:
        timed_out = isinstance(exc, TimeoutError)
        if begun:
            why = f"no answer within {self._timeout_s:g} s" if timed_out else str(exc)
            return Lost(why or type(exc).__name__)
        if timed_out:
            return NotSent(FailureKind.TRANSIENT, f"no connection within {self._timeout_s:g} s")
        if isinstance(exc, aiohttp.ClientConnectionError | OSError):
            return NotSent(FailureKind.TRANSIENT, str(exc) or type(exc).__name__)
        return NotSent(FailureKind.UNKNOWN, f"{type(exc).__name__}: {exc}")  # a bug of ours, or of aiohttp's

    def _opened(self) -> aiohttp.ClientSession:
        """The session; made in the loop it is used in."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._concurrency,
                    ssl=True if self._tls_context is None else self._tls_context,
                    keepalive_timeout=IDLE_S_MAX,
                ),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(),  # none of its own: ours know the phase
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # what is small on the wire stays small
            )
        return self._session


_CANCELLED = NotSent(FailureKind.NOT_TRIED, "cancelled before anything was sent", "cancelled")


class _Upload(aiohttp.Payload):
    """A request's body: `begun` once any of the request may have left us. Each block puts the deadline off."""

    _default_content_type = "application/json"
    _autoclose = True
    _value: Sequence[bytes]

    def __init__(self, body: Sequence[bytes], deadline: asyncio.Timeout, timeout_s: float) -> None:
        super().__init__(body)
        self._size = sum(map(len, body))
        self._deadline = deadline
        self._timeout_s = timeout_s
        self.begun = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.begun = True
        for piece in self._value:
            if len(piece) <= BLOCK_BYTES:
                self._progress()
                await writer.write(piece)  # returns once most of it is with the kernel
            else:
                view = memoryview(piece)
                for start in range(0, len(view), BLOCK_BYTES):
                    self._progress()
                    await writer.write(view[start : start + BLOCK_BYTES])
        self._progress()

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        await self.write(writer)

    def _progress(self) -> None:
        with suppress(RuntimeError):  # the call is over: answered before all was written, or out of time
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._timeout_s)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The answer's body, where it is one that can be read."""
    content = response.content
    data = await content.read(ANSWER_BYTES_MAX)
    while len(data) < ANSWER_BYTES_MAX and not content.at_eof():
        data += await content.read(ANSWER_BYTES_MAX - len(data))
    plain = response.headers.get("Content-Encoding", "identity") == "identity"
    return data if plain and content.at_eof() else b""


_is_seconds = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?").fullmatch


def seconds(text: str | None) -> float | None:
    """A header's number of seconds; None where it is none."""
    return float(text) if text is not None and _is_seconds(text := text.strip()) else None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """What Retry-After (RFC 9110 §10.2.3) asks for, in seconds from now; None where it asks for nothing.

    A date is counted from the answer's own Date, so that our clock doesn't matter.
    """
    text = headers.get("Retry-After", "")
    if (wait := seconds(text)) is not None:
        return wait
    until, now = http_date(text), answered_at(headers)
    return None if until is None or now is None else max(0.0, (until - now).total_seconds())


def answered_at(headers: Mapping[str, str]) -> datetime | None:
    """The server's time, as its answer has it."""
    return http_date(headers.get("Date", ""))


def http_date(text: str) -> datetime | None:
    """A date in any of the forms of RFC 9110 §5.6.7; None where it is none."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def api_url(base_url: str) -> URL:
    """`base_url`, parsed. Raises ValueError that names it and says what would be right."""
    right = "write it like https://api.example.com"
    try:
        url = URL(base_url)
        host = url.host
    except ValueError:
        raise ValueError(f"base_url is no URL: {right}") from None
    if url.user is not None or url.password is not None or url.query_string or url.fragment:
        raise ValueError(f"base_url holds more than scheme, host, port and path: {right}")
    if url.scheme not in ("http", "https") or not host:
        raise ValueError(f"base_url is not that of an HTTP API: {right}")
    if url.scheme == "http" and not _is_loopback(host):
        raise ValueError(f"base_url would send key and emails to {host} in the clear: begin it with https://")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
