"""uvicorn's HTTP protocol with the bounds it leaves open: how large a request's head may be, and how slow.

A connection costs nothing before its request is understood, and nobody has shown a token yet: these bounds are
for strangers. Those on bodies are in `body`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from application.committer import Overloaded
from entrypoints.http.problems import problem_of

HEAD_MAX_OCTETS = 65_536
"""Request line and headers: ids in paths and tokens take hundreds, what proxies add a few thousand."""

HEAD_MAX_S = 20.0
"""From the connection, or a request's first octet, to the end of its head."""

SILENT_MAX_S = 60.0
"""In the middle of a body, without an octet of it."""


class _Gathered:
    """A transport that writes once in each turn of the loop: head and body of an answer are one packet, not two.

    uvloop hands each `write` to the kernel at once; that was an eighth of the processor time of a small request.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it, together with whatever else is written now."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        """Send what is held, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, []
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))


_SEND = b"POST /send-email HTTP/1.1\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Says by `is_stale` when it has kept us waiting for too long.

    `refuses`: whether a request to send an email may not come in. It is asked as soon as such a request is there, and
    answered before it is read: a refusal further inside takes three times the processor time, of which accepting
    would have so much less.
    """

    def __init__(self, *args: Any, refuses: Callable[[], bool] = lambda: False, **options: Any) -> None:
        super().__init__(*args, **options)
        self._refuses = refuses

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, _Gathered(transport, self.loop)))
        self._in_head = True
        self._head_octets = 0
        self._head_since = self._heard_at = self.loop.time()

    def data_received(self, data: bytes) -> None:
        was_in_head = self._in_head
        self._heard_at = self.loop.time()
        if data.startswith(_SEND) and self._is_idle() and _is_whole(data) and self._refuses():
            self._refuse()
            return
        super().data_received(data)
        if was_in_head and self._in_head:
            self._head_octets += len(data)
            if self._head_octets > HEAD_MAX_OCTETS and not self.transport.is_closing():
                self.send_400_response(f"The head of a request may have {HEAD_MAX_OCTETS} octets.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_octets = 0
        self._head_since = self._heard_at

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def _is_idle(self) -> bool:
        """Whether what comes now begins a request."""
        if self._in_head and self._head_octets:
            return False
        cycle: Any = self.cycle
        return cycle is None or (cycle.response_complete and not cycle.more_body)

    def _refuse(self) -> None:
        self._head_since = self._heard_at
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        self.transport.write(_not_now())

    def is_stale(self, now: float) -> bool:
        """Whether the client is too slow with its head, or silent within a body."""
        if self._in_head:
            return now - self._head_since > HEAD_MAX_S
        if self.cycle.response_complete:
            # Refused early, with more of the body to come and be dropped: uvicorn has no timer for that.
            awaited = self.timeout_keep_alive_task is None
        else:
            awaited = self.cycle.more_body and not self.flow.read_paused
        return awaited and now - self._heard_at > SILENT_MAX_S


def _is_whole(data: bytes) -> bool:
    """Whether this is one whole request on a connection that stays open, and not a bit more."""
    head, found, body = data.partition(b"\r\n\r\n")
    fields = head.lower()
    length = fields.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0].strip()
    plain = b"\r\nconnection:" not in fields and b"\r\ntransfer-encoding:" not in fields
    return bool(found) and length == b"%d" % len(body) and plain


@cache
def _not_now() -> bytes:
    """The answer to whoever is refused, as it is sent."""
    response = problem_of(Overloaded()).response()
    fields = b"".join(b"%s: %s\r\n" % field for field in response.raw_headers)
    return STATUS_LINE[response.status_code] + fields + b"\r\n" + bytes(response.body)


def close_stale(connections: Iterable[object], now: float) -> None:
    """Close the connections that keep us waiting."""
    for one in list(connections):
        if isinstance(one, BoundedProtocol) and one.is_stale(now):
            one.transport.close()
