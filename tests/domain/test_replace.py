"""The fast copy does what the standard library's does."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from application.projections.emails import EmailView, view_of
from application.projections.gates import Gate
from domain.circuit import Circuit
from domain.email.state import UNREQUESTED, Email
from domain.replace import replace

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "changes"),
    [
        (UNREQUESTED, {"tries": 3, "due_at": NOW, "spent": frozenset({"ses"})}),
        (view_of("e"), {"version": 7}),
        (Gate(name="service"), {"open_attempts": 2, "last_at": NOW}),
        (Circuit(), {"epoch": 4}),
        (Circuit(), {}),
    ],
)
def test_it_copies_like_the_standard_library(
    value: Email | EmailView | Gate | Circuit, changes: dict[str, Any]
) -> None:
    """Equal to its result, of the same class, and the original is as it was."""
    before = dataclasses.replace(value)
    copy = replace(value, **changes)

    assert dataclasses.replace(value, **changes) == copy
    assert type(value) is type(copy)
    assert before == value


def test_a_field_that_is_not_there_is_refused() -> None:
    """A misspelled name must not be lost in silence."""
    with pytest.raises(TypeError, match="Circuit has no field 'epcoh'"):
        replace(Circuit(), epcoh=1)  # type: ignore[call-arg]


def test_what_is_copied_has_no_post_init() -> None:
    """It would be skipped."""
    assert not [cls for cls in (Email, EmailView, Gate, Circuit) if hasattr(cls, "__post_init__")]
