"""Workers whose clocks differ by minutes: leases, limits and the queue go by the database's."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from adapters.sql.migrate import migrate
from domain.email.events import AttemptStarted
from tests.faults.audit import audit, copies_at, log_of, look, settle
from tests.faults.children import child, wait_until_ready
from tests.faults.cluster import configure
from tests.faults.load import Load
from tests.faults.steady import until
from tests.faults.traps import is_caught
from tests.support.smtp_server import ScriptedSmtpServer

AHEAD, BEHIND = timedelta(minutes=7), timedelta(minutes=-7)
EMAILS = 60
WORKERS = "SELECT count(DISTINCT worker) FROM attempts"
UNCERTAIN = "SELECT count(*) FROM events WHERE type = 'OutcomeUncertain'"


def test_workers_whose_clocks_differ_by_minutes(
    tmp_path: Path, postgres_url: str, sink: ScriptedSmtpServer
) -> None:
    """Neither takes the other for dead while it lives; when it is killed, its lease and no longer is waited for."""
    migrate(postgres_url)
    url = configure(tmp_path, postgres_url, sink, lease="4s")
    began = datetime.now(UTC)
    with ExitStack() as stack:
        serving = stack.enter_context(child(tmp_path, "serve", "--no-worker"))
        fast = stack.enter_context(child(tmp_path, "worker", ahead=AHEAD))
        slow = stack.enter_context(child(tmp_path, "worker", ahead=BEHIND))
        wait_until_ready(url, serving)
        load = stack.enter_context(Load(url))
        until(lambda: look(postgres_url, WORKERS) == [(2,)])
        load.wait_for(EMAILS)
        in_doubt = look(postgres_url, UNCERTAIN)
        until(partial(is_caught, postgres_url, fast))
        fast.kill()
        load.wait_for(EMAILS)
        told = load.end()
        settle(postgres_url)
        codes = (slow.stop(), serving.stop())
        said = slow.text
    counted = audit(tmp_path, postgres_url, told, copies_at(sink))
    log = log_of(postgres_url)
    print(f"clocks {AHEAD - BEHIND} apart, one worker killed: {told}; {counted}")

    assert (0, 0) == codes
    assert [(0,)] == in_doubt
    assert 1 == said.count('"worker_lost"')
    starts = [one.at for one in log if isinstance(one.event, AttemptStarted)]

    assert began - timedelta(seconds=5) <= min(starts)
    assert max(starts) <= datetime.now(UTC) + timedelta(seconds=5)
