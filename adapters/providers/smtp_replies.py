"""What an SMTP reply means: its failure kind by phase, its codes, what it asks us to wait, the id it names.

Pure. The rules are a table, read from the top: the first that fits decides. The enhanced code (RFC 3463) is read
before the basic one (RFC 5321 §4.2.3), and words only where the codes are known to be used loosely. Where a reply's
two codes contradict each other, the milder one counts: a wrong refusal is final, a wrong retry ends by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum, unique

from domain.failures import FailureKind as Kind


@unique
class Phase(StrEnum):
    """What a reply answers."""

    GREETING = "greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    RSET = "RSET"
    MAIL = "MAIL FROM"
    RCPT = "RCPT TO"
    DATA = "DATA"
    """Before the body: nothing was sent."""
    BODY = "the final dot"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply; the texts of its lines are joined by line breaks."""

    code: int
    text: str

    @property
    def positive(self) -> bool:
        """2xx: done as asked (RFC 5321 §4.2.1: clients act on the first digit)."""
        return 200 <= self.code <= 299

    @property
    def intermediate(self) -> bool:
        """3xx: go on."""
        return 300 <= self.code <= 399

    @property
    def label(self) -> str:
        """Basic and enhanced code: `550 5.1.1`."""
        status = enhanced(self.text)
        return f"{self.code} {'.'.join(map(str, status))}" if status else str(self.code)

    @property
    def words(self) -> str:
        """The text without the enhanced code that its lines begin with, which `label` tells."""
        return "\n".join(
            line[found.end() :].lstrip() if (found := _is_status(line)) else line
            for line in self.text.split("\n")
        )


RETRY_AFTER_MAX_S = 86_400.0
"""Longer waits than a day, named in a reply, are not believed."""

_OPENING = (Phase.GREETING, Phase.EHLO, Phase.STARTTLS, Phase.RSET)
_SENDING = (Phase.MAIL, Phase.DATA, Phase.BODY)
_MESSAGE = (Phase.DATA, Phase.BODY)
_ANY = (Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY)


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE | re.DOTALL)


_RATE = _words(
    r"\brates?\b",
    r"rate.?limit",
    r"throttl",
    r"slow down",
    r"too (fast|quickly|frequent)",
    r"too (many|much) (concurrent |simultaneous |open )?(smtp )?"
    r"(connection|session|thread|message|mail|e-?mail|request|login|auth|submission|deliver|transaction)",
    r"(connections?|threads?|sessions?) .{0,30}limit",
    r"(per|each) (second|minute|hour)\b",
    r"\bhourly\b",
    r"unexpected volume",
    r"peak smtp relay limit",
)
_QUOTA = _words(
    r"(daily|monthly|weekly|per (day|month|week)|24.?h(ou)?r).{0,60}(quota|limit|allowance|maximum)",
    r"(quota|limit|allowance|maximum).{0,60}(daily|monthly|weekly|per (day|month|week)|24.?h(ou)?r)",
    r"SubmissionQuotaExceeded",
)
_SENDER = _words(
    r"not verified|unverified|verified sender|sender identity|unconfigured sending domain|sending domain",
    r"send ?as ?(denied|this sender)|not (allowed|permitted|authori[sz]ed) to send (from|as|on behalf)",
    r"is not allowed to send",
    r"sender (address )?(was |is )?(rejected|denied|refused|not allowed|not permitted|invalid)|invalid sender",
    r"not owned by user|bad outbound sender|domain of sender|sender domain",
    r"unauthenticated (e-?mail|mail|message)|\bdmarc\b|\bspf\b|\bdkim\b",
)
_RELAY = _words(
    r"relay(ing)? ?(access )?(is |was )?(denied|not (allowed|permitted)|prohibited|refused)",
    r"(unable|not (allowed|permitted)|(do|does|will) not) to? ?relay|rcpthosts",
)
_LOGIN = _words(
    r"authentication (is )?required|not authenticated|(must|need|please|send).{0,20}\b(auth|authenticate|log ?in)\b",
    r"invalid credentials|authentication failed",
)
_LOCKED = _words(
    r"credits? exceeded|(account|sending)\b.{0,40}\b(suspended|paused|terminated|disabled|locked)\b",
    r"(suspended|paused|disabled).{0,20}(for )?(this|your) account|not authori[sz]ed to perform|spam abuse",
)
_OUR_ADDRESS = _words(
    r"(client host|(your|sending|connecting) (ip|host|network|server)|\bip( address)?\b|helo command)"
    r".{0,80}(blocked|listed|blacklist|blocklist|reject|denied|banned|not authori[sz]ed|reputation)",
)
_NO_SUCH_USER = _words(
    r"user unknown|unknown user|no such (user|recipient|mailbox|address|person|domain)|no (mailbox|mail-box) here",
    r"(user|recipient|mailbox|address|account)\b.{0,80}(not found|n[o']t exist|unknown|disabled|inactive|invalid)",
    r"(mailbox|recipient).{0,40}(full|over ?quota)|not a valid (user|mailbox|recipient)|undeliverable address",
    r"user does ?n[o']t have",
)
_TOO_LARGE = _words(
    r"(message|mail|size).{0,40}(too (large|big|long)|exceeds?.{0,40}(size|limit|maximum))",
    r"exceed(s|ed)?.{0,40}message size",
)
_GREYLISTED = _words(r"gr[ae]y.?list")
_BROKEN = _words(
    r"temporar(y|ily).{0,20}(server|system|authentication|local|internal)|timed? ?out|too many errors|busy|\btls\b"
)


