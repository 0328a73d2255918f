"""What Resend's answers mean, and what they ask us to wait."""

from __future__ import annotations

import json

import pytest

from adapters.providers.http_call import Answered, http_date, retry_after_s
from adapters.providers.resend_outcomes import ApiError, classify, outcome_of
from domain.failures import FailureKind as Kind
from domain.failures import NotAccepted, Unanswered
from tests.support.resend_api import STATUSES

DATE = "Wed, 05 Nov 2025 23:59:30 GMT"
UNVERIFIED = (
    "The example.org domain is not verified. Please, add and verify your domain on https://resend.com/domains"
)
TESTING = (
    "You can only send testing emails to your own email address (me@example.com). To send emails to others, …"
)

DOCUMENTED: list[tuple[int, str, str, Kind]] = [
    (400, "invalid_idempotency_key", "", Kind.UNKNOWN),
    (400, "validation_error", "We found an error with one or more fields in the request.", Kind.CONTENT),
    (401, "missing_api_key", "Missing API key in the authorization header.", Kind.ACCOUNT),
    (401, "restricted_api_key", "This API key is restricted to only send emails.", Kind.ACCOUNT),
    (401, "validation_error", "API key is invalid", Kind.ACCOUNT),
    (400, "validation_error", "API key is invalid", Kind.ACCOUNT),
    (402, "", "", Kind.ACCOUNT),
    (403, "invalid_api_key", "API key is invalid.", Kind.ACCOUNT),
    (403, "restricted_api_key", "API key is not active", Kind.ACCOUNT),
    (403, "suspended_api_key", "This API key is suspended", Kind.ACCOUNT),
    (403, "invalid_permission", "Access token is missing required scopes.", Kind.ACCOUNT),
    (403, "validation_error", UNVERIFIED, Kind.SENDER),
    (403, "validation_error", TESTING, Kind.SENDER),
    (
        403,
        "restricted_api_key",
        "This API key is not authorized to send emails from example.org",
        Kind.SENDER,
    ),
    (403, "validation_error", "Your account has been suspended.", Kind.ACCOUNT),
    (403, "validation_error", "Sending is temporarily paused for this team.", Kind.ACCOUNT),
    (403, "validation_error", "Something that nobody wrote down yet.", Kind.SENDER),
    (403, "invalid_from_address", "", Kind.SENDER),
    (404, "not_found", "The requested endpoint does not exist.", Kind.ACCOUNT),
    (405, "method_not_allowed", "Method is not allowed for the requested path.", Kind.ACCOUNT),
    (409, "invalid_idempotent_request", "", Kind.UNCERTAIN),
    (409, "concurrent_idempotent_requests", "", Kind.UNCERTAIN),
    (409, "resource_locked", "", Kind.UNCERTAIN),
    (422, "invalid_attachment", "Attachment must have either a `content` or `path`.", Kind.CONTENT),
    (422, "invalid_from_address", "Invalid from address.", Kind.SENDER),
    (
        422,
        "validation_error",
        "Invalid `from` field. The email address needs to follow a format",
        Kind.SENDER,
    ),
    (422, "validation_error", "Invalid `to` field. The email address needs to follow a format", Kind.CONTENT),
    (422, "invalid_access", "", Kind.UNKNOWN),
    (422, "invalid_parameter", "The parameter must be a valid UUID.", Kind.CONTENT),
    (422, "invalid_region", "", Kind.UNKNOWN),
    (422, "missing_required_field", "Missing `subject` field.", Kind.CONTENT),
    (422, "missing_required_parameter", "", Kind.CONTENT),
    (422, "validation_error", "The email exceeds the maximum size of 40MB.", Kind.TOO_LARGE),
    (422, "validation_error", "Attachments are too large.", Kind.TOO_LARGE),
    (413, "", "", Kind.TOO_LARGE),
    (429, "rate_limit_exceeded", "Too many requests.", Kind.THROTTLED),
    (429, "daily_quota_exceeded", "You have exceeded your daily email sending quota.", Kind.QUOTA),
    (429, "monthly_quota_exceeded", "You have exceeded your monthly email sending quota.", Kind.QUOTA),
    (429, "", "", Kind.THROTTLED),
    (429, "quota_exceeded", "You have reached your monthly email quota", Kind.QUOTA),
    (451, "security_error", "We may have found a security issue with the request.", Kind.CONTENT),
    (500, "application_error", "An unexpected error occurred.", Kind.UNCERTAIN),
    (500, "internal_server_error", "An unexpected error occurred.", Kind.UNCERTAIN),
    (502, "", "", Kind.UNCERTAIN),
    (503, "service_unavailable", "API is temporarily unavailable", Kind.UNCERTAIN),
    (504, "", "", Kind.UNCERTAIN),
    (408, "", "", Kind.TRANSIENT),
    # Not the API's word: nobody is refused for good by a proxy.
    (400, "", "", Kind.UNKNOWN),
    (422, "", "", Kind.UNKNOWN),
    (403, "", "", Kind.ACCOUNT),
    (404, "", "", Kind.ACCOUNT),
    (418, "teapot", "", Kind.UNKNOWN),
    (304, "", "", Kind.UNCERTAIN),
    (101, "", "", Kind.UNCERTAIN),
]


