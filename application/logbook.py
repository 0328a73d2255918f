"""What recorded events look like as log lines: ids, providers, codes; never an address, a subject or a secret."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog

from application.facts import facts, severity, whose, word
from application.recorded import Recorded, circuit_stream
from domain.circuit import CircuitClosed
from domain.email.events import AttemptFailed, Cancelled, Failed, Released, Sent
from domain.failures import FailureKind

ALERTS_KEPT = 20
"""Alerts that readiness shows; older ones are in the log."""

SETTLES = (CircuitClosed, Released, Sent, Failed, Cancelled)
"""After these nobody has to act any more on what was said of the same provider, or of the same email."""

FRAMES_TOLD = 5
"""Calls that a line names of a mistake of ours, the innermost first."""


def as_fields(error: BaseException) -> dict[str, str]:
    """An error as the log may have it: its type and place. Its text may hold an address, or a whole email."""
    frames = traceback.extract_tb(error.__traceback__)[: -FRAMES_TOLD - 1 : -1]
    where = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    return {"error": type(error).__name__, "where": where}


class Logbook:
    """Writes a line for each recorded event, and remembers the last alerts: what somebody has to act on.

    An alert is forgotten once it is settled, as far as this process records it.
    """

    def __init__(self, logger: Any = None) -> None:
        self._log = structlog.get_logger("stagepost") if logger is None else logger
        self._alerts: deque[tuple[datetime, str, str | None]] = deque(maxlen=ALERTS_KEPT)

    @property
    def alerts(self) -> Sequence[tuple[datetime, str]]:
        """When, and what: those that nothing has settled, the oldest first."""
        return [(at, text) for at, text, _ in self._alerts]

    def recorded(self, events: Iterable[Recorded]) -> None:
        """Log what was recorded, in order."""
        for one in events:
            level, fields = severity(one), {**whose(one), **facts(one)}
            if level == "error":
                self.alert(one.at, word(one), settled_by=_settled_by(one), **fields)
            else:
                self._write(level, word(one), fields)
            if self._alerts and isinstance(one.event, SETTLES):
                self._alerts = deque(
                    (alert for alert in self._alerts if alert[2] != one.stream), maxlen=ALERTS_KEPT
                )

    def alert(self, at: datetime, word: str, *, settled_by: str | None = None, **fields: Any) -> None:
        """Say loudly that somebody has to look. `settled_by`: the stream of which an event may settle it."""
        told = " ".join(
            f"{key}={value}"
            for key, value in fields.items()
            if key in ("email_id", "provider", "kind", "reason")
        )
        self._alerts.append((at, f"{word} {told}".strip(), settled_by))
        self._write("error", word, {"alert": True, **fields})

    def error(self, word: str, **fields: Any) -> None:
        """An error of ours."""
        self._write("error", word, fields)

    def info(self, word: str, **fields: Any) -> None:
        """Something worth knowing that no event records."""
        self._write("info", word, fields)

    def _write(self, level: str, word: str, fields: dict[str, Any]) -> None:
        """A full disk or a closed pipe must cost the line only, not the task that wanted to write it."""
        with suppress(OSError):
            getattr(self._log, level)(word, **fields)


def _settled_by(recorded: Recorded) -> str | None:
    """A refused account is repaired when the provider's circuit closes; a refused sender shows in no circuit."""
    event = recorded.event
    if not isinstance(event, AttemptFailed):
        return recorded.stream
    if event.kind is FailureKind.SENDER or event.provider is None:
        return None
    return circuit_stream(event.provider)
