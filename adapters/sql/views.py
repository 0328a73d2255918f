"""The inline views of emails: their rows, loaded from the log and stored beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import Any

import msgspec

from adapters.sql import log, tables
from adapters.sql.dialect import Insert, Sql
from adapters.sql.engine import Rows, Session, Stamp
from adapters.sql.log import Head
from application.projections.emails import EmailView, email_id_of, is_over, outcome_of, project, view_of
from application.recorded import email_stream
from domain.email.state import Recipient
from domain.routing import Lane

# In the order of their ids, as every other writer.
LOCK = Sql("SELECT email_id FROM emails WHERE email_id = ANY(:email_ids) ORDER BY email_id FOR UPDATE")
EMAILS = Insert.into(tables.emails, "UPSERT")
ATTEMPTS = Insert.into(tables.attempts, "UPSERT")

KEPT_MAX = 4096
"""Views kept in memory, of 2 to 4 KB each: what is accepted and sent at once is mostly among them."""

_json = msgspec.json.Encoder().encode


class Views:
    """Loads and stores the views of emails, and keeps those that were seen last.

    A kept view is as good as a new fold if its stream still ends with the same hash: that stands for all of its
    history. So nothing has to be forgotten where a transaction fails, or another process writes.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Head, EmailView]] = {}
        self._lock = Lock()

    def lock(self, session: Session, email_ids: Collection[str]) -> None:
        """Hold the rows of these emails until the end of the transaction."""
        if email_ids and session.kind == "postgresql":
            session.rows(LOCK, email_ids=sorted(email_ids))

    def load(
        self, session: Session, email_ids: Collection[str]
    ) -> tuple[dict[str, EmailView], dict[str, Head]]:
        """Those of the emails that were requested, as their events say; and the heads of their streams."""
        kept = {one: found for one in email_ids if (found := self._kept.get(one)) is not None}
        heads = log.heads(session, [email_stream(one) for one in kept])
        views = {one: view for one, (head, view) in kept.items() if heads.get(email_stream(one)) == head}
        missing = [email_stream(one) for one in email_ids if one not in views]
        for recorded, digest in log.histories(session, missing):
            email_id = email_id_of(recorded.stream)
            views[email_id] = project(views.get(email_id) or view_of(email_id), recorded)
            heads[recorded.stream] = Head(recorded.version, digest)
        return views, heads

    def store(
        self,
        session: Session,
        before: Mapping[str, EmailView],
        changed: Mapping[str, EmailView],
        heads: Mapping[str, Head],
    ) -> None:
        """Write the rows of the emails that changed, and of those of their attempts that did. `heads`: by now."""
        stamp = session.stamp
        emails: Rows = []
        attempts: Rows = []
        for email_id in sorted(changed):
            view = changed[email_id]
            emails.append(email_row(view, stamp))
            if view.email.attempts:
                attempts += attempt_rows(before.get(email_id), view, stamp)
        session.insert(EMAILS, emails)
        session.insert(ATTEMPTS, attempts)
        self._keep(changed, heads)

    def _keep(self, views: Mapping[str, EmailView], heads: Mapping[str, Head]) -> None:
        with self._lock:
            for email_id, view in views.items():
                self._kept.pop(email_id, None)  # the last one kept is the last one dropped
                if not is_over(view):
                    self._kept[email_id] = heads[email_stream(email_id)], view
            for email_id in list(islice(self._kept, max(0, len(self._kept) - KEPT_MAX))):
                del self._kept[email_id]


def email_row(view: EmailView, stamp: Stamp) -> tuple[Any, ...]:
    """The row of `emails`, as its columns are ordered."""
    email, lane = view.email, view.email.lane
    return (
        view.email_id,
        email.key,
        email.tenant,
        email.route,
        view.status.value,
        view.provider,
        int(email.priority),
        None if lane is None else lane_text(lane),
        stamp(email.due_at),
        stamp(email.deadline_at),
        stamp(email.requested_at),
        stamp(view.updated_at),
        stamp(email.send_at),
        stamp(email.expires_at),
        stamp(email.resolve_by),
        recipients_text(email.recipients),
        len(email.attempts),
        None if email.held is None else email.held.value,
        None if email.fail_reason is None else email.fail_reason.value,
        view.correlation_id,
        view.version,
        view.position,
    )


def attempt_rows(before: EmailView | None, after: EmailView, stamp: Stamp) -> Rows:
    """The rows of `attempts` that differ: mostly the last; evidence may change earlier ones."""
    known = () if before is None else tuple(zip(before.email.attempts, before.times, strict=True))
    rows: Rows = []
    for index, (attempt, times) in enumerate(zip(after.email.attempts, after.times, strict=True)):
        if index < len(known) and known[index] == (attempt, times):
            continue
        rows.append(
            (
                after.email_id,
                attempt.number,
                attempt.provider,
                outcome_of(attempt),
                None if attempt.kind is None else attempt.kind.value,
                attempt.code or None,
                attempt.worker,
                attempt.token,
                _json(attempt.recipients).decode(),
                stamp(times[0]),
                stamp(times[1]),
            )
        )
    return rows


@lru_cache(maxsize=4096)
def lane_text(lane: Lane) -> str:
    """The lane as stored. There are few of them, and every email names one."""
    return str(lane)


@lru_cache(maxsize=4096)
def recipients_text(recipients: tuple[Recipient, ...]) -> str:
    """JSON: the outcome of each recipient, by index."""
    return _json([one.value for one in recipients]).decode()
