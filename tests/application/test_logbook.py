"""What is said loudly: only what somebody has to act on."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from adapters.virtual import T0
from application.logbook import Logbook
from application.recorded import Event, Recorded
from domain.circuit import CircuitClosed, CircuitOpened
from domain.email.events import Held, HoldReason
from domain.failures import FailureKind
from tests.domain.build import failed

OPENED = CircuitOpened(epoch=1, reason="account", failures=1, calls=1, until=T0)


@pytest.mark.parametrize(
    ("stream", "event", "alert"),
    [
        ("circuit-ses", OPENED, "circuit_opened provider=ses reason=account"),
        ("circuit-ses", CircuitClosed(epoch=1), None),
        ("email-e", Held(reason=HoldReason.UNCERTAIN), "held email_id=e reason=uncertain"),
        (
            "email-e",
            failed(1, kind=FailureKind.ACCOUNT),
            "attempt_failed email_id=e provider=ses kind=account",
        ),
        ("email-e", failed(1, kind=FailureKind.TRANSIENT), None),
    ],
)
def test_alerts_are_error_lines_and_shown_by_readiness(stream: str, event: Event, alert: str | None) -> None:
    """What waits for a person, and what only a person can repair; not what repairs itself."""
    logbook = Logbook()
    with capture_logs() as lines:
        logbook.recorded([Recorded(position=1, event_id="i", stream=stream, version=1, at=T0, event=event)])

    assert ([] if alert is None else [(T0, alert)]) == list(logbook.alerts)
    assert [alert is not None] == [line["log_level"] == "error" for line in lines]
