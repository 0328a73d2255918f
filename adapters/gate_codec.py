"""Gates as stored: compact JSON text, since a gate's row is written by every transaction that moves it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from adapters.codec import as_stored
from application.projections.gates import Gate
from domain.circuit import Circuit, Phase
from domain.rate_limit import MICROSECOND, Window

Counts = list[int]
"""A window: its length in µs, then a pair for each bucket, (steps from the bucket before, starts)."""


class _Circuit(msgspec.Struct, frozen=True, gc=False, array_like=True):
    phase: Phase
    epoch: int
    until: datetime | None
    opened: int
    paused: bool
    granted: int
    out: list[int]
    passed: int
    calls: Counts
    failures: Counts
    in_a_row: int


class _Gate(msgspec.Struct, frozen=True, gc=False):
    name: str
    position: int
    last_at: datetime | None
    windows: list[Counts]
    open_attempts: int
    not_before: datetime | None
    circuit: _Circuit
    version: int


_ENCODE = msgspec.json.Encoder(enc_hook=as_stored).encode
_DECODE = msgspec.json.Decoder(_Gate).decode


def encode_gate(gate: Gate) -> str:
    """The gate as JSON text, the same for equal gates. It is at rest: a burst is of one transaction only."""
    gate = gate.at_rest()
    stored = _Gate(
        name=gate.name,
        position=gate.position,
        last_at=gate.last_at,
        windows=[_counts(window) for window in gate.windows],
        open_attempts=gate.open_attempts,
        not_before=gate.not_before,
        circuit=_stored(gate.circuit),
        version=gate.version,
    )
    return _ENCODE(stored).decode()


def decode_gate(text: str) -> Gate:
    """What `encode_gate` wrote. Raises ValueError for anything else."""
    stored = _DECODE(text)
    return Gate(
        name=stored.name,
        position=stored.position,
        last_at=stored.last_at,
        windows=tuple(_window(counts) for counts in stored.windows),
        open_attempts=stored.open_attempts,
        not_before=stored.not_before,
        circuit=_circuit(stored.circuit),
        version=stored.version,
    )


def _stored(circuit: Circuit) -> _Circuit:
    return _Circuit(
        phase=circuit.phase,
        epoch=circuit.epoch,
        until=circuit.until,
        opened=circuit.opened,
        paused=circuit.paused,
        granted=circuit.granted,
        out=sorted(circuit.out),
        passed=circuit.passed,
        calls=_counts(circuit.calls),
        failures=_counts(circuit.failures),
        in_a_row=circuit.in_a_row,
    )


def _circuit(stored: _Circuit) -> Circuit:
    return Circuit(
        phase=stored.phase,
        epoch=stored.epoch,
        until=stored.until,
        opened=stored.opened,
        paused=stored.paused,
        granted=stored.granted,
        out=frozenset(stored.out),
        passed=stored.passed,
        calls=_window(stored.calls),
        failures=_window(stored.failures),
        in_a_row=stored.in_a_row,
    )


def _counts(window: Window) -> Counts:
    counts, before = [window.window // MICROSECOND], 0
    for bucket, starts in window.counts:
        counts += (bucket - before, starts)
        before = bucket
    return counts


def _window(counts: Counts) -> Window:
    return Window(timedelta(microseconds=counts[0]), tuple(_buckets(counts)))


def _buckets(counts: Counts) -> Iterator[tuple[int, int]]:
    bucket = 0
    for index in range(1, len(counts), 2):
        bucket += counts[index]
        yield bucket, counts[index + 1]
