"""Gates count starts of one moment together, and nobody can tell."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from application.projections.gates import Gate, in_burst, project, provider_gate
from application.recorded import Recorded, email_stream
from domain.rate_limit import Rate
from tests.domain.build import T0, started

RATES = tuple(map(Rate.parse, ("3/s", "7/m", "20/h", "30/d")))


@given(st.lists(st.sampled_from([0, 0, 0, 1, 40, 999, 2_000, 61_000]), max_size=40))
def test_a_burst_counts_as_its_starts_one_by_one(pauses_ms: list[int]) -> None:
    """Used, room and until, under every rate, after each start; and at rest it is the same gate."""
    one_by_one = burst = Gate(name=provider_gate("ses"))
    now = T0
    for number, pause in enumerate(pauses_ms, 1):
        now += timedelta(milliseconds=pause)
        recorded = Recorded(
            position=number,
            event_id=str(number),
            stream=email_stream(str(number)),
            version=2,
            at=now,
            event=started(1),
        )
        one_by_one, burst = project(one_by_one, recorded), in_burst(burst, recorded)

        assert [one_by_one.used(rate, now) for rate in RATES] == [burst.used(rate, now) for rate in RATES]
        assert one_by_one.room(RATES, now) == burst.room(RATES, now)
    assert one_by_one == burst.at_rest()
