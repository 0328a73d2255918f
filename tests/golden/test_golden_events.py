"""Every event that was ever recorded is read as it was meant, and recorded the same way again.

A golden file is `{"type": …, "schema": …, "data": …}` on one line, named `type.schema.json`. It is never
changed: a class that changes gets a new schema, an upcaster, and a file of its own beside the old one.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from adapters import codec
from application.recorded import Event
from domain.email.events import FailReason, HoldReason, SwitchReason
from domain.failures import FailureKind
from domain.routing import OnUncertain, Priority
from tests.golden.samples import SAMPLES

FOLDER = Path(__file__).parent / "events"
FILES = sorted(FOLDER.glob("*.json"))
WORDS = Path(__file__).parent / "words.json"
ENUMS: tuple[type[Enum], ...] = (FailureKind, FailReason, HoldReason, OnUncertain, Priority, SwitchReason)


class Golden(msgspec.Struct, forbid_unknown_fields=True):
    """A golden file; `data` is the very text that was recorded."""

    type: str
    schema: int
    data: msgspec.Raw


def read(path: Path) -> Golden:
    """The golden file at `path`."""
    return msgspec.json.decode(path.read_bytes(), type=Golden)


def classes_of(union: object) -> set[object]:
    """The classes of a union, those of unions inside it too."""
    inside = get_args(union)
    return {union} if not inside else set().union(*map(classes_of, inside))


def test_the_registry_has_every_event_and_nothing_else() -> None:
    """A class without a stored name could not be recorded; one that is no event could be read."""
    assert classes_of(Event) == set(codec.TYPES.values())
    assert len(codec.TYPES) == len(set(codec.TYPES.values()))


def test_every_event_has_a_sample_and_a_golden_file_of_its_present_schema() -> None:
    """What has no golden file could change unseen."""
    present = {f"{stored}.{codec.schema_of(stored)}.json" for stored in codec.TYPES}

    assert set(codec.TYPES) == set(SAMPLES)
    assert set() == present - {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_file_is_named_after_what_is_in_it(path: Path) -> None:
    """So that a missing one is found by its name."""
    golden = read(path)

    assert path.name == f"{golden.type}.{golden.schema}.json"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_file_is_read_as_the_event_it_was(path: Path) -> None:
    """Whatever its schema, today's code makes today's event of it."""
    golden = read(path)
    meta = codec.encode_meta("", "", golden.schema)
    event = codec.decode(golden.type, meta, bytes(golden.data).decode())

    assert SAMPLES[golden.type] == event
    assert type(SAMPLES[golden.type]) is type(event)


@pytest.mark.parametrize("stored", SAMPLES)
def test_today_s_code_records_the_bytes_of_the_golden_file(stored: str) -> None:
    """The order of fields, the form of times and numbers: none of it moves unnoticed."""
    name, data = codec.encode(SAMPLES[stored])
    line = f'{{"type":"{name}","schema":{codec.schema_of(name)},"data":{data}}}\n'

    assert (FOLDER / f"{stored}.{codec.schema_of(stored)}.json").read_text(encoding="utf-8") == line


def test_every_word_that_was_ever_recorded_still_means_something() -> None:
    """Words may be added (to the file too), never taken away: an event that says one would be unreadable."""
    recorded = msgspec.json.decode(WORDS.read_bytes(), type=dict[str, dict[str, str | int]])

    assert recorded == {enum.__name__: {one.name: one.value for one in enum} for enum in ENUMS}
