"""The log, followed while it grows: its invariants, and that nothing lies about that should be under way (I14)."""

from __future__ import annotations

from datetime import datetime, timedelta

from application.invariants import LogCheck
from application.ports import EventStore
from application.projections.emails import EmailView, email_id_of
from application.projections.gates import openings, shared_room
from application.projections.inline import InlineViews
from application.recorded import Recorded
from application.settings import Settings
from domain.email.events import AttemptStarted
from domain.routing import walk
from tests.simulation.violated import Violated

PAGE = 1000
TICK_S = 30.0
"""Longer than a worker leaves the queue alone, and than every delay of the simulated database."""

TICK = timedelta(seconds=TICK_S)

OPEN_MAX = timedelta(minutes=15)
"""Longer than any call takes, and any worker stands still."""


class Audit:
    """Folds the log, and looks at it now and then. `views` is what it says; `starts`: (email id, attempt)."""

    def __init__(self, store: EventStore, *settings: Settings) -> None:
        """`settings`: all that processes may have; only what is overdue by each of them is."""
        self.views = InlineViews()
        self.log: list[Recorded] = []
        self.starts: dict[tuple[str, int], Recorded] = {}
        self.broken: Violated | None = None
        self._store = store
        self._settings = settings
        self._check = LogCheck(settings[0].circuit)
        self._started_at: dict[str, datetime] = {}
        self._free_since: dict[tuple[str, int], datetime] = {}

    def follow(self) -> None:
        """Read what is new."""
        position = self.log[-1].position if self.log else 0
        while page := self._store.read_all(position, PAGE):
            for violation in self._check.check(page):
                what = f"{violation.what} ({violation.stream}, position {violation.position})"
                self.broken = self.broken or Violated(violation.invariant, what)
            self.views.apply(page)
            for one in page:
                if isinstance(one.event, AttemptStarted):
                    self.starts[email_id_of(one.stream), one.event.attempt] = one
                    self._started_at[one.event.provider] = one.at
            self.log += page
            position = page[-1].position

    def look(self, now: datetime, healthy_for_s: float) -> None:
        """Follow the log; where some worker has been well for long enough, nothing may be overdue.

        Raises what was found, now or before: whoever it was found by may have been a worker, which takes no notice.
        """
        self.follow()
        if self.broken is not None:
            raise self.broken
        if healthy_for_s < 2 * TICK_S:
            self._free_since.clear()
            return
        starts = (gate.last_at for gate in self.views.gates.values() if gate.last_at is not None)
        now = max((now, *starts))  # as whoever decides takes it
        for email_id in self.waiting:
            self._punctual(self.views.emails[email_id], now)

    def knows_start(self, email_id: str, attempt: int) -> bool:
        """Whether the log has the start of an attempt."""
        self.follow()
        return (email_id, attempt) in self.starts

    @property
    def all_ended(self) -> bool:
        """Whether nothing is left to do."""
        return not self.waiting

    @property
    def waiting(self) -> list[str]:
        """Emails without an end."""
        return [email_id for email_id, view in self.views.emails.items() if view.email.end is None]

    def _punctual(self, view: EmailView, now: datetime) -> None:
        email = view.email
        if email.deadline_at is not None and email.deadline_at < now - TICK:
            raise Violated("I14", f"{view.email_id} had a deadline at {email.deadline_at}, now {now}")
        if email.open_attempt is not None and view.times[-1][0] < now - OPEN_MAX:
            raise Violated("I14", f"{view.email_id} has an attempt open since {view.times[-1][0]}")
        key = (view.email_id, view.version)
        free = [self._could_take(view, now, one) for one in self._settings]
        if None in free:
            self._free_since.pop(key, None)
            return
        since = self._free_since.setdefault(key, now)
        if any(provider in self._started_at and self._started_at[provider] > since for provider in free):
            self._free_since[key] = now  # others had their turn
        elif since < now - TICK:
            raise Violated("I14", f"{view.email_id} is due since {email.due_at}, and {free[0]} is free")

    def _could_take(self, view: EmailView, now: datetime, settings: Settings) -> str | None:
        """The provider that has had room for an email that is due."""
        lane, due_at = view.email.lane, view.email.due_at
        if lane is None or due_at is None or due_at > now - TICK:
            return None
        room, _ = shared_room(self.views.gates, settings, lane.route, now)
        if room == 0:
            return None
        found = walk(
            openings(self.views.gates, settings, lane.route, now), lane, settings.route(lane.route).on_limit
        )
        return None if found.chosen is None else found.chosen.provider
