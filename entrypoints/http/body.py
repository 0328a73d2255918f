"""Reading a request's body: JSON only, never more than may be, and never more at once than memory allows."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from entrypoints.http.problems import Problem, unavailable

SMALL_OCTETS = 65_536
"""Up to here a body isn't worth counting: so many more are bounded by the number of connections."""

HELD_MAX_OCTETS = 64 * 1024**2
"""Octets of larger bodies in memory at once; four of the largest allowed, where that is more."""

JSON = b"application/json"
UTF_8 = (b"charset=utf-8", b'charset="utf-8"')

Headers = Mapping[bytes, bytes]


def require_json(headers: Headers) -> None:
    """Raises a 415 unless the body says that it is JSON, in the only encoding that has (RFC 8259 §8.1)."""
    written = headers.get(b"content-type", b"")
    if written != JSON:
        kind, *parameters = (part.strip().lower() for part in written.split(b";"))
        if kind != JSON or any(one not in UTF_8 for one in parameters if one):
            raise Problem(415, "unsupported_media_type", "Send JSON, with Content-Type: application/json.")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Problem(415, "unsupported_media_type", "Send the body as it is, without a Content-Encoding.")


class Bodies:
    """Takes bodies in. Each that `read` returned is to be handed to `done` once it is no longer needed."""

    def __init__(self, octets_max: int) -> None:
        self._octets_max = octets_max
        self._held_max = max(HELD_MAX_OCTETS, 4 * octets_max)
        self._held = 0

    async def read(self, headers: Headers, receive: Receive) -> bytes:
        """The whole body. Raises a 413 as soon as it is too large, a 503 where too much is held already.

        What a client sends after that is dropped as it arrives (`linger`).
        """
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._octets_max:
            raise self._too_large()
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            if len(body) <= SMALL_OCTETS and len(body) <= self._octets_max:
                return body
        return await self._gather(message, receive)

    def done(self, body: bytes) -> None:
        """The body is no longer needed."""
        if len(body) > SMALL_OCTETS:
            self._held -= len(body)

    async def _gather(self, message: Message, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        kept = False
        try:
            while True:
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk: bytes = message.get("body", b"")
                size += len(chunk)
                self._held += len(chunk)
                if size > self._octets_max:
                    raise self._too_large()
                if self._held > self._held_max:
                    raise unavailable("overloaded", "Too many large requests at once; try again later.", 1)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    kept = size > SMALL_OCTETS
                    return b"".join(chunks)
                message = await receive()
        finally:
            if not kept:
                self._held -= size

    def _too_large(self) -> Problem:
        return Problem(
            413, "too_large", f"A request may have {self._octets_max} octets (limits.request_max)."
        )
