"""A bad day in short: everything that providers do to us, one after the other, with four workers on PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from adapters.sql.migrate import migrate
from application.accept import Receipt
from application.invariants import LogCheck, worst_window
from application.queries import StatusRow
from application.recorded import Recorded
from domain.circuit import CircuitOpened
from domain.email.events import AttemptStarted, DuplicateRiskAccepted
from domain.rate_limit import Rate
from entrypoints.service import Service
from tests.e2e.running import WAIT_MAX_S, config, ended, request, running, send, smtp, whole_log
from tests.support import resend_script as resend
from tests.support.resend_server import FULL_ACCESS, ResendServer
from tests.support.smtp_script import At, Do, Plan, Turn, say, take_and_drop
from tests.support.smtp_server import ScriptedSmtpServer

WORKERS = 4
EMAILS = 20
"""In each part of the day."""

RATE = Rate.parse("60/s")
RECIPIENTS = ("one", "gone", "later")

TABLES = """
[circuit]
consecutive = 3
open_for = "300ms"
open_for_max = "600ms"
"""


def every_other(plan: Do) -> Plan:
    """Do this to every second message, the others as usual."""
    return lambda turn: plan if turn.message % 2 else None


def choosy(turn: Turn) -> Do | None:
    """Refuses one recipient for good, and puts another off the first time a message names all three."""
    if turn.argument.startswith("gone"):
        return say("550 5.1.1 User unknown")
    return say("450 4.2.1 Greylisted") if turn.argument.startswith("later") and turn.rcpt_tos else None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the day: what each provider does, and what the story of some email of it has to say."""

    name: str
    told: tuple[str, ...]
    primary: Mapping[At, Plan] = field(default_factory=dict)
    primary_is_up: bool = True
    secondary: resend.Plan = None


DAY = (
    Part("calm", ("sent: primary accepted attempt 1",)),
    Part(
        "outage",
        ("it was not able to take it (transient", "switched from primary to secondary"),
        primary_is_up=False,
    ),
    Part(
        "throttling",
        ("it asked us to slow down (throttled",),
        {At.MAIL: say("450 4.7.1 Too many messages, try again in 1 seconds")},
        secondary=resend.throttle(1),
    ),
    Part(
        "suspended",
        ("our account there is refused (account",),
        {At.DOT: say("451 4.3.0 Queue file write error")},
        secondary=resend.suspend(),
    ),
    Part(
        "lost replies",
        ("its answer was lost (uncertain", "policy took the risk of a duplicate"),
        {At.DOT: every_other(take_and_drop())},
        secondary=lambda call: resend.take_and_drop() if call.number % 2 else None,
    ),
    Part("partial", ("recipient 1 refused (550 5.1.1)", "put off: recipient 2"), {At.RCPT: choosy}),
)


async def live_through(
    services: Sequence[Service], primary: ScriptedSmtpServer, secondary: ResendServer
) -> dict[str, list[Receipt]]:
    """The day, part by part, then a quiet night; the emails of each part."""
    sent: dict[str, list[Receipt]] = {}
    for number, part in enumerate(DAY):
        primary.script, secondary.plan = part.primary, part.secondary
        if primary.listening is not part.primary_is_up:
            await (primary.open() if part.primary_is_up else primary.shut())
        emails = (
            request(f"{part.name}-{n}", *(f"{who}-{number}-{n}@example.net" for who in RECIPIENTS))
            for n in range(EMAILS)
        )
        service = services[number % len(services)]
        for name in ("primary", "secondary"):  # what the part before left behind is not this one's
            await service.operator.reset(name, "test")
        sent[part.name] = await send(service, *emails)
        await until_told(service, part, sent[part.name])
    primary.script, secondary.plan = {At.RCPT: choosy}, None
    return sent


async def until_told(service: Service, part: Part, receipts: Sequence[Receipt]) -> None:
    """Until each of the part's words stands in the story of one of its emails."""
    deadline = time.monotonic() + WAIT_MAX_S
    missing = part.told
    while missing:
        assert time.monotonic() < deadline, (part.name, missing)
        await asyncio.sleep(0.1)
        stories = [await service.reader.explain(one.id) for one in receipts]
        texts = [line.text for told in stories for line in told.lines]
        missing = tuple(words for words in part.told if not any(words in text for text in texts))


def check_copies(
    rows: Sequence[StatusRow], log: Sequence[Recorded], copies: Mapping[tuple[str, str], int]
) -> None:
    """Nobody was left out who is said to be reached; and each copy beyond that was declared as a risk before."""
    risks = Counter(one.stream for one in log if isinstance(one.event, DuplicateRiskAccepted))
    for row in rows:
        part, _, n = row.id.rpartition("-")
        number = [one.name for one in DAY].index(part)
        for who, outcome in zip(RECIPIENTS, row.recipients, strict=True):
            taken = copies[row.email_id, f"{who}-{number}-{n}@example.net"]

            accepted = outcome == "accepted"
            assert taken >= accepted, (row.id, who, outcome)
            assert taken <= accepted + risks[f"email-{row.email_id}"], (row.id, who, outcome, taken)


async def test_a_scripted_day_ends_well(tmp_path: Path, postgres_url: str) -> None:
    """Outage, throttling, a suspended account, lost replies, partial recipients: every email at one end, no limit and
    no circuit broken, no copy too many; and `explain` tells of each part what happened in it."""
    migrate(postgres_url)
    async with AsyncExitStack() as stack:
        primary = await stack.enter_async_context(ScriptedSmtpServer())
        secondary = await stack.enter_async_context(ResendServer())
        api = f'[providers.secondary]\ntype = "resend"\nkey = "{FULL_ACCESS}"\nbase_url = "{secondary.url}"\n'
        made = config(tmp_path, postgres_url, smtp("primary", primary, f'rate = "{RATE}"'), api, TABLES)
        services = [await stack.enter_async_context(running(made)) for _ in range(WORKERS)]
        sent = await live_through(services, primary, secondary)
        rows = await ended(services[0], *(one for part in sent.values() for one in part))
        log = await whole_log(services[0])
    starts = [
        one.at for one in log if isinstance(one.event, AttemptStarted) and one.event.provider == "primary"
    ]
    opened = {one.event.reason for one in log if isinstance(one.event, CircuitOpened)}
    copies = (
        Counter(
            {
                (who.strip("<>").partition("@")[0], to): n
                for (who, to), n in primary.copies_per_recipient().items()
            }
        )
        + secondary.copies_per_recipient()
    )

    assert {"sent"} == {row.status for row in rows}
    assert [] == list(LogCheck(made.circuit).check(log))
    assert worst_window(starts, RATE.window) <= RATE.limit
    assert "account" in opened
    assert opened & {"failure_rate", "consecutive"}
    assert [] == secondary.violations
    check_copies(rows, log, copies)
