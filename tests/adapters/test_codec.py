"""Events and their hashes as stored: what goes in comes out, and nothing else can be read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import codec
from adapters.upcasters import Upcasters
from application.recorded import Event, NewEvent
from domain.email.events import Cancelled, Rescheduled
from domain.failures import FailureKind, Refusal
from domain.routing import PassedOver
from tests.golden.samples import SAMPLES

T0 = datetime(2026, 2, 28, 12, 30, 15, 250001, tzinfo=UTC)
META = codec.encode_meta("", "", 1)

TIMES = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
INTEGERS = st.integers(-(2**63), 2**63 - 1)
REFUSALS = st.builds(Refusal, index=INTEGERS, kind=st.sampled_from(FailureKind), code=st.text())
STRATEGIES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(),
    int: INTEGERS,
    bool: st.booleans(),
    datetime: TIMES,
    int | None: st.none() | INTEGERS,
    str | None: st.none() | st.text(),
    datetime | None: st.none() | TIMES,
    FailureKind | None: st.none() | st.sampled_from(FailureKind),
    tuple[int, ...]: st.lists(INTEGERS, max_size=5).map(tuple),
    tuple[str, ...]: st.lists(st.text(), max_size=5).map(tuple),
    tuple[Refusal, ...]: st.lists(REFUSALS, max_size=3).map(tuple),
    tuple[PassedOver, ...]: st.lists(st.builds(PassedOver, st.text(), st.text()), max_size=3).map(tuple),
}


def events_of(cls: type[Event]) -> st.SearchStrategy[Event]:
    """Any event of this class."""
    hints = get_type_hints(cls).items()
    return st.builds(
        cls,
        **{name: STRATEGIES[hint] if hint in STRATEGIES else st.sampled_from(hint) for name, hint in hints},
    )


EVENTS = st.sampled_from(list(codec.TYPES.values())).flatmap(events_of)


@given(EVENTS)
def test_an_event_is_read_as_it_was_recorded(event: Event) -> None:
    """Every field, to the microsecond and the last code point; and the same text again."""
    stored, data = codec.encode(event)
    again = codec.decode(stored, META, data)

    assert event == again
    assert (stored, data) == codec.encode(again)


@pytest.mark.parametrize("stored", codec.TYPES)
def test_data_is_compact_and_complete(stored: str) -> None:
    """No blanks, no field left out, in the order of the class."""
    _, data = codec.encode(SAMPLES[stored])

    assert data == msgspec.json.encode(msgspec.json.decode(data)).decode()
    assert [f.name for f in fields(SAMPLES[stored])] == list(msgspec.json.decode(data))


def test_times_are_stored_in_utc_whatever_zone_they_came_in() -> None:
    """The same instant gives the same text, so the same hash."""
    zone = timezone(timedelta(hours=2))
    utc = Rescheduled(by="me", send_at=T0, expires_at=T0)
    elsewhere = Rescheduled(by="me", send_at=T0.astimezone(zone), expires_at=T0)

    assert codec.encode(utc) == codec.encode(elsewhere)
    assert '"send_at":"2026-02-28T12:30:15.250001Z"' in codec.encode(elsewhere)[1]


@pytest.mark.parametrize("field", ["send_at", "expires_at"])
def test_a_time_without_a_zone_is_refused(field: str) -> None:
    """Nobody could say later which instant it was; neither written nor read."""
    event = Rescheduled(by="me", send_at=T0, expires_at=T0)
    naive: Any = {field: T0.replace(tzinfo=None)}
    text = codec.encode(event)[1].replace(
        f'"{field}":"2026-02-28T12:30:15.250001Z"', f'"{field}":"2026-02-28T12:30:15"'
    )

    with pytest.raises(ValueError, match=f"Rescheduled.{field}"):
        codec.encode(replace(event, **naive))
    with pytest.raises(ValueError, match=f"Rescheduled.{field}"):
        codec.decode("Rescheduled", META, text)


def test_half_a_surrogate_pair_is_refused() -> None:
    """It is no Unicode text, and no database would take it."""
    with pytest.raises(ValueError):
        codec.encode(Cancelled(by="\ud83d"))


def test_an_unknown_type_is_named() -> None:
    """Code that is older than the log says which event it can't read, and doesn't go on without it."""
    with pytest.raises(codec.UnknownEvent, match="'Teleported'") as raised:
        codec.decode("Teleported", META, "{}")

    assert "Teleported" == raised.value.type


def test_a_class_without_a_stored_name_is_not_recorded() -> None:
    """A new event class needs a name first."""

    @dataclass(frozen=True)
    class Teleported:
        pass

    stranger: Any = Teleported()
    with pytest.raises(codec.UnknownEvent, match="'Teleported'"):
        codec.encode(stranger)


@pytest.mark.parametrize("schema", [0, 2])
def test_a_schema_that_is_not_known_here_is_refused(schema: int) -> None:
    """It was recorded by a newer version: to guess would be to rewrite history."""
    _, data = codec.encode(Cancelled(by="me"))

    with pytest.raises(codec.UnknownEvent, match=f"schema {schema}"):
        codec.decode("Cancelled", codec.encode_meta("", "", schema), data)


@pytest.mark.parametrize("data", ["", "{}", "[]", '{"by":1}', '{"by":"me"'])
def test_data_of_another_shape_is_refused(data: str) -> None:
    """With a ValueError, which a reader can tell from an event it is too old for."""
    with pytest.raises(ValueError):
        codec.decode("Cancelled", META, data)


def test_an_older_schema_is_read_through_its_upcasters() -> None:
    """Step by step up to today's, and today's without any."""
    upcasters = Upcasters(
        {
            ("Cancelled", 1): lambda data: {"who": data["user"]},
            ("Cancelled", 2): lambda data: {"by": data["who"].upper()},
        }
    )

    assert 3 == upcasters.schema("Cancelled")
    assert Cancelled(by="ME") == codec.decode(
        "Cancelled", codec.encode_meta("", "", 1), '{"user":"me"}', upcasters
    )
    assert Cancelled(by="ME") == codec.decode(
        "Cancelled", codec.encode_meta("", "", 2), '{"who":"me"}', upcasters
    )
    assert Cancelled(by="me") == codec.decode(
        "Cancelled", codec.encode_meta("", "", 3), '{"by":"me"}', upcasters
    )


@pytest.mark.parametrize("steps", [[("Sent", 2)], [("Sent", 1), ("Sent", 3)], [("Sent", 0)]])
def test_upcasters_leave_no_step_out(steps: list[tuple[str, int]]) -> None:
    """A gap would be found years later, by whoever reads the old event."""
    with pytest.raises(ValueError, match="Sent"):
        Upcasters(dict.fromkeys(steps, lambda data: data))


@given(st.text(), st.text())
def test_meta_keeps_both_ids_and_the_schema(correlation_id: str, causation_id: str) -> None:
    """What led to the event travels with it."""
    meta = codec.encode_meta(correlation_id, causation_id, 1)
    new = NewEvent(
        event_id="1", event=Cancelled(by="me"), correlation_id=correlation_id, causation_id=causation_id
    )

    assert (correlation_id, causation_id, 1) == codec.decode_meta(meta)
    assert ("Cancelled", meta, '{"by":"me"}') == codec.encode_new(new)


@given(TIMES)
def test_microseconds_are_exact(at: datetime) -> None:
    """Back and forth without a float in between."""
    assert at == codec.from_micros(codec.micros(at))


def test_microseconds_need_a_zone() -> None:
    """As everywhere."""
    with pytest.raises(ValueError, match="time zone"):
        codec.micros(T0.replace(tzinfo=None))


LINK: dict[str, Any] = {
    "stream": "email-1",
    "version": 1,
    "event_id": "e1",
    "type": "Cancelled",
    "at": 1_772_281_815_250_001,
    "meta": META,
    "data": '{"by":"Zoë"}',
}


def test_the_hash_is_the_documented_one() -> None:
    """Anyone can compute it again from the docstring alone."""
    texts = [LINK[name].encode() for name in ("stream", "event_id", "type", "meta", "data")]
    octets = bytes(32) + (1).to_bytes(8, "big") + (1_772_281_815_250_001).to_bytes(8, "big", signed=True)
    octets += b"".join(len(text).to_bytes(4, "big") for text in texts) + b"".join(texts)

    assert hashlib.sha256(octets).digest() == codec.chain(codec.GENESIS, **LINK)


@pytest.mark.parametrize(
    "changed",
    [
        {"stream": "email-2"},
        {"version": 2},
        {"event_id": "e2"},
        {"type": "Held"},
        {"at": 1_772_281_815_250_000},
        {"meta": META + " "},
        {"data": '{"by":"Zoe"}'},
        {"event_id": "e", "type": "1Cancelled"},
    ],
)
def test_every_part_of_the_event_is_in_its_hash(changed: dict[str, Any]) -> None:
    """A text that moves across a border too."""
    assert codec.chain(codec.GENESIS, **LINK) != codec.chain(codec.GENESIS, **LINK | changed)


def test_the_event_before_is_in_the_hash() -> None:
    """Else an event could be taken out of the middle."""
    assert codec.chain(codec.GENESIS, **LINK) != codec.chain(b"\1" * 32, **LINK)
