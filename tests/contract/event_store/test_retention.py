"""Retention: content goes once its email's last end is old enough, never before, and never what may still be sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from adapters.memory.event_store import MemoryEventStore
from adapters.memory.retention import MemoryEndedContents
from adapters.sql import SqlEventStore
from application.ports import Locked, Plan, StoreUnavailable
from application.recorded import Event, Unit, email_stream
from application.retention import STANDS_ASIDE, EndedContents, Swept
from domain.email.events import (
    Cancelled,
    Delivered,
    Failed,
    FailReason,
    Held,
    HoldReason,
    Redriven,
)
from tests.contract.event_store.conftest import Subject
from tests.contract.event_store.database import execute
from tests.contract.event_store.given import (
    DAY,
    MINUTE,
    T0,
    an_id,
    append,
    content_of,
    failed,
    requested,
    sent,
    started,
    unit,
)

KEPT_FOR = 30 * DAY
INSTANT = timedelta(microseconds=1)
LOGO = b"\x89PNG" * 1000
EXPIRED = Failed(reason=FailReason.EXPIRED, pending=(0, 1), code="")
REDRIVEN = Redriven(by="ops", due_at=T0, expires_at=T0 + 365 * DAY)
NOTHING = Swept(erased=0, more=False)


def ended_contents(subject: Subject) -> EndedContents:
    """The port under test, on the subject's store."""
    if isinstance(subject.store, MemoryEventStore):
        return MemoryEndedContents(subject.store, subject.clock)
    assert isinstance(subject.store, SqlEventStore)
    return subject.store.retention


class Bench:
    """A store with emails of known ends, and the sweeping of their content."""

    def __init__(self, subject: Subject) -> None:
        self.store, self.clock = subject.store, subject.clock
        self.contents = ended_contents(subject)

    def email(self, *events: Event, at: datetime = T0, attached: Sequence[bytes] = ()) -> str:
        """An email with content to which this happened at a time."""
        email_id = an_id()
        asked = append(email_stream(email_id), 0, requested(key=email_id))
        self.store.append([unit(asked, at=at, content=content_of(email_id, *attached))])
        self.record(email_id, *events, at=at)
        return email_id

    def record(self, email_id: str, *events: Event, at: datetime) -> None:
        """What happens to it further."""

        def decide(locked: Locked) -> list[Unit]:
            version = locked.emails[email_id].version
            return [unit(append(email_stream(email_id), version, *events), at=at)]

        if events:
            self.store.transact(Plan(emails=(email_id,)), decide)

    def sweep(self, at: datetime, *, holder: str = "me", limit: int = 200) -> Swept:
        """One sweep at that time."""
        self.clock.time = at
        return self.contents.sweep(KEPT_FOR, holder=holder, limit=limit)

    def swept(self, at: datetime, *, limit: int = 200) -> int:
        """All that there is to erase at that time; how much it was."""
        total, more = 0, True
        while more:
            done = self.sweep(at, limit=limit)
            total, more = total + done.erased, done.more
        return total

    def kept(self, *email_ids: str) -> list[str]:
        """Those of the emails that have their content."""
        return [one for one in email_ids if self.store.contents([one])]


@pytest.fixture
def bench(subject: Subject) -> Bench:
    """Each kind of store, empty."""
    return Bench(subject)


@pytest.mark.parametrize(
    "end", [(started(), sent()), (EXPIRED,), (Cancelled(by="me"),)], ids=["sent", "failed", "cancelled"]
)
def test_content_goes_when_the_end_is_old_enough(bench: Bench, end: tuple[Event, ...]) -> None:
    """Whatever the end was: not a microsecond before, and the events stay."""
    email_id = bench.email()
    bench.record(email_id, *end, at=T0 + MINUTE)
    log = bench.store.read_all(0, 100)
    before = bench.sweep(T0 + MINUTE + KEPT_FOR - INSTANT), bench.kept(email_id)
    then = bench.sweep(T0 + MINUTE + KEPT_FOR)

    assert (NOTHING, [email_id]) == before
    assert 1 == then.erased
    assert [] == bench.kept(email_id)
    assert log == bench.store.read_all(0, 100)
    assert NOTHING == bench.sweep(T0 + MINUTE + 2 * KEPT_FOR)


def test_what_has_not_ended_is_kept_whatever_its_age(bench: Bench) -> None:
    """Waiting, being sent, to be tried again, held, reopened: it may all still be sent."""
    emails = [
        bench.email(),
        bench.email(started()),
        bench.email(started(), failed()),
        bench.email(Held(reason=HoldReason.OPERATOR)),
        bench.email(EXPIRED, REDRIVEN),
        bench.email(EXPIRED, REDRIVEN, started()),
    ]
    erased = bench.swept(T0 + 10 * KEPT_FOR)

    assert 0 == erased
    assert emails == bench.kept(*emails)


def test_the_last_end_counts(bench: Bench) -> None:
    """Of an email that was reopened, whether the walk comes by before it ends again, or after."""
    early, late = bench.email(EXPIRED), bench.email(EXPIRED)
    bench.record(early, REDRIVEN, at=T0 + 10 * DAY)
    bench.record(late, REDRIVEN, at=T0 + 10 * DAY)
    bench.record(early, EXPIRED, at=T0 + 20 * DAY)
    first = bench.swept(T0 + 40 * DAY), bench.kept(early, late)
    bench.record(late, EXPIRED, at=T0 + 41 * DAY)
    second = bench.swept(T0 + 50 * DAY), bench.kept(early, late)
    third = bench.swept(T0 + 71 * DAY), bench.kept(early, late)

    assert [(0, [early, late]), (1, [late]), (1, [])] == [first, second, third]


