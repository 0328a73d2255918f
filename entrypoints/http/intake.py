"""From a JSON body to a `SendRequest`: every rule for what a client may ask for, and what it asked, canonically.

**Invariant:** what passes here can be composed. No text that goes into a header has a line break, and nothing
that a client gave is changed without its knowing: what can't go out as it is, is refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from mimetypes import MimeTypes

from application.accept import SendRequest
from domain.content import HEADER_LINE_MAX, RECIPIENTS_MAX, Address, Attachment, Content
from domain.headers import content_id_problem, content_type_problem, header_problem, text_problem
from entrypoints.addresses import BadAddress, parse_address
from entrypoints.http.canonical import canonical, marks_of
from entrypoints.http.problems import Errors
from entrypoints.http.wire import AttachmentBody, SendBody, Texts, decode_send
from entrypoints.quantities import parse_duration

KEY_MAX = 256
"""Characters of a client's id."""

LISTED_MAX = 200
"""Mailboxes in one list, repeated ones included: bounds the work before they are told apart."""

HEADERS_MAX = 50
"""Custom headers; real messages have a handful."""

HEADERS_OCTETS_MAX = 65_536
"""Octets of all custom headers: servers stop at about 100,000 for the whole head (Postfix `header_size_limit`)."""

ATTACHMENTS_MAX = 100
"""Attachments: each costs a blob of its own, whatever its size."""

FILENAME_MAX = 255
"""Characters of a filename: what file systems take."""

TAGS_MAX = 20
TAG_MAX = 64
"""Tags are recorded with every email and matched by routes: few and short."""

AHEAD_MAX = timedelta(days=366)
"""How far ahead an email may be scheduled: further is a mistaken year more often than a plan."""

DURATION_TEXT_MAX = 32
"""Characters of a duration: what is wrong is repeated in the answer."""

_is_key = re.compile(rf"[ -~]{{1,{KEY_MAX}}}").fullmatch
_types = MimeTypes()  # without the tables of the machine: the same filename means the same type everywhere
ENCODED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
OCTETS = "application/octet-stream"


class Intake:
    """Reads requests. `default_from` is whom mail is from where a request doesn't say."""

    def __init__(self, default_from: Address | None) -> None:
        self._default_from = default_from

    def request(
        self, body: bytes, *, now: datetime, key_header: str | None = None, correlation_id: str = ""
    ) -> SendRequest:
        """What the body asks for. Raises a Problem: 400, or 422 with every bad field."""
        errors = Errors()
        wanted = decode_send(body, errors)
        # Most requests have little of what they might: what isn't there costs no call here and below.
        key = _key(wanted.id, key_header, errors)
        content = self._content(wanted, errors)
        tags = _tags(wanted.tags, errors) if wanted.tags else ()
        send_at = None if wanted.send_at is None else _send_at(wanted.send_at, now, errors)
        expires_after = None if wanted.expires_after is None else _duration(wanted.expires_after, errors)
        if content is None or errors:
            raise errors.problem()
        types_given = [one.content_type for one in wanted.attachments] if wanted.attachments else ()
        is_past = send_at is not None and send_at <= now
        given = canonical(
            content,
            sender_given=wanted.from_ is not None,
            types_given=types_given,
            tags=tags,
            send_at=send_at,
            expires_after=expires_after,
            on_uncertain=wanted.on_uncertain,
        )
        return SendRequest(
            key=key,
            content=content,
            given=given,
            size=_size(content),
            tags=tags,
            send_at=None if is_past else send_at,
            expires_after=expires_after,
            on_uncertain=wanted.on_uncertain,
            correlation_id=correlation_id,
            marks=marks_of(
                sender_given=wanted.from_ is not None,
                types_given=types_given,
                past_send_at=send_at if is_past else None,
                expires_after=expires_after,
                on_uncertain=wanted.on_uncertain,
            ),
        )

    def _content(self, wanted: SendBody, errors: Errors) -> Content | None:
        sender = self._sender(wanted.from_, errors)
        to = () if wanted.to is None else _mailboxes(wanted.to, "to", errors)
        cc = () if wanted.cc is None else _mailboxes(wanted.cc, "cc", errors)
        bcc = () if wanted.bcc is None else _mailboxes(wanted.bcc, "bcc", errors)
        reply_to = () if wanted.reply_to is None else _mailboxes(wanted.reply_to, "reply_to", errors)
        if not to and not errors.mentions("to"):
            errors.add("to", "is required: at least one recipient")
        _check_texts(wanted, errors)
        headers = _headers(wanted.headers, errors) if wanted.headers else ()
        attachments = _attachments(wanted.attachments, errors) if wanted.attachments else ()
        if errors or sender is None:
            return None
        content = Content(
            sender=sender,
            to=to,
            cc=cc,
            bcc=bcc,
            reply_to=reply_to,
            subject=wanted.subject or "",
            text=wanted.body,
            html=wanted.html,
            headers=headers,
            attachments=attachments,
        )
        if len(to) + len(cc) + len(bcc) > RECIPIENTS_MAX and len(content.envelope) > RECIPIENTS_MAX:
            count = len(content.envelope)
            errors.add("to", f"names {count} recipients with cc and bcc; at most {RECIPIENTS_MAX}")
        return content

    def _sender(self, given: str | None, errors: Errors) -> Address | None:
        if given is not None:
            return _mailbox(given, "from", errors)
        if self._default_from is None:
            errors.add("from", "is required, since the configuration has no default (from)")
        return self._default_from


