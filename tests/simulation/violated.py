"""An invariant that doesn't hold."""

from __future__ import annotations


class Violated(AssertionError):
    """An invariant doesn't hold."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


def hold(holds: bool, invariant: str, what: object) -> None:
    """Raise `Violated` where it doesn't."""
    if not holds:
        raise Violated(invariant, str(what))
