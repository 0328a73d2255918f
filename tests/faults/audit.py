"""What is checked after a fault: nothing acknowledged is lost, nothing is sent twice in silence, all is recorded."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

from adapters.sql import open_store
from application.invariants import LogCheck
from application.recorded import Recorded, email_stream
from domain.email.events import (
    AttemptStarted,
    Cancelled,
    DuplicateRiskAccepted,
    Failed,
    Held,
    LateResultObserved,
    OutcomeUncertain,
    Redriven,
    Released,
    Requested,
    Sent,
)
from tests.faults.children import ENDS_MAX_S, verified
from tests.faults.load import Acknowledged
from tests.support.smtp_server import ScriptedSmtpServer

SETTLED_MAX_S = 90.0
PAGE = 10_000
SETTLED = ("sent", "failed", "cancelled", "held")
Copies = Mapping[tuple[str, str], int]
"""How often each (email id, recipient's address) was taken by a provider."""


@dataclass(slots=True, kw_only=True)
class Counted:
    """What was counted of one database, once everything had settled."""

    emails: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    uncertain: int = 0
    late: int = 0
    risks: int = 0
    copies: int = 0
    twice: int = 0
    events: int = 0

    def __str__(self) -> str:
        ends = ", ".join(f"{n} {end}" for end, n in sorted(self.ends.items()))
        return (
            f"{self.emails} emails: {ends}; {self.attempts} attempts, {self.uncertain} in doubt, {self.late} late"
            f" results; {self.copies} copies, {self.risks} risks declared, {self.twice} recipients with more than"
            f" one copy; {self.events} events, verify ok"
        )


def settle(database: str) -> None:
    """Wait until every email has ended, or is held until somebody decides."""
    deadline = time.monotonic() + SETTLED_MAX_S
    while True:
        left = {status: n for status, n in statuses(database).items() if status not in SETTLED}
        if not left:
            return
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def statuses(database: str) -> dict[str, int]:
    """How many emails have each status."""
    return dict(look(database, "SELECT status, count(*) FROM emails GROUP BY status"))


def look(database: str, statement: str) -> list[tuple[Any, ...]]:
    """Rows as a client reads them beside the service; an SQLite file is opened for reading only."""
    url = make_url(database)
    if url.get_backend_name() == "sqlite":
        path = f"file:{url.database}?mode=ro"
        with closing(sqlite3.connect(path, uri=True, timeout=5)) as sqlite:
            return sqlite.execute(statement).fetchall()
    with psycopg.connect(database, connect_timeout=5) as postgres:
        return postgres.execute(statement).fetchall()


def log_of(database: str) -> list[Recorded]:
    """Every event, once nothing more is recorded. Positions may have gaps, which it takes a moment to be sure of."""
    log: list[Recorded] = []
    with closing(open_store(database, read_only=True)) as store:
        empty = 0
        while empty < 5:
            page = store.read_all(log[-1].position if log else 0, PAGE)
            log += page
            empty = 0 if page else empty + 1
            time.sleep(0 if page else 0.02)
    return log


def copies_at(*sinks: ScriptedSmtpServer) -> Counter[tuple[str, str]]:
    """What the providers have taken, all together."""
    taken: Counter[tuple[str, str]] = Counter()
    for sink in sinks:
        for (message_id, recipient), n in sink.copies_per_recipient().items():
            taken[message_id.strip("<>").partition("@")[0], recipient] += n
    return taken


def audit(
    folder: Path, database: str, told: Acknowledged, copies: Copies, verified_in_s: float = ENDS_MAX_S
) -> Counted:
    """Check it all, and count. Everything has to have settled, and every client to have been answered."""
    log = log_of(database)
    stories: dict[str, list[Recorded]] = defaultdict(list)
    for one in log:
        stories[one.stream].append(one)
    counted = Counted(events=len(log), copies=sum(copies.values()))

    assert [] == list(LogCheck().check(log))
    _everything_is_there(database, stories, told)
    _ends_are_single(stories, counted)
    _copies_are_declared(stories, told, copies, counted)
    verdict = verified(folder, verified_in_s)

    assert verdict["ok"], verdict
    return counted


def _everything_is_there(database: str, stories: Mapping[str, list[Recorded]], told: Acknowledged) -> None:
    """Each acknowledged email is recorded under its own id, once, with its content; and nobody else is."""
    requested = {stream for stream, story in stories.items() if isinstance(story[0].event, Requested)}
    ids = list(told.emails.values())

    assert len(ids) == len(set(ids))
    assert {email_stream(one) for one in ids} == requested
    with closing(open_store(database, read_only=True)) as store:
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]

            assert set(part) == store.contents(part).keys()


def _ends_are_single(stories: Mapping[str, list[Recorded]], counted: Counted) -> None:
    """Since it was last redriven each email has one end, or is held and has a time at which that ends."""
    for stream, story in stories.items():
        if not stream.startswith("email-"):
            continue
        counted.emails += 1
        ends: list[str] = []
        held = False
        for one in story:
            match one.event:
                case Redriven():
                    ends = []
                case Sent() | Cancelled():
                    ends.append(type(one.event).__name__.lower())
                case Failed(reason=reason):
                    ends.append(f"failed ({reason})")
                case Held():
                    held = True
                case Released() | AttemptStarted():
                    held = False
                case _:
                    pass
        waits = ["held"] if held and not ends else []

        assert 1 == len(ends + waits), (stream, ends, [type(one.event).__name__ for one in story])
        counted.ends.update(ends + waits)


def _copies_are_declared(
    stories: Mapping[str, list[Recorded]], told: Acknowledged, copies: Copies, counted: Counted
) -> None:
    """Nobody got more copies than 1 and the risks that were declared; with `hold` and `fail` only an operator does."""
    policies = {told.emails[key]: policy for key, policy in told.policies.items()}
    risks: Counter[str] = Counter()
    for stream, story in stories.items():
        email_id = stream.removeprefix("email-")
        for one in story:
            match one.event:
                case DuplicateRiskAccepted(by=by):
                    risks[email_id] += 1

                    assert by != "policy" or policies[email_id] == "retry", (email_id, policies[email_id])
                case AttemptStarted():
                    counted.attempts += 1
                case OutcomeUncertain():
                    counted.uncertain += 1
                case LateResultObserved():
                    counted.late += 1
                case _:
                    pass
    counted.risks = risks.total()
    counted.twice = sum(n > 1 for n in copies.values())

    assert {} == {who: n for who, n in copies.items() if n > 1 + risks[who[0]]}
    _reached(stories, copies)


def _reached(stories: Mapping[str, Iterable[Recorded]], copies: Copies) -> None:
    """Whoever is said to be sent was taken by a provider."""
    taken = Counter(email_id for email_id, _ in copies)
    for stream, story in stories.items():
        if any(isinstance(one.event, Sent) for one in story):
            assert taken[stream.removeprefix("email-")] >= 1, stream
