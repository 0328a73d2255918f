"""The `stagepost` command as people run it: a process of its own, in a folder of its own."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

STAGEPOST = str(Path(sys.executable).with_name("stagepost"))
START_MAX_S = 30.0
"""A busy machine imports slowly."""
ENDS_MAX_S = 30.0


def in_an_hour() -> str:
    """A time for `--send-at`."""
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def environment(**more: str) -> dict[str, str]:
    """Ours without anything that configures Stagepost, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STAGEPOST_")}
    # Colours would depend on who runs the tests.
    return {**kept, "NO_COLOR": "1", **more}


@contextmanager
def process_as_before() -> Iterator[None]:
    """Undo what a command does to its process, where that is the tests': signals and logging."""
    handlers, level = logging.root.handlers[:], logging.root.level
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        structlog.reset_defaults()
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        signal.signal(signal.SIGTERM, terminate)


class Running:
    """A command that goes on: `url` is where it listens once `wait_until_ready` returned."""

    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        self.folder = folder
        self._out = (folder / "stdout.txt").open("w+")
        self._err = (folder / "stderr.txt").open("w+")
        self.process = subprocess.Popen(
            [STAGEPOST, *arguments], cwd=folder, env=environment(**env), stdout=self._out, stderr=self._err
        )
        self.url = ""

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout.txt").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr.txt").read_text()

    def wait_until_listening(self, lock: Path) -> None:
        """Until its URL stands in the lock of the database."""
        deadline = time.monotonic() + START_MAX_S
        while not self.url:
            assert self.process.poll() is None, self.stderr
            assert time.monotonic() < deadline, f"not listening after {START_MAX_S} s: {self.stderr}"
            time.sleep(0.02)
            line = lock.read_text() if lock.exists() else ""
            self.url = (json.loads(line)["url"] if line.endswith("\n") else None) or ""

    def get(self, path: str, token: str = "") -> Any:
        """The JSON at a path."""
        return call(f"{self.url}{path}", headers={"Authorization": f"Bearer {token}"} if token else {})[1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(ENDS_MAX_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._out.close()
            self._err.close()


def call(url: str, data: bytes | None = None, headers: Mapping[str, str] = {}) -> tuple[int, Any]:
    """Status and JSON of one request."""
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
