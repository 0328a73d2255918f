"""One SMTP connection: aiosmtplib lets us in, then this drives the mail transactions itself.

aiosmtplib does the greeting, STARTTLS and AUTH. Its `sendmail` hides the phase a connection dropped in, and it can't
pipeline; so after login its protocol is replaced by ours, which knows whether the final dot had been written, and
sends the envelope in one go where the server allows (RFC 2920): two round trips a mail instead of three and one
for each recipient.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import aiosmtplib

from adapters.providers.smtp_replies import Phase, Reply, classify
from domain.failures import FailureKind

REPLY_BYTES_MAX = 65_536
"""A longer reply is not one: RFC 5321 §4.5.3.1.5 has 512 octets a line."""

BLOCK_BYTES = 65_536
"""Bodies are written in blocks of this size, so that the dot of a large one is kept back until the rest is out."""

QUIT_WAIT_S = 2.0
"""Seconds a server gets to answer QUIT."""

Tls = Literal["starttls", "tls", "none"]
_Auth = Literal["plain", "login", "cram-md5"]
_PREFERRED: dict[bool, tuple[_Auth, ...]] = {True: ("plain", "login", "cram-md5"), False: ("cram-md5", "plain", "login")}
"""By whether TLS hides the password from others."""

_is_host_name = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpSettings:
    """One `[providers.*]` of type smtp. Seconds are floats.

    `tls` "starttls" refuses a server that doesn't offer it; "none" sends all in the clear, the password too.
    `final_timeout_s` is for the reply after the final dot, where giving up means not knowing.
    """

    name: str
    host: str
    port: int = 587
    tls: Tls = "starttls"
    username: str | None = None
    password: str = field(default="", repr=False)
    timeout_s: float = 30.0
    final_timeout_s: float = 300.0
    concurrency: int = 16
    tls_context: ssl.SSLContext | None = None
    local_hostname: str = ""


class NotOpened(Exception):
    """No connection that could carry mail: why, in a kind, a code and a text."""

    def __init__(self, kind: FailureKind, code: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.code = code
        self.text = text


class ConnectionLost(Exception):
    """The connection ended without the reply we waited for."""


@dataclass(slots=True)
class Answers:
    """The replies to one envelope, as far as they came; `lost` says why they ended early."""

    mail: Reply | None = None
    rcpts: list[Reply] = field(default_factory=list)
    data: Reply | None = None
    lost: str = ""


class SmtpConnection(asyncio.Protocol):
    """A connection that is logged in. Not safe for concurrent use: one transaction at a time."""

    def __init__(self, transport: asyncio.Transport, extensions: Mapping[str, str], greeting: str) -> None:
        self.extensions = extensions
        self.greeting = greeting
        self.transactions = 0
        self.idle_since = 0.0
        self.dirty = False
        """A transaction was begun and not ended: RSET comes before the next one."""
        self.dot_written = False
        """The server may have the whole message of the transaction under way."""
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._transport = transport
        self._buffer = b""
        self._lines: list[str] = []
        self._replies: deque[Reply] = deque()
        self._expected = 0
        self._lost = ""
        self._quitting = False
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        transport.set_protocol(self)

    @property
    def usable(self) -> bool:
        """Whether another transaction may be tried on it."""
        return not self._lost and not self._quitting and not self._transport.is_closing()

    @property
    def size_max(self) -> int:
        """The largest message the server takes, in octets (RFC 1870); 0 where it names none."""
        size = self.extensions.get("size", "")
        return int(size) if size.isascii() and size.isdigit() else 0

    async def envelope(self, mail: bytes, rcpts: Sequence[bytes], timeout_s: float) -> Answers:
        """Say MAIL, RCPT and DATA, and bring the answers. Nothing of the message is sent here."""
        answers = Answers()
        self.dot_written = False
        self.transactions += 1
        reset, self.dirty = self.dirty, True
        try:
            if "pipelining" in self.extensions:
                self._write(b"".join((b"RSET\r\n" if reset else b"", mail, *rcpts, b"DATA\r\n")), len(rcpts) + 2 + reset)
            if reset and not (await self._answer(b"RSET\r\n", timeout_s)).positive:
                raise ConnectionLost("RSET refused")
            answers.mail = reply = await self._answer(mail, timeout_s)
            for rcpt in rcpts if reply.positive or self._expected or self._replies else ():
                if reply.code == 421:
                    break
                reply = await self._answer(rcpt, timeout_s)
                answers.rcpts.append(reply)
            if reply.code != 421 and any(one.positive for one in answers.rcpts):
                answers.data = await self._answer(b"DATA\r\n", timeout_s)
            elif self._expected or self._replies:
                answers.data = await self._answer(b"DATA\r\n", timeout_s)
        except ConnectionLost as lost:
            answers.lost = str(lost)
        return answers
