"""Messages to compose, and the parser of Python's `email` to read them back with."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import cast

from adapters.compose import compose
from domain.content import Address, Attachment, Content

ID = "0193f0e2-1111-7abc-8def-0123456789ab"
DATE = datetime(2025, 3, 1, 9, 5, 7, tzinfo=UTC)
PLAIN = Content(
    sender=Address(address="shop@example.org", name="The Shop"),
    to=(Address(address="ann@example.com"),),
    subject="Your order",
    text="Thank you.\n.\nThe shop\n",
)
PICTURE = Attachment(filename="logo.png", content_type="image/png", data=b"\x89PNG", content_id="logo")
BILL = Attachment(filename="bill.pdf", content_type="application/pdf", data=b"%PDF")

Shape = tuple[str, tuple["Shape", ...]]


def composed(content: Content = PLAIN, *, email_id: str = ID, date: datetime = DATE) -> bytes:
    return compose(content, email_id=email_id, date=date)


def parsed(raw: bytes) -> EmailMessage:
    return message_from_bytes(raw, policy=default)


def head(raw: bytes) -> str:
    return raw.partition(b"\r\n\r\n")[0].decode()


def shape(part: EmailMessage) -> Shape:
    """The tree of content types."""
    return part.get_content_type(), tuple(shape(cast(EmailMessage, child)) for child in part.iter_parts())


def lines_of(text: str) -> str:
    """A text as it must come out: CRLF everywhere, and at the end."""
    text = re.sub("\r\n|\r|\n", "\r\n", text)
    return text if not text or text.endswith("\r\n") else text + "\r\n"
