"""Reports of a running service: they follow what it does, over restarts and beside each other."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

from application.projections.reports import Measure
from application.report_ports import By
from entrypoints.report_query import parse_span
from entrypoints.service import Service
from tests.e2e.running import WAIT_MAX_S, config, ended, request, running, send, smtp, whole_log
from tests.support.smtp_script import At, say
from tests.support.smtp_server import ScriptedSmtpServer

TYPES = {
    "Requested": Measure.REQUESTED,
    "AttemptStarted": Measure.ATTEMPTS,
    "AttemptFailed": Measure.ATTEMPTS_FAILED,
    "Sent": Measure.SENT,
    "Failed": Measure.FAILED,
}


async def totals(service: Service) -> Counter[Measure]:
    """The sums over everything, once nothing is lacking."""
    deadline = time.monotonic() + WAIT_MAX_S
    while True:
        span, _ = parse_span("24h", None, service.clock.now())
        assert span is not None
        report = await service.report_reader.report(span, By.PROVIDER)
        if report.lag.events == 0:
            break
        assert time.monotonic() < deadline, report.lag
        await asyncio.sleep(0.05)
    sums: Counter[Measure] = Counter()
    for row in report.totals:
        sums.update(row.counts)
    return +sums


async def raw(service: Service) -> Counter[Measure]:
    """The same, counted over the events."""
    names = [type(one.event).__name__ for one in await whole_log(service)]
    return Counter(TYPES[name] for name in names if name in TYPES)


async def test_reports_follow_over_a_restart(tmp_path: Path, database: str) -> None:
    """Two processes one after the other, the first of which stops with events that nobody counted yet."""
    async with ScriptedSmtpServer({At.RCPT: [say("451 4.3.0 later"), say("550 5.1.1 nobody")]}) as server:
        made = config(tmp_path, database, smtp("only", server))
        async with running(made) as first:
            receipts = await send(first, *(request(f"k{n}") for n in range(8)))
            await ended(first, *receipts)
            before = await totals(first)
            counted = await raw(first)
            await send(first, *(request(f"late{n}") for n in range(5)))
        async with running(made) as second, running(made, worker=False) as other:
            receipts = await send(second, *(request(f"late{n}") for n in range(5)))
            await ended(second, *receipts)
            after = await totals(other)
            counted_after = await raw(other)

    assert counted == before
    assert counted_after == after
    assert (13, 12, 1) == (after[Measure.REQUESTED], after[Measure.SENT], after[Measure.FAILED])
