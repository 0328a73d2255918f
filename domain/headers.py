"""Which header texts a client may give: what the intake refuses, so that composing never has to."""

from __future__ import annotations

import re

from domain.content import HEADER_LINE_MAX

HEADER_NAME_MAX = 76
"""Characters in a custom header's name: with it alone a line is at the length RFC 2047 §2 allows."""

CONTENT_TYPE_MAX = 255
"""Characters in an attachment's type with its parameters; RFC 6838 §4.2 gives type and subtype 127 each."""

CONTENT_ID_MAX = 255
"""Characters in a Content-ID: long enough for any mailbox-like one, short enough to stay on one line."""

RESERVED_HEADERS = frozenset(
    {
        *("from", "sender", "reply-to", "to", "cc", "bcc", "subject", "date", "message-id", "mime-version"),
        *("return-path", "received", "dkim-signature", "authentication-results"),
    }
)
"""Lower-case names that are ours or the transport's to write (RFC 5322 §3.6, RFC 2045 §4, RFC 6376, RFC 8601)."""

RESERVED_PREFIXES = ("content-", "resent-", "arc-")
"""Families of such names: MIME (RFC 2045 §9), resending (RFC 5322 §3.6.6), chains of custody (RFC 8617)."""

BLANK = " \t"
"""The white space a header may be folded at (WSP, RFC 5234), and the only one."""

_NAME = re.compile(r"[!-9;-~]+")  # ftext, RFC 5322 §3.6.8
_FORBIDDEN = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_PIECE = re.compile(r"[ \t]*[^ \t]+")
_TOKEN = r"[!#-'*+.0-9A-Z^-~-]+"  # RFC 2045 §5.1: no space, control or tspecial
_PARAMETER = rf'{_TOKEN}=(?:{_TOKEN}|"(?:[ !#-\[\]-~]|\\[ -~])*")'
_CONTENT_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:[ \t]*;[ \t]*{_PARAMETER})*")
_PARAMETERS = re.compile(rf";[ \t]*({_PARAMETER})")
_CONTENT_ID = re.compile(r"[!-;=?-~]+")


def header_problem(name: str, value: str) -> str | None:
    """What is wrong with a custom header, as words that follow its name; None if it may go out."""
    lower = name.lower()
    if not _NAME.fullmatch(name):
        return "is no header name: use printable ASCII without spaces and colons"
    if len(name) > HEADER_NAME_MAX:
        return f"has a name longer than {HEADER_NAME_MAX} characters"
    if lower in RESERVED_HEADERS or lower.startswith(RESERVED_PREFIXES):
        return "is not a custom header: it is written from the other fields or by the servers on the way"
    if problem := text_problem(value):
        return problem
    first, *rest = pieces(f"{name}: {value.strip(BLANK)}")
    # What isn't ASCII becomes encoded words, which are short; the rest can only be folded.
    raw = [line for line in (first + "".join(rest[:1]), *rest[1:]) if line.isascii()]
    if any(len(line) > HEADER_LINE_MAX for line in raw):
        return f"has more than {HEADER_LINE_MAX} characters without a space to fold at"
    return None


def text_problem(text: str) -> str | None:
    """What is wrong with a text that goes into a header (subject, display name, filename); None if nothing is."""
    if _FORBIDDEN.search(text):
        return "has a line break, another control character or half a surrogate pair"
    return None


def content_type_problem(value: str) -> str | None:
    """What is wrong with an attachment's content type (RFC 2045 §5.1); None if nothing is."""
    if len(value) > CONTENT_TYPE_MAX:
        return f"is longer than {CONTENT_TYPE_MAX} characters"
    if not _CONTENT_TYPE.fullmatch(value):
        return "is no content type: write it like image/png or text/plain; charset=utf-8"
    return None


def content_id_problem(value: str) -> str | None:
    """What is wrong with an attachment's content id (RFC 2392), given without angle brackets; None if nothing is."""
    if len(value) > CONTENT_ID_MAX:
        return f"is longer than {CONTENT_ID_MAX} characters"
    if not _CONTENT_ID.fullmatch(value):
        return "is no content id: use printable ASCII without spaces and angle brackets"
    return None


def content_type_parts(value: str) -> tuple[str, list[str]]:
    """The type in lower case and its parameters as written; only for what `content_type_problem` lets pass."""
    return value.partition(";")[0].rstrip(BLANK).lower(), _PARAMETERS.findall(value)


def pieces(value: str) -> list[str]:
    """The value cut where it may be folded (RFC 5322 §2.2.3): before white space, which stays with what follows.

    White space at the end is dropped: a line of nothing else is obsolete syntax (RFC 5322 §3.2.2).
    """
    return _PIECE.findall(value)
