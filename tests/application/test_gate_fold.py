"""Gates folded in place are the gates that the projection gives, after every log there can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from application.projections.gate_fold import GateFold
from application.projections.gates import Gate, counting_in, project, provider_gate, touched_by
from application.recorded import Event, Recorded, circuit_stream, email_stream
from domain.circuit import (
    CircuitClosed,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitPolicy,
    ProbeFailed,
    ProbePassed,
    ProviderPaused,
    ProviderResumed,
)
from domain.failures import FailureKind
from tests.contract.event_store.given import T0, failed, sent, started
from tests.domain.build import partly_sent, uncertain

POLICY = CircuitPolicy(window=timedelta(seconds=30))
"""Not the default: a fold that didn't count in this window would be found out."""

PROVIDERS = ("ses", "smtp")
EPOCHS = st.integers(0, 2)
PROBES = st.none() | st.integers(1, 3)
KINDS = st.sampled_from(FailureKind)
TIMES = st.none() | st.integers(0, 10_000).map(lambda s: T0 + timedelta(seconds=s))


def _at(event: Any, epoch: int, probe: int | None) -> Any:
    return replace(event, epoch=epoch, probe=probe)


NAMES = st.sampled_from(PROVIDERS)
EMAIL_EVENTS = st.one_of(
    st.builds(
        _at, st.builds(started, provider=NAMES, route=st.sampled_from(("default", "otp"))), EPOCHS, PROBES
    ),
    st.builds(_at, st.builds(failed, provider=NAMES, kind=KINDS, not_before=TIMES), EPOCHS, PROBES),
    st.builds(_at, st.builds(sent, provider=NAMES), EPOCHS, PROBES),
    st.builds(_at, st.just(partly_sent(1, accepted=(0,), deferred=(1,))), EPOCHS, PROBES),
    st.builds(_at, st.just(uncertain(1)), EPOCHS, PROBES),
)
CIRCUIT_EVENTS = st.one_of(
    st.builds(
        CircuitOpened,
        epoch=EPOCHS,
        reason=st.just("x"),
        failures=st.just(1),
        calls=st.just(1),
        until=st.just(T0),
    ),
    st.builds(CircuitHalfOpened, epoch=EPOCHS),
    st.builds(ProbePassed, epoch=EPOCHS, n=st.integers(1, 3)),
    st.builds(ProbeFailed, epoch=EPOCHS, n=st.integers(1, 3)),
    st.builds(CircuitClosed, epoch=EPOCHS),
    st.builds(ProviderPaused, by=st.just("x")),
    st.builds(ProviderResumed, by=st.just("x")),
)
# A second, a minute, an hour and a day have buckets of 17 ms, 1 s, 1 min and 24 min; clocks may go back.
STEPS = st.sampled_from(
    (0, 1, 20_000, 1_000_001, 61_000_000, 4_000_000_000, 90_000_000_000, -5_000, -2_000_000)
)
LOGS = st.lists(st.tuples(STEPS, EMAIL_EVENTS | st.tuples(NAMES, CIRCUIT_EVENTS)), max_size=60)


def _log(drawn: Sequence[tuple[int, Event | tuple[str, CircuitEvent]]]) -> list[Recorded]:
    at, log = T0, []
    for position, (step, what) in enumerate(drawn, 1):
        at += timedelta(microseconds=step)
        stream, event = (
            (circuit_stream(what[0]), what[1]) if isinstance(what, tuple) else (email_stream("e"), what)
        )
        log.append(
            Recorded(position=position, event_id="", stream=stream, version=position, at=at, event=event)
        )
    return log


@given(LOGS)
def test_it_is_the_fold_of_the_projection(drawn: list[tuple[int, Event | tuple[str, CircuitEvent]]]) -> None:
    """Windows, circuits, pauses, open attempts, positions: all of every gate, whatever comes in whatever order."""
    expected: dict[str, Gate] = {}
    fold = GateFold(POLICY.window)
    for recorded in _log(drawn):
        fold.apply(recorded)
        for name in touched_by(recorded):
            gate = expected.get(name) or counting_in(Gate(name=name), POLICY)
            expected[name] = project(gate, recorded)

    folded = fold.gates()

    assert expected == folded


def test_nothing_moves_nothing() -> None:
    """Before the first event there are no gates."""
    fold = GateFold(POLICY.window)

    assert {} == fold.gates()
    assert provider_gate("ses") not in fold.gates()
