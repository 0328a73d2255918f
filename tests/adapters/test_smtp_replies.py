"""Replies as servers really give them, and what each means for the email, the provider and the other emails.

The texts are from the documentation of Amazon SES, Gmail, Exchange Online, SendGrid, Mailgun and SparkPost, and from
the sources of Postfix, Exim, sendmail, qmail and Postgrey.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.smtp_replies import (
    RETRY_AFTER_MAX_S,
    Phase,
    Reply,
    classify,
    enhanced,
    message_id,
    retry_after_s,
)
from domain.failures import FailureKind as Kind

GREETING, EHLO, STARTTLS, AUTH = Phase.GREETING, Phase.EHLO, Phase.STARTTLS, Phase.AUTH
MAIL, RCPT, DATA, BODY = Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY

REPLIES = [
    # Before login: the server is not at work for us.
    (GREETING, "421 4.3.2 Service not available", Kind.TRANSIENT),
    (GREETING, "421 4.3.0 Temporary System Problem. Try again later", Kind.TRANSIENT),
    (GREETING, "421 4.4.5 Server busy, try again later.", Kind.TRANSIENT),
    (GREETING, "421 Too many concurrent SMTP connections", Kind.THROTTLED),
    (GREETING, "421 4.7.0 mx.example.net Error: too many connections from 192.0.2.1", Kind.THROTTLED),
    (GREETING, "421 4.7.0 Try again later, closing connection.", Kind.THROTTLED),
    (GREETING, "450 too frequent connects from 192.0.2.1, please try again later.", Kind.THROTTLED),
    (GREETING, "421 4.3.2 The maximum number of concurrent connections has exceeded a limit", Kind.THROTTLED),
    (GREETING, "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked", Kind.TRANSIENT),
    (GREETING, "554 No SMTP service here", Kind.TRANSIENT),
    (GREETING, "521 5.3.2 Server does not accept mail", Kind.TRANSIENT),
    (EHLO, "550 5.5.1 EHLO refused", Kind.TRANSIENT),
    (EHLO, "421 4.7.0 Temporary server error. Please try again later.", Kind.TRANSIENT),
    (STARTTLS, "454 4.7.0 TLS not available due to local problem", Kind.TRANSIENT),
    (STARTTLS, "454 4.3.0 Try again later", Kind.TRANSIENT),
    # Login.
    (AUTH, "535 5.7.8 Username and Password not accepted.", Kind.ACCOUNT),
    (AUTH, "535 Authentication Credentials Invalid", Kind.ACCOUNT),
    (AUTH, "535 5.7.139 Authentication unsuccessful, basic authentication is disabled.", Kind.ACCOUNT),
    (AUTH, "534 5.7.9 Application-specific password required.", Kind.ACCOUNT),
    (AUTH, "530 5.7.0 Must issue a STARTTLS command first", Kind.ACCOUNT),
    (AUTH, "538 5.7.11 Encryption required for requested authentication mechanism", Kind.ACCOUNT),
    (AUTH, "432 4.7.12 A password transition is needed", Kind.ACCOUNT),
    (AUTH, "504 5.5.4 Unrecognized authentication type", Kind.ACCOUNT),
    (AUTH, "451 Authentication failed: Maximum credits exceeded", Kind.ACCOUNT),
    (AUTH, "454 4.7.0 Temporary authentication failure", Kind.TRANSIENT),
    (AUTH, "454 4.7.0 Cannot authenticate due to temporary system problem. Try again later.", Kind.TRANSIENT),
    (AUTH, "454 4.7.0 Too many login attempts, please try again later.", Kind.THROTTLED),
    (AUTH, "432 4.3.2 Concurrent connections limit exceeded.", Kind.THROTTLED),
    (AUTH, "421 4.3.2 System shutting down", Kind.TRANSIENT),
    # MAIL FROM.
    (MAIL, "530 5.7.0 Authentication Required.", Kind.ACCOUNT),
    (MAIL, "530-5.5.1 Authentication Required. Learn more at", Kind.ACCOUNT),
    (MAIL, "530 5.7.57 Client not authenticated to send mail.", Kind.ACCOUNT),
    (MAIL, "550 5.7.1 Client was not authenticated", Kind.ACCOUNT),
    (MAIL, "503 5.5.1 Error: send AUTH command first", Kind.ACCOUNT),
    (MAIL, "550 5.7.1 Sender address rejected: not verified", Kind.SENDER),
    (MAIL, "550 5.7.1 Unconfigured Sending Domain <example.org>", Kind.SENDER),
    (MAIL, "553 5.7.1 <shop@example.org>: Sender address rejected: not owned by user shop", Kind.SENDER),
    (MAIL, "550 5.7.60 SMTP; Client does not have permissions to send as this sender", Kind.SENDER),
    (MAIL, "550 5.1.8 Access denied, bad outbound sender", Kind.SENDER),
    (MAIL, "501 5.1.7 Bad sender address syntax", Kind.SENDER),
    (MAIL, "501 Invalid MAIL FROM address provided", Kind.SENDER),
    (MAIL, "553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)", Kind.SENDER),
    (MAIL, "550 Sender verify failed", Kind.SENDER),
    (MAIL, "550 The from address does not match a verified Sender Identity.", Kind.SENDER),
    (MAIL, "552 5.3.4 Message size exceeds fixed limit", Kind.TOO_LARGE),
    (MAIL, "552 5.3.4 Error: message file too big", Kind.TOO_LARGE),
    (MAIL, "552 Message size exceeds maximum permitted", Kind.TOO_LARGE),
    (MAIL, "452 4.3.1 Insufficient system storage", Kind.TRANSIENT),
    (MAIL, "451 4.3.0 Error: queue file write error", Kind.TRANSIENT),
    (MAIL, "421 4.7.0 mx.example.net Error: too many errors", Kind.TRANSIENT),
    (MAIL, "421 4.4.2 mx.example.net Error: timeout exceeded", Kind.TRANSIENT),
    (MAIL, "451 4.4.2 Timeout - closing connection.", Kind.TRANSIENT),
    (MAIL, "450 4.7.1 Error: too much mail from 192.0.2.1", Kind.THROTTLED),
    (
        MAIL,
        "421 4.4.2 Message submission rate for this client has exceeded the configured limit",
        Kind.THROTTLED,
    ),
    (MAIL, "450 4.1.8 <shop@example.org>: Sender address rejected: Domain not found", Kind.DEFERRED),
    (MAIL, "554 5.7.1 <mx[192.0.2.1]>: Client host rejected: Access denied", Kind.ACCOUNT),
    (MAIL, "550 5.7.501 Access denied, spam abuse detected", Kind.ACCOUNT),
    (MAIL, "555 5.5.4 Unsupported option: SIZE", Kind.UNKNOWN),
    # RCPT TO: the recipient's fault, put off, or neither.
    (
        RCPT,
        "550 5.1.1 <a@example.net>: Recipient address rejected: User unknown in local table",
        Kind.RECIPIENT,
    ),
    (RCPT, "550-5.1.1 The email account that you tried to reach does not exist.", Kind.RECIPIENT),
    (RCPT, "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address", Kind.RECIPIENT),
    (RCPT, "550 5.4.1 Recipient address rejected: Access denied.", Kind.RECIPIENT),
    (RCPT, "550 5.4.4 Unable to route: no such host", Kind.RECIPIENT),
    (RCPT, "550 5.2.1 The email account that you tried to reach is disabled.", Kind.RECIPIENT),
    (RCPT, "552 5.2.2 The email account that you tried to reach is over quota.", Kind.RECIPIENT),
    (RCPT, "501 5.1.3 Bad recipient address syntax", Kind.RECIPIENT),
    (RCPT, "556 5.1.10 Recipient address has a null MX", Kind.RECIPIENT),
    (RCPT, "550 No such user here", Kind.RECIPIENT),
    (RCPT, "550 Requested action not taken: mailbox unavailable", Kind.RECIPIENT),
    (RCPT, "553 sorry, no mailbox here by that name (#5.1.1)", Kind.RECIPIENT),
    (RCPT, "550 #5.1.0 Address rejected.", Kind.RECIPIENT),
    (RCPT, "554 <a@example.net>: Recipient address rejected: undeliverable address", Kind.RECIPIENT),
    (RCPT, "554 delivery error: dd This user doesn't have an example.net account", Kind.RECIPIENT),
    (RCPT, "550 5.3.0 <a@example.net>... User unknown", Kind.RECIPIENT),
    (RCPT, "551 User not local", Kind.RECIPIENT),
    (RCPT, "450 4.2.1 The user you are trying to contact is receiving mail too quickly.", Kind.DEFERRED),
    (RCPT, "550 5.2.1 The user is receiving mail at a rate that prevents additional messages", Kind.DEFERRED),
    (RCPT, "452 4.2.2 The email account that you tried to reach is over quota.", Kind.DEFERRED),
    (RCPT, "451 4.7.1 Greylisting in action, please come back in 00:04:59", Kind.DEFERRED),
    (RCPT, "450 4.2.0 <a@example.net>: Recipient address rejected: Greylisted", Kind.DEFERRED),
    (RCPT, "452 4.5.3 Your message has too many recipients.", Kind.DEFERRED),
    (RCPT, "552 Too many recipients", Kind.DEFERRED),
    (RCPT, "550 5.5.3 Too many recipients", Kind.DEFERRED),
    (RCPT, "451 Temporary local problem - please try later", Kind.DEFERRED),
    (RCPT, "454 4.7.1 <a@example.net>: Relay access denied", Kind.DEFERRED),
    (RCPT, "450 4.4.1 Unable to verify recipient: rate limited", Kind.DEFERRED),
    (RCPT, "550 4.2.1 Mailbox busy", Kind.DEFERRED),
    (RCPT, "421 4.3.2 System shutting down", Kind.TRANSIENT),
    (RCPT, "421 4.7.0 Too many messages from your address", Kind.THROTTLED),
    (RCPT, "554 5.7.1 <a@example.net>: Relay access denied", Kind.SENDER),
    (RCPT, "550 5.7.1 Relaying denied", Kind.SENDER),
    (RCPT, "550 relay not permitted", Kind.SENDER),
    (RCPT, "550 5.7.1 Unable to relay", Kind.SENDER),
    (RCPT, "550 5.7.64 TenantAttribution; Relay Access Denied", Kind.SENDER),
    (RCPT, "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", Kind.SENDER),
    (RCPT, "550-5.7.1 Mail relay denied [192.0.2.1]. Invalid credentials for relay", Kind.SENDER),
    (RCPT, "553 5.7.1 <shop@example.org>: Sender address rejected: not owned by user", Kind.SENDER),
    (RCPT, "550 5.1.0 <shop@example.org>: Sender address rejected: User unknown", Kind.SENDER),
    (RCPT, "530 5.7.1 Authentication required", Kind.ACCOUNT),
    (RCPT, "503 This mail server requires authentication: please log in first", Kind.ACCOUNT),
    (RCPT, "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using a list", Kind.ACCOUNT),
    (RCPT, "550 5.7.1 Delivery not authorized, message refused", Kind.UNKNOWN),
    (RCPT, "554 Transaction failed", Kind.UNKNOWN),
    (RCPT, "501 Syntax error in parameters", Kind.UNKNOWN),
    (RCPT, "503 5.5.1 Error: need MAIL command", Kind.UNKNOWN),
    (RCPT, "553 5.6.7 Non-ASCII addresses not permitted for that sender/recipient", Kind.CONTENT),
    # DATA, before anything was sent.
    (DATA, "451 4.3.2 Please try again later", Kind.TRANSIENT),
    (DATA, "421 4.7.0 Rate limit exceeded", Kind.THROTTLED),
    (DATA, "554 5.5.1 Error: no valid recipients", Kind.UNKNOWN),
    (DATA, "503 5.5.1 Bad sequence", Kind.UNKNOWN),
    (DATA, "554 5.7.1 <DATA>: Data command rejected: policy", Kind.CONTENT),
    # The reply to the message.
    (BODY, "554 5.6.0 Message is malformed", Kind.CONTENT),
    (BODY, "550 5.7.1 Message rejected as spam", Kind.CONTENT),
    (BODY, "552-5.7.0 This message was blocked because its content presents a security issue.", Kind.CONTENT),
    (BODY, "554 Transaction failed: Duplicate header 'Subject'.", Kind.CONTENT),
    (BODY, "554 5.0.0 Rejected", Kind.CONTENT),
    (BODY, "552 5.3.4 Your message exceeded the message size limits.", Kind.TOO_LARGE),
    (BODY, "552 5.2.3 Your message exceeded the message size limits.", Kind.TOO_LARGE),
    (BODY, "552 Message is too long", Kind.TOO_LARGE),
    (BODY, "554 Message rejected: Email address is not verified. These failed the check: a@b", Kind.SENDER),
    (BODY, "554 5.2.252 SendAsDenied; shop@example.org not allowed to send as x@example.org", Kind.SENDER),
    (
        BODY,
        "550-5.7.26 Unauthenticated email from example.org is not accepted due to its policy",
        Kind.SENDER,
    ),
    (BODY, "550 Domain example.org is not allowed to send: The domain is unverified", Kind.SENDER),
    (BODY, "554 Message rejected: Sending paused for this account.", Kind.ACCOUNT),
    (BODY, "554 Message rejected: Sending suspended for this account.", Kind.ACCOUNT),
    (BODY, "554 Access denied: User `x' is not authorized to perform `ses:SendRawEmail'", Kind.ACCOUNT),
    (BODY, "550 5.7.25 The sending host has no PTR record", Kind.ACCOUNT),
    (BODY, "454 Throttling failure: Maximum sending rate exceeded.", Kind.THROTTLED),
    (BODY, "454 Throttling failure: Daily message quota exceeded.", Kind.QUOTA),
    (BODY, "550 5.4.5 Daily user sending limit exceeded.", Kind.QUOTA),
    (BODY, "550-5.4.5 Daily sending quota exceeded.", Kind.QUOTA),
    (BODY, "550 5.7.1 Daily SMTP relay limit exceeded for customer.", Kind.QUOTA),
    (BODY, "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException", Kind.QUOTA),
    (BODY, "550 5.1.90 You've reached your daily limit for message recipients", Kind.QUOTA),
    (BODY, "450 4.2.1 Peak SMTP relay limit exceeded for customer.", Kind.THROTTLED),
    (BODY, "421 4.7.28 Our system has detected an unusual rate of unsolicited mail", Kind.THROTTLED),
    (BODY, "550 5.7.1 Our system has detected an unusual rate of unsolicited mail", Kind.THROTTLED),
    (
        BODY,
        "421 4.7.0 [TS01] Messages from 192.0.2.1 temporarily deferred due to unexpected volume",
        Kind.THROTTLED,
    ),
    (BODY, "550 Domain example.org has exceeded the max emails per hour (150/100) allowed.", Kind.THROTTLED),
    (BODY, "451 4.7.650 The mail server has been temporarily rate limited", Kind.THROTTLED),
    (BODY, "451 4.7.500 Server busy. Please try again later.", Kind.TRANSIENT),
    (BODY, "451 4.7.0 Temporary server error. Please try again later.", Kind.TRANSIENT),
    (BODY, "451 Temporary service failure", Kind.TRANSIENT),
    (BODY, "451 Timeout waiting for data from client", Kind.TRANSIENT),
    (BODY, "452 4.3.1 Insufficient system storage", Kind.TRANSIENT),
    (BODY, "451 4.3.0 Error: queue file write error", Kind.TRANSIENT),
    (BODY, "554 5.3.0 Internal error", Kind.TRANSIENT),
    (BODY, "451 4.7.1 Greylisted, please try again in 300 seconds", Kind.DEFERRED),
    (BODY, "452 4.2.2 The recipient's inbox is out of storage space.", Kind.DEFERRED),
    (BODY, "550 5.1.1 User unknown", Kind.RECIPIENT),
    (BODY, "550 5.2.1 The email account that you tried to reach is disabled.", Kind.RECIPIENT),
    (BODY, "500 5.5.1 Error", Kind.UNKNOWN),
]


@pytest.mark.parametrize(("phase", "reply", "kind"), REPLIES)
def test_a_real_reply_is_understood(phase: Phase, reply: str, kind: Kind) -> None:
    """One line of a provider's documentation or a server's source each."""
    assert kind == classify(phase, int(reply[:3]), reply[4:])


@given(st.sampled_from(Phase), st.integers(-1, 999), st.text())
def test_everything_is_classified(phase: Phase, code: int, text: str) -> None:
    """No reply raises, and none is called what only we can know."""
    kind = classify(phase, code, text)

    assert kind not in (Kind.UNCERTAIN, Kind.LOST, Kind.NOT_TRIED)


@given(st.sampled_from([MAIL, RCPT, DATA, BODY]), st.integers(400, 499), st.text())
def test_a_temporary_refusal_never_ends_anything(phase: Phase, code: int, text: str) -> None:
    """4xx: neither recipient nor content is refused for good, whatever else the reply says."""
    assert classify(phase, code, text) not in (Kind.RECIPIENT, Kind.CONTENT, Kind.TOO_LARGE)


@given(st.sampled_from([GREETING, EHLO, STARTTLS]), st.integers(-1, 999), st.text())
def test_before_login_it_is_nobody_s_fault(phase: Phase, code: int, text: str) -> None:
    """The server isn't at work for us, or we are too fast."""
    assert classify(phase, code, text) in (Kind.TRANSIENT, Kind.THROTTLED)


