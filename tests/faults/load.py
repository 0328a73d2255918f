"""Clients that never give up: each email is sent again under its key until it is acknowledged."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

POLICIES = ("retry", "hold", "fail")
"""What an email wants done about a lost answer; they take turns."""

JSON = {"Content-Type": "application/json"}
ANSWER_MAX_S = 15.0
ACKNOWLEDGED_MAX_S = 90.0


@dataclass(slots=True)
class Acknowledged:
    """What clients were told. `emails`: our id of each key that got a 202; `answers`: how often each thing was said."""

    emails: dict[str, str] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        told = ", ".join(f"{n} × {what}" for what, n in sorted(self.answers.items()))
        return f"{len(self.emails)} emails acknowledged ({told})"


def email(key: str, number: int) -> dict[str, Any]:
    """A request as clients send them. Every seventh has two recipients."""
    to = [f"{key}@example.org"] + [f"{key}-too@example.org"] * (number % 7 == 0)
    policy = POLICIES[number % len(POLICIES)]
    return {"id": key, "to": to, "subject": f"Order {key}", "body": "Thank you.\n", "on_uncertain": policy}


class Load:
    """Some clients in threads, one email after the other, `pause_s` apart. `urls` are taken in turn."""

    def __init__(self, *urls: str, clients: int = 2, pause_s: float = 0.004, name: str = "k") -> None:
        self.urls = urls
        self.told = Acknowledged()
        self._name = name
        self._pause_s = pause_s
        self._ending = threading.Event()
        self._given_up = threading.Event()
        self._lock = threading.Lock()
        self._own = threading.local()
        self._threads = [
            threading.Thread(target=self._client, args=(n,), daemon=True) for n in range(clients)
        ]
        self._wrong: list[str] = []

    def __enter__(self) -> Load:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._given_up.set()
        self._ending.set()
        for one in self._threads:
            one.join(ANSWER_MAX_S + 5)

    def wait_for(self, more: int) -> None:
        """Block until so many more emails are acknowledged."""
        wanted, deadline = len(self.told.emails) + more, time.monotonic() + ACKNOWLEDGED_MAX_S
        while len(self.told.emails) < wanted:
            assert time.monotonic() < deadline, f"{self.told}, {self._wrong}"
            time.sleep(0.005)

    def end(self) -> Acknowledged:
        """Send nothing new; what the clients were told, once all that was sent is acknowledged."""
        self._ending.set()
        deadline = time.monotonic() + ACKNOWLEDGED_MAX_S
        for one in self._threads:
            one.join(max(0.0, deadline - time.monotonic()))
        assert [] == self._wrong
        assert not any(one.is_alive() for one in self._threads), f"a client was never answered: {self.told}"
        return self.told

    def deliver(self, key: str, asked: dict[str, Any], turn: int = 0) -> None:
        """Ask until it is acknowledged, in this thread."""
        while not self._given_up.is_set() and not self._ask(self.urls[turn % len(self.urls)], key, asked):
            turn += 1
            time.sleep(0.02)

    def _client(self, client: int) -> None:
        number = 0
        while not self._ending.is_set():
            key = f"{self._name}{client}-{number}"
            self.deliver(key, email(key, number), number)
            number += 1
            time.sleep(self._pause_s)

    def _ask(self, url: str, key: str, asked: dict[str, Any]) -> bool:
        connections: dict[str, http.client.HTTPConnection] = self._own.__dict__
        if url not in connections:
            connections[url] = http.client.HTTPConnection(url.removeprefix("http://"), timeout=ANSWER_MAX_S)
        try:
            connections[url].request("POST", "/send-email", json.dumps(asked), JSON)
            response = connections[url].getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            connections.pop(url).close()
            self._count("no answer")
            return False
        return self._answered(response, body, key, asked)

    def _answered(
        self, response: http.client.HTTPResponse, body: bytes, key: str, asked: dict[str, Any]
    ) -> bool:
        match response.status:
            case 202:
                replayed = response.headers.get("Idempotent-Replayed") == "true"
                self._count("202 replayed" if replayed else "202")
                with self._lock:
                    self.told.emails[key] = json.loads(body)["email_id"]
                    self.told.policies[key] = asked["on_uncertain"]
                return True
            case 503:
                self._count("503")
                return False
            case _:
                self._wrong.append(f"{key}: {response.status} {body[:300]!r}")
                self._ending.set()
                self._given_up.set()
                return False

    def _count(self, what: str) -> None:
        with self._lock:
            self.told.answers[what] += 1
