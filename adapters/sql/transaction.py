"""Locking what a plan names, deciding, recording: one transaction, in the lock order that everybody keeps.

Leases, emails with a command waiting (by id), claimed emails, gates (by name), and only then the time, so that no
start is ever committed with a time that lies behind a gate it was decided on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from adapters.ledger import Admitted, DecisionRefused, streams_of
from adapters.sql import claims, content_store, leases, log
from adapters.sql.engine import TURNS_MAX, Again, Session
from adapters.sql.gates import Gates
from adapters.sql.log import Head
from adapters.sql.views import Views
from adapters.sql.writer import Writer
from application.ports import Decide, Decision, Locked, Plan, Transacted
from application.projections.emails import email_id_of
from application.projections.gates import Gate
from application.recorded import Conflict, Recorded, StoredContent
from domain.email.events import AttemptStarted

Now = Callable[[Session], datetime]


class GatesMissing(Exception):
    """Gates that are to be moved have no rows yet that could have been locked. Make them, and repeat."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__(f"no rows for {sorted(names)}")
        self.names = names


class _Held(NamedTuple):
    """What a transaction holds; the heads of the emails' streams and what is to be sent for those claimed.

    `may_decide`: False where it holds nothing, the gates neither.
    """

    locked: Locked
    heads: dict[str, Head]
    contents: dict[str, StoredContent]
    may_decide: bool = True


class _Looked(NamedTuple):
    """When the queue was looked at, the gates as they were read then, the emails claimed, and those overdue."""

    at: datetime | None = None
    gates: Mapping[str, Gate] | None = None
    claimed: tuple[str, ...] = ()
    overdue: tuple[str, ...] = ()


class Transactions:
    """Runs transactions with decisions. `now` asks the clock that gates and the queue go by."""

    def __init__(self, *, writer: Writer, views: Views, gates: Gates, now: Now) -> None:
        self._writer = writer
        self._views = views
        self._gates = gates
        self._now = now

    def run(self, session: Session, plan: Plan, decide: Decide) -> Transacted:
        """One turn. Raises LeaseLost, GatesMissing, Again, and whatever the decision does."""
        held = self._hold(session, plan)
        locked = held.locked
        decision = Decision.of(decide(locked))
        assert held.may_decide or not decision.units, "a decision about nothing that was locked"
        recorded = self._record(session, plan, held, decision) if decision.units else []
        started = {email_id_of(one.stream) for one in recorded if isinstance(one.event, AttemptStarted)}
        contents = {**held.contents, **content_store.read(session, started - held.contents.keys())}
        return Transacted(
            locked=locked,
            recorded=tuple(recorded),
            contents={email_id: contents[email_id] for email_id in started & contents.keys()},
            next_at=claims.next_at(session, locked.now),
        )

    def _hold(self, session: Session, plan: Plan) -> _Held:
        alive = leases.hold(session, plan, self._now(session) if plan.unseen_for else None)
        attempts = claims.open_attempts(session, plan)
        named = dict.fromkeys([*plan.emails, *(email_id for email_id, _ in attempts)])
        self._views.lock(session, named)
        kept = content_store.kept(session, plan.emails) if plan.kept else frozenset[str]()
        looked = self._claim(session, plan, alive=alive)
        claimed, overdue = looked.claimed, looked.overdue
        emails, heads = self._views.load(session, dict.fromkeys([*named, *claimed, *overdue]))
        # Read before the gates are held: everybody waits for whoever holds them.
        contents = content_store.read(session, claimed)
        if looked.at is not None and not (named or claimed or overdue):
            # Nothing to decide: an idle worker waits for nobody's gates, and nobody for it.
            gates = dict(looked.gates or {}) if plan.gates else {}
            locked = Locked(now=looked.at, emails={}, gates=gates, lease_alive=alive)
            return _Held(locked, {}, {}, may_decide=False)
        gates = self._gates.lock(session, looked.gates) if plan.gates else {}
        now = self._now(session)
        locked = Locked(
            now=_latest(gates, now if looked.at is None else max(now, looked.at)),
            emails=emails,
            gates=gates,
            claimed=claimed,
            overdue=overdue,
            taken_over=claims.still_open(attempts, emails),
            lease_alive=alive,
            kept=kept,
        )
        return _Held(locked, heads, contents)

    def _claim(self, session: Session, plan: Plan, *, alive: bool) -> _Looked:
        choose = plan.choose if plan.lease is not None and alive else None
        if choose is None and plan.overdue_max <= 0:
            return _Looked()
        gates = self._gates.read(session)
        now = _latest(gates if plan.gates else {}, self._now(session))
        claimed: tuple[str, ...] = ()
        if choose is not None and (waiting := claims.waiting(session, now)):
            claimed = claims.claim(session, choose(waiting, gates, now), now)
        return _Looked(now, gates, claimed, claims.overdue(session, now, plan.overdue_max))

    def _record(self, session: Session, plan: Plan, held: _Held, decision: Decision) -> list[Recorded]:
        units = decision.units
        others = [stream for stream in streams_of(units) if stream not in held.heads]
        heads = {**held.heads, **log.heads(session, others)}
        admitted = _all_admitted(session, self._writer.admitting(session, units, heads))
        emails = self._writer.load_touched(session, admitted, heads, held.locked.emails)
        gates = held.locked.gates
        recorded, moved = self._writer.record(
            session, admitted, heads, emails, gates if plan.gates else None, decision.views
        )
        if missing := moved.keys() - gates.keys():
            raise GatesMissing(frozenset(missing))
        self._gates.store(session, moved)
        return recorded


def _all_admitted(session: Session, answers: Iterable[Admitted | Conflict]) -> list[Admitted]:
    admitted = []
    for answer in answers:
        if isinstance(answer, Conflict):
            # Where only one can write, nobody came in between: asking again would give the same answer.
            if session.kind == "sqlite" or session.turn == TURNS_MAX - 1:
                raise DecisionRefused(answer)
            raise Again
        admitted.append(answer)
    return admitted


def _latest(gates: Mapping[str, Gate], now: datetime) -> datetime:
    """Now, but no earlier than any start behind these gates."""
    return max([now, *(gate.last_at for gate in gates.values() if gate.last_at is not None)])
