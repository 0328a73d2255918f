"""What was found by verifying: how much there is, and the first thing wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from application.stored import Finding


class Of(IntEnum):
    """What is wrong, in the order in which it counts: what comes later may only follow from it."""

    LOG = 0
    GATES = 1
    EMAILS = 2
    BLOBS = 3


@dataclass(slots=True)
class Found:
    """`events` were read, `emails` compared. Contents are `proven` by their digests, or can't be: `unproven`."""

    events: int = 0
    emails: int = 0
    proven: int = 0
    unproven: int = 0
    first: tuple[Of, Finding] | None = None

    def wrong(self, of: Of, finding: Finding) -> None:
        """One more thing wrong."""
        if self.first is None or _order(of, finding) < _order(*self.first):
            self.first = (of, finding)

    def add(self, other: Found) -> None:
        """What was found elsewhere."""
        self.events += other.events
        self.emails += other.emails
        self.proven += other.proven
        self.unproven += other.unproven
        if other.first is not None:
            self.wrong(*other.first)


def _order(of: Of, finding: Finding) -> tuple[int, int, str, str]:
    return of, finding.position, finding.stream, finding.what
