"""From acceptance to the provider's hands: real SMTP servers, real databases, real time."""

from __future__ import annotations

from pathlib import Path

from application.projections.emails import Status
from tests.e2e.running import config, ended, names, request, running, send, smtp, until
from tests.support.smtp_script import At, Do, Turn, say, slow, take_and_drop
from tests.support.smtp_server import ScriptedSmtpServer


async def test_with_a_dead_provider_everything_goes_out_once_through_the_other(
    tmp_path: Path, database: str
) -> None:
    """Nobody listens at the primary: each email arrives exactly once through the secondary, and says why."""
    async with ScriptedSmtpServer() as dead, ScriptedSmtpServer() as alive:
        await dead.shut()
        made = config(tmp_path, database, smtp("primary", dead), smtp("secondary", alive))
        async with running(made) as service:
            receipts = await send(service, *(request(f"k{n}") for n in range(30)))
            rows = await ended(service, *receipts)
            story = await service.reader.explain(receipts[0].email_id)

            assert {Status.SENT} == {row.status for row in rows}
            assert {"secondary"} == {row.provider for row in rows}
            assert 30 == len(alive.copies())
            assert {1} == set(alive.copies().values())
            assert any("switched from primary to secondary" in line.text for line in story.lines)


async def test_fifty_requests_with_one_id_are_one_email(tmp_path: Path, database: str) -> None:
    """However they race, one is recorded, and all get the same answer."""
    async with ScriptedSmtpServer() as server:
        async with running(config(tmp_path, database, smtp("only", server))) as service:
            receipts = await send(service, *(request("same") for _ in range(50)))
            await ended(service, receipts[0])

        assert 1 == len({(receipt.id, receipt.email_id, receipt.status) for receipt in receipts})
        assert 49 == sum(receipt.replayed for receipt in receipts)
        assert 1 == len(server.messages)


async def test_recipients_are_settled_one_by_one(tmp_path: Path, database: str) -> None:
    """One accepted, one refused for good, one put off and accepted later, alone."""

    def at_rcpt(turn: Turn) -> Do | None:
        if "bad@" in turn.argument:
            return say("550 5.1.1 no such user")
        return say("451 4.2.1 mailbox busy") if "busy@" in turn.argument and turn.message == 1 else None

    async with ScriptedSmtpServer({At.RCPT: at_rcpt}) as server:
        async with running(config(tmp_path, database, smtp("only", server))) as service:
            to = ("good@example.org", "bad@example.org", "busy@example.org")
            (receipt,) = await send(service, request("three", *to))
            (row,) = await ended(service, receipt)
            told = await names(service, receipt)

        assert ["Requested", "AttemptStarted", "PartlySent", "AttemptStarted", "Sent"] == told
        assert ("accepted", "refused", "accepted") == row.recipients
        assert [["good@example.org"], ["busy@example.org"]] == [
            list(message.rcpt_tos) for message in server.messages
        ]


async def test_a_reply_lost_after_the_dot_is_never_repeated_in_silence(tmp_path: Path, database: str) -> None:
    """With `retry` the second copy is declared before it is sent; with `hold` there is none."""
    async with ScriptedSmtpServer({At.DOT: take_and_drop()}) as server:
        made = config(tmp_path, database, smtp("only", server), '[uncertain]\npolicy = "hold"')
        async with running(made) as service:
            (receipt,) = await send(service, request("held"))
            await until(lambda rows: rows[0].status is Status.HELD, service, receipt)

            assert 1 == len(server.messages)
            server.script = {}
            await service.operator.retry(receipt.id, "ops", accept_duplicate_risk=True)
            await ended(service, receipt)
            told = await names(service, receipt)

        assert told.index("DuplicateRiskAccepted") < told.index("AttemptStarted", told.index("Held"))
        assert 2 == len(server.messages)


async def test_what_was_accepted_before_a_restart_is_sent_after_it(tmp_path: Path, database: str) -> None:
    """One process takes the mail and ends; the next one delivers it."""
    async with ScriptedSmtpServer() as server:
        made = config(tmp_path, database, smtp("only", server))
        async with running(made, worker=False) as first:
            receipts = await send(first, *(request(f"k{n}") for n in range(20)))
        assert not server.messages
        async with running(made) as second:
            rows = await ended(second, *receipts)

        assert {Status.SENT} == {row.status for row in rows}
        assert {1} == set(server.copies().values())


async def test_a_worker_that_stops_lets_its_attempts_end(tmp_path: Path, database: str) -> None:
    """Slow replies are waited for, and recorded: nothing is open or uncertain afterwards."""
    async with ScriptedSmtpServer({At.DOT: slow(0.5)}) as server:
        made = config(tmp_path, database, smtp("only", server))
        async with running(made) as service:
            receipts = await send(service, *(request(f"k{n}") for n in range(8)))
            await until(lambda rows: all(row.attempts for row in rows), service, *receipts)
        async with running(made, worker=False) as reader:
            rows = await ended(reader, *receipts)

        assert {Status.SENT} == {row.status for row in rows}
        assert {1} == set(server.copies().values())
