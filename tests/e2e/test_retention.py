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


def test_the_story_says_that_the_content_is_erased(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the terminal as in JSON; a failed email of which nothing is left is not reopened."""

    async def serve() -> StatusRow:
        made = config(tmp_path, database, smtp_nowhere(), KEPT)
        async with running(made, worker=False) as service:
            (receipt,) = await send(service, request("gone"))
            await service.operator.cancel("gone", "ops")
            (row,) = await until(lambda rows: rows[0].erased, service, receipt)
            return row

    row = asyncio.run(serve())
    with process_as_before():
        shown = main(["explain", "gone", "--config", str(tmp_path / "stagepost.toml")])
        text = capsys.readouterr().out
        card = main(["status", "gone", "--config", str(tmp_path / "stagepost.toml")])
        text += capsys.readouterr().out

    assert (0, 0) == (shown, card)
    assert Status.CANCELLED is row.status
    assert "content:  erased: it can't be sent again" in text
    assert "content    erased: it can't be sent again" in text


def smtp_nowhere() -> str:
    """A provider that is not there."""
    return '[providers.only]\ntype = "smtp"\nhost = "127.0.0.1"\nport = 1\ntls = "none"\n'
