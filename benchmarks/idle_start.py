"""How long an email that is accepted by an idle service waits for its attempt.

    python -m benchmarks.idle_start [--emails 50] [--postgres URL]

On SQLite in one process; on PostgreSQL with the API and the worker in processes of their own. One email at a time, each
after a pause; from `requested_at` to the start of its attempt, as both stand in the database (ms). `--postgres` names a
server on which a database may be made; without it one is started. The clocks of API and database have to agree.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.serving import free_port, process, until_it_listens

WAIT_S_MAX = 30.0
PAUSE_S = (0.15, 0.35)
"""Between two emails: long enough for all to be idle, and in no step with anything that looks at intervals."""

STAGEPOST = str(Path(sys.executable).with_name("stagepost"))


@contextmanager
def running(folder: Path, database: str, *, apart: bool) -> Iterator[str]:
    """A service, and a worker beside it where they are to be apart: its URL."""
    port = free_port()
    (folder / "stagepost.toml").write_text(
        f'database = "{database}"\nlisten = "127.0.0.1:{port}"\nfrom = "Shop <shop@example.com>"\n'
        '[providers.only]\ntype = "sandbox"\n'
    )
    with ExitStack() as stack:
        if apart:
            subprocess.run([STAGEPOST, "migrate"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            stack.enter_context(process(STAGEPOST, "worker", cwd=folder))
        stack.enter_context(process(STAGEPOST, "serve", *(["--no-worker"] if apart else []), cwd=folder))
        until_it_listens(port)
        url = f"http://127.0.0.1:{port}"
        _sent(url, "warm")
        time.sleep(2.0)
        yield url


def waits_ms(url: str, emails: int, dice: random.Random) -> list[float]:
    """What each of so many emails has waited."""
    waited = []
    for n in range(emails):
        time.sleep(dice.uniform(*PAUSE_S))
        row = _sent(url, f"k{n}")
        begun, asked = row["attempts"][0]["started_at"], row["requested_at"]
        waited.append(1e3 * (datetime.fromisoformat(begun) - datetime.fromisoformat(asked)).total_seconds())
    return waited


def _sent(url: str, key: str) -> dict[str, Any]:
    """Send an email; its row once it is sent."""
    body = json.dumps({"id": key, "to": "a@example.org", "subject": "s", "body": "b"}).encode()
    urlopen(Request(f"{url}/send-email", body, {"Content-Type": "application/json"})).close()
    deadline = time.monotonic() + WAIT_S_MAX
    while time.monotonic() < deadline:
        with urlopen(f"{url}/statuses/{key}") as answer:
            row: dict[str, Any] = json.load(answer)
        if row["status"] == "sent":
            return row
        time.sleep(0.1)
    raise SystemExit(f"{key} is not sent: {row['status']}")


def line(name: str, waited: Sequence[float]) -> str:
    """One row of the table."""
    ordered = sorted(waited)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return f"{name:34}{len(ordered):8}{statistics.median(ordered):10.1f}{p99:10.1f}{ordered[-1]:10.1f}"


def main() -> None:
    """Measure both, and print the table."""
    from tests.postgres import PostgresServer, own_server

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--emails", type=int, default=50)
    parser.add_argument("--postgres", metavar="URL")
    given = parser.parse_args()
    dice = random.Random(1)
    print(f"{'':34}{'emails':>8}{'p50 ms':>10}{'p99 ms':>10}{'longest':>10}")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), "sqlite:///s.db", apart=False) as url:
        print(line("SQLite, one process", waits_ms(url, given.emails, dice)), flush=True)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="idle-"))
        own = given.postgres or stack.enter_context(own_server(Path(folder) / "pg"))
        from sqlalchemy import make_url

        server = PostgresServer(make_url(own))
        database = server.create()
        stack.callback(server.drop, database)
        url = stack.enter_context(running(Path(folder), database, apart=True))
        print(line("PostgreSQL, API and worker apart", waits_ms(url, given.emails, dice)), flush=True)


if __name__ == "__main__":
    main()
