"""The views that claims and decisions rest on are what a fresh fold of the log gives, whatever happened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest

from application.ports import Plan, Waiting
from application.projections.emails import EmailView, is_over, outcome_of
from domain.routing import Priority
from tests.contract.event_store.conftest import CIRCUIT, Subject
from tests.contract.event_store.database import Row, execute, micros
from tests.contract.event_store.test_claims import Chooser, look, share
from tests.contract.event_store.world import World, folded, whole_log

STEPS = {"memory": 400, "sqlite": 60, "postgres": 60}


def history(subject: Subject, seed: int) -> World:
    """A world that has run for a while."""
    world = World(subject.store, subject.clock, CIRCUIT, seed=seed)
    world.run(STEPS[subject.kind])
    return world


def lanes(views: Iterable[EmailView], now: datetime) -> dict[tuple[str, Priority], list[datetime]]:
    """When the emails of each lane and priority that are due have become so, in order."""
    due: dict[tuple[str, Priority], list[datetime]] = defaultdict(list)
    for view in views:
        if view.email.lane is not None and view.email.due_at is not None and view.email.due_at <= now:
            due[str(view.email.lane), view.email.priority].append(view.email.due_at)
    return {key: sorted(dues) for key, dues in due.items()}


def waiting_in(views: Iterable[EmailView], now: datetime) -> set[Waiting]:
    """What there is to choose from."""
    return {
        Waiting(lane=lane, priority=priority, due_at=dues[0])
        for (lane, priority), dues in lanes(views, now).items()
    }


@pytest.mark.parametrize("seed", range(5))
def test_live_views_equal_a_fresh_fold(subject: Subject, seed: int) -> None:
    """Emails, gates, what is due and overdue, what is open under a lease, and how many wait."""
    world = history(subject, seed)
    fresh = folded(whole_log(subject.store), CIRCUIT)
    views, now = fresh.emails.values(), subject.clock.now()
    chooser = Chooser()
    locked = look(
        subject,
        Plan(
            lease=world.lease,
            takes_over=world.lease,
            emails=tuple(world.ids),
            choose=chooser,
            overdue_max=10_000,
        ),
    )
    deadlines = {view.email_id: view.email.deadline_at for view in views if view.email.deadline_at}
    running = {
        (view.email_id, view.email.open_attempt.number)
        for view in views
        if view.email.open_attempt is not None
    }

    assert fresh.emails == {**locked.emails}
    assert fresh.gates == {**locked.gates}
    assert waiting_in(views, now) == set(chooser.waiting)
    assert chooser.waiting == sorted(chooser.waiting, key=lambda one: (one.priority, one.due_at))
    assert {one for one, at in deadlines.items() if at <= now} == set(locked.overdue)
    assert [deadlines[one] for one in locked.overdue] == sorted(deadlines[one] for one in locked.overdue)
    assert running == set(locked.taken_over)
    assert sum(not is_over(view) for view in views) == subject.store.waiting()


EMAILS = "email_id, status, provider, priority, lane, attempts, held, fail_reason, version, position"
EMAIL_TIMES = "requested_at, updated_at, send_at, expires_at, resolve_by, due_at, deadline_at"
ATTEMPTS = "email_id, attempt, provider, outcome, kind, code, worker, token"
ATTEMPT_TIMES = "started_at, finished_at"


@pytest.mark.parametrize("seed", [10, 11])
def test_the_rows_say_what_the_views_say(sql_subject: Subject, seed: int) -> None:
    """Whoever reads `emails` and `attempts` without the service reads the truth."""
    history(sql_subject, seed)
    views = folded(whole_log(sql_subject.store), CIRCUIT).emails
    url = sql_subject.url

    assert {one: email_row(view) for one, view in views.items()} == {
        row[0]: (*row[:10], *map(maybe_micros, row[10:]))
        for row in execute(url, f"SELECT {EMAILS}, {EMAIL_TIMES} FROM emails")
    }
    assert {row[:2]: row for view in views.values() for row in attempt_rows(view)} == {
        row[:2]: (*row[:8], *map(maybe_micros, row[8:]))
        for row in execute(url, f"SELECT {ATTEMPTS}, {ATTEMPT_TIMES} FROM attempts")
    }


def maybe_micros(at: object) -> int | None:
    """A time as a row has it, or none."""
    return None if at is None else micros(at)


def email_row(view: EmailView) -> Row:
    """What `emails` is to say of an email."""
    email, lane = view.email, view.email.lane
    times = (
        email.requested_at,
        view.updated_at,
        email.send_at,
        email.expires_at,
        email.resolve_by,
        email.due_at,
    )
    return (
        view.email_id,
        view.status,
        view.provider,
        email.priority,
        None if lane is None else str(lane),
        len(email.attempts),
        email.held,
        email.fail_reason,
        view.version,
        view.position,
        *map(maybe_micros, (*times, email.deadline_at)),
    )


def attempt_rows(view: EmailView) -> list[Row]:
    """What `attempts` is to say of an email."""
    return [
        (
            view.email_id,
            one.number,
            one.provider,
            outcome_of(one),
            one.kind,
            one.code or None,
            one.worker,
            one.token,
            *map(maybe_micros, times),
        )
        for one, times in zip(view.email.attempts, view.times, strict=True)
    ]


@pytest.mark.parametrize("seed", range(5, 7))
def test_claims_follow_the_fold(subject: Subject, seed: int) -> None:
    """Hours later, from every lane: exactly the emails that wait there, the longest due first."""
    world = history(subject, seed)
    for _ in range(5):
        world.request()
    subject.clock.time += timedelta(hours=3)
    now = subject.clock.now()
    fresh = folded(whole_log(subject.store), CIRCUIT)
    expected = lanes(fresh.emails.values(), now)

    for (lane, priority), dues in expected.items():
        chooser = Chooser(share(len(dues), lane=lane, priority=priority))
        claimed = look(subject, Plan(lease=world.lease, choose=chooser)).claimed
        assert dues == [fresh.emails[one].email.due_at for one in claimed]
    assert expected
