"""What the domain refuses to do: one class per thing a caller can act on."""

from __future__ import annotations


class Refused(Exception):
    """A command that the state does not allow. `reason` is a sentence for the person who asked."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class KeyMisused(Refused):
    """The idempotency key was used before for other content."""


class AlreadyEnded(Refused):
    """The email has reached its end, and the command does not reopen it."""


class AttemptIsOpen(Refused):
    """An attempt is under way: nothing ends or changes until its outcome is known."""


class NothingToRetry(Refused):
    """There is nobody left whom a retry could reach."""


class MayHaveBeenSent(Refused):
    """An earlier attempt may have been accepted; going on needs `accept_duplicate_risk`."""


class AlreadyAttempted(Refused):
    """Only an email that no attempt was made for can be rescheduled."""


class NotRequested(Refused):
    """There is no such email."""


class NoSuchAttempt(Refused):
    """The email has no such attempt, or that attempt did not carry that recipient."""


class KeyErased(Refused):
    """The key was used before, and what it was used for is erased: a repeat can't be told from a misuse."""
