"""The rows of gates: locked before they are read, and there before they are locked."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from adapters.gate_codec import decode_gate, encode_gate
from adapters.sql import tables
from adapters.sql.dialect import Insert, Sql
from adapters.sql.engine import Rows, Session, Stamp
from application.projections.gates import Gate, counting_in
from domain.circuit import CircuitPolicy

LOCK = Sql("SELECT name, state FROM gates ORDER BY name FOR UPDATE")
READ = Sql("SELECT name, state FROM gates ORDER BY name")
CREATE = Insert.into(tables.gates, "(name) DO NOTHING")
STORE = Insert.into(tables.gates, "UPSERT")


class Gates:
    """Reads and writes gates whose circuits count in the window of `policy`."""

    def __init__(self, policy: CircuitPolicy) -> None:
        self._policy = policy
        # A gate's text says all of it: most reads find what was read or written just before.
        self._decoded: dict[str, tuple[str, Gate]] = {}

    def read(self, session: Session) -> dict[str, Gate]:
        """Every gate as committed."""
        return self._gates(session.rows(READ))

    def lock(self, session: Session, read: Mapping[str, Gate] | None = None) -> dict[str, Gate]:
        """Every gate, held until the end of the transaction. `read`: what this transaction has read of them, which
        is all there is to know where there is one writer only."""
        if read is not None and session.kind == "sqlite":
            return dict(read)
        return self._gates(session.rows(LOCK))

    def create(self, session: Session, names: Collection[str]) -> None:
        """Have rows for these gates, in a transaction of its own: whoever locks them next will find them."""
        session.insert(CREATE, [self._row(session, Gate(name=name)) for name in sorted(names)])

    def store(self, session: Session, gates: Mapping[str, Gate]) -> None:
        """Write gates that are locked."""
        session.insert(STORE, [self._row(session, gates[name]) for name in sorted(gates)])

    def _gates(self, rows: Rows) -> dict[str, Gate]:
        return {name: self._gate(name, state) for name, state in rows}

    def _gate(self, name: str, state: str) -> Gate:
        text, gate = self._decoded.get(name, ("", None))
        if gate is None or text != state:
            gate = counting_in(decode_gate(state), self._policy)
            self._decoded[name] = (state, gate)
        return gate

    def _row(self, session: Session, gate: Gate) -> tuple[object, ...]:
        state = encode_gate(gate)
        self._decoded[gate.name] = (state, counting_in(gate, self._policy))
        return row(gate, state, session.stamp)


def row(gate: Gate, state: str, stamp: Stamp) -> tuple[object, ...]:
    """The row of `gates`, as its columns are ordered. `state`: the gate as text."""
    return (
        gate.name,
        gate.circuit.phase.value,
        gate.circuit.paused,
        gate.open_attempts,
        stamp(gate.not_before),
        stamp(gate.last_at),
        gate.position,
        state,
    )