def _key(given: str | None, header: str | None, errors: Errors) -> str | None:
    if given is not None and not _is_key(given):
        errors.add("id", f"must be 1 to {KEY_MAX} printable ASCII characters")
    if header is not None and not _is_key(header):
        errors.add("Idempotency-Key", f"must be 1 to {KEY_MAX} printable ASCII characters")
    if given is not None and header is not None and given != header:
        errors.add("id", "differs from the Idempotency-Key header; give one of them, or the same")
    return header if given is None else given


def _mailboxes(given: Texts, field: str, errors: Errors) -> tuple[Address, ...]:
    if isinstance(given, str):
        only = _mailbox(given, field, errors)
        return () if only is None else (only,)
    if len(given) > LISTED_MAX:
        errors.add(field, f"has {len(given)} entries; at most {LISTED_MAX}")
        return ()
    found = [_mailbox(one, f"{field}[{index}]", errors) for index, one in enumerate(given)]
    return tuple(one for one in found if one is not None)


def _mailbox(text: str, field: str, errors: Errors) -> Address | None:
    try:
        return parse_address(text)
    except BadAddress as error:
        several = " One string is one mailbox: give several as a list." if "," in text or ";" in text else ""
        errors.add(field, f"is no mailbox: {error.reason}{several}")
        return None


def _check_texts(wanted: SendBody, errors: Errors) -> None:
    subject = wanted.subject
    if subject is None:
        errors.add("subject", "is required; it may be empty")
    elif problem := text_problem(subject):
        errors.add("subject", problem)
    elif len(subject) > HEADER_LINE_MAX or _octets(subject) > HEADER_LINE_MAX:
        errors.add("subject", f"has more than {HEADER_LINE_MAX} octets")
    if wanted.body is None and wanted.html is None:
        errors.add("body", "is required where there is no html; it may be empty")
    if wanted.body is not None and "\0" in wanted.body:
        errors.add("body", "has a NUL character")
    if wanted.html is not None and "\0" in wanted.html:
        errors.add("html", "has a NUL character")


