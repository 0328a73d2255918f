"""Where all mail of the comparison goes: a server that takes every message, and says how many it took.

Postfix' `smtp-sink` where there is one, else the bare protocol of `benchmarks.serving`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import uvloop

from benchmarks.peers.processes import running
from benchmarks.serving import Sink, free_port, until_it_listens

DELIVERED_S_MAX = 300.0
"""From the first submission to the last delivery: whoever takes longer has stopped."""

LOOK_S = 0.005
TAIL_OCTETS = 200
"""Of what the sink wrote: more than one line, which ends with a carriage return."""

ANYWHERE = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
"""Servers are where a user's path may not lead."""


@dataclass(frozen=True, slots=True)
class CountingSink:
    """A running sink: its port on 127.0.0.1, and the file it counts in."""

    port: int
    counts: Path
    gone: Event
    """Set once it has ended: nobody needs to wait for it any more."""

    def received(self) -> int:
        """Messages taken so far."""
        with self.counts.open("rb") as file:
            file.seek(max(0, self.counts.stat().st_size - TAIL_OCTETS))
            found = re.findall(rb"mesg=(\d+)\r", file.read())
        return int(found[-1]) if found else 0

    def until(self, count: int, within_s: float = DELIVERED_S_MAX) -> float:
        """Wait for so many messages; the moment of the last one (monotonic clock, s).

        Raises RuntimeError if they don't come.
        """
        deadline = time.monotonic() + within_s
        while (received := self.received()) < count:
            if self.gone.wait(LOOK_S):
                raise RuntimeError(f"{received} of {count} emails arrived before the sink ended")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{received} of {count} emails arrived within {within_s:.0f} s")
        return time.monotonic()


@contextmanager
def counting_sink(folder: Path) -> Iterator[CountingSink]:
    """A sink that ends with the block."""
    port, counts = free_port(), folder / "counts"
    found = shutil.which("smtp-sink", path=ANYWHERE)
    if found is not None:
        user = ["-u", "postfix"] if os.geteuid() == 0 else []
        command = [found, "-c", *user, f"127.0.0.1:{port}", "1000"]
    else:
        command = [sys.executable, "-m", "benchmarks.peers.sink", str(port)]
    with running(command, counts):
        until_it_listens(port)
        gone = Event()
        try:
            yield CountingSink(port, counts, gone)
        finally:
            gone.set()


class _Counting(Sink):
    """Counts as `smtp-sink -c` does."""

    messages = 0

    def data_received(self, data: bytes) -> None:
        before = self._in_data
        super().data_received(data)
        if before and not self._in_data:
            _Counting.messages += 1
            sys.stdout.write(f"mesg={_Counting.messages}\r")
            sys.stdout.flush()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Counting, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
