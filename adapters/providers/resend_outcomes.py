"""What Resend's answers mean. Pure.

The rules are a table, read from the top: the first that fits decides. A status alone says little here (403 is a bad
key, a sender's unverified domain or a suspended account), so the error's name is read with it, and its message where
the name is `validation_error`, which covers most of them. A refusal is believed only from the API itself: a proxy's
400 names nothing, and is nobody's word on the email.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import msgspec

from adapters.providers.detail import one_line
from adapters.providers.http_call import Answered, answered_at, retry_after_s, seconds
from domain.failures import Accepted, NotAccepted, Outcome, Unanswered
from domain.failures import FailureKind as Kind

_ERRORS = "https://resend.com/docs/api-reference/errors"
_KEYS = "https://resend.com/docs/dashboard/emails/idempotency-keys"
_LIMITS = "https://resend.com/docs/api-reference/rate-limit"
_QUOTAS = "https://resend.com/docs/knowledge-base/account-quotas-and-limits"
_DOMAINS = "https://resend.com/docs/knowledge-base/403-error-domain-mismatch"
_TESTING = "https://resend.com/docs/knowledge-base/403-error-resend-dev-domain"
_ATTACHMENTS = "https://resend.com/docs/dashboard/emails/attachments"
_INTRODUCTION = "https://resend.com/docs/api-reference/introduction"
_SDK = "https://github.com/resend/resend-node: src/interfaces.ts"
_HTTP = "https://www.rfc-editor.org/rfc/rfc9110"


class ApiError(NamedTuple):
    """An error in Resend's form; both empty where the answer has another."""

    name: str
    message: str


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE | re.DOTALL)


_OUR_KEY = _words(
    r"api.?key\b.{0,40}\b(invalid|not active|inactive|not found|suspended|restricted|missing|expired|revoked|disabled)",
    r"\b(invalid|missing|expired|revoked|unknown)\b.{0,20}api.?key",
)
_OUR_SENDING = _words(
    r"\b(account|team|sending|organi[sz]ation)\b.{0,60}\b(suspended|paused|disabled|blocked|deactivated|locked)\b"
)
_SENDER = _words(
    r"domain is not verified",
    r"you can only send testing emails",
    r"invalid `?from`? (field|address)",
    r"not (allowed|authori[sz]ed|permitted) to send\b.{0,40}\bfrom\b",
)
_SIZE = _words(
    r"too large",
    r"(size|larger|content|attachments?)\b.{0,60}\b(exceed|limit|maximum|40 ?MB)",
    r"exceed\w*\b.{0,60}\b(size|40 ?MB)",
)
_SOME_NAME = r".+"
_REFUSED = r"400|422"
_LOCKED_OUT = r"40[0-3]|422|451"


@dataclass(frozen=True, slots=True)
class _Rule:
    """Fits when all that it names fits; `source` says where it was read."""

    kind: Kind
    status: str
    name: str
    source: str
    words: re.Pattern[str] | None = None

    def fits(self, status: int, error: ApiError) -> bool:
        return (
            re.fullmatch(self.status, str(status)) is not None
            and re.fullmatch(self.name, error.name) is not None
            and (self.words is None or self.words.search(error.message) is not None)
        )


