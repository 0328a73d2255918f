"""Events as stored: a type, and JSON text that is the same for the same event, byte by byte.

(Gates: `gate_codec`. Content: `content_codec`.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, get_args, get_type_hints

import msgspec

from adapters.upcasters import CURRENT, Upcasters
from application.recorded import Event, NewEvent
from domain import circuit
from domain.email import events as email
from domain.rate_limit import EPOCH, MICROSECOND

TYPES: dict[str, type[Event]] = {
    "Requested": email.Requested,
    "AttemptStarted": email.AttemptStarted,
    "AttemptFailed": email.AttemptFailed,
    "PartlySent": email.PartlySent,
    "Sent": email.Sent,
    "OutcomeUncertain": email.OutcomeUncertain,
    "DuplicateRiskAccepted": email.DuplicateRiskAccepted,
    "ProviderSwitched": email.ProviderSwitched,
    "Failed": email.Failed,
    "Held": email.Held,
    "Released": email.Released,
    "Cancelled": email.Cancelled,
    "Rescheduled": email.Rescheduled,
    "Redriven": email.Redriven,
    "LateResultObserved": email.LateResultObserved,
    "Delivered": email.Delivered,
    "DeliveryDelayed": email.DeliveryDelayed,
    "Bounced": email.Bounced,
    "Complained": email.Complained,
    "Opened": email.Opened,
    "Clicked": email.Clicked,
    "Unsubscribed": email.Unsubscribed,
    "CircuitOpened": circuit.CircuitOpened,
    "CircuitHalfOpened": circuit.CircuitHalfOpened,
    "ProbePassed": circuit.ProbePassed,
    "ProbeFailed": circuit.ProbeFailed,
    "CircuitClosed": circuit.CircuitClosed,
    "ProviderPaused": circuit.ProviderPaused,
    "ProviderResumed": circuit.ProviderResumed,
}
"""Stored name → class. A stored name never changes, whatever becomes of the class's."""

GENESIS = bytes(32)
"""What stands for the hash before a stream's first event."""

CHAINED = Struct(">QqIIIII")
"""Version, `at`, and the octets of each of the five texts, big-endian."""


class UnknownEvent(Exception):
    """The log has an event that this version of the code can't read: its type or schema is newer, or foreign."""

    def __init__(self, stored: str, why: str) -> None:
        super().__init__(f"event type {stored!r} {why}; was it recorded by a newer version?")
        self.type = stored


class _Meta(msgspec.Struct, frozen=True, gc=False):
    schema: int
    correlation_id: str = ""
    causation_id: str = ""


def _times_of(cls: type[Event]) -> tuple[str, ...]:
    hints = get_type_hints(cls)
    return tuple(one.name for one in fields(cls) if datetime in (hints[one.name], *get_args(hints[one.name])))


_NAMES: dict[type[Event], str] = {cls: stored for stored, cls in TYPES.items()}
_TIMES: dict[type[Event], tuple[str, ...]] = {cls: _times_of(cls) for cls in _NAMES}
_DECODERS: dict[str, Callable[[str | bytes], Event]] = {
    stored: msgspec.json.Decoder(cls).decode for stored, cls in TYPES.items()
}


def as_stored(value: object) -> str:
    """A time of a class that isn't quite `datetime` (a frozen clock's) is stored like any other."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} can't be stored")


_ENCODE = msgspec.json.Encoder(enc_hook=as_stored).encode
_DECODE_META = msgspec.json.Decoder(_Meta).decode


def encode(event: Event) -> tuple[str, str]:
    """The stored type and the data, compact, fields as the class orders them; times in UTC with a `Z`.

    Raises UnknownEvent for a class without a stored name, ValueError for a time without a zone.
    """
    try:
        stored = _NAMES[type(event)]
    except KeyError:
        raise UnknownEvent(type(event).__name__, "has no stored name") from None
    return stored, _ENCODE(_in_utc(event)).decode()


def encode_meta(correlation_id: str, causation_id: str, schema: int) -> str:
    """What is stored beside the data. `schema`: of the event's type, see `schema_of`."""
    return _ENCODE(_Meta(schema, correlation_id, causation_id)).decode()


def encode_new(new: NewEvent) -> tuple[str, str, str]:
    """All that is stored of a new event besides its place: type, meta, data. Raises as `encode` does."""
    stored, data = encode(new.event)
    return stored, encode_meta(new.correlation_id, new.causation_id, schema_of(stored)), data


def schema_of(stored: str) -> int:
    """The schema that events of this type are recorded in today."""
    return CURRENT.schema(stored)


def decode(stored: str, meta: str, data: str, upcasters: Upcasters = CURRENT) -> Event:
    """The event as today's class has it.

    Raises UnknownEvent for a type or schema that is not known here, ValueError for data that isn't the type's.
    """
    return decode_with_ids(stored, meta, data, upcasters)[0]


def decode_with_ids(
    stored: str, meta: str, data: str, upcasters: Upcasters = CURRENT
) -> tuple[Event, str, str]:
    """The same, with its correlation and causation id. Raises as `decode` does."""
    try:
        decoder = _DECODERS[stored]
    except KeyError:
        raise UnknownEvent(stored, "is not known here") from None
    read = _DECODE_META(meta)
    schema, known = read.schema, upcasters.schema(stored)
    if not 1 <= schema <= known:
        raise UnknownEvent(stored, f"is known here up to schema {known}, not in schema {schema}")
    if schema < known:
        data = _ENCODE(upcasters.upcast(stored, schema, msgspec.json.decode(data))).decode()
    return _in_utc(decoder(data)), read.correlation_id, read.causation_id


def decode_meta(meta: str) -> tuple[str, str, int]:
    """Correlation id, causation id, schema."""
    decoded = _DECODE_META(meta)
    return decoded.correlation_id, decoded.causation_id, decoded.schema


def micros(at: datetime) -> int:
    """Microseconds since 1970. Raises ValueError for a time without a zone."""
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone")
    return (at - EPOCH) // MICROSECOND


def from_micros(us: int) -> datetime:
    """What `micros` counted, in UTC."""
    return EPOCH + timedelta(microseconds=us)


def chain(
    previous: bytes, *, stream: str, version: int, event_id: str, type: str, at: int, meta: str, data: str
) -> bytes:
    """The event's hash, over the hash of the event before it (`GENESIS` at version 1) and all that is stored.

    SHA-256 of: previous (32 octets), version (unsigned, 64 bits), `at` (µs since 1970, signed, 64 bits), the
    octets of stream, event id, type, meta and data (unsigned, 32 bits each), then these five texts in UTF-8.
    Numbers are big-endian. No two events give the same octets, since every length stands before its text.
    """
    texts = [text.encode() for text in (stream, event_id, type, meta, data)]
    head = CHAINED.pack(version, at, *map(len, texts))
    return hashlib.sha256(b"".join((previous, head, *texts))).digest()


def _in_utc(event: Event) -> Event:
    for name in _TIMES[type(event)]:
        at = getattr(event, name)
        if at is not None and at.tzinfo is not UTC:
            if at.tzinfo is None:
                raise ValueError(f"{type(event).__name__}.{name} is {at}, without a time zone")
            changed: Any = {name: at.astimezone(UTC)}
            event = replace(event, **changed)
    return event
