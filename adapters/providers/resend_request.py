"""What Resend is sent for a submission: the body of `POST /emails`. Pure: the same submission, the same octets.

Resend takes the envelope from `to`, `cc` and `bcc`. An attempt for some of the recipients names only these, and
never shows one blind recipient to another. Message-ID and Date stay Resend's: it documents neither as settable, and
its carrier replaces both.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from adapters.compose import wire_address
from application.provider_port import Submission
from domain.content import Address, Attachment, Content
from domain.failures import FailureKind
from domain.headers import content_id_problem, content_type_problem, header_problem, text_problem

EMAIL_BYTES_MAX = 41_943_040
"""Octets of an email with its attachments in base64: 40 MB (docs, dashboard/emails/attachments), read generously."""

CONTENT_ID_MAX = 127
"""Characters of a content id: fewer than 128 (docs, dashboard/emails/attachments)."""

PIECE_BYTES = 196_608
"""Octets turned into base64 at a time; a multiple of three, so that no padding falls in between."""

KEY_TAG = "stagepost_key"
EMAIL_TAG = "stagepost_email"
"""The tags that come back in webhooks: they tell what an event is about even where our call was never answered."""

_is_tag_value = re.compile(r"[A-Za-z0-9_-]{1,256}").fullmatch  # docs, api-reference/emails/send-email
_is_plain_name = re.compile(r"[^\s\"\\()<>\[\]:;@,.]+(?: [^\s\"\\()<>\[\]:;@,.]+)*").fullmatch


class Unsendable(Exception):
    """Resend would never take this email: it isn't offered to it."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class EmailRequest:
    """`body`, in pieces, is for `carried`; `left` have to wait for an attempt of their own."""

    body: tuple[bytes, ...]
    carried: tuple[int, ...]
    left: tuple[int, ...] = ()


class _Attachment(msgspec.Struct, omit_defaults=True):
    """But for its content: `_attached` adds that."""

    content_type: str
    filename: str = ""
    content_id: str = ""


class _Tag(msgspec.Struct):
    name: str
    value: str


class _Email(msgspec.Struct, omit_defaults=True, rename={"from_": "from"}):
    from_: str
    to: list[str]
    subject: str
    cc: list[str] = []
    bcc: list[str] = []
    reply_to: list[str] = []
    text: str | None = None
    html: str | None = None
    headers: dict[str, str] = {}
    tags: list[_Tag] = []


_encode = msgspec.json.Encoder().encode


def size_of(content: Content) -> int:
    """Octets of the largest parts, as given: about what writing them costs."""
    return (
        sum(len(one.data) for one in content.attachments) + len(content.text or "") + len(content.html or "")
    )


def email_request(submission: Submission) -> EmailRequest:
    """The request. Raises Unsendable."""
    content = submission.content
    if _size_on_the_wire(content) > EMAIL_BYTES_MAX:
        raise Unsendable(FailureKind.TOO_LARGE, f"more than {EMAIL_BYTES_MAX} octets")
    try:
        return _written(submission)
    except ValueError as exc:
        raise Unsendable(FailureKind.CONTENT, f"can't be composed: {exc}") from exc


def _written(submission: Submission) -> EmailRequest:
    content = submission.content
    to, cc, bcc = _boxes(submission)
    left: tuple[int, ...] = ()
    if not to:
        to, cc = cc, []
    if not to:
        to, bcc, left = bcc[:1], [], submission.recipients[1:]
    email = _Email(
        from_=_mailbox(content.sender),
        to=to,
        cc=cc,
        bcc=bcc,
        reply_to=[_mailbox(one) for one in content.reply_to],
        subject=_clean("the subject", content.subject),
        # Without a text Resend makes one from the HTML; an empty one keeps the email as it was written.
        text="" if content.text is None else content.text,
        html=content.html,
        headers=_headers(content),
        tags=[
            _Tag(name, value)
            for name, value in ((KEY_TAG, submission.provider_key), (EMAIL_TAG, submission.email_id))
            if _is_tag_value(value)
        ],
    )
    carried = submission.recipients[: len(submission.recipients) - len(left)]
    return EmailRequest(tuple(_attached(_encode(email), content.attachments)), carried, left)


def _attached(email: bytes, attachments: Sequence[Attachment]) -> Iterator[bytes]:
    """The JSON object `email` with its attachments, in pieces.

    One call for the base64 of all of a large file, or one for putting it together, would keep every other thread
    waiting meanwhile, the event loop's too.
    """
    if not attachments:
        yield email
        return
    before = email[:-1] + b',"attachments":['
    for one in attachments:
        yield before + _encode(_attachment(one))[:-1] + b',"content":"'
        for at in range(0, len(one.data), PIECE_BYTES):
            yield b2a_base64(one.data[at : at + PIECE_BYTES], newline=False)
        before = b'"},'
    yield b'"}]}'


def _boxes(submission: Submission) -> tuple[list[str], list[str], list[str]]:
    """to, cc and bcc, of those whom the attempt carries; each once, where the envelope has it."""
    content = submission.content
    carried = set(submission.addresses)
    boxes: tuple[list[str], list[str], list[str]] = ([], [], [])
    for box, given in zip(boxes, (content.to, content.cc, content.bcc), strict=True):
        for one in given:
            if one.address in carried:
                carried.discard(one.address)
                box.append(_mailbox(one))
    return boxes


def _mailbox(one: Address) -> str:
    """`Name <address>`, with a name that has special characters in quotes (RFC 5322 §3.2.4)."""
    address, name = wire_address(one.address), one.name
    if not name:
        return address
    if not _is_plain_name(_clean("a display name", name)):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name} <{address}>"


def _headers(content: Content) -> dict[str, str]:
    headers = dict(content.headers)
    if len(headers) < len(content.headers):
        raise ValueError("a header is there twice, and Resend takes each once")
    for name, value in content.headers:
        if problem := header_problem(name, value):
            raise ValueError(f"header {name!r} {problem}")
    return headers


def _attachment(one: Attachment) -> _Attachment:
    if problem := content_type_problem(one.content_type):
        raise ValueError(f"content type {one.content_type!r} {problem}")
    if one.content_id and (problem := content_id_problem(one.content_id)):
        raise ValueError(f"content id {one.content_id!r} {problem}")
    if len(one.content_id) > CONTENT_ID_MAX:
        raise ValueError(f"a content id of more than {CONTENT_ID_MAX} characters, which Resend doesn't take")
    return _Attachment(
        content_type=one.content_type,
        filename=_clean("a filename", one.filename),
        content_id=one.content_id,
    )


def _clean(what: str, text: str) -> str:
    if problem := text_problem(text):
        raise ValueError(f"{what} {problem}")
    return text


def _size_on_the_wire(content: Content) -> int:
    """At least this much: characters are counted as octets."""
    base64 = sum((len(one.data) + 2) // 3 * 4 for one in content.attachments)
    return base64 + len(content.text or "") + len(content.html or "")
