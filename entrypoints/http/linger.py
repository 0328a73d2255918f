"""Answering before the whole request is there, to clients that listen only once they have sent all of it.

A server that closes a connection with octets unread resets it, and the client sees no answer but an error. On a
connection that stays open uvicorn reads on; on one that ends with the answer, this does: it answers at once, and
drops what still comes before it lets go.
"""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope, Send

from entrypoints.http.body import Headers

LINGER_MAX_S = 30.0
"""Whoever has not sent its request by then will not hear of it."""


def is_last(scope: Scope, headers: Headers) -> bool:
    """Whether the connection ends with this answer, and the request has a body."""
    ends = scope.get("http_version") == "1.0" or b"close" in headers.get(b"connection", b"").lower()
    return ends and (headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers)


class Lingering:
    """A request's `receive` and `send`, with what isn't received by the end of the answer dropped as it comes."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_whole = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._is_whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        is_end = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_end and not self._is_whole:
            await self._send({**message, "more_body": True})
            await self._drop()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _drop(self) -> None:
        try:
            async with asyncio.timeout(LINGER_MAX_S):
                while not self._is_whole:
                    await self.receive()
        except TimeoutError:
            return
