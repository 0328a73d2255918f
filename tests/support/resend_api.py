"""Resend's published rules, as its stand-in checks them.

From https://resend.com/docs/api-reference (emails/send-email, errors) and the schema in resend/resend-openapi.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

RECIPIENTS_MAX = 50
TAGS_MAX = 75
EMAIL_BYTES_MAX = 40 * 1024 * 1024
CONTENT_ID_BELOW = 128

STATUSES = {
    "invalid_idempotency_key": 400,
    "missing_api_key": 401,
    "restricted_api_key": 401,
    "invalid_api_key": 403,
    "suspended_api_key": 403,
    "invalid_permission": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "concurrent_idempotent_requests": 409,
    "invalid_idempotent_request": 409,
    "resource_locked": 409,
    "invalid_attachment": 422,
    "invalid_from_address": 422,
    "invalid_access": 422,
    "invalid_parameter": 422,
    "invalid_region": 422,
    "missing_required_field": 422,
    "missing_required_parameter": 422,
    "daily_quota_exceeded": 429,
    "monthly_quota_exceeded": 429,
    "rate_limit_exceeded": 429,
    "security_error": 451,
    "application_error": 500,
    "internal_server_error": 500,
    "service_unavailable": 503,
}
"""Documented error names with one status each; `validation_error` comes with 400, 403 and 422."""

BLOCKED_EXTENSIONS = frozenset(
    {"bat", "cmd", "com", "exe", "js", "lnk", "msi", "ps1", "reg", "scr", "tmp", "vbs"}
)
"""Some of docs/knowledge-base/what-attachment-types-are-not-supported."""

_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_HEADER = re.compile(r"[!-9;-~]+")
_BARE = r"[^\s<>@\",;()]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
_MAILBOX = re.compile(
    rf"(?P<bare>{_BARE})|(?:\"(?:[^\"\\\r\n]|\\.)*\"|[^\"<>@,;:()\[\]\\\r\n]+) ?<(?P<named>{_BARE})>"
)

_FIELDS = frozenset(
    {
        *("from", "to", "subject", "bcc", "cc", "reply_to", "html", "text", "template", "headers"),
        *("scheduled_at", "attachments", "tags", "topic_id"),
    }
)
_ATTACHMENT_FIELDS = frozenset({"content", "filename", "path", "content_type", "content_id"})


class Refusal(NamedTuple):
    """An error in the documented form."""

    status: int
    name: str
    message: str

    def as_json(self) -> dict[str, object]:
        return {"statusCode": self.status, "name": self.name, "message": self.message}


def invalid(message: str) -> Refusal:
    """What most bad requests get."""
    return Refusal(422, "validation_error", message)


def missing(field: str) -> Refusal:
    """A field that has to be there."""
    return Refusal(422, "missing_required_field", f"Missing `{field}` field.")


def address_of(mailbox: str) -> str:
    """The bare address in `address` or `Name <address>`. Raises ValueError."""
    found = _MAILBOX.fullmatch(mailbox)
    if found is None:
        raise ValueError(mailbox)
    return found["bare"] or found["named"]


def recipients_of(payload: Mapping[str, Any]) -> list[str]:
    """Who gets a copy."""
    return [address_of(one) for field in ("to", "cc", "bcc") for one in _listed(payload.get(field, []))]


def refusal_of(payload: Any) -> Refusal | None:
    """What is wrong with the body of `POST /emails`; None where nothing is."""
    if not isinstance(payload, dict):
        return Refusal(400, "validation_error", "The request body must be an object.")
    if unknown := sorted(payload.keys() - _FIELDS):
        return invalid(f"Unknown fields: {', '.join(unknown)}.")
    return (
        _addresses(payload) or _texts(payload) or _headers(payload) or _attachments(payload) or _tags(payload)
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _addresses(payload: dict[str, Any]) -> Refusal | None:
    for field in ("from", "to"):
        if not payload.get(field):
            return missing(field)
    if not isinstance(payload["from"], str):
        return invalid("The `from` field must be a string.")
    for field in ("from", "to", "cc", "bcc", "reply_to"):
        given = _listed(payload.get(field, []))
        if len(given) > RECIPIENTS_MAX:
            return invalid(f"The `{field}` field takes at most {RECIPIENTS_MAX} addresses.")
        for one in given:
            if not isinstance(one, str) or _MAILBOX.fullmatch(one) is None:
                return invalid(
                    f"Invalid `{field}` field: write `email@example.com` or `Name <email@example.com>`."
                )
    return None


def _texts(payload: dict[str, Any]) -> Refusal | None:
    for field in ("subject", "html", "text", "scheduled_at", "topic_id"):
        if not isinstance(payload.get(field, ""), str):
            return invalid(f"The `{field}` field must be a string.")
    if not payload.get("subject"):
        return missing("subject")
    if not payload.get("html") and not payload.get("text"):
        return missing("html` or `text")
    return None


def _headers(payload: dict[str, Any]) -> Refusal | None:
    headers = payload.get("headers", {})
    if not isinstance(headers, dict):
        return invalid("The `headers` field must be an object.")
    for name, value in headers.items():
        if not isinstance(value, str) or not _HEADER.fullmatch(name) or re.search(r"[\r\n\0]", value):
            return invalid(f"Invalid header `{name}`.")
    return None


def _attachments(payload: dict[str, Any]) -> Refusal | None:
    attachments = payload.get("attachments", [])
    if not isinstance(attachments, list):
        return invalid("The `attachments` field must be a list.")
    for one in attachments:
        if not isinstance(one, dict) or one.keys() - _ATTACHMENT_FIELDS:
            return invalid("An attachment has an unknown field.")
        if not all(isinstance(value, str) for value in one.values()):
            return invalid("An attachment's fields must be strings.")
        if not one.get("content") and not one.get("path"):
            return Refusal(422, "invalid_attachment", "Attachment must have either a `content` or `path`.")
        if len(one.get("content_id", "")) >= CONTENT_ID_BELOW:
            return invalid(f"A content id must have fewer than {CONTENT_ID_BELOW} characters.")
        if one.get("filename", "").rpartition(".")[2].lower() in BLOCKED_EXTENSIONS:
            return invalid("An attachment is of a type that is not supported.")
        try:
            base64.b64decode(one.get("content", ""), validate=True)
        except binascii.Error:
            return Refusal(422, "invalid_attachment", "An attachment's `content` is no base64.")
    return None


def _tags(payload: dict[str, Any]) -> Refusal | None:
    tags = payload.get("tags", [])
    if not isinstance(tags, list) or len(tags) > TAGS_MAX:
        return invalid(f"The `tags` field must be a list of at most {TAGS_MAX}.")
    for one in tags:
        if not isinstance(one, dict) or one.keys() != {"name", "value"}:
            return invalid("A tag has a `name` and a `value`.")
        if not all(isinstance(text, str) and _TAG.fullmatch(text) for text in one.values()):
            return invalid("Tags may hold ASCII letters, numbers, underscores and dashes only, 256 at most.")
    return None
