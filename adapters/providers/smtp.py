"""SMTP submission as a provider.

Before the final dot nothing was sent; any reply after it is definite; no reply after it is `Unanswered`. What happens
to the connection after the last reply changes nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import timedelta

from adapters.compose import compose, needs_smtputf8, wire_address
from adapters.providers.detail import one_line
from adapters.providers.smtp_connection import Answers, ConnectionLost, SmtpConnection
from adapters.providers.smtp_login import NotOpened, SmtpSettings, log_in
from adapters.providers.smtp_outcomes import envelope_failure, final_outcome, sort_recipients
from adapters.providers.smtp_pool import NoSlot, SmtpPool
from adapters.providers.smtp_replies import Phase, classify
from application.provider_port import ProviderUnfit, Submission
from domain.failures import COUNTS_AS_ANSWER, Accepted, FailureKind, NotAccepted, Outcome

__all__ = ["SmtpProvider", "SmtpSettings"]

INLINE_BYTES_MAX = 262_144
"""Emails with larger attachments are composed in a thread: the event loop has others to serve meanwhile."""


@dataclass(frozen=True, slots=True)
class _Letter:
    """A submission as it goes over the wire. `size` is in octets without dot-stuffing and final dot (RFC 1870 §3)."""

    mail: str
    rcpts: tuple[bytes, ...]
    wire: bytes
    size: int
    smtputf8: bool
    eight_bit: bool


class SmtpProvider:
    """A server that takes mail by SMTP. It lives in the event loop of its first `send`."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings
        self._tls_context = settings.tls_context
        self._tls_context_is_read = asyncio.Lock()
        self._pool = SmtpPool(
            self._log_in,
            size=settings.concurrency,
            idle_s_max=settings.idle_s_max,
            transactions_max=settings.transactions_max,
        )

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def type(self) -> str:
        return "smtp"

    @property
    def key_ttl(self) -> timedelta | None:
        """SMTP knows no idempotency keys."""
        return None

    async def send(self, submission: Submission) -> Outcome:
        """One transaction, over an open connection if there is one."""
        try:
            letter = await _letter(submission)
            async with self._pool.slot(self._settings.timeout_s):
                return await self._send(letter, submission)
        except _Uncomposable as exc:
            return NotAccepted(kind=FailureKind.CONTENT, detail=one_line(f"can't be composed: {exc}"))
        except NoSlot as exc:
            return NotAccepted(kind=FailureKind.NOT_TRIED, detail=str(exc))
        except NotOpened as exc:
            detail = one_line(exc.text)
            return NotAccepted(kind=exc.kind, code=exc.code, detail=detail, retry_after_s=exc.retry_after_s)
        except asyncio.CancelledError:
            return NotAccepted(
                kind=FailureKind.NOT_TRIED, code="cancelled"
            )  # what may have gone out answers itself
        except Exception as exc:
            # A bug of ours, before anything could be sent: `_transact` answers for what comes after.
            return NotAccepted(kind=FailureKind.UNKNOWN, detail=one_line(f"{type(exc).__name__}: {exc}"))

    async def check(self) -> str:
        """Log in and say NOOP."""
        server = f"{self._settings.host}:{self._settings.port}"
        try:
            connection = await self._log_in()
        except NotOpened as exc:
            todo = "username and password" if exc.kind is FailureKind.ACCOUNT else "host, port and tls"
            raise ProviderUnfit(f"{server} does not let us in: {one_line(exc.text)}. Check {todo}") from exc
        try:
            reply = await connection.noop(self._settings.timeout_s)
        except ConnectionLost as exc:
            raise ProviderUnfit(f"{server} let us in, then: {exc}") from exc
        finally:
            self._pool.retire(connection)
        if not reply.positive:
            raise ProviderUnfit(f"{server} let us in, then refused NOOP: {reply.code} {one_line(reply.text)}")
        return one_line(connection.description)

    async def close(self) -> None:
        """Say goodbye on every connection."""
        await self._pool.close()

    async def _log_in(self) -> SmtpConnection:
        async with self._tls_context_is_read:
            if self._tls_context is None and self._settings.tls != "none":
                # Reading the system's authorities takes tens of milliseconds: once, and not in the loop.
                self._tls_context = await asyncio.to_thread(ssl.create_default_context)
        return await log_in(self._settings, self._tls_context)

    async def _send(self, letter: _Letter, submission: Submission) -> Outcome:
        """A connection that waited may have died without a word: then, as nothing was sent, a new one takes over."""
        if (connection := self._pool.idle()) is not None:
            outcome = await self._use(connection, letter, submission, waited=True)
            if outcome is not None:
                return outcome
        outcome = await self._use(await self._pool.open(), letter, submission, waited=False)
        assert outcome is not None, "only a connection that waited is replaced"
        return outcome

    async def _use(
        self, connection: SmtpConnection, letter: _Letter, submission: Submission, *, waited: bool
    ) -> Outcome | None:
        """One transaction, and the connection given back. None: it waited, and was found dead."""
        outcome: Outcome | None = None
        sound = False
        try:
            outcome = await self._transact(connection, letter, submission, waited=waited)
            match outcome:
                case Accepted():
                    sound = True
                case NotAccepted(kind=kind):
                    sound = kind in COUNTS_AS_ANSWER
        except BaseException:
            connection.abort()
            raise
        finally:
            if sound:
                self._pool.keep(connection)
            else:
                self._pool.retire(connection)
        return outcome

    async def _transact(
        self, connection: SmtpConnection, letter: _Letter, submission: Submission, *, waited: bool
    ) -> Outcome | None:
        if (unfit := _unfit(connection, letter)) is not None:
            return unfit
        timeout_s, final_timeout_s = self._settings.timeout_s, self._settings.final_timeout_s
        answers = await connection.envelope(_mail_command(connection, letter), letter.rcpts, timeout_s)
        if waited and _was_dead(connection, answers):
            return None
        those = sort_recipients(answers.rcpts, submission.recipients)
        if (failure := envelope_failure(answers, those)) is not None:
            return failure
        try:
            reply = await connection.body(letter.wire, timeout_s=timeout_s, final_timeout_s=final_timeout_s)
            return final_outcome(reply, those, dot_written=connection.dot_written)
        except asyncio.CancelledError:
            if not connection.dot_written:
                raise
            connection.abort()
            return those.unanswered("cancelled after the final dot")
        except Exception as exc:
            if connection.dot_written:
                return those.unanswered(f"after the final dot: {exc}")
            if isinstance(exc, ConnectionLost):
                return those.not_accepted(FailureKind.TRANSIENT, None, f"before the final dot: {exc}")
            raise


