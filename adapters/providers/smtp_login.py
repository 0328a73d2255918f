"""Getting into an SMTP server: connect, TLS, AUTH; by aiosmtplib, phase by phase."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass, field
from typing import Literal, cast

import aiosmtplib

from adapters.providers.smtp_connection import SmtpConnection
from adapters.providers.smtp_replies import Phase, Reply, classify, retry_after_s
from domain.failures import FailureKind

Tls = Literal["starttls", "tls", "none"]

_BEHIND_TLS = ("plain", "login", "cram-md5")
_IN_THE_CLEAR = ("cram-md5", "plain", "login")
_NEXT_MECHANISM = frozenset({500, 502, 504, 534})
"""The server doesn't take this mechanism after all (RFC 4954 §4, §6); any other refusal is about who we are."""

_is_host_name = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpSettings:
    """One `[providers.*]` of type smtp; durations in seconds.

    `tls`: "starttls" refuses a server that doesn't offer it, "none" sends everything in the clear, the password too.
    `timeout_s` bounds connecting and every reply but the last; `final_timeout_s` the reply to the final dot, where
    giving up means not knowing (RFC 5321 §4.5.3.2.6 has 10 minutes). `tls_context` None: the system's authorities.
    A connection waits `idle_s_max` for the next mail (servers and firewalls hang up after a minute or more), and
    carries `transactions_max` (some hang up after 100; a balancer should get to spread us).
    `local_hostname` is what EHLO says; empty: this machine's name, or its address where that has no domain.
    """

    name: str
    host: str
    port: int = 587
    tls: Tls = "starttls"
    username: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = 30.0
    final_timeout_s: float = 300.0
    concurrency: int = 16
    idle_s_max: float = 30.0
    transactions_max: int = 100
    tls_context: ssl.SSLContext | None = None
    local_hostname: str = ""


class NotOpened(Exception):
    """There is no connection that could carry mail."""

    def __init__(
        self, kind: FailureKind, text: str, *, code: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.code = code
        self.retry_after_s = retry_after_s


class _NoWayIn(Exception):
    """The server is there, and offers nothing to log in with."""


async def log_in(settings: SmtpSettings, tls_context: ssl.SSLContext | None) -> SmtpConnection:
    """A connection that is ready for mail. Raises NotOpened; whatever happens, nothing stays open behind it.

    Takes at most `timeout_s` for each step. Not being able to log in is `account`: somebody has to act.
    """
    client = aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        timeout=settings.timeout_s,
        use_tls=settings.tls == "tls",
        start_tls=False,  # we do it: a phase of its own
        tls_context=tls_context,
        local_hostname=settings.local_hostname or "localhost",  # else it asks DNS, without a bound
    )
    phase = Phase.GREETING
    try:
        greeting = await client.connect()
        client.local_hostname = settings.local_hostname or _own_name(client)
        phase = Phase.EHLO
        await client.ehlo()
        if settings.tls == "starttls":
            phase = Phase.STARTTLS
            await client.starttls()
            phase = Phase.EHLO
            await client.ehlo()
        phase = Phase.AUTH
        login = await _authenticate(client, settings)
        return _taken_over(
            client, f"{settings.host}:{settings.port} ({greeting.message.split(' ')[0]}), {login}"
        )
    except BaseException as exc:
        if client.transport is not None:
            cast(asyncio.Transport, client.transport).abort()
        raise _not_opened(phase, exc) from exc


def _not_opened(phase: Phase, exc: BaseException) -> BaseException:
    """The same in our words; what is no failure of the connection stays what it is."""
    match exc:
        case aiosmtplib.SMTPResponseException(code=int(code), message=str(message)):
            reply = Reply(code, message.encode("utf-8", "replace").decode())
            return NotOpened(
                classify(phase, reply.code, reply.text),
                reply.text,
                code=reply.label if code > 0 else "",
                retry_after_s=retry_after_s(reply.text),
            )
        case _NoWayIn():
            return NotOpened(FailureKind.ACCOUNT, str(exc))
        case aiosmtplib.SMTPException() | OSError():
            return NotOpened(FailureKind.TRANSIENT, f"{phase}: {exc}")
        case _:
            return exc


async def _authenticate(client: aiosmtplib.SMTP, settings: SmtpSettings) -> str:
    """Log in with one mechanism: aiosmtplib's `login` tries them all, and three failures lock an account sooner."""
    if not settings.username:
        return "without login"
    offered = client.server_auth_methods
    preferred = _IN_THE_CLEAR if settings.tls == "none" else _BEHIND_TLS
    refused: aiosmtplib.SMTPAuthenticationError | None = None
    methods = {"plain": client.auth_plain, "login": client.auth_login, "cram-md5": client.auth_crammd5}
    for mechanism in (one for one in preferred if one in offered):
        try:
            await methods[mechanism](settings.username, settings.password)
        except aiosmtplib.SMTPAuthenticationError as exc:
            if exc.code not in _NEXT_MECHANISM:
                raise
            refused = exc
        else:
            return f"logged in with {mechanism.upper()}"
    if refused is not None:
        raise refused
    raise _NoWayIn(f"the server offers no login that we know (it has: {' '.join(offered) or 'none'})")


def _own_name(client: aiosmtplib.SMTP) -> str:
    """What EHLO says (RFC 5321 §4.1.4): a name with a domain, else our address on this connection."""
    name = socket.gethostname()
    if _is_host_name(name):
        return name
    address = str(client.get_transport_info("sockname")[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _taken_over(client: aiosmtplib.SMTP, description: str) -> SmtpConnection:
    """From here on the connection is ours; aiosmtplib hears nothing of it any more."""
    transport = client.transport
    if transport is None or transport.is_closing():
        raise aiosmtplib.SMTPServerDisconnected("Connection lost")
    tls = transport.get_extra_info("ssl_object")
    return SmtpConnection(
        cast(asyncio.Transport, transport),
        dict(client.esmtp_extensions),
        f"{description}, {tls.version() if tls else 'no TLS'}",
    )