@pytest.mark.parametrize(("status", "name", "message", "kind"), DOCUMENTED)
def test_every_error_has_its_kind(status: int, name: str, message: str, kind: Kind) -> None:
    """By status and name, and by the message where these say too little."""
    assert kind is classify(status, ApiError(name, message))


def test_every_documented_name_is_covered() -> None:
    """With the status it is documented with."""
    assert set(STATUSES.items()) <= {(name, status) for status, name, _, _ in DOCUMENTED}


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("Thu, 06 Nov 2025 00:00:00 GMT", 30.0),
        ("Thursday, 06-Nov-25 00:00:00 GMT", 30.0),
        ("Thu Nov  6 00:00:00 2025", 30.0),
        ("Wed, 05 Nov 2025 23:00:00 GMT", 0.0),
        ("-1", None),
        ("inf", None),
        ("1e9", None),
        ("99999999999", None),
        ("soon", None),
        ("Thu, 99 Nov 2025 00:00:00 GMT", None),
        ("", None),
    ],
)
def test_retry_after_in_all_its_forms(text: str, wait_s: float | None) -> None:
    """Seconds, or a date by the server's own clock; what is neither asks for nothing."""
    assert wait_s == retry_after_s({"Retry-After": text, "Date": DATE})


def test_a_date_needs_the_servers_clock() -> None:
    """Ours may be wrong by any amount."""
    assert retry_after_s({"Retry-After": "Thu, 06 Nov 2025 00:00:00 GMT"}) is None


@pytest.mark.parametrize(
    "text", ["", "Wed, 05 Nov 99999 23:59:30 GMT", "Wed, 05 Nov 2025 25:00:00 GMT", "\0"]
)
def test_no_date_is_no_date(text: str) -> None:
    """Whatever a server sends."""
    assert http_date(text) is None


@pytest.mark.parametrize(
    ("name", "headers", "wait_s"),
    [
        ("rate_limit_exceeded", {"Retry-After": "3", "RateLimit-Reset": "9"}, 3.0),
        ("rate_limit_exceeded", {"RateLimit-Reset": "9"}, 9.0),
        ("rate_limit_exceeded", {}, None),
        ("daily_quota_exceeded", {"Date": DATE}, 30.0),
        ("daily_quota_exceeded", {"Date": DATE, "Retry-After": "1", "RateLimit-Reset": "1"}, 30.0),
        ("daily_quota_exceeded", {"Date": DATE, "Retry-After": "3600"}, 3600.0),
        ("daily_quota_exceeded", {"RateLimit-Reset": "1"}, None),
        ("monthly_quota_exceeded", {"Date": DATE, "RateLimit-Reset": "1"}, None),
        ("monthly_quota_exceeded", {"Retry-After": "86400"}, 86_400.0),
    ],
)
def test_a_wait_is_that_of_its_limit(name: str, headers: dict[str, str], wait_s: float | None) -> None:
    """The rate's window is over in a second; a quota counts calendar days, and knows nothing of windows."""
    outcome = outcome_of(Answered(429, headers, json.dumps({"name": name}).encode()), (0,), ())

    assert isinstance(outcome, NotAccepted)
    assert wait_s == outcome.retry_after_s


def test_a_wait_for_what_no_wait_repairs_is_not_passed_on() -> None:
    """Every answer carries the rate limit's headers."""
    outcome = outcome_of(Answered(422, {"Retry-After": "1"}, b'{"name": "validation_error"}'), (0,), ())

    assert isinstance(outcome, NotAccepted)
    assert outcome.retry_after_s is None


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[1]", b'{"name": 7, "message": ["x"]}', b"\xff\xfe", b"<html>\n<h1>No</h1>", b'{"na'],
)
def test_whatever_comes_is_an_outcome(body: bytes) -> None:
    """An error in no form of Resend's names nothing, and what there is of it is told."""
    refused = outcome_of(Answered(418, {}, body), (0,), ())
    unsure = outcome_of(Answered(500, {}, body), (0,), (1,))

    assert isinstance(refused, NotAccepted)
    assert (Kind.UNKNOWN, "418") == (refused.kind, refused.code)
    assert isinstance(unsure, Unanswered)
    assert ("500", (1,)) == (unsure.code, unsure.deferred)
    assert "\n" not in refused.detail
