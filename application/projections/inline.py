"""The views that are kept in the same transaction as the events: emails and gates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from application.projections import emails, gates
from application.projections.emails import EmailView, email_id_of, view_of
from application.projections.gates import Gate
from application.recorded import EMAIL_PREFIX, Recorded, email_stream
from domain.email.state import Email
from domain.replace import replace


class InlineViews:
    """Rows loaded for one transaction, and what its events make of them.

    `emails` are keyed by email id, `gates` by name. A gate that isn't there starts empty; an email that isn't
    there may only begin with its first event: load whatever already has a stream.
    """

    def __init__(self, emails: Mapping[str, EmailView] = {}, gates: Mapping[str, Gate] = {}) -> None:
        self.emails = dict(emails)
        self.gates = dict(gates)
        self.changed_emails: set[str] = set()
        self.changed_gates: set[str] = set()

    def apply(self, events: Iterable[Recorded], *, with_gates: bool = True) -> None:
        """Fold `events`, in log order, into the rows they belong to."""
        self.fold(events, with_gates=with_gates)
        for name in self.changed_gates:
            self.gates[name] = self.gates[name].at_rest()

    def fold(self, events: Iterable[Recorded], *, with_gates: bool = True) -> None:
        """The same, with more of the same moment to come: gates may be in a burst until `at_positions`."""
        for recorded in events:
            self.fold_one(recorded, with_gates=with_gates)

    def fold_one(self, recorded: Recorded, after: Email | None = None, *, with_gates: bool = True) -> None:
        """Fold one event, as `fold` does. `after`: what it leaves of its email, where that is known already."""
        if recorded.stream.startswith(EMAIL_PREFIX):
            self._apply_to_email(recorded, after)
        if with_gates:
            for name in gates.touched_by(recorded):
                gate = self.gates.get(name) or Gate(name=name)
                self.gates[name] = gates.in_burst(gate, recorded)
                self.changed_gates.add(name)

    def at_positions(self, events: Iterable[Recorded]) -> None:
        """`events` were applied before they had their positions: here they are."""
        last: dict[str, int] = {}
        moved: dict[str, int] = {}
        for recorded in events:
            last[recorded.stream] = recorded.position
            moved |= dict.fromkeys(gates.touched_by(recorded), recorded.position)
        for email_id in self.changed_emails:
            self.emails[email_id] = replace(self.emails[email_id], position=last[email_stream(email_id)])
        for name in self.changed_gates:
            self.gates[name] = replace(self.gates[name].at_rest(), position=moved[name])

    def _apply_to_email(self, recorded: Recorded, after: Email | None) -> None:
        email_id = email_id_of(recorded.stream)
        view = self.emails.get(email_id) or view_of(email_id)
        if view.version != recorded.version - 1:
            raise ValueError(f"{recorded.stream}: version {recorded.version} on a view of {view.version}")
        self.emails[email_id] = (
            emails.project(view, recorded) if after is None else emails.having(view, recorded, after)
        )
        self.changed_emails.add(email_id)