@dataclass(frozen=True, slots=True)
class _Rule:
    """Fits when all that it names fits: phases, basic code, `subject.detail` of the enhanced code, words."""

    kind: Kind
    phases: tuple[Phase, ...]
    code: str = r".*"
    status: str = r""
    words: re.Pattern[str] | None = None

    def fits(self, phase: Phase, code: str, status: str, text: str) -> bool:
        return (
            phase in self.phases
            and re.fullmatch(self.code, code) is not None
            and (not self.status or re.fullmatch(self.status, status) is not None)
            and (self.words is None or self.words.search(text) is not None)
        )


_4XX, _5XX = r"4..", r"5.."
_NO_STATUS = r"(0\.\d+)?"
"""No enhanced code, or one that says nothing (x.0.z, RFC 3463 §3.1)."""

_RULES = (
    # Before anybody logged in: the server is not at work for us (DESIGN §4: 5xx greeting, TLS).
    _Rule(Kind.THROTTLED, _OPENING, _4XX, words=_RATE),
    _Rule(Kind.TRANSIENT, _OPENING, words=_BROKEN),
    _Rule(Kind.THROTTLED, _OPENING, _4XX, r"7\.\d+"),
    _Rule(Kind.TRANSIENT, _OPENING),
    # RFC 4954 §6. SendGrid says an empty account with 451, Exchange Online a full mailbox with 432 4.3.2.
    _Rule(Kind.ACCOUNT, (Phase.AUTH,), words=_LOCKED),
    _Rule(Kind.THROTTLED, (Phase.AUTH,), _4XX, words=_RATE),
    _Rule(Kind.ACCOUNT, (Phase.AUTH,), r"432"),
    _Rule(Kind.TRANSIENT, (Phase.AUTH,), _4XX),
    _Rule(Kind.ACCOUNT, (Phase.AUTH,), _5XX),
    _Rule(Kind.TRANSIENT, (Phase.AUTH,)),
    # "Authentication required" and its relatives to any command (RFC 4954 §6).
    _Rule(Kind.ACCOUNT, _ANY, r"53[0458]"),
    # A recipient put off says nothing about the provider, unless the connection ends with it (RFC 5321 §3.8);
    # 552 there means 452, and too many recipients means the next time (§4.5.3.1.10).
    _Rule(Kind.DEFERRED, (Phase.RCPT,), r"4(?!21).."),
    _Rule(Kind.DEFERRED, (Phase.RCPT,), r"552", _NO_STATUS),
    _Rule(Kind.DEFERRED, (Phase.RCPT,), _5XX, r"5\.3"),
    # Codes with a meaning of their own, among those whose subject says something else.
    _Rule(Kind.QUOTA, _ANY, _5XX, r"4\.5|1\.90"),  # Gmail's and Exchange Online's daily limits
    _Rule(Kind.QUOTA, _SENDING, words=_words(r"SubmissionQuotaExceeded")),  # Exchange Online, with 5.2.0
    _Rule(Kind.THROTTLED, _SENDING, _4XX, words=_words(r"peak smtp relay limit")),  # Gmail, with 4.2.1
    _Rule(Kind.TOO_LARGE, _ANY, _5XX, r"3\.4"),
    _Rule(Kind.TOO_LARGE, _SENDING, _5XX, r"2\.3"),  # Gmail; at RCPT it's the mailbox's own limit
    _Rule(
        Kind.SENDER, _ANY, _5XX, r"1\.[78]|7\.2[0-4]|7\.2[67]|7\.60"
    ),  # RFC 3463, 7372, 7505; Exchange Online
    _Rule(Kind.SENDER, _ANY, _5XX, words=_SENDER),
    # Refused to relay: as likely our credentials as a relay for few domains. `sender` moves on at once and
    # alerts; `account` would close a sound provider to everybody for one odd address.
    _Rule(Kind.SENDER, _ANY, _5XX, words=_RELAY),
    _Rule(Kind.RECIPIENT, _ANY, _5XX, words=_words(r"RESOLVER\.(ADR|RST)")),  # Exchange: the address book
    # RFC 3463 §3.2–3.3: addresses and mailboxes. Who receives too fast is put off; a refusal would be final.
    _Rule(Kind.DEFERRED, (Phase.RCPT, *_MESSAGE), _5XX, r"2\.\d+", _RATE),
    _Rule(Kind.RECIPIENT, (Phase.RCPT, *_MESSAGE), _5XX, r"[12]\.\d+"),
    _Rule(Kind.DEFERRED, _SENDING, _4XX, r"[12]\.\d+"),
    _Rule(Kind.SENDER, (Phase.MAIL,), _5XX, r"[12]\.\d+"),
    # What a provider says of us, whatever the code it says it with.
    _Rule(Kind.QUOTA, _ANY, words=_QUOTA),
    _Rule(Kind.ACCOUNT, _ANY, _5XX, words=_LOGIN),
    _Rule(Kind.ACCOUNT, _SENDING, _5XX, words=_LOCKED),
    _Rule(Kind.THROTTLED, _ANY, status=r"7\.28"),  # Gmail: mail flood
    _Rule(Kind.THROTTLED, _ANY, words=_RATE),
    _Rule(Kind.ACCOUNT, _ANY, _5XX, words=_OUR_ADDRESS),
    _Rule(Kind.ACCOUNT, _ANY, _5XX, r"7\.(25|50[1-3]|70[58])"),  # no PTR (RFC 7372); Exchange: tenant banned
    # RFC 3463 §3.4–3.8, by subject.
    _Rule(Kind.RECIPIENT, (Phase.RCPT,), _5XX, words=_NO_SUCH_USER),  # sendmail says it with 5.3.0, too
    _Rule(Kind.RECIPIENT, (Phase.RCPT,), _5XX, r"4\.(1|4|310)"),  # no such host; Exchange's directory block
    _Rule(Kind.TRANSIENT, _ANY, status=r"3\.\d+"),
    _Rule(Kind.CONTENT, _ANY, _5XX, r"6\.\d+"),
    _Rule(Kind.DEFERRED, _SENDING, _4XX, words=_GREYLISTED),
    _Rule(Kind.TRANSIENT, _ANY, _4XX, words=_BROKEN),
    _Rule(Kind.THROTTLED, _ANY, _4XX, r"7\.\d+"),
    _Rule(Kind.TRANSIENT, _ANY, _4XX),
    _Rule(Kind.TOO_LARGE, _SENDING, r"552", _NO_STATUS),
    _Rule(Kind.TOO_LARGE, _SENDING, _5XX, _NO_STATUS, _TOO_LARGE),
    _Rule(Kind.SENDER, (Phase.MAIL,), _5XX, r"7\.\d+"),
    _Rule(Kind.CONTENT, _MESSAGE, _5XX, r"7\.\d+"),
    # RFC 5321 §4.3.2, where the basic code is all there is.
    _Rule(Kind.SENDER, (Phase.MAIL,), r"501|55[0134]", _NO_STATUS),
    _Rule(Kind.RECIPIENT, (Phase.RCPT,), r"55[0136]|521", _NO_STATUS),  # RFC 7504: 521, 556
    _Rule(Kind.SENDER, _MESSAGE, r"553", _NO_STATUS),
    _Rule(Kind.CONTENT, _MESSAGE, r"55[04]|571", _NO_STATUS),
)