class _Uncomposable(Exception):
    """The intake should have refused this one."""


async def _letter(submission: Submission) -> _Letter:
    content = submission.content
    if sum(len(one.data) for one in content.attachments) > INLINE_BYTES_MAX:
        return await asyncio.to_thread(_write, submission)
    return _write(submission)


def _write(submission: Submission) -> _Letter:
    """Compose; raises _Uncomposable."""
    content = submission.content
    try:
        data = compose(content, email_id=submission.email_id, date=submission.date)
        mail = wire_address(content.sender.address)
        rcpts = tuple(f"RCPT TO:<{wire_address(one)}>\r\n".encode() for one in submission.addresses)
    except ValueError as exc:
        raise _Uncomposable(str(exc)) from exc
    return _Letter(mail, rcpts, dot_stuffed(data), len(data), needs_smtputf8(content), not data.isascii())


def dot_stuffed(data: bytes) -> bytes:
    """The message as DATA wants it (RFC 5321 §4.5.2), dot and all.

    Refuses a line end of another kind: some servers take it for one, and would read a dot where none is.
    """
    if not data.count(b"\r") == data.count(b"\n") == data.count(b"\r\n"):
        raise _Uncomposable("a line end that isn't CRLF")
    stuffed = data.replace(b"\r\n.", b"\r\n..")
    if data.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if data.endswith(b"\r\n") else b"\r\n.\r\n")


def _unfit(connection: SmtpConnection, letter: _Letter) -> NotAccepted | None:
    """What the server has told in EHLO already: it wouldn't take this message."""
    offers, size_max = connection.extensions, connection.size_max
    if letter.smtputf8 and "smtputf8" not in offers:
        return NotAccepted(kind=FailureKind.CONTENT, detail="an address beyond ASCII; SMTPUTF8 isn't offered")
    if letter.eight_bit and "8bitmime" not in offers:
        return NotAccepted(kind=FailureKind.CONTENT, detail="octets beyond ASCII; 8BITMIME isn't offered")
    if 0 < size_max < letter.size:
        detail = f"{letter.size} octets, and the server takes {size_max}"
        return NotAccepted(kind=FailureKind.TOO_LARGE, detail=detail)
    return None


def _mail_command(connection: SmtpConnection, letter: _Letter) -> bytes:
    offers = connection.extensions
    size = f" SIZE={letter.size}" if "size" in offers else ""  # RFC 1870
    eight_bit = " BODY=8BITMIME" if letter.eight_bit else ""  # RFC 6152
    smtputf8 = " SMTPUTF8" if letter.smtputf8 else ""  # RFC 6531
    return f"MAIL FROM:<{letter.mail}>{size}{eight_bit}{smtputf8}\r\n".encode()


def _was_dead(connection: SmtpConnection, answers: Answers) -> bool:
    """Gone before MAIL was answered, or told by 421 that it's over, for a reason that isn't our pace."""
    if answers.mail is None:
        return not connection.timed_out
    mail = answers.mail
    return mail.code == 421 and classify(Phase.MAIL, mail.code, mail.text) is FailureKind.TRANSIENT