def test_where_the_codes_disagree_the_milder_one_counts() -> None:
    """A refusal for good can't be taken back."""
    assert Kind.DEFERRED == classify(RCPT, 550, "4.1.1 not now")
    assert Kind.DEFERRED == classify(RCPT, 450, "5.1.1 no such user")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("5.1.1 no", (5, 1, 1)),
        ("#5.1.0 Address rejected", (5, 1, 0)),
        ("sorry (#5.7.1)", (5, 7, 1)),
        ("4.7.500 Server busy", (4, 7, 500)),
        ("5.1.1.7 is blocked", None),
        ("3.1.1 no class", None),
        ("no code", None),
        ("", None),
    ],
)
def test_enhanced_codes_are_found(text: str, status: tuple[int, int, int] | None) -> None:
    """At the beginning or where qmail puts them; an address is none."""
    assert status == enhanced(text)


def test_a_label_has_both_codes() -> None:
    """Basic and enhanced, where there is one."""
    assert ("550 5.1.1", "550") == (Reply(550, "5.1.1 no").label, Reply(550, "no").label)


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("4.7.1 Greylisted, please try again in 300 seconds", 300),
        ("Greylisting in action, please come back in 00:04:59", 299),
        ("4.7.0 Try again in 5 minutes", 300),
        ("please wait 2 hours", 7200),
        ("try again after 30s", 30),
        ("in 999999 hours", RETRY_AFTER_MAX_S),
        ("try again later", None),
        ("in 5 attempts", None),
    ],
)
def test_the_wait_a_reply_asks_for_is_read(text: str, wait_s: float | None) -> None:
    """Seconds, minutes, hours, or a clock; never longer than a day."""
    assert wait_s == retry_after_s(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("2.0.0 Ok: queued as 4F2B81C00A1", "4F2B81C00A1"),
        ("Ok: queued as Q2XfQ1sJT4aZ", "Q2XfQ1sJT4aZ"),
        ("2.0.0 OK: queued as <20261105.1234@relay.example.net>", "20261105.1234@relay.example.net"),
        ("OK id=1rAbCd-000123-XY", "1rAbCd-000123-XY"),
        ("2.0.0 OK  1376056636 i3si9508927obz.16 - gsmtp", "i3si9508927obz.16"),
        ("Ok 0100018c2f3a-9b1c-4c57-000000", "0100018c2f3a-9b1c-4c57-000000"),
        ("2.6.0 <x@y> [InternalId=21474836485, Hostname=h] Queued mail for delivery", "21474836485"),
        ("2.0.0 x3J4k5l6 Message accepted for delivery", "x3J4k5l6"),
        ("2.0.0 Ok", ""),
        ("Great success", ""),
    ],
)
def test_the_providers_own_id_is_found(text: str, named: str) -> None:
    """Where the final 250 names one."""
    assert named == message_id(text)