_is_status = re.compile(r"\s*#?([245])\.(\d{1,3})\.(\d{1,3})(?!\.?\d)").match
_find_qmail_status = re.compile(r"\(#([245])\.(\d{1,3})\.(\d{1,3})\)").search


def classify(phase: Phase, code: int, text: str) -> Kind:
    """The failure kind of a reply that is not the one hoped for."""
    status = enhanced(text)
    basic = str(code)
    if status and status[0] == 4 and basic.startswith("5"):
        basic = "4" + basic[1:]
    detail = f"{status[1]}.{status[2]}" if status else ""
    for rule in _RULES:
        if rule.fits(phase, basic, detail, text):
            return rule.kind
    return Kind.UNKNOWN


def enhanced(text: str) -> tuple[int, int, int] | None:
    """The enhanced code a reply begins with (RFC 2034), or that qmail puts at its end; None where there is none."""
    found = _is_status(text) or _find_qmail_status(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


_WAIT = r"(?:\bin|\bfor|\bafter|wait)\s+"
_find_wait = re.compile(_WAIT + r"(\d{1,6})\s*(s|sec|second|m|min|minute|h|hour)s?\b", re.IGNORECASE).search
_find_clock = re.compile(_WAIT + r"(\d{1,2}):(\d\d):(\d\d)\b", re.IGNORECASE).search
_UNIT_S = {"s": 1, "m": 60, "h": 3600}


def retry_after_s(text: str) -> float | None:
    """The wait that a reply asks for in words ("try again in 300 seconds"), in seconds; None where it names none."""
    if found := _find_wait(text):
        wait = int(found[1]) * _UNIT_S[found[2][0].lower()]
    elif found := _find_clock(text):  # Postgrey: "please come back in 00:04:59"
        wait = int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3])
    else:
        return None
    return min(float(wait), RETRY_AFTER_MAX_S)


_find_message_id = re.compile(
    r"queued as <?([^\s>]+)"  # Postfix, SendGrid, Mailjet, Brevo
    r"|\bid=(\S+)"  # Exim
    r"|InternalId=(\d+)"  # Exchange
    r"|^(?:2\.\d\.\d )?ok\s+\d{9,}\s+(\S+) - gsmtp"  # Gmail
    r"|^ok ([0-9a-f]{8,}-[0-9a-f-]+)"  # Amazon SES
    r"|^2\.0\.0 (\S+) Message accepted for delivery",  # sendmail
    re.IGNORECASE,
).search


def message_id(text: str) -> str:
    """The provider's own id in its final 250; empty where it names none."""
    found = _find_message_id(text)
    return next(filter(None, found.groups()), "").rstrip(".,;]") if found else ""
