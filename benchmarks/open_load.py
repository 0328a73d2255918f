"""An open load: requests arrive at a fixed rate, whether or not earlier ones were answered.

    python -m benchmarks.open_load http://127.0.0.1:8025/send-email --per-s 500 --seconds 5

A client that waits for its answer before it asks again slows down with the service, and then no overload is to be
seen. Here each request has a moment at which it is due, and its wait counts from there: what a connection, or this
process, was late by is part of it. A process of its own. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.results import percentile

CONNECTIONS = 4000
"""Open before the first request: what is measured are requests, not a rush of new clients. Who comes when all of
them are busy waits for one, which counts."""

TOGETHER = 50
"""Connections opened at a time."""

GOOD_S = 1.0
"""A 202 that takes longer is of little use to whoever waits for it."""

TICK_S = 0.001
PATIENCE_S = 60.0
"""After the last arrival: what has no answer by then counts as unanswered."""

TEXT = "All is well. " * 77
NUMBER = "%08d"


class Arrivals:
    """Requests at a rate, and what came of them. `keys`: those that got a 202."""

    def __init__(self, url: str, *, per_s: float, seconds: float, prefix: str) -> None:
        parts = urlsplit(url)
        self._at = parts.hostname or "127.0.0.1", parts.port or 80
        self._request = _template(parts.netloc, parts.path, prefix)
        self._per_s = per_s
        self._count = round(per_s * seconds)
        self._prefix = prefix
        self._idle: list[Connection] = []
        self._waiting: deque[tuple[int, float]] = deque()
        self.under_way = 0
        self.most_under_way = 0
        self.statuses: Counter[str] = Counter()
        self.took_s: dict[str, list[float]] = {}
        self.late_s: list[float] = []
        self.without_retry_after = 0
        self.keys: list[str] = []

    async def connect(self, count: int) -> None:
        """Have so many connections before the first request."""
        loop = asyncio.get_running_loop()
        for left in range(count, 0, -TOGETHER):
            made = [
                loop.create_connection(lambda: Connection(self), *self._at)
                for _ in range(min(left, TOGETHER))
            ]
            self._idle += [connection for _, connection in await asyncio.gather(*made)]

    async def run(self) -> None:
        """Let them all arrive, and wait for the answers."""
        begun, arrived = time.perf_counter(), 0
        while arrived < self._count:
            until = min(self._count, int((time.perf_counter() - begun) * self._per_s) + 1)
            for number in range(arrived, until):
                self._arrive(number, begun + number / self._per_s)
            arrived = until
            await asyncio.sleep(TICK_S)
        deadline = time.perf_counter() + PATIENCE_S
        while self.under_way + len(self._waiting) and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)
        self.statuses["unanswered"] += self.under_way + len(self._waiting)

    def _arrive(self, number: int, due: float) -> None:
        if self._idle:
            self._idle.pop().send(number, due)
        else:
            self._waiting.append((number, due))

    def request(self, number: int, due: float) -> bytes:
        """What goes out now."""
        self.late_s.append(time.perf_counter() - due)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        return self._request(number)

    def answered(self, connection: Connection, number: int, due: float, status: str, head: bytes) -> None:
        """A connection has its answer, and is free."""
        self.under_way -= 1
        self.statuses[status] += 1
        self.took_s.setdefault(status, []).append(time.perf_counter() - due)
        if status == "202":
            self.keys.append(self._prefix + NUMBER % number)
        elif status == "503" and b"retry-after: " not in head:
            self.without_retry_after += 1
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._idle.append(connection)

    def lost(self, connection: Connection, *, busy: bool) -> None:
        """A connection ended, perhaps with a request under way."""
        if busy:
            self.under_way -= 1
            self.statuses["connection lost"] += 1
        elif connection in self._idle:
            self._idle.remove(connection)

    def seen(self) -> dict[str, Any]:
        """What is printed. Times are milliseconds."""
        accepted, refused = (sorted(self.took_s.get(one, ())) for one in ("202", "503"))
        seconds = self._count / self._per_s
        return {
            "offered_per_s": self._per_s,
            "seconds": seconds,
            "statuses": {name: count for name, count in self.statuses.items() if count},
            "good_per_s": sum(took <= GOOD_S for took in accepted) / seconds,
            "accepted_p50_ms": _ms(accepted, 0.5),
            "accepted_p99_ms": _ms(accepted, 0.99),
            "refused_p50_ms": _ms(refused, 0.5),
            "refused_p99_ms": _ms(refused, 0.99),
            "without_retry_after": self.without_retry_after,
            "under_way_max": self.most_under_way,
            "late_p99_ms": _ms(sorted(self.late_s), 0.99),
        }


class Connection(asyncio.Protocol):
    """One connection, with at most one request under way."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._answer = b""
        self._number, self._due = -1, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrivals.lost(self, busy=self._number >= 0)

    def send(self, number: int, due: float) -> None:
        """Send the request of that number."""
        self._number, self._due = number, due
        self._transport.write(self._arrivals.request(number, due))

    def data_received(self, data: bytes) -> None:
        self._answer = self._answer + data if self._answer else data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator:
            return
        head = head.lower()
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(body) < int(length or b"0"):
            return
        number, self._number, self._answer = self._number, -1, b""
        self._arrivals.answered(self, number, self._due, head[9:12].decode(), head)


def _ms(sorted_s: Sequence[float], share: float) -> float | None:
    return 1000 * percentile(sorted_s, share) if sorted_s else None


def _template(host: str, path: str, prefix: str) -> Callable[[int], bytes]:
    """Requests that differ in their numbers only: making one costs next to nothing."""
    fields = {"id": f"{prefix}@@", "to": f"{prefix}@@.example@example.org"}
    body = json.dumps(fields | {"subject": "Your order is on its way", "body": TEXT})
    length = len(body.replace("@@", NUMBER % 0))
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    first, second, third = f"{head}Content-Length: {length}\r\n\r\n{body}".encode().split(b"@@")

    def request(number: int) -> bytes:
        digits = (NUMBER % number).encode()
        return b"".join((first, digits, second, digits, third))

    return request


async def run(arrivals: Arrivals, connections: int = CONNECTIONS) -> dict[str, Any]:
    """All of it; what was seen."""
    await arrivals.connect(connections)
    await arrivals.run()
    return arrivals.seen()


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("url")
    parser.add_argument("--per-s", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--prefix", default="open")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--keys", type=Path, help="a file to write the ids to that got a 202")
    given = parser.parse_args()
    arrivals = Arrivals(given.url, per_s=given.per_s, seconds=given.seconds, prefix=given.prefix)
    seen = uvloop.run(run(arrivals, given.connections))
    if given.keys:
        given.keys.write_text("\n".join(arrivals.keys), encoding="ascii")
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
