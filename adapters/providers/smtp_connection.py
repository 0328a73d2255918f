"""One SMTP connection that is logged in, and its mail transactions.

aiosmtplib brings us in (`smtp_login`); the transactions we drive ourselves. Its `sendmail` hides in which phase a
connection dropped, and it can't pipeline. This protocol knows whether the final dot had been written, and sends the
envelope in one go where the server allows it (RFC 2920): two round trips a mail instead of three and one more for
each recipient.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adapters.providers.smtp_replies import Phase, Reply

REPLY_BYTES_MAX = 65_536
"""A longer reply is none: RFC 5321 §4.5.3.1.5 has 512 octets a line."""

BLOCK_BYTES = 65_536
"""A body is written in blocks of this size: the dot of a large one is kept back until the rest is on its way."""

QUIT_WAIT_S = 2.0
"""Seconds a server gets to answer QUIT."""


class ConnectionLost(Exception):
    """The connection ended without the reply we waited for; the text says how."""


@dataclass(slots=True)
class Answers:
    """The replies to one envelope, as far as they came; `lost` says why they ended early."""

    mail: Reply | None = None
    rcpts: list[Reply] = field(default_factory=list)
    data: Reply | None = None
    lost: str = ""

    def take(self, phase: Phase, reply: Reply) -> None:
        """Keep the reply where it belongs."""
        match phase:
            case Phase.MAIL:
                self.mail = reply
            case Phase.RCPT:
                self.rcpts.append(reply)
            case Phase.DATA:
                self.data = reply
            case _ if not reply.positive:
                raise ConnectionLost(f"{phase} was answered {reply.code}")

    def is_pointless(self, phase: Phase) -> bool:
        """Whether the answers so far leave nothing to be had from this command."""
        match phase:
            case Phase.RCPT:
                return self.mail is None or not self.mail.positive
            case Phase.DATA:
                return not any(reply.positive for reply in self.rcpts)
            case _:
                return False


class SmtpConnection(asyncio.Protocol):
    """For one transaction at a time. Whoever is interrupted in one calls `abort`.

    `description` says what was connected to, for people. `extensions` are the server's EHLO keywords in lower
    case, with their parameters.
    """

    def __init__(self, transport: asyncio.Transport, extensions: Mapping[str, str], description: str) -> None:
        self.extensions = extensions
        self.description = description
        self.transactions = 0
        self.idle_since = 0.0
        self.dot_written = False
        """The server may have all of the message of the transaction under way."""
        self.timed_out = False
        """It was lost to waiting, not by what the other side did."""
        self._in_envelope = False  # RSET comes before the next transaction
        self._in_body = False  # nothing but the body can come next
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._transport = transport
        self._buffer = b""
        self._lines: list[str] = []
        self._reply_bytes = 0
        self._replies: deque[Reply] = deque()
        self._expected = 0
        self._lost = ""
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        # Writing is paused unless all is with the kernel, so that `body` knows what has left us.
        transport.set_write_buffer_limits(high=0)
        transport.set_protocol(self)

    @property
    def usable(self) -> bool:
        """Whether another transaction may be tried on it."""
        return not self._lost and not self._in_body and not self._transport.is_closing()

    @property
    def size_max(self) -> int:
        """The largest message the server takes, in octets (RFC 1870); 0 where it names none."""
        size = self.extensions.get("size", "")
        return int(size) if size.isascii() and size.isdigit() else 0

    async def envelope(self, mail: bytes, rcpts: Sequence[bytes], timeout_s: float) -> Answers:
        """Say MAIL, RCPT and DATA, and bring the answers. Nothing of the message is sent.

        A 421 is the last answer. Never raises but for cancellation.
        """
        commands = [(Phase.RSET, b"RSET\r\n")] if self._in_envelope else []
        commands += ((Phase.MAIL, mail), *((Phase.RCPT, one) for one in rcpts), (Phase.DATA, b"DATA\r\n"))
        self.dot_written, self._in_envelope = False, True
        self.transactions += 1
        at_once = "pipelining" in self.extensions
        answers = Answers()
        try:
            if at_once:
                self._say(b"".join(command for _, command in commands), len(commands))
            for phase, command in commands:
                if not at_once:
                    if answers.is_pointless(phase):
                        break
                    self._say(command, 1)
                reply = await self._reply(timeout_s)
                self._in_body = phase is Phase.DATA and reply.intermediate
                answers.take(phase, reply)
                if reply.code == 421:
                    self._fail("closed by the server with 421")
                    break
        except ConnectionLost as lost:
            answers.lost = str(lost)
            self._fail(answers.lost)
        return answers

    async def body(self, wire: bytes, *, timeout_s: float, final_timeout_s: float) -> Reply:
        """Send the dot-stuffed message with its final dot, and bring the reply. Raises ConnectionLost.

        `dot_written` tells afterwards whether the server may have all of it: the last block goes out only once the
        others have left this process, and a server that answers before it never gets it.
        """
        self._expected += 1
        for start in range(0, max(len(wire) - BLOCK_BYTES, 0), BLOCK_BYTES):
            self._transport.write(wire[start : start + BLOCK_BYTES])
            await self._until_flushed(timeout_s)
            if self._replies:
                return self._replies.popleft()
        if self._lost:
            raise ConnectionLost(self._lost)
        self.dot_written = True
        self._transport.write(wire[max((len(wire) - 1) // BLOCK_BYTES, 0) * BLOCK_BYTES :])
        reply = await self._reply(final_timeout_s)
        self._in_body = self._in_envelope = False
        return reply

    async def noop(self, timeout_s: float) -> Reply:
        """Ask whether it is alive. Raises ConnectionLost."""
        self._say(b"NOOP\r\n", 1)
        return await self._reply(timeout_s)

    def quit(self) -> None:
        """Say goodbye, once; the connection is gone within `QUIT_WAIT_S`."""
        if self._in_body:
            self.abort()
        if self._lost:
            return
        self._say(b"QUIT\r\n", 1)
        self._lost = "closed by us"
        timer = self._loop.call_later(QUIT_WAIT_S, self._transport.abort)
        self.closed.add_done_callback(lambda _: timer.cancel())

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._fail("closed by us")

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if not (line[:3].isdigit() and line[3:4] in (b"", b"\r", b" ", b"-")):
                return self._fail(f"not a reply: {line[:80]!r}")
            self._lines.append(line[4:].strip().decode("utf-8", "replace"))
            if line[3:4] != b"-":
                self._take(Reply(int(line[:3]), "\n".join(self._lines)))
                self._lines, self._reply_bytes = [], 0
        self._reply_bytes += len(data)
        if self._reply_bytes > REPLY_BYTES_MAX:
            self._fail("a reply without an end")
        return None

    def eof_received(self) -> None:
        self._fail("closed by the server")  # at once: TLS would go on flushing, and swallow what we write

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection lost: {exc}" if exc else "closed by the server")
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    def _say(self, command: bytes, replies: int) -> None:
        if self._lost:
            raise ConnectionLost(self._lost)
        self._expected += replies
        self._transport.write(command)

    def _take(self, reply: Reply) -> None:
        if not self._expected:
            # Mostly the 421 of a server that has waited long enough: whatever it is, it answers nothing.
            return self._fail(f"closed by the server: {reply.code} {reply.text}")
        if self._lost:
            self._loop.call_soon(self._transport.abort)  # the answer to QUIT
        self._expected -= 1
        self._replies.append(reply)
        self._wake()
        return None

    async def _reply(self, timeout_s: float) -> Reply:
        while not self._replies and not self._lost:  # what was written having left wakes us, too
            await self._wait(timeout_s, "no reply")
        if not self._replies:
            raise ConnectionLost(self._lost)
        return self._replies.popleft()

    async def _until_flushed(self, timeout_s: float) -> None:
        while self._paused and not self._replies and not self._lost:
            await self._wait(timeout_s, "nothing was read")
        if self._lost and not self._replies:
            raise ConnectionLost(self._lost)

    async def _wait(self, timeout_s: float, otherwise: str) -> None:
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout_s, self._time_out, f"{otherwise} within {timeout_s:g} s")
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _time_out(self, why: str) -> None:
        self.timed_out = True
        self._fail(why)

    def _fail(self, why: str) -> None:
        self._lost = self._lost or why
        # Not at once: this may be inside of a callback of asyncio's TLS, which doesn't bear it.
        self._loop.call_soon(self._transport.abort)
        self._wake()
