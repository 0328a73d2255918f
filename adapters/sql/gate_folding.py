"""Gates folded from the log as it is stored, by position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from adapters.codec import TYPES, decode, micros, schema_of
from adapters.sql.dialect import Sql, time_of
from adapters.sql.engine import Database, Rows, Session
from adapters.sql.follow import Follower
from adapters.sql.plain import READABLE
from application.invariants import GateCheck
from application.projections.gate_fold import GateFold
from application.recorded import CIRCUIT_PREFIX
from application.replay import Told
from application.stored import Finding
from domain.circuit import CircuitEvent

PAGE = 20_000
"""Positions of one transaction."""

ENDED = ("AttemptFailed", "PartlySent", "Sent", "OutcomeUncertain")
CIRCUIT = tuple(name for name, event in TYPES.items() if issubclass(event, CircuitEvent))
MOVING = ("AttemptStarted", *ENDED, *CIRCUIT)
"""Types of events that `gates.touched_by` names a gate for."""

EVENTS = Sql(f"""
    SELECT position, stream, version, type, at, meta, data FROM events
    WHERE position > :after AND position <= :until AND type IN ({", ".join(f"'{name}'" for name in MOVING)})
    ORDER BY position
""")


class _Started(msgspec.Struct, frozen=True, gc=False):
    provider: str
    route: str
    epoch: int
    probe: int | None
    worker: str
    token: int


class _Ended(msgspec.Struct, frozen=True, gc=False):
    provider: str | None
    epoch: int
    probe: int | None
    kind: str | None = None
    not_before: datetime | None = None


_started = msgspec.json.Decoder(_Started).decode
_ended = msgspec.json.Decoder(_Ended).decode


class GateFolder:
    """Folds the gates of one database, whose circuits count in `window`, or where `windows` names one, in that.

    With a `check` it is told of all starts and circuits. The first event that breaks an invariant is `problem` then,
    the first that can't be folded `stuck`, and nothing is folded behind either. Without one, this raises an error.
    """

    def __init__(
        self,
        database: Database,
        window: timedelta,
        windows: Mapping[str, timedelta] = {},
        check: GateCheck | None = None,
    ) -> None:
        self._database = database
        self._follower = Follower(database)
        self._check = check
        self.fold = GateFold(window, windows)
        self.position = 0
        self.problem: Finding | None = None
        self.stuck: Finding | None = None
        self.types: Counter[str] = Counter()
        # Of a class that has changed since, older data would have to be brought up to date first.
        self._current = all(schema_of(name) == 1 for name in MOVING)

    def run(self, told: Told) -> None:
        """Fold up to the end of the log as it is now."""
        end = self._follower.end()
        while self.position < end:
            until = min(self.position + PAGE, end)
            rows = self._database.read(lambda session: self.read(session, until))  # noqa: B023
            self.add(rows, until)
            told(self.position, end)

    def read(self, session: Session, until: int) -> Rows:
        """The next events that move gates, up to a position that nothing comes in front of any more."""
        return session.rows(EVENTS, after=self.position, until=until)

    def add(self, rows: Rows, until: int) -> None:
        """Fold what was read."""
        self.types.update([row[3] for row in rows])
        for row in rows:
            if self.problem is not None or self.stuck is not None:
                break
            try:
                self._add(*row)
            except Exception as error:
                if self._check is None:
                    raise
                what = f"gates: it can't be folded ({type(error).__name__})"  # its text may quote the data
                self.stuck = Finding(row[0], str(row[1]), what)
        self.position = until

    def _add(
        self, position: int, stream: str, version: int, name: str, at: str | datetime, meta: str, data: str
    ) -> None:
        at_us = micros(time_of(at))
        if name in CIRCUIT:
            event = decode(name, meta, data)
            assert isinstance(event, CircuitEvent)
            provider = stream.removeprefix(CIRCUIT_PREFIX)
            if self._check is not None:
                self._check.circuit(provider, event)
            self.fold.circuit(position, at_us, provider=provider, version=version, event=event)
            return
        if not (self._current and meta.startswith(READABLE)):
            data = msgspec.json.encode(decode(name, meta, data)).decode()
        if name == "AttemptStarted":
            one = _started(data)
            if self._check is not None:
                wrong = self._check.started(
                    provider=one.provider,
                    epoch=one.epoch,
                    probe=one.probe,
                    worker=one.worker,
                    token=one.token,
                )
                for invariant, what in wrong[:1]:
                    self.problem = Finding(position, stream, f"{invariant}: {what}")
            self.fold.started(
                position, at_us, provider=one.provider, route=one.route, epoch=one.epoch, probe=one.probe
            )
            return
        end = _ended(data)
        if end.provider is not None:
            self.fold.ended(
                position,
                at_us,
                provider=end.provider,
                kind=end.kind,
                epoch=end.epoch,
                probe=end.probe,
                not_before=end.not_before,
            )
