"""Resend's HTTP API as a provider (https://resend.com/docs/api-reference/emails/send-email).

Every call carries the attempt's key: where an answer was lost, the same call again is answered from the first.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass, field, replace
from datetime import timedelta

import msgspec

from adapters.providers.detail import one_line
from adapters.providers.http_call import Answered, Called, HttpCaller, Lost, NotSent, api_url
from adapters.providers.resend_outcomes import api_error, outcome_of, told
from adapters.providers.resend_request import EmailRequest, Unsendable, email_request, size_of
from application.provider_port import ProviderUnfit, Submission
from domain.failures import FailureKind, NotAccepted, Outcome, Unanswered

KEY_TTL = timedelta(hours=23)
"""Resend keeps a key for 24 hours. The hour less is what an attempt may take between being allowed to repeat the
key and being read by Resend (the dispatcher's bound on one attempt), so that none arrives at a forgotten key."""

INLINE_BYTES_MAX = 262_144
"""Larger emails are written in a thread: the event loop has others to serve meanwhile."""

_is_key = re.compile(r"[!-~]+").fullmatch
_is_idempotency_key = re.compile(r"[!-~]{1,256}").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendSettings:
    """One `[providers.*]` of type resend. Raises ValueError that names what is wrong and what would be right.

    `timeout_s` bounds each step of a call (see HttpCaller). `tls_context` None: the system's authorities.
    """

    name: str
    key: str = field(repr=False)
    base_url: str = "https://api.resend.com"
    timeout_s: float = 30.0
    concurrency: int = 16
    tls_context: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        api_url(self.base_url)
        if not _is_key(self.key):
            raise ValueError("key is no API key: use one from https://resend.com/api-keys, like re_123456789")


class ResendProvider:
    """Resend. It lives in the event loop of its first `send`."""

    def __init__(self, settings: ResendSettings) -> None:
        self._settings = settings
        url = api_url(settings.base_url)
        self._emails, self._domains = url / "emails", url / "domains"
        self._caller = self._new_caller()

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def type(self) -> str:
        return "resend"

    @property
    def key_ttl(self) -> timedelta | None:
        """Less than Resend's own 24 hours."""
        return KEY_TTL

    async def send(self, submission: Submission) -> Outcome:
        """One `POST /emails`."""
        if not _is_idempotency_key(submission.provider_key):
            return NotAccepted(kind=FailureKind.UNKNOWN, detail="the provider key is none that Resend takes")
        try:
            request = await _request(submission)
        except Unsendable as exc:
            return NotAccepted(kind=exc.kind, detail=one_line(exc.detail))
        except asyncio.CancelledError:
            return NotAccepted(kind=FailureKind.NOT_TRIED, code="cancelled")
        except Exception as exc:  # a bug of ours
            return NotAccepted(kind=FailureKind.UNKNOWN, detail=one_line(f"{type(exc).__name__}: {exc}"))
        headers = {"Idempotency-Key": submission.provider_key}
        called = await self._caller.call("POST", self._emails, body=request.body, headers=headers)
        try:
            return _outcome(self._redacted(called), request)
        except Exception as exc:  # a bug as well, after it may have been taken
            return Unanswered(detail=one_line(f"{type(exc).__name__}: {exc}"), deferred=request.left)

    async def check(self) -> str:
        """Ask for the domains. A key that may only send is refused them by name, which proves it as well."""
        host = self._domains.host
        caller = self._new_caller()  # of its own, so that it takes no slot and leaves no connection
        try:
            called = self._redacted(await caller.call("GET", self._domains))
        finally:
            await caller.close()
        if not isinstance(called, Answered):
            detail = one_line(called.detail)
            raise ProviderUnfit(f"{host} can't be reached: {detail}. Check base_url, and the way there")
        if called.status == 200:
            return f"{host} knows the key; {_verified(called.body)}"
        error = api_error(called)
        if called.status == 401 and error.name == "restricted_api_key":
            return f"{host} knows the key; it may send and nothing else"
        said = f"{called.status} {one_line(error.name)}".rstrip()
        raise ProviderUnfit(
            f"{host} does not let us in: {said}: {told(called).rstrip('.')}. {_todo(called.status)}"
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._caller.close()

    def _new_caller(self) -> HttpCaller:
        return HttpCaller(
            headers={
                "Authorization": f"Bearer {self._settings.key}",
                "User-Agent": "stagepost",  # without one it refuses us: docs, knowledge-base/403-error-1010
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            timeout_s=self._settings.timeout_s,
            concurrency=self._settings.concurrency,
            tls_context=self._settings.tls_context,
        )

    def _redacted(self, called: Called) -> Called:
        """No server gets our key into a log by repeating it."""
        key = self._settings.key
        match called:
            case Answered(body=body) if key.encode() in body:
                return replace(called, body=body.replace(key.encode(), b"[key]"))
            case NotSent(detail=detail) | Lost(detail=detail) if key in detail:
                return replace(called, detail=detail.replace(key, "[key]"))
            case _:
                return called


async def _request(submission: Submission) -> EmailRequest:
    if size_of(submission.content) > INLINE_BYTES_MAX:
        return await asyncio.to_thread(email_request, submission)
    return email_request(submission)


def _outcome(called: Called, request: EmailRequest) -> Outcome:
    match called:
        case Answered():
            return outcome_of(called, request.carried, request.left)
        case NotSent(kind=kind, detail=detail, code=code):
            return NotAccepted(kind=kind, code=code, detail=one_line(detail))
        case Lost(detail=detail):
            return Unanswered(detail=one_line(detail), deferred=request.left)


class _Domain(msgspec.Struct):
    name: str
    status: str = ""


class _Domains(msgspec.Struct):
    data: list[_Domain]


def _verified(body: bytes) -> str:
    try:
        domains = msgspec.json.decode(body, type=_Domains).data
    except (msgspec.DecodeError, ValueError):
        return "its list of domains can't be read"
    names = [one.name for one in domains if one.status == "verified"]
    return one_line(f"verified domains: {', '.join(names)}") if names else "no domain is verified there"


def _todo(status: int) -> str:
    """What to do about an answer like this."""
    if status in (401, 402, 403):
        return "Check key"
    if status == 429 or status >= 500:
        return "Try again in a minute"
    return "Check base_url"
