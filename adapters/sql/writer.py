"""Recording: what was admitted goes into the log, then into the views that are kept in the same transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from adapters.ledger import Admitted, admit, event_ids_of, refuse_gates, streams_of
from adapters.sql import content_store, log
from adapters.sql.engine import Session
from adapters.sql.log import Head
from adapters.sql.views import Views
from application.projections.emails import EmailView, email_id_of
from application.projections.gates import Gate, touched_by
from application.projections.inline import InlineViews
from application.recorded import EMAIL_PREFIX, Committed, Conflict, Recorded, Unit

T = TypeVar("T")


class Writer:
    """Records units. `views`: of the emails that they belong to."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def append(self, session: Session, units: Sequence[Unit]) -> list[Committed | Conflict]:
        """Record those of the units that fit, each whole. Holds no gate, and of emails only those that exist."""
        heads = log.heads(session, streams_of(units))
        answers = self.admitting(session, units, heads)
        admitted = [one for one in answers if isinstance(one, Admitted)]
        emails = self.load_touched(session, admitted, heads, {})
        recorded, _ = self.record(session, admitted, heads, emails, None)
        left = iter(recorded)
        return [
            Committed(recorded=tuple(islice(left, len(one.entries)))) if isinstance(one, Admitted) else one
            for one in answers
        ]

    def admitting(
        self, session: Session, units: Sequence[Unit], heads: Mapping[str, Head]
    ) -> list[Admitted | Conflict]:
        """Accept or refuse each unit. Only once a turn has failed is it asked which event ids are there already."""
        known = log.known_ids(session, event_ids_of(units)) if session.turn else frozenset()
        return admit(units, {stream: head.version for stream, head in heads.items()}, known)

    def load_touched(
        self,
        session: Session,
        admitted: Sequence[Admitted],
        heads: Mapping[str, Head],
        loaded: Mapping[str, EmailView],
    ) -> Mapping[str, EmailView]:
        """Hold and fold the emails that the units go on with and that are not `loaded`; gives all of them.

        One that has moved since its head was read is found out by the log's keys.
        """
        touched = {entry.stream for one in admitted for entry in one.entries}
        email_ids = {email_id_of(one) for one in touched if one in heads and one.startswith(EMAIL_PREFIX)}
        missing = email_ids - loaded.keys()
        if not missing:
            return loaded
        self._views.lock(session, missing)
        found, _ = self._views.load(session, missing)
        return {**loaded, **found}

    def record(
        self,
        session: Session,
        admitted: Sequence[Admitted],
        heads: Mapping[str, Head],
        emails: Mapping[str, EmailView],
        gates: Mapping[str, Gate] | None,
        folded: InlineViews | None = None,
    ) -> tuple[list[Recorded], Mapping[str, Gate]]:
        """Record what was admitted; gives the events and the gates that they move, which are not stored yet.

        `gates`: those that are held; None: none is, and a unit that would move one raises ValueError. `folded`: the
        rows as the decision left them already. Folding twice was a quarter of a busy worker's computing.
        """
        recorded, after = log.record(session, [entry for one in admitted for entry in one.entries], heads)
        if gates is None and any(map(touched_by, recorded)):
            refuse_gates(admitted)
        if folded is not None and gates is not None:
            inline = folded
            inline.at_positions(recorded)
        else:
            inline = InlineViews(emails, gates or {})
            inline.apply(recorded, with_gates=gates is not None)
        self._views.store(session, emails, _picked(inline.emails, inline.changed_emails), after)
        contents = (one.unit.content for one in admitted)
        content_store.store(session, (one for one in contents if one is not None))
        return recorded, _picked(inline.gates, inline.changed_gates)


def _picked(rows: Mapping[str, T], names: Collection[str]) -> dict[str, T]:
    return {name: rows[name] for name in names}