def test_two_ends_that_are_both_old_enough_are_one(bench: Bench) -> None:
    """In one batch, or with the batch's end between them."""
    together, apart = bench.email(EXPIRED, REDRIVEN, EXPIRED), bench.email(EXPIRED, REDRIVEN, EXPIRED)

    assert 1 == bench.sweep(T0 + KEPT_FOR, limit=3).erased
    assert [apart] == bench.kept(together, apart)
    assert 1 == bench.swept(T0 + KEPT_FOR)
    assert [] == bench.kept(together, apart)


def test_what_follows_an_end_puts_nothing_off(bench: Bench) -> None:
    """Feedback moves `updated_at`, not the end."""
    email_id = bench.email(started(), sent())
    bench.record(email_id, Delivered(attempt=1, recipient=0, observed_at=T0), at=T0 + 29 * DAY)

    assert 1 == bench.swept(T0 + KEPT_FOR)
    assert [] == bench.kept(email_id)


def test_ends_come_up_in_batches_and_once_each(bench: Bench) -> None:
    """Until one that is too young, from which it goes on another time."""
    ids = [bench.email(EXPIRED, at=T0 + n * MINUTE) for n in range(10)]
    at = T0 + KEPT_FOR + 6 * MINUTE
    sweeps = [bench.sweep(at, limit=3) for _ in range(4)]
    bench.store.append(
        [unit(append(email_stream(an_id()), 0, requested()), content=content_of(ids[0]))]
    )  # would be found if anybody looked once more

    assert [3, 3, 1, 0] == [one.erased for one in sweeps]
    assert [True, True, False, False] == [one.more for one in sweeps]
    assert [ids[0], *ids[7:]] == bench.kept(*ids)
    assert 3 == bench.swept(at + DAY, limit=3)
    assert [ids[0]] == bench.kept(*ids)


def test_an_attachment_stays_while_anyone_needs_it(bench: Bench) -> None:
    """Emails that waited longer, or came later, share it with those that are erased."""
    gone = [bench.email(EXPIRED, attached=[LOGO, b"own"]) for _ in range(2)]
    waits = bench.email(attached=[LOGO])

    assert 2 == bench.swept(T0 + KEPT_FOR)
    assert [waits] == bench.kept(*gone, waits)
    assert {waits: content_of(waits, LOGO)} == bench.store.contents([*gone, waits])


def test_one_at_a_time_is_at_it(bench: Bench) -> None:
    """Others look on, until nothing has happened for a while."""
    for _ in range(4):
        bench.email(EXPIRED)
    at = T0 + KEPT_FOR
    mine = bench.sweep(at, holder="me", limit=1)
    others = bench.sweep(at + STANDS_ASIDE - INSTANT, holder="you", limit=1)
    again = bench.sweep(at + STANDS_ASIDE - INSTANT, holder="me", limit=1)
    later = bench.sweep(at + 2 * STANDS_ASIDE, holder="you", limit=1)

    assert [1, 0, 1, 1] == [one.erased for one in (mine, others, again, later)]
    assert [True, False, True, True] == [one.more for one in (mine, others, again, later)]


def test_whether_content_is_kept_can_be_part_of_a_decision(bench: Bench) -> None:
    """Only where the plan asks, and of the emails it names."""
    there, gone, other = bench.email(), bench.email(EXPIRED), bench.email()
    bench.swept(T0 + KEPT_FOR)
    seen: list[frozenset[str]] = []

    def look(locked: Locked) -> list[Unit]:
        seen.append(locked.kept)
        return []

    bench.store.transact(Plan(emails=(there, gone), kept=True), look)
    bench.store.transact(Plan(emails=(there, gone)), look)

    assert [frozenset({there}), frozenset()] == seen
    assert [there, other] == bench.kept(there, gone, other)


def test_a_sweep_that_fails_is_as_if_it_had_not_been(sql_subject: Subject) -> None:
    """Nothing is erased, and nothing counts as looked at."""
    bench = Bench(sql_subject)
    ids = [bench.email(EXPIRED, attached=[LOGO]) for _ in range(3)]
    if sql_subject.kind == "sqlite":
        refuse = "CREATE TRIGGER stop BEFORE DELETE ON blobs BEGIN SELECT RAISE(ABORT, 'no'); END"
        allow = "DROP TRIGGER stop"
    else:
        execute(
            sql_subject.url,
            "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'",
        )
        refuse = "CREATE TRIGGER stop BEFORE DELETE ON blobs FOR EACH ROW EXECUTE FUNCTION stop()"
        allow = "DROP TRIGGER stop ON blobs"
    execute(sql_subject.url, refuse)
    with pytest.raises((RuntimeError, StoreUnavailable)):
        bench.sweep(T0 + KEPT_FOR)
    kept = bench.kept(*ids)
    execute(sql_subject.url, allow)

    assert ids == kept
    assert {one: content_of(one, LOGO) for one in ids} == bench.store.contents(ids)
    assert 3 == bench.swept(T0 + KEPT_FOR)
    assert [] == bench.kept(*ids)
    assert [(0, 0, 0)] == execute(
        sql_subject.url,
        "SELECT (SELECT count(*) FROM contents), (SELECT count(*) FROM blobs), (SELECT count(*) FROM content_blobs)",
    )
