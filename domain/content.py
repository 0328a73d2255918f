"""What a client asked us to send: addresses, text and attachments. Kept beside the log, never in it."""

from __future__ import annotations

from dataclasses import dataclass

from domain.frozen import quick

RECIPIENTS_MAX = 50
"""Recipients in one envelope: providers take 50 (Amazon SES, Resend) or more."""

HEADER_LINE_MAX = 998
"""Octets in one header line, without its CRLF (RFC 5322 §2.1.1)."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A mailbox: `address` is local@domain with the domain in lower case; `name` is what people read."""

    address: str
    name: str = ""

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that goes along; with a `content_id` it is shown inline (RFC 2392), without the angle brackets."""

    filename: str
    content_type: str
    data: bytes
    content_id: str = ""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The whole message as the client wrote it. At least one of `text` and `html` is there."""

    sender: Address
    to: tuple[Address, ...]
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    attachments: tuple[Attachment, ...] = ()

    @property
    def envelope(self) -> tuple[Address, ...]:
        """Who gets a copy, each mailbox once, in the order to, cc, bcc. Indexes into this are what events name."""
        seen: dict[str, Address] = {}
        for one in (*self.to, *self.cc, *self.bcc):
            seen.setdefault(one.address, one)
        return tuple(seen.values())
