"""An event store that measures what is recorded through it: one look at the clock and one call a transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from application.measurements import Measurements, Transaction
from application.ports import Clock, Decide, Decision, EventStore, Locked, Plan, Transacted
from application.projections.emails import EmailView
from application.recorded import Committed, Conflict, Unit

NO_EMAILS: Mapping[str, EmailView] = {}


class MeasuredStore:
    """The `EventStore` it is given; what `append` and `transact` record is counted in `measurements`."""

    def __init__(self, store: EventStore, clock: Clock, measurements: Measurements) -> None:
        self._store = store
        self._clock = clock
        self._measurements = measurements
        self.read_stream = store.read_stream
        self.read_all = store.read_all
        self.read_back = store.read_back
        self.end = store.end
        self.contents = store.contents
        self.erase = store.erase
        self.acquire_lease = store.acquire_lease
        self.renew_lease = store.renew_lease
        self.release_lease = store.release_lease
        self.stale_leases = store.stale_leases
        self.waiting = store.waiting
        self.check = store.check
        self.close = store.close

    def append(self, units: Sequence[Unit]) -> list[Committed | Conflict]:
        began = self._clock.monotonic()
        answers = self._store.append(units)
        seconds = self._clock.monotonic() - began
        committed = [one for one in answers if isinstance(one, Committed)]
        if committed:
            self._measurements.transacted(
                Transaction.ACCEPT,
                (recorded for one in committed for recorded in one.recorded),
                units=len(committed),
                seconds=seconds,
                emails=NO_EMAILS,
            )
        return answers

    def transact(self, plan: Plan, decide: Decide) -> Transacted:
        units = 0

        def counted(locked: Locked) -> Decision:
            nonlocal units
            decision = Decision.of(decide(locked))
            units = len(decision.units)
            return decision

        began = self._clock.monotonic()
        done = self._store.transact(plan, counted)
        if done.recorded:
            self._measurements.transacted(
                Transaction.DECIDE,
                done.recorded,
                units=units,
                seconds=self._clock.monotonic() - began,
                emails=done.locked.emails,
            )
        return done
