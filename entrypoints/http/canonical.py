"""What a client asked for, in one form: two requests with the same id are the same exactly if this is.

**Invariant:** the bytes for a request never change, whatever becomes of our classes. Their salted digest is in
the log, and a client may repeat a request for as long as the log lives (`tests/entrypoints/test_http_canonical.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from application.recorded import StoredContent
from domain.content import Address, Attachment, Content
from domain.email.events import Requested
from domain.routing import OnUncertain

Mailbox = tuple[str, str]


class _File(msgspec.Struct, frozen=True, omit_defaults=True):
    filename: str
    digest: str
    content_type: str | None = None
    content_id: str | None = None


class _Given(msgspec.Struct, frozen=True, omit_defaults=True):
    """Only what was given: a default that the configuration has today may be another one tomorrow."""

    subject: str
    to: tuple[Mailbox, ...]
    sender: Mailbox | None = None
    cc: tuple[Mailbox, ...] | None = None
    bcc: tuple[Mailbox, ...] | None = None
    reply_to: tuple[Mailbox, ...] | None = None
    text: str | None = None
    html: str | None = None
    headers: list[tuple[str, str]] | None = None
    attachments: tuple[_File, ...] | None = None
    tags: tuple[str, ...] | None = None
    send_at: datetime | None = None
    expires_after_us: int | None = None
    on_uncertain: str | None = None


_ENCODE = msgspec.json.Encoder().encode


def canonical(
    content: Content,
    *,
    sender_given: bool,
    types_given: Sequence[str | None],
    tags: tuple[str, ...] = (),
    send_at: datetime | None = None,
    expires_after: timedelta | None = None,
    on_uncertain: OnUncertain | None = None,
) -> bytes:
    """The canonical bytes. `types_given`: of each attachment, the content type, if the client gave one."""
    return _ENCODE(
        _Given(
            subject=content.subject,
            to=_mailboxes(content.to),
            sender=_mailbox(content.sender) if sender_given else None,
            cc=_mailboxes(content.cc) if content.cc else None,
            bcc=_mailboxes(content.bcc) if content.bcc else None,
            reply_to=_mailboxes(content.reply_to) if content.reply_to else None,
            text=content.text,
            html=content.html,
            headers=sorted(content.headers) if content.headers else None,
            attachments=tuple(map(_file, content.attachments, types_given)) if content.attachments else None,
            tags=tags or None,
            send_at=send_at,
            expires_after_us=None if expires_after is None else expires_after // timedelta(microseconds=1),
            on_uncertain=None if on_uncertain is None else on_uncertain.value,
        )
    )


FROM, EXPIRES_AFTER, ON_UNCERTAIN = "from", "expires_after", "on_uncertain"
SEND_AT, CONTENT_TYPE = "send_at:", "content_type:"


def marks_of(
    *,
    sender_given: bool,
    types_given: Sequence[str | None],
    past_send_at: datetime | None,
    expires_after: timedelta | None,
    on_uncertain: OnUncertain | None,
) -> tuple[str, ...]:
    """What of a request shows neither in its content nor in `Requested`: which of the fields with defaults it gave.

    `past_send_at`: a time to send at that was over already, and became at once.
    """
    marks = [FROM] if sender_given else []
    marks += [f"{CONTENT_TYPE}{index}" for index, given in enumerate(types_given) if given is not None]
    if past_send_at is not None:
        marks.append(SEND_AT + past_send_at.isoformat())
    if expires_after is not None:
        marks.append(EXPIRES_AFTER)
    if on_uncertain is not None:
        marks.append(ON_UNCERTAIN)
    return tuple(marks)


def canonical_again(requested: Requested, stored: StoredContent) -> bytes | None:
    """The canonical bytes of a request that was accepted; None: there are no marks to tell by.

    Raises ValueError for marks that `marks_of` never made.
    """
    if stored.marks is None:
        return None
    marks, content, send_at = set(stored.marks), stored.content, requested.send_at
    for mark in marks:
        if mark.startswith(SEND_AT):
            send_at = datetime.fromisoformat(mark.removeprefix(SEND_AT))
    lifetime = requested.expires_at - (requested.send_at or requested.requested_at)
    return canonical(
        content,
        sender_given=FROM in marks,
        types_given=[
            one.content_type if f"{CONTENT_TYPE}{index}" in marks else None
            for index, one in enumerate(content.attachments)
        ],
        tags=requested.tags,
        send_at=send_at,
        expires_after=lifetime if EXPIRES_AFTER in marks else None,
        on_uncertain=requested.on_uncertain if ON_UNCERTAIN in marks else None,
    )


def _mailboxes(addresses: tuple[Address, ...]) -> tuple[Mailbox, ...]:
    return tuple([(one.address, one.name) for one in addresses])


def _mailbox(one: Address) -> Mailbox:
    return (one.address, one.name)


def _file(one: Attachment, content_type: str | None) -> _File:
    return _File(
        filename=one.filename,
        digest=hashlib.sha256(one.data).hexdigest(),
        content_type=content_type,
        content_id=one.content_id or None,
    )
