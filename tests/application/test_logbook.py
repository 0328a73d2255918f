"""What is said loudly: only what somebody has to act on."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from adapters.virtual import T0
from application.logbook import Logbook
from application.recorded import Event, Recorded
from domain.circuit import CircuitClosed, CircuitOpened
from domain.email.events import Held, HoldReason, Released
from domain.failures import FailureKind
from tests.domain.build import failed

SENDER = "attempt_failed email_id=e provider=ses kind=sender"
FIRST = ["circuit_opened provider=ses reason=account", "attempt_failed email_id=e provider=ses kind=account"]
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


@pytest.mark.parametrize(
    ("stream", "event", "settles"),
    [
        ("circuit-ses", CircuitClosed(epoch=1), ["held email_id=e reason=uncertain", SENDER]),
        ("circuit-other", CircuitClosed(epoch=1), [*FIRST, "held email_id=e reason=uncertain", SENDER]),
        ("email-e", Released(by="admin", due_at=T0), [*FIRST, SENDER]),
        ("email-f", Released(by="admin", due_at=T0), [*FIRST, "held email_id=e reason=uncertain", SENDER]),
    ],
)
def test_what_is_settled_is_no_alert_any_more(stream: str, event: Event, settles: list[str]) -> None:
    """A circuit that closed settles what its provider's account did; a refused sender stays until somebody looks."""
    logbook = Logbook()
    told: list[tuple[str, Event]] = [
        ("circuit-ses", OPENED),
        ("email-e", failed(1, kind=FailureKind.ACCOUNT)),
        ("email-e", Held(reason=HoldReason.UNCERTAIN)),
        ("email-e", failed(1, kind=FailureKind.SENDER)),
        (stream, event),
    ]
    with capture_logs():
        logbook.recorded(
            Recorded(position=number, event_id="i", stream=whose, version=1, at=T0, event=said)
            for number, (whose, said) in enumerate(told, 1)
        )

    assert settles == [text for _, text in logbook.alerts]
