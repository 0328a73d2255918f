"""A load generator: so many connections, each with one request under way, as fast as the answers come.

    python -m benchmarks.load http://127.0.0.1:8025/send-email --requests 5000

A process of its own, on bare sockets, so that it costs little of what it measures. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from typing import cast
from urllib.parse import urlsplit

import uvloop

CONNECTIONS = 32
BODY_OCTETS = 1000
"""Of the text: a short receipt, or a sign-in code with its explanation."""


class Load:
    """What is to be sent, and what came of it. `requests` bodies are made before the clock starts."""

    def __init__(self, host: str, path: str, requests: int, prefix: str) -> None:
        self.left = [_request(host, path, f"{prefix}{number}") for number in range(requests)]
        self.statuses: Counter[str] = Counter()
        self.took_s: list[float] = []
        self.done = asyncio.Event()
        self.busy = 0


class Connection(asyncio.Protocol):
    """One client: sends a request, waits for its answer, sends the next."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._answer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._load.busy += 1
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.busy -= 1
        if not self._load.busy:
            self._load.done.set()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(body) < int(length or b"0"):
            return
        self._load.statuses[head[9:12].decode()] += 1
        self._load.took_s.append(time.perf_counter() - self._sent_at)
        self._answer = b""
        self._next()

    def _next(self) -> None:
        if not self._load.left:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(self._load.left.pop())


def _request(host: str, path: str, key: str) -> bytes:
    body = json.dumps(
        {
            "id": key,
            "to": f"{key}@example.org",
            "subject": "Your order is on its way",
            "body": "All is well. " * (BODY_OCTETS // 13),
        }
    ).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def run(url: str, requests: int, connections: int, prefix: str) -> dict[str, object]:
    """Send them all."""
    parts = urlsplit(url)
    load = Load(parts.netloc, parts.path, requests, prefix)
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(
            lambda: Connection(load), parts.hostname or "127.0.0.1", parts.port or 80
        )
    await load.done.wait()
    seconds = time.perf_counter() - begun
    took = sorted(load.took_s)
    return {
        "statuses": dict(load.statuses),
        "begun_s": begun,  # of the monotonic clock, which all processes share
        "per_s": len(took) / seconds,
        "p50_ms": 1000 * took[len(took) // 2],
        "p99_ms": 1000 * took[len(took) * 99 // 100],
    }


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--prefix", default="k")
    given = parser.parse_args()
    result = uvloop.run(run(given.url, given.requests, given.connections, given.prefix))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
