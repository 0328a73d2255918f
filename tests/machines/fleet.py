"""Stagepost's processes, one on each host: started, killed, stopped, and started anew where they end by themselves."""

from __future__ import annotations

import threading
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.children import Child, readiness
from tests.faults.steady import until
from tests.machines import provider, servers
from tests.machines.network import Host

PORT = 8025
TOKEN = "let-me-in-1234567890"
MINDED_EVERY_S = 0.2
QUICK = """
[retry]
base = "100ms"
cap = "1s"

[circuit]
open_for = "500ms"
open_for_max = "1s"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedByItself:
    """A process that nobody told to end. `began`: it had started, so that something broke it."""

    name: str
    code: int
    began: bool
    said: str


class Fleet:
    """All of them, by the names of their hosts. Whoever ends by himself is started anew, as a service manager does."""

    def __init__(self, folder: Path) -> None:
        self.ended_by_themselves: list[EndedByItself] = []
        self.workers: dict[str, str] = {}
        """Which host each worker that ever was ran on, by the beginning of the worker's name."""
        self._folder = folder
        self._hosts: dict[str, Host] = {}
        self._running: dict[str, Child] = {}
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._minder = threading.Thread(target=self._mind, daemon=True)

    def start(self, *hosts: Host) -> None:
        """Start one process on each, and wait until all are at work."""
        self._hosts |= {host.name: host for host in hosts}
        with self._lock:
            for host in hosts:
                self._begin(host)
        if not self._minder.ident:
            self._minder.start()
        for host in hosts:
            self.wait_until_ready(host.name)

    def kill(self, name: str) -> str:
        """`kill -9`, and start it anew; the beginning of the name that the dead one had as a worker."""
        with self._lock:
            dead = self._running[name]
            dead.kill()
            self._begin(self._hosts[name])
        return _worker(self._hosts[name], dead)

    def restart(self, name: str) -> int:
        """End it in order, start it anew, wait until it is at work; its exit code."""
        with self._lock:
            code = self._running[name].stop()
            self._begin(self._hosts[name])
        self.wait_until_ready(name)
        return code

    def stop(self) -> dict[str, int]:
        """End all in order; their exit codes."""
        self._closing.set()
        with self._lock:
            return {name: one.stop() for name, one in self._running.items()}

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        self._closing.set()
        with self._lock:
            for one in self._running.values():
                one.kill()

    def wait_until_ready(self, name: str) -> None:
        """Until it takes mail, or has a lease."""
        until(lambda: self._is_ready(name), lambda: self.said(name), pause_s=0.05)

    def said(self, name: str) -> str:
        """The last of what it printed and logged."""
        return self._running[name].text[-3000:]

    def _is_ready(self, name: str) -> bool:
        if is_worker(name):
            return _has_begun(self._running[name])
        try:
            return readiness(url(self._hosts[name])) == 200
        except (OSError, urllib.error.URLError):
            return False

    def _begin(self, host: Host) -> None:
        command = ("worker",) if is_worker(host.name) else ("serve", "--no-worker")
        made = Child(self._folder / host.name, *command, first=host.enter)
        self._running[host.name] = made
        self.workers[_worker(host, made)] = host.name

    def _mind(self) -> None:
        while not self._closing.wait(MINDED_EVERY_S):
            with self._lock:
                for name, one in list(self._running.items()):
                    if one.is_alive or self._closing.is_set():
                        continue
                    ended = EndedByItself(
                        name=name, code=one.ended(), began=_has_begun(one), said=one.text[-2000:]
                    )
                    self.ended_by_themselves.append(ended)
                    self._begin(self._hosts[name])


@contextmanager
def fleet(folder: Path, *hosts: Host) -> Iterator[Fleet]:
    """All processes, at work; their configurations are written already."""
    made = Fleet(folder)
    try:
        made.start(*hosts)
        yield made
    finally:
        made.close()


def configure(folder: Path, host: Host, databases: tuple[Host, ...], sink: Host, lease_s: float) -> None:
    """Write the configuration of one host."""
    named = ",".join(f"{one.address}:{servers.PORT}" for one in databases)
    (folder / host.name).mkdir()
    (folder / host.name / "stagepost.toml").write_text(
        f'database = "postgresql://postgres@{named}/{servers.NAME}"\n'
        f'listen = "{host.address}:{PORT}"\nadmin_token = "{TOKEN}"\nfrom = "shop@example.com"\n'
        f'[providers.only]\ntype = "smtp"\nhost = "{sink.address}"\nport = {provider.PORT}\ntls = "none"\n'
        f'concurrency = 32\ntimeout = "5s"\nfinal_timeout = "5s"\n'
        f'[worker]\nlease = "{lease_s:g}s"\ngrace = "5s"\n{QUICK}'
    )


def url(host: Host) -> str:
    """Where the API of this host listens."""
    return f"http://{host.address}:{PORT}"


def is_worker(name: str) -> bool:
    """Whether a host of this name sends."""
    return name.startswith("worker")


def _has_begun(one: Child) -> bool:
    return '"lease_acquired"' in one.text if "worker" in one.arguments else '"serving"' in one.text


def _worker(host: Host, one: Child) -> str:
    return f"{host.name}-{one.process.pid}-"