def _headers(given: dict[str, str], errors: Errors) -> tuple[tuple[str, str], ...]:
    if len(given) > HEADERS_MAX:
        errors.add("headers", f"has {len(given)} entries; at most {HEADERS_MAX}")
        return ()
    if len({name.lower() for name in given}) < len(given):
        errors.add("headers", "names a header twice, in capitals and not")
    for name, value in given.items():
        if problem := header_problem(name, value):
            errors.add(f"headers.{name}", problem)
    if sum(len(name) + _octets(value) for name, value in given.items()) > HEADERS_OCTETS_MAX:
        errors.add("headers", f"have more than {HEADERS_OCTETS_MAX} octets together")
    return tuple(given.items())


def _attachments(given: list[AttachmentBody], errors: Errors) -> tuple[Attachment, ...]:
    if len(given) > ATTACHMENTS_MAX:
        errors.add("attachments", f"has {len(given)} entries; at most {ATTACHMENTS_MAX}")
        return ()
    ids = [one.content_id for one in given if one.content_id is not None]
    found = []
    for index, one in enumerate(given):
        field = f"attachments[{index}]"
        if one.content_id is not None and ids.count(one.content_id) > 1:
            errors.add(f"{field}.content_id", "is that of another attachment too")
        found.append(_attachment(one, field, errors))
    return tuple(found)


def _attachment(one: AttachmentBody, field: str, errors: Errors) -> Attachment:
    filename = one.filename or ""
    if not filename:
        errors.add(f"{field}.filename", "is required")
    elif problem := text_problem(filename):
        errors.add(f"{field}.filename", problem)
    elif len(filename) > FILENAME_MAX:
        errors.add(f"{field}.filename", f"is longer than {FILENAME_MAX} characters")
    if one.content is None:
        errors.add(f"{field}.content", "is required")
    content_type = one.content_type
    if content_type is None:
        content_type = _type_of(filename)
    elif problem := content_type_problem(content_type):
        errors.add(f"{field}.content_type", problem)
    if one.content_id is not None and (problem := content_id_problem(one.content_id)):
        errors.add(f"{field}.content_id", problem)
    return Attachment(
        filename=filename,
        content_type=content_type,
        data=one.content or b"",
        content_id=one.content_id or "",
    )


def _type_of(filename: str) -> str:
    """The usual type of files whose names end like this one."""
    kind, encoding = _types.guess_type("file" + "".join(filename.rpartition(".")[1:]))
    return ENCODED.get(encoding, OCTETS) if encoding is not None else kind or OCTETS


def _tags(given: list[str], errors: Errors) -> tuple[str, ...]:
    if len(given) > TAGS_MAX:
        errors.add("tags", f"has {len(given)} entries; at most {TAGS_MAX}")
        return ()
    for index, tag in enumerate(given):
        # They are recorded in the log, which no address may get into.
        if not (0 < len(tag) <= TAG_MAX and tag.isprintable()) or "@" in tag:
            errors.add(f"tags[{index}]", f"must be 1 to {TAG_MAX} printable characters without an @")
    return tuple(given)


def _send_at(given: datetime, now: datetime, errors: Errors) -> datetime | None:
    if given > now + AHEAD_MAX:
        errors.add("send_at", f"is more than {AHEAD_MAX.days} days ahead")
        return None
    try:
        return given.astimezone(UTC)
    except OverflowError:  # in the first day there is
        errors.add("send_at", "is no time we can tell")
        return None


def _duration(given: str, errors: Errors) -> timedelta | None:
    if len(given) > DURATION_TEXT_MAX:
        errors.add("expires_after", f"has more than {DURATION_TEXT_MAX} characters")
        return None
    try:
        return parse_duration(given)
    except ValueError as error:
        errors.add("expires_after", f"is wrong: {error}")
        return None


def _size(content: Content) -> int:
    """Octets of what the client wrote."""
    size = _octets(content.subject)
    if content.text:
        size += _octets(content.text)
    if content.html:
        size += _octets(content.html)
    for name, value in content.headers:
        size += len(name) + _octets(value)
    for one in content.attachments:
        size += len(one.data)
    return size


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
