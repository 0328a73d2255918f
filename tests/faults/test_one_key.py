"""Fifty requests with one key race over two processes that take mail: one email."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from adapters.sql.migrate import migrate
from application.recorded import email_stream
from domain.email.events import Requested
from tests.e2e.test_processes import free_port
from tests.entrypoints.cli_process import call
from tests.faults.audit import copies_at, log_of, settle
from tests.faults.children import child, wait_until_ready
from tests.faults.cluster import configure
from tests.support.smtp_server import ScriptedSmtpServer

REQUESTS = 50


def race(urls: list[str], key: str, subjects: int) -> list[tuple[int, Any]]:
    """Status and answer of each request, all sent at once, for so many different emails."""
    start = threading.Barrier(REQUESTS)

    def ask(n: int) -> tuple[int, Any]:
        body = {"id": key, "to": f"{key}@example.org", "subject": f"s{n % subjects}", "body": "b"}
        start.wait(30)
        return call(f"{urls[n // subjects % len(urls)]}/send-email", json.dumps(body).encode())

    with ThreadPoolExecutor(REQUESTS) as clients:
        return list(clients.map(ask, range(REQUESTS)))


def test_fifty_requests_with_one_key_are_one_email(
    tmp_path: Path, postgres_url: str, sink: ScriptedSmtpServer
) -> None:
    """All get the same answer; where they are two emails under one key, one of the two is refused, whichever."""
    migrate(postgres_url)
    urls = [configure(tmp_path, postgres_url, sink), f"http://127.0.0.1:{free_port()}"]
    with ExitStack() as stack:
        for url in urls:
            listen = json.dumps(url.removeprefix("http://"))
            serving = stack.enter_context(child(tmp_path, "serve", "--no-worker", STAGEPOST__LISTEN=listen))
            wait_until_ready(url, serving)
        stack.enter_context(child(tmp_path, "worker"))
        same, different = race(urls, "same", 1), race(urls, "different", 2)
        settle(postgres_url)
        copies = copies_at(sink)
    accepted = {answer["email_id"] for status, answer in same + different if status == 202}
    requested = [one.stream for one in log_of(postgres_url) if isinstance(one.event, Requested)]
    codes = Counter(status for status, _ in different)
    print(f"{REQUESTS} requests with one key: {Counter(status for status, _ in same)}, 1 email, 1 copy")
    print(f"{REQUESTS} requests with one key for two emails: {dict(codes)}, 1 email, 1 copy")

    assert {202} == {status for status, _ in same}
    assert 1 == len({json.dumps(answer) for _, answer in same})
    assert {202: REQUESTS // 2, 422: REQUESTS // 2} == codes
    assert sorted(map(email_stream, accepted)) == sorted(requested)
    assert {
        (one, f"{key}@example.org"): 1
        for key, one in zip(("same", "different"), ids(same, different), strict=True)
    } == copies


def ids(*races: list[tuple[int, Any]]) -> list[str]:
    """Our id of the email that each race was about."""
    return [next(answer["email_id"] for status, answer in one if status == 202) for one in races]
