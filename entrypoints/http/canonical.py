"""What a client asked for, in one form: two requests with the same id are the same exactly if this is.

**Invariant:** the bytes for a request never change, whatever becomes of our classes. Their salted digest is in
the log, and a client may repeat a request for as long as the log lives (`tests/entrypoints/test_http_canonical.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from domain.content import Address, Attachment, Content
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
