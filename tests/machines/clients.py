"""Clients on a host of their own: each email is asked for at one API or the other until it is acknowledged."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.children import nursery
from tests.faults.load import Acknowledged, email
from tests.machines.network import Host

ANSWER_MAX_S = 8.0
"""A client that hears nothing for so long asks the other API."""

AGAIN_S = 0.05
ENDS_MAX_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What to send: `emails` of them, at most so many `per_second`, by so many `clients` at once."""

    urls: tuple[str, ...]
    token: str
    emails: int
    per_second: float
    clients: int


@dataclass(slots=True)
class Answers:
    """What clients were told. `acknowledged_at`: each time (monotonic) of a 202; `wrong`: answers that were neither
    202 nor 503."""

    told: Acknowledged = field(default_factory=Acknowledged)
    acknowledged_at: list[float] = field(default_factory=list)
    longest_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Clients:
    """The process, which counts in `acknowledged` how far it is."""

    def __init__(self, host: Host, orders: Orders) -> None:
        self._acknowledged = nursery().Value("l", 0)
        self._pipe, theirs = nursery().Pipe(duplex=False)
        arguments = (host, orders, self._acknowledged, theirs)
        self._process = nursery().Process(target=_run, args=arguments, daemon=True)
        self._process.start()

    @property
    def acknowledged(self) -> int:
        """Emails that got a 202 so far."""
        number: int = self._acknowledged.value
        return number

    @property
    def is_alive(self) -> bool:
        """Whether they are still at it."""
        return self._process.is_alive()

    def answers(self) -> Answers:
        """What they were told, once all emails are acknowledged."""
        assert self._pipe.poll(ENDS_MAX_S), f"clients were never answered: {self.acknowledged} acknowledged"
        found: Answers = self._pipe.recv()
        self._process.join(20)
        return found

    def close(self) -> None:
        """End it, whatever it is at."""
        self._process.kill()
        self._process.join(20)


class _Shared:
    """The next number, and what all clients of the process were told."""

    def __init__(self, orders: Orders, acknowledged: Any) -> None:
        self.orders = orders
        self.answers = Answers()
        self.lock = threading.Lock()
        self._acknowledged = acknowledged
        self._began = time.monotonic()
        self._next = 0

    def number(self) -> int | None:
        """The next email's, once it is time for it; None: all are sent."""
        with self.lock:
            number, self._next = self._next, self._next + 1
        if number >= self.orders.emails or self.answers.wrong:
            return None
        time.sleep(max(0.0, self._began + number / self.orders.per_second - time.monotonic()))
        return number

    def count(self, what: str) -> None:
        with self.lock:
            self.answers.told.answers[what] += 1

    def acknowledge(self, key: str, email_id: str, policy: str, took_s: float) -> None:
        with self.lock:
            self.answers.told.emails[key] = email_id
            self.answers.told.policies[key] = policy
            self.answers.acknowledged_at.append(time.monotonic())
            self.answers.longest_s = max(self.answers.longest_s, took_s)
            self._acknowledged.value += 1


class _Client:
    """One client, with a connection to each API."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {shared.orders.token}"}
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def run(self) -> None:
        urls = self._shared.orders.urls
        while (number := self._shared.number()) is not None:
            key, asked = f"k-{number}", email(f"k-{number}", number)
            began, turn = time.monotonic(), number
            while not self._ask(urls[turn % len(urls)], key, asked, began) and not self._shared.answers.wrong:
                turn += 1
                time.sleep(AGAIN_S)

    def _ask(self, url: str, key: str, asked: dict[str, Any], began: float) -> bool:
        if url not in self._connections:
            host = url.removeprefix("http://")
            self._connections[url] = http.client.HTTPConnection(host, timeout=ANSWER_MAX_S)
        try:
            self._connections[url].request("POST", "/send-email", json.dumps(asked), self._headers)
            response = self._connections[url].getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            self._connections.pop(url).close()
            self._shared.count("no answer")
            return False
        match response.status:
            case 202:
                self._shared.count("202 replayed" if response.headers["Idempotent-Replayed"] else "202")
                email_id = json.loads(body)["email_id"]
                self._shared.acknowledge(key, email_id, asked["on_uncertain"], time.monotonic() - began)
                return True
            case 503:
                self._shared.count("503")
            case _:
                self._shared.answers.wrong.append(f"{key}: {response.status} {body[:300]!r}")
        return False


def _run(host: Host, orders: Orders, acknowledged: Any, pipe: Any) -> None:
    host.enter()
    shared = _Shared(orders, acknowledged)
    clients: Sequence[threading.Thread] = [
        threading.Thread(target=_Client(shared).run, daemon=True) for _ in range(orders.clients)
    ]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    pipe.send(shared.answers)
