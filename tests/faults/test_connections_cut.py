"""PostgreSQL answers, and nobody hears it; or never got the question: COMMITs cut off on their way."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.sql.migrate import migrate
from tests.faults.audit import settle
from tests.faults.cluster import cluster, settled
from tests.faults.load import Load
from tests.faults.proxy import Fate, PostgresProxy, always
from tests.faults.rounds import cutting
from tests.support.smtp_server import ScriptedSmtpServer

EMAILS = 400
SHARE = 0.05
"""Of all COMMITs, so many never arrive, and as many are never answered."""


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[PostgresProxy]:
    """The way to a migrated database."""
    migrate(postgres_url)
    with PostgresProxy.in_thread(postgres_url) as made:
        yield made


def test_connections_cut_in_the_middle_of_commit(
    tmp_path: Path, postgres_url: str, proxy: PostgresProxy, sink: ScriptedSmtpServer
) -> None:
    """Whether it was recorded is looked up before anything is decided anew: nothing is lost, nothing is there twice."""
    with cluster(tmp_path, proxy.url, sink, lease="9s") as running, Load(running.url) as load:
        proxy.rule = cutting(random.Random(7), SHARE)
        load.wait_for(EMAILS)
        told = load.end()
        settle(postgres_url)
        proxy.rule = always
        counted = settled(running, told, sink)
        fates = ", ".join(f"{n} COMMITs {fate}" for fate, n in proxy.fates.items())
        print(f"{fates}: {told}; {counted}")

    assert {"sent": counted.emails} == counted.ends
    assert (counted.emails, 0, 0) == (counted.attempts, counted.uncertain, counted.late)
    assert proxy.fates[Fate.CUT_BEFORE] > 0
    assert proxy.fates[Fate.CUT_AFTER] > 0