_RULES = (
    # 500 application_error, internal_server_error; 503 service_unavailable: none says that nothing was sent, and a
    # gateway's 502 and 504 know less. With the key a repeat costs nothing.
    _Rule(Kind.UNCERTAIN, r"5..", r".*", _ERRORS),
    # concurrent_idempotent_requests: an earlier call with this key is under way, and may be accepted yet.
    # invalid_idempotent_request: one with this key and another payload was. That email went to the same people: to
    # say it wasn't accepted would send them a second one. resource_locked: no reason to be surer.
    _Rule(Kind.UNCERTAIN, r"409", r".*", _KEYS),
    # What is moved for good, or with its method (301, 307, 308), nobody has acted on: base_url has to follow. Any
    # other redirect may be how somebody answers who has (303).
    _Rule(Kind.ACCOUNT, r"30[178]", r".*", f"{_HTTP}#section-15.4"),
    _Rule(Kind.UNCERTAIN, r"[13]..", r".*", f"{_HTTP}#section-15.4"),
    _Rule(Kind.QUOTA, r"429", r"(daily|monthly)_quota_exceeded", _LIMITS),
    _Rule(Kind.QUOTA, r"429", r".*", _QUOTAS, _words(r"(daily|monthly)\b.{0,30}\bquota")),
    _Rule(Kind.THROTTLED, r"429", r".*", _LIMITS),  # rate_limit_exceeded, and whoever stands before the API
    # Before the key: one that is restricted to a domain says this of the others.
    _Rule(Kind.SENDER, r"40[0-3]|422", r".*", _DOMAINS, _SENDER),
    _Rule(Kind.ACCOUNT, _LOCKED_OUT, r".*", _ERRORS, _OUR_KEY),
    _Rule(Kind.ACCOUNT, _LOCKED_OUT, r".*", _QUOTAS, _OUR_SENDING),
    _Rule(Kind.ACCOUNT, r"40[12]", r".*", _ERRORS),  # missing_api_key, restricted_api_key
    # Only from an unverified or the testing domain: other senders of the account get through.
    _Rule(Kind.SENDER, r"403", r"validation_error", _TESTING),
    _Rule(Kind.SENDER, r"403|422", r"invalid_from_address", _SDK),
    # invalid_api_key, restricted_api_key, suspended_api_key, invalid_permission; 1010, for want of a User-Agent.
    _Rule(Kind.ACCOUNT, r"403", r".*", _INTRODUCTION),
    # not_found, method_not_allowed: what base_url leads to has no POST /emails. Somebody has to act.
    _Rule(Kind.ACCOUNT, r"40[45]", r".*", _ERRORS),
    _Rule(Kind.TRANSIENT, r"408", r".*", f"{_HTTP}#section-15.5.9"),  # not all of the request was waited for
    _Rule(Kind.TOO_LARGE, r"413", r".*", f"{_HTTP}#section-15.5.14"),
    _Rule(Kind.TOO_LARGE, _REFUSED, _SOME_NAME, _ATTACHMENTS, _SIZE),
    # Our key is made so that it fits; these two are about making API keys and domains. None is about the email.
    _Rule(Kind.UNKNOWN, _REFUSED, r"invalid_idempotency_key|invalid_access|invalid_region", _ERRORS),
    # validation_error, invalid_parameter, invalid_attachment, missing_required_field, …: never the recipients'
    # own fault as far as it is told, as one bad address refuses the email to everybody.
    _Rule(Kind.CONTENT, _REFUSED, _SOME_NAME, _ERRORS),
    _Rule(Kind.CONTENT, r"451", r"security_error", _ERRORS),
)


def classify(status: int, error: ApiError) -> Kind:
    """The failure kind of an answer that isn't 2xx; `uncertain` where the email may have been taken all the same."""
    return next((rule.kind for rule in _RULES if rule.fits(status, error)), Kind.UNKNOWN)


def outcome_of(answer: Answered, carried: tuple[int, ...], left: tuple[int, ...]) -> Outcome:
    """The outcome of a call for `carried`; `left` are the recipients that it didn't name."""
    if 200 <= answer.status <= 299:
        return Accepted(
            accepted=carried, deferred=left, message_id=_message_id(answer.body), code=str(answer.status)
        )
    error = api_error(answer)
    kind = classify(answer.status, error)
    code = f"{answer.status} {one_line(error.name)}".rstrip()
    detail = told(answer)
    if kind is Kind.UNCERTAIN:
        return Unanswered(code=code, detail=detail, deferred=left)
    wait = _wait_s(kind, error, answer.headers)
    return NotAccepted(kind=kind, code=code, detail=detail, retry_after_s=wait)


def api_error(answer: Answered) -> ApiError:
    """The error in an answer."""
    try:
        found = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, ValueError):
        return ApiError("", "")
    name, message = (found.get("name"), found.get("message")) if isinstance(found, dict) else ("", "")
    return ApiError(name if isinstance(name, str) else "", message if isinstance(message, str) else "")


def told(answer: Answered) -> str:
    """The answer in words: the error's message, else the beginning of whatever came."""
    return one_line(api_error(answer).message or answer.body[:1000].decode("utf-8", "replace"))


_LIMIT_WAITS = (Kind.THROTTLED, Kind.QUOTA, Kind.TRANSIENT)


def _wait_s(kind: Kind, error: ApiError, headers: Mapping[str, str]) -> float | None:
    """How long we are asked to wait. The headers speak of the rate limit's window, not of a quota's end."""
    if kind not in _LIMIT_WAITS:
        return None
    asked = retry_after_s(headers)
    if kind is Kind.THROTTLED and asked is None:
        return seconds(headers.get("RateLimit-Reset"))
    if kind is Kind.QUOTA and error.name.startswith("daily"):
        return max(filter(None, (asked, _until_midnight_s(headers))), default=None)
    return asked


def _until_midnight_s(headers: Mapping[str, str]) -> float | None:
    """The daily quota is one of UTC's calendar days (_LIMITS); told by the answer's own Date."""
    now = answered_at(headers)
    if now is None:
        return None
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (midnight - now).total_seconds()


class _Sent(msgspec.Struct):
    id: str


_sent = msgspec.json.Decoder(_Sent)


def _message_id(body: bytes) -> str:
    """Resend's id of the email; empty where it can't be read, which makes the email no less accepted."""
    try:
        return one_line(_sent.decode(body).id)
    except (msgspec.DecodeError, ValueError):
        return ""
