"""How much memory a process holds while something goes on."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

EVERY_S = 0.05
MB = 1e6


class Resident:
    """Looks at a process as long as the block lasts; `most_mb`: the most it held (RSS, millions of octets)."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)
        self.most_mb = self.now_mb()

    def now_mb(self) -> float:
        """What it holds at this moment."""
        return float(self._process.memory_info().rss) / MB

    def __enter__(self) -> Resident:
        self._looking.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._over.set()
        self._looking.join()
        self.most_mb = max(self.most_mb, self.now_mb())

    def _look(self) -> None:
        while not self._over.wait(EVERY_S):
            self.most_mb = max(self.most_mb, self.now_mb())
