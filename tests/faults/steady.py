"""Waiting for what has to come true."""

from __future__ import annotations

import time
from collections.abc import Callable

COMES_MAX_S = 40.0


def until(holds: Callable[[], object], told: Callable[[], object] = str, pause_s: float = 0.01) -> None:
    """Block until it does; `told` says how things stand where it doesn't."""
    deadline = time.monotonic() + COMES_MAX_S
    while not holds():
        assert time.monotonic() < deadline, told()
        time.sleep(pause_s)
