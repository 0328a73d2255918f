"""The body of `POST /send-email` as JSON has it: its fields, and what is wrong with the shape of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec

from domain.routing import OnUncertain
from entrypoints.config_source import suggestion
from entrypoints.http.problems import Errors, Problem

Texts = str | list[str]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class AttachmentBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One attachment; the octets of `content` come out of their base64."""

    filename: str | None = None
    content: bytes | None = None
    content_type: str | None = None
    content_id: str | None = None


class SendBody(msgspec.Struct, forbid_unknown_fields=True):
    """The whole request. Anything may be absent or null, which is the same: `intake` asks for what has to be there."""

    id: str | None = None
    from_: str | None = msgspec.field(default=None, name="from")
    to: Texts | None = None
    cc: Texts | None = None
    bcc: Texts | None = None
    reply_to: Texts | None = None
    subject: str | None = None
    body: str | None = None
    html: str | None = None
    headers: dict[str, str] | None = None
    attachments: list[AttachmentBody] | None = None
    tags: list[str] | None = None
    send_at: Moment | None = None
    expires_after: str | None = None
    on_uncertain: OnUncertain | None = None


_DECODE = msgspec.json.Decoder(SendBody).decode


def decode_send(octets: bytes, errors: Errors) -> SendBody:
    """The request; what has a wrong shape is absent, and in `errors`. Raises a 400 for what isn't JSON."""
    try:
        return _DECODE(octets)
    except ValueError:
        # It stops at the first thing wrong. Go through all of them, at leisure.
        return _slowly(octets, errors)


def decode_object(octets: bytes, fields: Mapping[str, Shape], errors: Errors) -> dict[str, Any]:
    """A JSON object with these fields and no others: those that are there, not null, and well-shaped."""
    raw = _json(octets)
    if not isinstance(raw, dict):
        errors.add("", "the body must be a JSON object")
        return {}
    return _object(raw, "", fields, errors)


Shape = Callable[[Any, str, Errors], Any]
"""Takes a value from JSON and the name of its field. Returns it as its type; none, if it is in `errors` now."""

T = TypeVar("T")


def of(kind: type[T], form: str) -> Shape:
    """The shape of a single value; `form` says it to people."""

    def shape(value: Any, field: str, errors: Errors) -> T | None:
        try:
            return msgspec.convert(value, kind)
        except ValueError:  # of the wrong shape, or not even Unicode
            errors.add(field, f"must be {form}")
            return None

    return shape


def _text(value: Any, field: str, errors: Errors) -> str | None:
    if not isinstance(value, str):
        errors.add(field, "must be a string")
        return None
    return _whole(value, field, errors)


def _whole(value: str, field: str, errors: Errors) -> str | None:
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        errors.add(field, "has half a surrogate pair, which is no character")
        return None
    return value


def _list(value: Any, field: str, errors: Errors) -> list[str] | None:
    if not isinstance(value, list):
        errors.add(field, "must be a list of strings")
        return None
    return _present(_text(one, f"{field}[{index}]", errors) for index, one in enumerate(value))


def _texts(value: Any, field: str, errors: Errors) -> Texts | None:
    if isinstance(value, str):
        return _whole(value, field, errors)
    if not isinstance(value, list):
        errors.add(field, "must be a string or a list of strings")
        return None
    return _list(value, field, errors)


def _map(value: Any, field: str, errors: Errors) -> dict[str, str] | None:
    if not isinstance(value, dict):
        errors.add(field, "must be an object with a string for each header")
        return None
    found: dict[str, str] = {}
    for name, text in value.items():
        shaped = _text(text, f"{field}.{name}", errors)
        if shaped is not None and _whole(name, f"{field}.{name!r}", errors) is not None:
            found[name] = shaped
    return found


def _attachments(value: Any, field: str, errors: Errors) -> list[AttachmentBody] | None:
    if not isinstance(value, list):
        errors.add(field, "must be a list of objects")
        return None
    found = []
    for index, one in enumerate(value):
        if isinstance(one, dict):
            found.append(AttachmentBody(**_object(one, f"{field}[{index}].", ATTACHMENT, errors)))
        else:
            errors.add(f"{field}[{index}]", "must be an object")
    return found


BASE64 = "base64 (RFC 4648 §4: padded, without line breaks or a data: prefix)"
RFC_3339 = "a time with its offset (RFC 3339), like 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00"

ATTACHMENT: Mapping[str, Shape] = {
    "filename": _text,
    "content": of(bytes, BASE64),
    "content_type": _text,
    "content_id": _text,
}
FIELDS: Mapping[str, Shape] = {
    **dict.fromkeys(("id", "from", "subject", "body", "html", "expires_after"), _text),
    **dict.fromkeys(("to", "cc", "bcc", "reply_to"), _texts),
    "headers": _map,
    "attachments": _attachments,
    "tags": _list,
    "send_at": of(Moment, RFC_3339),
    "on_uncertain": of(OnUncertain, "one of: " + ", ".join(OnUncertain)),
}


def _slowly(octets: bytes, errors: Errors) -> SendBody:
    values = decode_object(octets, FIELDS, errors)
    if "from" in values:
        values["from_"] = values.pop("from")
    return SendBody(**values)


def _object(
    raw: Mapping[str, Any], prefix: str, fields: Mapping[str, Shape], errors: Errors
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in raw.items():
        shape = fields.get(name)
        if shape is None:
            hint = "" if errors.full else "; " + suggestion(name, fields)
            errors.add(prefix + name, "is no field we know" + hint)
        elif value is not None:
            found[name] = shape(value, prefix + name, errors)
    return found


def _present(values: Iterable[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _json(octets: bytes) -> object:
    """By the standard library: it lets halves of surrogate pairs pass, so that their field can be named."""
    try:
        return json.loads(octets.decode(), parse_constant=_no_constant)
    except RecursionError:
        raise Problem(400, "not_json", "The body is nested too deeply.") from None
    except UnicodeDecodeError as error:
        raise Problem(400, "not_json", f"The body is not UTF-8 (octet {error.start}).") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem(400, "not_json", f"The body is not JSON: {error.msg} ({where}).") from None
    except ValueError:
        raise Problem(400, "not_json", "The body is not JSON: it has a number that is none.") from None


def _no_constant(name: str) -> NoReturn:
    """NaN and the infinities, which are no JSON (RFC 8259 §6)."""
    raise ValueError(name)
