"""Real processes that are killed: nothing acknowledged is lost, and no second copy goes out undeclared."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.entrypoints.cli_process import Running, call
from tests.support.smtp_script import At, slow
from tests.support.smtp_server import ScriptedSmtpServer

EMAILS = 60
WAIT_MAX_S = 60.0
ENDED = {"sent", "failed", "cancelled"}
TOKENLESS = """
[worker]
lease = "2s"
grace = "5s"

[retry]
base = "100ms"
cap = "500ms"
"""


@pytest.fixture
def sink() -> Iterator[ScriptedSmtpServer]:
    """A provider that takes a moment for each message, so that there is always one in flight."""
    with ScriptedSmtpServer.in_thread({At.DOT: slow(0.1)}) as server:
        yield server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configured(folder: Path, database: str, server: ScriptedSmtpServer) -> int:
    """Write the configuration; the port that `serve` will listen on."""
    port = free_port()
    (folder / "stagepost.toml").write_text(
        f'database = "{database}"\nlisten = "127.0.0.1:{port}"\nfrom = "shop@example.com"\n'
        f'[providers.only]\ntype = "smtp"\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\n'
        f"concurrency = 4\n{TOKENLESS}"
    )
    return port


@contextmanager
def command(folder: Path, name: str, *arguments: str) -> Iterator[Running]:
    """`stagepost` with these arguments, in a folder for its output, ended at last by whatever means."""
    own = folder / name
    own.mkdir()
    running = Running(own, *arguments, "--config", str(folder / "stagepost.toml"))
    try:
        yield running
    finally:
        running.stop(signal.SIGKILL)


def wait_for(url: str, running: Running) -> None:
    """Until it answers."""
    deadline = time.monotonic() + WAIT_MAX_S
    while True:
        assert running.process.poll() is None, running.stderr
        try:
            if call(f"{url}/readyz")[0] == 200:
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, running.stderr
        time.sleep(0.05)


def send_all(url: str, count: int) -> list[str]:
    """Have `count` emails accepted; their ids."""
    ids = [f"k{n}" for n in range(count)]
    for one in ids:
        body = {"id": one, "to": f"{one}@example.org", "subject": "s", "body": "b"}
        status, _ = call(f"{url}/send-email", json.dumps(body).encode())
        assert status == 202
    return ids


def all_ended(url: str, ids: Sequence[str]) -> dict[str, Any]:
    """The rows of these emails, by id, once every one has reached its end."""
    deadline = time.monotonic() + WAIT_MAX_S
    while True:
        rows = {one: call(f"{url}/statuses/{one}")[1] for one in ids}
        if all(row["status"] in ENDED for row in rows.values()):
            return rows
        assert time.monotonic() < deadline, [row for row in rows.values() if row["status"] not in ENDED]
        time.sleep(0.2)


def risks(url: str, email_id: str) -> int:
    """How often somebody accepted the risk of one more copy."""
    events = call(f"{url}/emails/{email_id}/events")[1]["data"]
    return sum(event["type"] == "DuplicateRiskAccepted" for event in events)


def check_copies(url: str, rows: dict[str, Any], server: ScriptedSmtpServer) -> None:
    """Everything was sent, and no email more often than was declared."""
    assert {"sent"} == {row["status"] for row in rows.values()}
    copies = server.copies()
    for row in rows.values():
        taken = copies[f"<{row['email_id']}@example.com>"]

        assert 1 <= taken <= 1 + risks(url, row["email_id"])


def test_on_postgresql_a_killed_worker_is_made_up_for(
    tmp_path: Path, postgres_url: str, sink: ScriptedSmtpServer
) -> None:
    """One API, two workers, one of them killed in the middle: the other sends the rest, and nothing is lost."""
    url = f"http://127.0.0.1:{configured(tmp_path, postgres_url, sink)}"
    with ExitStack() as stack:
        migrated = stack.enter_context(command(tmp_path, "migrate", "migrate"))
        assert migrated.process.wait(WAIT_MAX_S) == 0, migrated.stderr
        api = stack.enter_context(command(tmp_path, "api", "serve", "--no-worker"))
        workers = [stack.enter_context(command(tmp_path, f"w{n}", "worker")) for n in (1, 2)]
        wait_for(url, api)
        ids = send_all(url, EMAILS)
        sink.wait_for_messages(EMAILS // 4, WAIT_MAX_S)
        workers[0].stop(signal.SIGKILL)
        rows = all_ended(url, ids)

        check_copies(url, rows, sink)
        assert workers[1].stop() == 0
        assert api.stop() == 0


def test_on_sqlite_a_killed_service_goes_on_where_it_was(tmp_path: Path, sink: ScriptedSmtpServer) -> None:
    """Killed in the middle and started again: what was in flight is uncertain, and said so before a second copy."""
    url = f"http://127.0.0.1:{configured(tmp_path, 'sqlite:///stagepost.db', sink)}"
    with command(tmp_path, "first", "serve") as first:
        wait_for(url, first)
        ids = send_all(url, EMAILS)
        sink.wait_for_messages(EMAILS // 4, WAIT_MAX_S)
        first.stop(signal.SIGKILL)
    with command(tmp_path, "second", "serve") as second:
        wait_for(url, second)
        rows = all_ended(url, ids)

        check_copies(url, rows, sink)
        assert second.stop() == 0
