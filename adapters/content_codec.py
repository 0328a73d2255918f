"""Content as stored: one JSON text for each email, and its attachments as blobs that emails may share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from application.recorded import StoredContent
from domain.content import Address, Attachment, Content


class _Attachment(msgspec.Struct, frozen=True):
    filename: str
    content_type: str
    content_id: str
    digest: str
    size: int


class _Content(msgspec.Struct, frozen=True, omit_defaults=True):
    key: str
    salt: bytes
    sender: Address
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    subject: str
    text: str | None
    html: str | None
    headers: tuple[tuple[str, str], ...]
    attachments: tuple[_Attachment, ...]
    marks: tuple[str, ...] | None = None


_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(_Content).decode


def encode_content(stored: StoredContent) -> tuple[str, list[tuple[str, bytes]]]:
    """The JSON text, and the attachments' octets by digest (SHA-256, hexadecimal), each blob once.

    The email's id isn't in the text: it is what the text is stored under. Raises ValueError for text that
    is not Unicode (half a surrogate pair).
    """
    content = stored.content
    described = tuple(_described(one) for one in content.attachments)
    blobs = {
        one.digest: attachment.data for one, attachment in zip(described, content.attachments, strict=True)
    }
    text = _ENCODE(
        _Content(
            key=stored.key,
            salt=stored.salt,
            sender=content.sender,
            to=content.to,
            cc=content.cc,
            bcc=content.bcc,
            reply_to=content.reply_to,
            subject=content.subject,
            text=content.text,
            html=content.html,
            headers=content.headers,
            attachments=described,
            marks=stored.marks,
        )
    ).decode()
    return text, list(blobs.items())


def digests_in(text: str) -> list[str]:
    """The digests of the blobs that `decode_content` needs for this text, each once."""
    return _digests(_DECODE(text))


def _digests(stored: _Content) -> list[str]:
    return list(dict.fromkeys([one.digest for one in stored.attachments]))


def decode_content(email_id: str, text: str, blobs: Mapping[str, bytes]) -> StoredContent:
    """What `encode_content` took apart. Raises KeyError for a blob that is missing."""
    return _put_together(email_id, _DECODE(text), blobs)


def read_content(
    email_id: str, text: str, blobs: Mapping[str, bytes]
) -> tuple[list[str], StoredContent | None]:
    """What `digests_in` and `decode_content` give, read once. None: a blob is missing."""
    stored = _DECODE(text)
    try:
        return _digests(stored), _put_together(email_id, stored, blobs)
    except KeyError:
        return _digests(stored), None


def _put_together(email_id: str, stored: _Content, blobs: Mapping[str, bytes]) -> StoredContent:
    content = Content(
        sender=stored.sender,
        to=stored.to,
        cc=stored.cc,
        bcc=stored.bcc,
        reply_to=stored.reply_to,
        subject=stored.subject,
        text=stored.text,
        html=stored.html,
        headers=stored.headers,
        attachments=tuple(
            Attachment(
                filename=one.filename,
                content_type=one.content_type,
                data=blobs[one.digest],
                content_id=one.content_id,
            )
            for one in stored.attachments
        ),
    )
    return StoredContent(
        email_id=email_id, key=stored.key, salt=stored.salt, content=content, marks=stored.marks
    )


def _described(attachment: Attachment) -> _Attachment:
    return _Attachment(
        filename=attachment.filename,
        content_type=attachment.content_type,
        content_id=attachment.content_id,
        digest=hashlib.sha256(attachment.data).hexdigest(),
        size=len(attachment.data),
    )
