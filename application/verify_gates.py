"""A gate's row against a fresh fold of the log."""

from __future__ import annotations

from dataclasses import fields

from application.projections.gates import Gate
from application.stored import GateRow, StoredLog
from domain.circuit import Circuit
from domain.rate_limit import Window

COUNTS = ("calls", "failures")
"""Of a circuit. They are dropped where another window is configured, which no event says."""


def gate_problem(row: GateRow | None, gate: Gate, stored: StoredLog) -> str | None:
    """How the row differs from the gate as it was folded; None: not at all."""
    if row is None:
        return None if gate.last_at is None else "a row is missing"
    if row.gate is None:
        return "its state can't be read"
    written = zip(stored.columns["gates"], stored.gate_row(row.gate), row.row, strict=True)
    wrong = [name for name, one, other in written if one != other]
    if wrong:
        return "its state says something else than its columns " + ", ".join(wrong)
    wrong = [
        one.name
        for one in fields(Gate)
        if one.name != "circuit" and getattr(gate, one.name) != getattr(row.gate, one.name)
    ]
    wrong += _circuit_differs(row.gate.circuit, gate.circuit)
    if wrong:
        return "its state differs from its events in " + ", ".join(wrong)
    return None


def _circuit_differs(found: Circuit, folded: Circuit) -> list[str]:
    wrong = [
        one.name
        for one in fields(Circuit)
        if one.name not in COUNTS and getattr(found, one.name) != getattr(folded, one.name)
    ]
    return wrong + [name for name in COUNTS if not _is_rest(getattr(found, name), getattr(folded, name))]


def _is_rest(found: Window, folded: Window) -> bool:
    """Whether these are the counts of the fold, or the last of them.

    They begin anew where the configured window changes, in the middle of a bucket mostly.
    """
    if found.window != folded.window:
        return True  # it has changed since the fold began
    if not found.counts:
        return True
    whole = folded.counts[len(folded.counts) - len(found.counts) :]
    (bucket, n), *later = found.counts
    return bool(whole) and whole[0][0] == bucket and n <= whole[0][1] and tuple(later) == whole[1:]
