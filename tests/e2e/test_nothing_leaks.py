"""What nobody may read in logs or in the log of events: addresses, subjects, bodies, secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from application.projections.emails import Status
from tests.e2e.running import config, ended, request, running, send, smtp
from tests.support.smtp_script import At, Do, Turn, say
from tests.support.smtp_server import ScriptedSmtpServer

SECRETS = ("@secret-person", "private-ann", "secret subject", "secret body", "hunter2", "shop@example.com")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Every log line, whole, as JSON."""
    written: list[str] = []

    def keep(_logger: object, _method: str, event: Any) -> Any:
        written.append(json.dumps(event, default=repr))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.processors.format_exc_info, keep])
    yield written
    structlog.reset_defaults()


async def test_neither_logs_nor_events_hold_what_the_email_holds(
    tmp_path: Path, database: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Providers that quote addresses in every reply, a key that is an address, a password: none of it is seen."""

    def quote(turn: Turn) -> Do | None:
        if turn.message == 1:
            return say(f"451 4.3.0 {turn.argument} sorry, <{turn.argument}> later")
        return say(f"550 5.1.1 {turn.argument} is unknown here") if "refused" in turn.argument else None

    async with ScriptedSmtpServer({At.RCPT: quote}, users={"user": "hunter2"}) as server:
        made = config(tmp_path, database, smtp("only", server, 'username = "user"\npassword = "hunter2"'))
        async with running(made) as service:
            receipts = await send(
                service,
                request("plain"),
                request("order@secret-person.example", "private-ann@secret-person.example"),
                request("refused", "refused@secret-person.example", "taken@secret-person.example"),
            )
            rows = await ended(service, *receipts)
            history = await service.executor(lambda: service.store.read_all(0, 1000))
            stories = [await service.reader.explain(one.email_id) for one in receipts]
            told = [replace(one, id="") for one in stories]  # the client's own, and only in an answer

    assert {Status.SENT} == {row.status for row in rows}
    assert {"plain", "order@secret-person.example", "refused"} == {row.id for row in rows}
    assert {row.id for row in rows} == {one.id for one in stories}
    assert len(lines) > 10
    for secret in SECRETS:
        assert not [line for line in lines if secret in line]
        assert not [one for one in history if secret in repr(one)]
        assert not [one for one in told if secret in repr(one)]


async def test_every_line_about_an_email_says_which_and_where(
    tmp_path: Path, database: str, lines: list[str]
) -> None:
    """Id and correlation id in each, attempt and provider in those about an attempt."""
    async with (
        ScriptedSmtpServer({At.MAIL: [say("451 4.3.0 later")]}) as server,
        running(config(tmp_path, database, smtp("only", server))) as service,
    ):
        (receipt,) = await send(service, request("one", correlation_id="corr-1"))
        await ended(service, receipt)
    about = [json.loads(line) for line in lines if receipt.email_id in line]

    assert {"accepted", "attempt_started", "attempt_failed", "sent"} == {line["event"] for line in about}
    assert {"corr-1"} == {line["correlation_id"] for line in about}
    assert all({"attempt", "provider"} <= line.keys() for line in about if line["event"] != "accepted")
