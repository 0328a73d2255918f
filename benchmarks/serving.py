"""Accepting, and accepting with delivering at once, against a bare Starlette application in the same run.

    python -m benchmarks.serving [--rounds 5] [--requests 5000] [--json]

Everything runs on this machine: service, load and sink share it, so only the ratios mean anything. The sink is
Postfix' `smtp-sink` where there is one, else a bare protocol of ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

import psutil

from benchmarks.results import Measure, ratios, told

READY_S_MAX = 30.0
DELIVERED_S_MAX = 300.0
LOAD_S_MAX = 300.0


def serve_bare(port: int) -> None:
    """Starlette with one route that reads a body and answers like `/send-email`, served as our own is: uvloop,
    httptools, no access log."""
    import msgspec
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def accept(request: Request) -> Response:
        asked = msgspec.json.decode(await request.body())
        answer = {"id": asked["id"], "email_id": asked["id"], "status": "queued", "message": "Email"}
        return Response(msgspec.json.encode(answer), status_code=202, media_type="application/json")

    app = Starlette(routes=[Route("/send-email", accept, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False, lifespan="off")


class Sink(asyncio.Protocol):
    """Says yes to everything, and drops it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._in_data = cast(asyncio.WriteTransport, transport), False
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        if self._in_data:
            if not data.endswith(b"\r\n.\r\n"):
                return
            self._in_data = False
            self._transport.write(b"250 2.0.0 Ok\r\n")
            return
        for line in data.split(b"\r\n")[:-1]:
            verb = line[:4].upper()
            if verb == b"EHLO":
                self._transport.write(b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
            elif verb == b"DATA":
                self._in_data = True
                self._transport.write(b"354 Go\r\n")
            elif verb == b"QUIT":
                self._transport.close()
            else:
                self._transport.write(b"250 2.1.0 Ok\r\n")


def serve_sink(port: int) -> None:
    """The sink of ours."""
    import uvloop

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(forever())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def process(*command: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block."""
    running = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            running.wait(20)
        running.kill()
        running.wait()


def until_it_listens(port: int) -> None:
    deadline = time.monotonic() + READY_S_MAX
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing listens on port {port}")
        time.sleep(0.05)


def _until_it_is_ready(port: int) -> None:
    deadline = time.monotonic() + READY_S_MAX
    while True:  # it listens before its worker ticks, and says 503 meanwhile
        with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/readyz", timeout=READY_S_MAX):
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"what listens on port {port} isn't ready")
        time.sleep(0.05)


def load(port: int, requests: int, prefix: str) -> dict[str, Any]:
    """What the load generator saw."""
    url = f"http://127.0.0.1:{port}/send-email"
    command = [sys.executable, "-m", "benchmarks.load", url, "--requests", str(requests), "--prefix", prefix]
    out = subprocess.run(command, check=True, capture_output=True, timeout=LOAD_S_MAX).stdout
    seen: dict[str, Any] = json.loads(out)
    if set(seen["statuses"]) != {"202"}:
        raise SystemExit(f"not all were accepted: {seen['statuses']}")
    return seen


@contextmanager
def sink() -> Iterator[int]:
    """A sink on some port: the port."""
    port = free_port()
    if (found := shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin")) is not None:
        command = [found, "-u", "postfix", f"127.0.0.1:{port}", "1000"]
    else:
        command = [sys.executable, "-m", "benchmarks.serving", "--serve-sink", str(port)]
    with process(*command):
        until_it_listens(port)
        yield port


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


@dataclass(frozen=True, slots=True)
class Served:
    """What is measured: where it listens, and its process."""

    port: int
    pid: int

    def under_load(self, requests: int) -> dict[str, Any]:
        """What the load generator saw, and the processor time of each request (µs)."""
        before = cpu_s(self.pid)
        seen = load(self.port, requests, "k")
        return {**seen, "cpu_us": 1e6 * (cpu_s(self.pid) - before) / requests}


@contextmanager
def stagepost(
    folder: Path, smtp_port: int, *options: str, database: str = "", settings: str = ""
) -> Iterator[Served]:
    """`stagepost serve` on a database of its own. `settings`: tables to add to its configuration."""
    port = free_port()
    url = database or "sqlite:///stagepost.db"
    (folder / "stagepost.toml").write_text(
        f'database = "{url}"\nlisten = "127.0.0.1:{port}"\nfrom = "Shop <shop@example.com>"\n'
        f'[providers.sink]\ntype = "smtp"\nhost = "127.0.0.1"\nport = {smtp_port}\ntls = "none"\nconcurrency = 32\n'
        + settings
    )
    command = Path(sys.executable).with_name("stagepost")
    with process(str(command), "serve", *options, cwd=folder) as running:
        until_it_listens(port)
        _until_it_is_ready(port)
        yield Served(port, running.pid)


def accept_only(requests: int) -> dict[str, Any]:
    """Emails accepted, durable, a second."""
    with tempfile.TemporaryDirectory() as folder, stagepost(Path(folder), 9, "--no-worker") as served:
        load(served.port, requests // 10, "warm")
        return served.under_load(requests)


def accept_and_deliver(requests: int) -> dict[str, Any]:
    """Emails delivered a second, from the first request to the last delivery, all at once."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        served = stack.enter_context(stagepost(folder, stack.enter_context(sink())))
        load(served.port, requests // 10, "warm")
        _until_sent(folder / "stagepost.db", requests // 10)
        begun, used = time.perf_counter(), cpu_s(served.pid)
        seen = load(served.port, requests, "k")
        _until_sent(folder / "stagepost.db", requests // 10 + requests)
        seconds, cpu = time.perf_counter() - begun, cpu_s(served.pid) - used
        return {**seen, "per_s": requests / seconds, "cpu_us": 1e6 * cpu / requests}


def _until_sent(database: Path, count: int) -> None:
    deadline = time.monotonic() + DELIVERED_S_MAX
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        while True:
            (sent,) = connection.execute("SELECT count(*) FROM emails WHERE status = 'sent'").fetchone()
            if sent >= count:
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"{sent} of {count} emails were sent")
            time.sleep(0.02)
    finally:
        connection.close()


def bare(requests: int) -> dict[str, Any]:
    """Requests a second that a bare application answers."""
    port = free_port()
    with process(sys.executable, "-m", "benchmarks.serving", "--serve-bare", str(port)) as running:
        until_it_listens(port)
        load(port, requests // 10, "warm")
        return Served(port, running.pid).under_load(requests)


MEASURED = {"bare Starlette": bare, "accept": accept_only, "accept and deliver": accept_and_deliver}


def table(rounds: Sequence[dict[str, dict[str, Any]]]) -> str:
    """Per measure: the median of its ratios to the bare application in the same round, and their spread."""
    lines = [f"{'':22}{'per s':>9}{'ratio':>8}{'spread':>14}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>9}"]
    for name in MEASURED:
        rates = [one[name]["per_s"] for one in rounds]
        parts = ratios(rates, [one["bare Starlette"]["per_s"] for one in rounds])
        p50, p99, cpu = (
            statistics.median(one[name][key] for one in rounds) for key in ("p50_ms", "p99_ms", "cpu_us")
        )
        spread = f"{min(parts):.2f} – {max(parts):.2f}"
        lines.append(
            f"{name:22}{statistics.median(rates):9.0f}{statistics.median(parts):8.2f}{spread:>14}{p50:9.1f}{p99:9.1f}{cpu:9.0f}"
        )
    return "\n".join(lines)


WANTED = {"accept": (0.40, 0.55), "accept and deliver": (0.12, 0.22)}
"""Of the ratios: at least, and aim."""


def measures(rounds: Sequence[dict[str, dict[str, Any]]]) -> list[Measure]:
    """What is shown of the rounds beside other benchmarks."""
    bare = [one["bare Starlette"]["per_s"] for one in rounds]
    found = []
    for name, (at_least, aim) in WANTED.items():
        values = ratios([one[name]["per_s"] for one in rounds], bare)
        found.append(
            Measure(name=f"{name}, SQLite", limit="bare Starlette", values=values, at_least=at_least, aim=aim)
        )
        late = tuple(one[name]["p99_ms"] for one in rounds)
        found.append(Measure(name=f"{name}, 32 clients, p99", values=late, unit="ms", less=True))
    return found


def main() -> None:
    """Measure in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve-bare", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve-sink", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve_bare:
        return serve_bare(given.serve_bare)
    if given.serve_sink:
        return serve_sink(given.serve_sink)
    rounds = [
        {name: measure(given.requests) for name, measure in MEASURED.items()} for _ in range(given.rounds)
    ]
    if given.json:
        conditions = {"requests": given.requests, "connections": 32, "database": "SQLite"}
        print(told("serving", conditions=conditions, measures=measures(rounds), rounds=rounds, as_json=True))
    else:
        print(table(rounds))
    return None


if __name__ == "__main__":
    main()
