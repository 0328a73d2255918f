"""What waits, by time: emails for an attempt, in their lanes, and for their deadlines."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from datetime import datetime

from application.ports import Waiting
from application.projections.emails import EmailView, is_over
from domain.routing import Priority

Key = tuple[str, Priority]
LAST = "\U0010ffff"
"""Sorts behind every email id."""


class Timetable:
    """Email ids by time, then by id."""

    def __init__(self) -> None:
        self._rows: list[tuple[datetime, str]] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, at: datetime, email_id: str) -> None:
        insort(self._rows, (at, email_id))

    def remove(self, at: datetime, email_id: str) -> None:
        del self._rows[bisect_left(self._rows, (at, email_id))]

    def until(self, now: datetime, count: int) -> list[tuple[datetime, str]]:
        """The first `count` whose time has come."""
        return self._rows[: min(count, bisect_right(self._rows, (now, LAST)))]

    def first_after(self, now: datetime) -> datetime | None:
        """The next time that has not come yet."""
        index = bisect_right(self._rows, (now, LAST))
        return self._rows[index][0] if index < len(self._rows) else None


class Queue:
    """Every email that has not ended, where it waits."""

    def __init__(self) -> None:
        self._lanes: dict[Key, Timetable] = {}
        self._deadlines = Timetable()
        self._places: dict[str, tuple[Key | None, datetime | None, datetime | None]] = {}
        self.running: dict[str, EmailView] = {}
        """Emails with an open attempt."""

    def __len__(self) -> int:
        return len(self._places)

    def put(self, view: EmailView) -> None:
        """Move an email to where it waits now, and out once it has ended."""
        self._take_out(view.email_id)
        email, email_id = view.email, view.email_id
        if is_over(view):
            return
        lane, due_at, deadline = email.lane, email.due_at, email.deadline_at
        key = None if lane is None else (str(lane), email.priority)
        self._places[email_id] = (key, due_at, deadline)
        if key is not None and due_at is not None:
            self._lanes.setdefault(key, Timetable()).add(due_at, email_id)
        if deadline is not None:
            self._deadlines.add(deadline, email_id)
        if email.open_attempt is not None:
            self.running[email_id] = view

    def _take_out(self, email_id: str) -> None:
        key, due_at, deadline = self._places.pop(email_id, (None, None, None))
        if key is not None and due_at is not None:
            self._lanes[key].remove(due_at, email_id)
            if not self._lanes[key]:
                del self._lanes[key]
        if deadline is not None:
            self._deadlines.remove(deadline, email_id)
        self.running.pop(email_id, None)

    def waiting(self, now: datetime) -> list[Waiting]:
        """Lanes with an email that is due, by priority, then by age."""
        firsts = ((key, row) for key, lane in self._lanes.items() for row in lane.until(now, 1))
        due = (Waiting(lane=key[0], priority=key[1], due_at=row[0]) for key, row in firsts)
        return sorted(due, key=lambda one: (one.priority, one.due_at, one.lane))

    def due(self, key: Key, now: datetime) -> Iterator[str]:
        """Emails of a lane and priority that are due, the longest due first."""
        lane = self._lanes.get(key)
        if lane is not None:
            yield from (email_id for _, email_id in lane.until(now, len(self)))

    def overdue(self, now: datetime, count: int) -> list[str]:
        """The first `count` emails whose deadline has passed."""
        return [email_id for _, email_id in self._deadlines.until(now, count)]

    def next_at(self, now: datetime) -> datetime | None:
        """When, after `now`, the next email is due or the next deadline passes."""
        tables = (self._deadlines, *self._lanes.values())
        return min((at for table in tables if (at := table.first_after(now)) is not None), default=None)
