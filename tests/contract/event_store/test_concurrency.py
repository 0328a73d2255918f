"""Many writers at once: no stream is torn, no promise is broken, nobody waits for ever."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from random import Random
from threading import Barrier, Thread

import pytest

from application.ports import EventStore, LeaseLost, Locked, Plan
from application.recorded import Committed, Recorded, StreamAppend, Unit, email_stream
from domain.email.events import AttemptStarted
from tests.contract.event_store.conftest import CIRCUIT, Subject
from tests.contract.event_store.given import (
    T0,
    an_id,
    append,
    content_of,
    failed,
    request,
    requested,
    rescheduled,
    started,
    unit,
)
from tests.contract.event_store.test_claims import Chooser, share
from tests.contract.event_store.world import folded, whole_log

WRITERS = 6
TURNS = 15
PATIENCE_S = 120.0


def together(*works: Callable[[], None]) -> None:
    """Start all at the same moment, and wait; the first error of any is raised."""
    barrier = Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        barrier.wait(10)
        work()

    with ThreadPoolExecutor(len(works)) as threads:
        for future in [threads.submit(run, work) for work in works]:
            future.result(PATIENCE_S)


class Writer:
    """Appends random units to streams it shares with others, and remembers what it was told."""

    def __init__(self, store: EventStore, streams: Sequence[str], seed: int) -> None:
        self.store, self.streams, self.random = store, streams, Random(seed)
        self.committed: list[tuple[Unit, tuple[Recorded, ...]]] = []
        self.refused: list[Unit] = []

    def unit(self) -> Unit:
        """Over one to three streams, at versions that were right a moment ago."""
        chosen = self.random.sample(self.streams, self.random.randint(1, 3))
        return unit(*(self.next_of(stream) for stream in chosen))

    def next_of(self, stream: str) -> StreamAppend:
        version = len(self.store.read_stream(stream))
        more = [rescheduled(self.random.randint(1, 9)) for _ in range(self.random.randint(1, 2))]
        return append(stream, version, *([requested()] if version == 0 else []), *more)

    def append(self) -> None:
        """Batches of a few units, through `append`."""
        for _ in range(TURNS):
            units = [self.unit() for _ in range(self.random.randint(1, 4))]
            for one, answer in zip(units, self.store.append(units), strict=True):
                if isinstance(answer, Committed):
                    self.committed.append((one, answer.recorded))
                else:
                    self.refused.append(one)

    def transact(self) -> None:
        """One decision at a time, on streams that were locked and folded, some of which move gates."""
        for _ in range(TURNS):
            streams = self.random.sample(self.streams, 2)
            ids = tuple(stream.removeprefix("email-") for stream in streams)
            decided: list[Unit] = []

            def decide(
                locked: Locked, ids: tuple[str, ...] = ids, decided: list[Unit] = decided
            ) -> list[Unit]:
                decided[:] = [unit(*(self.attempt(locked, one) for one in ids))]
                return decided

            transacted = self.store.transact(Plan(emails=ids), decide)
            self.committed.append((decided[0], transacted.recorded))

    def attempt(self, locked: Locked, email_id: str) -> StreamAppend:
        """An attempt from its start to its failure; the email itself where nobody has requested it."""
        stream = email_stream(email_id)
        if email_id not in locked.emails:
            return append(stream, 0, requested())
        view = locked.emails[email_id]
        number = len(view.email.attempts) + 1
        provider = self.random.choice(("ses", "postmark"))
        return append(stream, view.version, started(number, provider), failed(number, provider))


def check_log(store: EventStore, streams: Sequence[str], writers: Sequence[Writer]) -> None:
    """Versions without a hole, committed units whole and where they said, refused ones absent, views right."""
    log = whole_log(store)
    by_stream: dict[str, list[Recorded]] = defaultdict(list)
    for recorded in log:
        by_stream[recorded.stream].append(recorded)
    promised = [one for writer in writers for _, told in writer.committed for one in told]
    refused = {
        new.event_id
        for writer in writers
        for one in writer.refused
        for added in one.appends
        for new in added.events
    }

    assert {one.stream for one in log} <= set(streams)
    for stream, events in by_stream.items():
        assert list(range(1, len(events) + 1)) == [one.version for one in events]
        assert events == store.read_stream(stream)
    assert sorted(promised, key=lambda one: one.position) == log
    assert not refused & {one.event_id for one in log}
    for one, told in ((one, told) for writer in writers for one, told in writer.committed):
        wanted = [(added.stream, new.event_id) for added in one.appends for new in added.events]
        assert wanted == [(recorded.stream, recorded.event_id) for recorded in told]


def test_writers_on_the_same_streams_never_tear_them(subject: Subject) -> None:
    """Six of them, batches of units over several streams, each sure of versions that others move."""
    streams = [email_stream(an_id()) for _ in range(8)]
    writers = [Writer(subject.open(), streams, seed) for seed in range(WRITERS)]
    together(*(writer.append for writer in writers))

    check_log(subject.store, streams, writers)
    assert any(writer.refused for writer in writers)


def test_decisions_and_appends_do_not_tear_each_other(subject: Subject) -> None:
    """Half of them decide under locks and move gates; the views come out as the log says."""
    streams = [email_stream(an_id()) for _ in range(8)]
    writers = [Writer(subject.open(), streams, seed) for seed in range(WRITERS)]
    together(*(writer.transact if index % 2 else writer.append for index, writer in enumerate(writers)))
    fresh = folded(whole_log(subject.store), CIRCUIT)
    ids = tuple(stream.removeprefix("email-") for stream in streams)
    locked = subject.store.transact(Plan(emails=ids), lambda locked: []).locked

    check_log(subject.store, streams, writers)
    assert fresh.emails == {**locked.emails}
    assert fresh.gates == {**locked.gates}


def test_no_email_is_claimed_twice(subject: Subject) -> None:
    """Four workers empty one lane: each email is started once, by one of them, and none is left."""
    ids = [an_id() for _ in range(60)]
    subject.store.append([request(one) for one in ids])
    starts: list[str] = []

    def worker(store: EventStore) -> None:
        lease = store.acquire_lease("w")

        def decide(locked: Locked) -> Sequence[Unit]:
            event = started(worker=lease.worker, token=lease.token)
            return [unit(append(email_stream(one), 1, event), at=locked.now) for one in locked.claimed]

        plan = Plan(lease=lease, choose=Chooser(share(4)))
        while recorded := store.transact(plan, decide).recorded:
            starts.extend(one.stream.removeprefix("email-") for one in recorded)

    stores = [subject.open() for _ in range(4)]
    together(*(lambda store=store: worker(store) for store in stores))

    left = subject.store.transact(
        Plan(lease=subject.store.acquire_lease("x"), choose=Chooser(share(60))), lambda locked: []
    ).locked.claimed
    assert sorted(ids) == sorted([*starts, *left])
    assert 60 == sum(isinstance(one.event, AttemptStarted) for one in whole_log(subject.store)) + len(left)
    assert {1} == set(Counter(starts).values())


def test_no_slot_is_spent_twice(subject: Subject) -> None:
    """Workers that start only while fewer than ten are open never open more than ten, all together."""
    ids = [an_id() for _ in range(40)]
    subject.store.append([request(one) for one in ids])
    seen: list[int] = []

    def worker(store: EventStore) -> None:
        lease = store.acquire_lease("w")

        def decide(locked: Locked) -> Sequence[Unit]:
            gate = locked.gates.get("provider/ses")
            room = 10 - (gate.open_attempts if gate else 0)
            seen.append(10 - room)
            event = started(worker=lease.worker, token=lease.token)
            return [unit(append(email_stream(one), 1, event), at=T0) for one in locked.claimed[:room]]

        for _ in range(6):
            store.transact(Plan(lease=lease, choose=Chooser(share(3))), decide)

    stores = [subject.open() for _ in range(4)]
    together(*(lambda store=store: worker(store) for store in stores))

    assert max(seen) <= 10
    assert 10 == sum(isinstance(one.event, AttemptStarted) for one in whole_log(subject.store))


@pytest.mark.parametrize("looks", [True, False], ids=["takes over, then releases", "releases"])
def test_no_attempt_is_left_behind_by_a_recovery_at_the_same_time(subject: Subject, looks: bool) -> None:
    """A worker starts while its lease is taken from it: the recovery finds the attempt, or the lease stays."""
    email_id, earlier = an_id(), an_id()
    subject.store.append([request(email_id), request(earlier, tenant="other")])
    begun = unit(append(email_stream(earlier), 1, started(), failed()))
    subject.store.transact(Plan(), lambda locked: [begun])  # the gates are there
    lease = subject.store.acquire_lease("w")
    other = subject.open()

    def close(locked: Locked) -> Sequence[Unit]:
        views = [locked.emails[one] for one, _ in locked.taken_over]
        return [unit(append(email_stream(one.email_id), one.version, failed())) for one in views]

    def recover() -> None:
        with suppress(LeaseLost):
            if looks:
                other.transact(Plan(takes_over=lease), close)
            other.release_lease(lease)

    recovery = Thread(target=recover)

    def start(locked: Locked) -> Sequence[Unit]:
        if recovery.ident is None:
            recovery.start()
            recovery.join(0.5)
        event = started(worker=lease.worker, token=lease.token)
        return [unit(append(email_stream(one), 1, event)) for one in locked.claimed]

    subject.store.transact(Plan(lease=lease, choose=Chooser(share(1))), start)
    recovery.join(PATIENCE_S)
    view = subject.store.transact(Plan(emails=(email_id,)), lambda locked: []).locked.emails[email_id]

    assert view.email.open_attempt is None or lease in subject.store.stale_leases(timedelta(0))


def test_an_attempt_is_closed_once(subject: Subject) -> None:
    """Its worker records outcomes while a recovery takes the same attempts over."""
    ids = [an_id() for _ in range(30)]
    lease = subject.store.acquire_lease("w")
    subject.store.append([request(one) for one in ids])
    begin = [unit(append(email_stream(one), 1, started(token=lease.token))) for one in ids]
    subject.store.transact(Plan(), lambda locked: begin)
    stores = subject.open(), subject.open()

    def closing(locked: Locked) -> Sequence[Unit]:
        open_ones = [one for one in locked.emails.values() if one.email.open_attempt is not None]
        return [unit(append(email_stream(one.email_id), one.version, failed())) for one in open_ones]

    def record() -> None:
        for index in range(0, len(ids), 2):
            stores[0].transact(Plan(emails=tuple(ids[index : index + 2])), closing)

    def recover() -> None:
        while stores[1].transact(Plan(takes_over=lease, open_max=4), closing).locked.taken_over:
            pass

    together(record, recover)

    assert [[1, 2, 3]] * 30 == [
        [e.version for e in subject.store.read_stream(email_stream(one))] for one in ids
    ]
    assert 0 == subject.store.transact(Plan(), lambda locked: []).locked.gates["provider/ses"].open_attempts


def test_leases_given_at_once_have_tokens_of_their_own(subject: Subject) -> None:
    """Whoever asks at the same moment."""
    tokens: list[int] = []

    def ask(store: EventStore) -> None:
        for _ in range(20):
            tokens.append(store.acquire_lease("w").token)

    stores = [subject.open() for _ in range(4)]
    together(*(lambda store=store: ask(store) for store in stores))

    assert 80 == len(set(tokens))


def test_one_content_can_be_kept_and_erased_at_once(subject: Subject) -> None:
    """A blob that one email lets go of while another takes it is there for the other."""
    logo = b"logo" * 50
    pairs = [(an_id(), an_id()) for _ in range(20)]

    def asked(email_id: str) -> Unit:
        return unit(append(email_stream(email_id), 0, requested()), content=content_of(email_id, logo))

    subject.store.append([asked(pairs[0][0])])
    stores = subject.open(), subject.open()

    def keep() -> None:
        for one, other in pairs:
            stores[0].append([asked(other)])
            if one != pairs[0][0]:
                stores[0].append([asked(one)])

    def erase() -> None:
        for one, _ in pairs:
            stores[1].erase(one)

    together(keep, erase)
    others = [other for _, other in pairs]

    assert {one: content_of(one, logo) for one in others} == subject.store.contents(others)
