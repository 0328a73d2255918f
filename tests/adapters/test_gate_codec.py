"""Gates as stored: all of them, exactly, and small."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.gate_codec import decode_gate, encode_gate
from application.projections.gates import Gate
from domain.circuit import Circuit, Phase
from domain.rate_limit import Window

TIMES = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
INTEGERS = st.integers(-(2**63), 2**63 - 1)
COUNTS = st.dictionaries(st.integers(0, 2**45), st.integers(1, 10**6), max_size=61)
WINDOWS = st.builds(
    Window,
    st.integers(1, 10**12).map(lambda us: timedelta(microseconds=us)),
    COUNTS.map(lambda counts: tuple(sorted(counts.items()))),
)
CIRCUIT_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "phase": st.sampled_from(Phase),
    "epoch": INTEGERS,
    "until": st.none() | TIMES,
    "opened": INTEGERS,
    "paused": st.booleans(),
    "granted": INTEGERS,
    "out": st.frozensets(INTEGERS),
    "passed": INTEGERS,
    "calls": WINDOWS,
    "failures": WINDOWS,
    "in_a_row": INTEGERS,
}
GATE_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "name": st.text(),
    "position": INTEGERS,
    "last_at": st.none() | TIMES,
    "windows": st.lists(WINDOWS, max_size=5).map(tuple),
    "open_attempts": INTEGERS,
    "not_before": st.none() | TIMES,
    "circuit": st.builds(Circuit, **CIRCUIT_FIELDS),
    "version": INTEGERS,
}
GATES = st.builds(Gate, **GATE_FIELDS)


@given(GATES)
def test_a_gate_is_read_as_it_was_stored(gate: Gate) -> None:
    """Window by window; equal gates have the same text."""
    text = encode_gate(gate)

    assert gate == decode_gate(text)
    assert text == encode_gate(decode_gate(text))


def test_every_field_of_a_gate_is_among_those_tried_above() -> None:
    """A field with a default that the codec forgot would be lost in silence."""
    assert {f.name for f in fields(Gate)} == {*GATE_FIELDS, "burst"}
    assert {f.name for f in fields(Circuit)} == set(CIRCUIT_FIELDS)


def test_a_burst_is_stored_in_the_windows() -> None:
    """What was started in this moment is counted in each of them, and nothing else tells it apart."""
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    burst = replace(Gate(name="service"), burst=(at, 3))

    assert burst.at_rest() == decode_gate(encode_gate(burst))
    assert [3, 3, 3, 3] == [window.used(at) for window in burst.at_rest().windows]


def test_a_full_gate_stays_small() -> None:
    """Four full windows and the circuit's two in less than one page of a database."""
    full = Window(timedelta(days=1), tuple((1_240_000 + n, 50_000 + n) for n in range(61)))
    gate = Gate(name="service", windows=(full,) * 4, circuit=Circuit(calls=full, failures=full))

    assert len(encode_gate(gate)) < 4096
