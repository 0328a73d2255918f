"""Content that is kept for a moment only: the service erases it by itself, and everything else still answers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from application.invariants import LogCheck
from application.projections.emails import Status
from application.queries import StatusRow
from domain.errors import KeyErased, NothingToRetry
from entrypoints.cli.main import main
from entrypoints.service import Service
from tests.e2e.running import WAIT_MAX_S, config, ended, names, request, running, send, smtp, until, whole_log
from tests.entrypoints.cli_process import process_as_before
from tests.support.smtp_server import ScriptedSmtpServer

KEPT = '[retention]\ncontent = "300ms"\n'
ADDRESS = "ann@secret-person.example"


async def erased(service: Service) -> None:
    """Until the content store is empty of what has ended."""
    deadline = time.monotonic() + WAIT_MAX_S
    while any(not one.erased for one in (await service.reader.page(limit=100, status=Status.SENT)).rows):
        assert time.monotonic() < deadline, "nothing is erased"
        await asyncio.sleep(0.05)


async def test_content_goes_and_everything_else_still_answers(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status, story and log of what was sent; no second use of its key; and what waits keeps its content."""
    async with ScriptedSmtpServer() as server:
        made = config(tmp_path, database, smtp("only", server), KEPT)
        async with running(made) as service:
            plain, addressed = await send(service, request("plain"), request(ADDRESS, ADDRESS))
            await ended(service, plain, addressed)
            await service.operator.pause("only", "ops")
            (waits,) = await send(service, request("waits"))
            await erased(service)
            rows = [await service.reader.status(one.email_id) for one in (plain, addressed, waits)]
            by_key = await service.reader.status(ADDRESS)
            told = [await service.reader.explain(one.email_id) for one in (plain, addressed, waits)]
            story = await names(service, plain)
            with pytest.raises(KeyErased):
                await send(service, request("plain"))
            with pytest.raises(NothingToRetry):
                await service.operator.retry("plain", "ops")
            log = await whole_log(service)
            await service.operator.resume("only", "ops")
            (last,) = await ended(service, waits)

        assert [True, True, False] == [row.erased for row in rows] == [one.erased for one in told]
        assert ["plain", "waits"] == [rows[0].id, rows[2].id]
        assert rows[1].id.startswith("sha256:")
        assert rows[1].id == by_key.id == told[1].id
        assert (rows[1].email_id, Status.SENT) == (by_key.email_id, by_key.status)
        assert ["Requested", "AttemptStarted", "Sent"] == story
        assert [] == list(LogCheck().check(log))
        assert Status.SENT is last.status
        assert 3 == len(server.messages)


def test_every_command_bears_with_what_is_erased(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status and story say it; the log is still proven, and folded."""

    async def serve() -> StatusRow:
        made = config(tmp_path, database, smtp_nowhere(), KEPT)
        async with running(made, worker=False) as service:
            (receipt,) = await send(service, request("gone"))
            await service.operator.cancel("gone", "ops")
            (row,) = await until(lambda rows: rows[0].erased, service, receipt)
            return row

    row = asyncio.run(serve())
    said: dict[str, tuple[int, str]] = {}
    for command in (["explain", "gone"], ["status", "gone"], ["verify"], ["replay"]):
        with process_as_before():
            code = main([*command, "--config", str(tmp_path / "stagepost.toml")])
        said[command[0]] = code, capsys.readouterr().out

    assert Status.CANCELLED is row.status
    assert {0} == {code for code, _ in said.values()}
    assert "content:  erased: it can't be sent again" in said["explain"][1]
    assert "content    erased: it can't be sent again" in said["status"][1]
    assert "0 contents" in said["verify"][1]


def smtp_nowhere() -> str:
    """A provider that is not there."""
    return '[providers.only]\ntype = "smtp"\nhost = "127.0.0.1"\nport = 1\ntls = "none"\n'
