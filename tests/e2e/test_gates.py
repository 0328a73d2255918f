"""Four workers on one PostgreSQL: limits and circuits are exact, however they race."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from adapters.sql.migrate import migrate
from application.invariants import LogCheck, worst_window
from application.recorded import Recorded, email_stream
from domain.circuit import CircuitClosed, CircuitOpened
from domain.email.events import AttemptStarted
from domain.rate_limit import Rate
from entrypoints.config import Config
from entrypoints.service import Service
from tests.e2e.running import config, ended, request, running, send, smtp, whole_log
from tests.support.smtp_script import At, Do, Turn, say
from tests.support.smtp_server import ScriptedSmtpServer

WORKERS = 4


@asynccontextmanager
async def workers(made: Config) -> AsyncIterator[list[Service]]:
    """Four services on the same database, each with its own worker, threads and connections."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running(made)) for _ in range(WORKERS)]


def starts(log: Sequence[Recorded], provider: str) -> list[Recorded]:
    return [one for one in log if isinstance(one.event, AttemptStarted) and one.event.provider == provider]


@pytest.mark.parametrize("table", ["providers.only", "routes.default", "limits"])
async def test_a_limit_is_exact_over_four_workers(tmp_path: Path, postgres_url: str, table: str) -> None:
    """Provider, route or service: never more than N in any window, and nearly N while there is work."""
    migrate(postgres_url)
    rate = 'rate = ["50/s", "4000/m"]'
    tables = {
        "providers.only": "",
        "routes.default": '[routes.default]\nuse = ["only"]\n',
        "limits": "[limits]\n",
    }
    async with ScriptedSmtpServer() as server:
        provider = smtp("only", server, rate if table == "providers.only" else "")
        more = tables[table] + (rate if table != "providers.only" else "")
        made = config(tmp_path, postgres_url, provider, more if tables[table] else "")
        async with workers(made) as services:
            receipts = await send(services[0], *(request(f"k{n}") for n in range(120)))
            await ended(services[0], *receipts)
            log = await whole_log(services[0])
    limit = Rate.parse("50/s")
    worst = worst_window([one.at for one in starts(log, "only")], limit.window)

    assert [] == list(LogCheck().check(log))
    assert 0.95 * limit.limit <= worst <= limit.limit
    assert 1 < len({one.event.worker for one in starts(log, "only")})  # type: ignore[union-attr]


async def test_nothing_starts_behind_an_open_circuit(tmp_path: Path, postgres_url: str) -> None:
    """A provider that fails and recovers again and again; all four see each opening at once, and every email goes out
    in the end."""
    migrate(postgres_url)

    def flapping(turn: Turn) -> Do | None:
        return say("451 4.3.0 Try later") if turn.message % 30 < 15 else None

    circuit = '[circuit]\nmin_calls = 1000\nconsecutive = 3\nopen_for = "100ms"\nopen_for_max = "200ms"\n'
    async with ScriptedSmtpServer({At.DOT: flapping}) as server:
        made = config(tmp_path, postgres_url, smtp("flaps", server), circuit)
        async with workers(made) as services:
            receipts = await send(services[0], *(request(f"k{n}") for n in range(120)))
            rows = await ended(services[0], *receipts)
            log = await whole_log(services[0])
    happened = [type(one.event) for one in log]

    assert {"sent"} == {row.status for row in rows}
    assert [] == list(LogCheck().check(log))
    assert happened.count(CircuitOpened) >= 3
    assert happened.count(CircuitClosed) >= 2


async def test_an_urgent_email_overtakes_a_full_backlog(tmp_path: Path, postgres_url: str) -> None:
    """With hundreds waiting at a limit, an OTP has the next start there is: one round may be under way already."""
    migrate(postgres_url)
    otp = '[routes.default]\nuse = ["only"]\n[routes.otp]\nuse = ["only"]\nmatch = { tag = "otp" }\npriority = "high"\n'
    async with ScriptedSmtpServer() as server:
        made = config(tmp_path, postgres_url, smtp("only", server, 'rate = "20/s"'), otp)
        async with workers(made) as services:
            await send(services[0], *(request(f"k{n}") for n in range(300)))
            await asyncio.sleep(0.5)
            (urgent,) = await send(services[1], request("otp", tags=("otp",)))
            await ended(services[1], urgent)
            log = await whole_log(services[0])
    own = [one for one in log if one.stream == email_stream(urgent.email_id)]
    order = [one.stream for one in starts(log, "only") if one.position > own[0].position]

    assert order.index(own[0].stream) <= 20
