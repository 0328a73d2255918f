"""Composing: the bytes of an accepted email, the same for every attempt (RFC 5322, RFC 2045–2049).

**Invariant:** all is 7-bit, so that any server takes it, but for addresses whose local part is not ASCII: those
have no other form (RFC 6532), and `needs_smtputf8` tells. **Invariant:** no text of a client reaches a header
without having been matched, quoted or encoded: a line break in it can't start another header.
"""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

import idna

from domain.content import HEADER_LINE_MAX, Address, Attachment, Content
from domain.headers import (
    BLANK,
    content_id_problem,
    content_type_parts,
    content_type_problem,
    header_problem,
    pieces,
)

LINE_LENGTH = 76
"""Characters to fold a header at: RFC 2047 §2 for lines with encoded words, within RFC 5322's 78."""

WORD_LENGTH = 64
"""Characters in an encoded word (RFC 2047 §2: at most 75), a quoted name or filename: fits behind `Reply-To: `."""

WORD_LENGTH_MIN = 24
"""Characters an encoded word gets behind a custom header's name, however long that is."""

_PARAMETER = ";\r\n "
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"  # RFC 5322 §3.2.3
_is_plain_address = re.compile(rf"(?:{_ATEXT}|\.)+@[A-Za-z0-9.-]+").fullmatch
_is_address = re.compile(
    r'(?:[^\s\x00-\x20\x7f-\x9f\ud800-\udfff()<>\[\]:;@\\,"]+|"(?:[ !#-\[\]-~]|\\[ -~])*")'  # RFC 6532 §3.2
    r"@(?:[A-Za-z0-9._-]+|\[[!-Z^-~]+\])"
).fullmatch
_is_plain_phrase = re.compile(rf"{_ATEXT}+(?: {_ATEXT}+)*").fullmatch
_is_email_id = re.compile(r"[A-Za-z0-9_-]{1,48}").fullmatch  # a boundary has 70 at most (RFC 2046 §5.1.1)

_WORD_SAFE = b" ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/"  # RFC 2047 §5(3)
_WORD_Q = ["_" if b == 0x20 else chr(b) if b in _WORD_SAFE else f"={b:02X}" for b in range(256)]
_WORD_FRAME = len("=?utf-8?q??=")
_percent_runs = re.compile(r"(?:%..|[^%]){1,20}").findall  # 20 octets are 60 characters at most


class _Part(NamedTuple):
    """A MIME entity: its `Content-*` header lines, and its body as it goes out."""

    head: str
    body: bytes


def compose(content: Content, *, email_id: str, date: datetime) -> bytes:
    """The message with CRLF line ends, not dot-stuffed. Pure: the same arguments give the same bytes.

    `date` is aware. Raises ValueError for what the intake refuses (addresses, `domain.headers`), and nothing else.
    """
    if not _is_email_id(email_id):
        raise ValueError(f"an email id of other characters or length than ours: {email_id!r}")
    to = "To: undisclosed-recipients:;\r\n" if not content.cc else ""
    part = _body(content, email_id)
    head = (
        f"{_addresses('From', (content.sender,))}"
        f"{_addresses('To', content.to) if content.to else to}"
        f"{_addresses('Cc', content.cc) if content.cc else ''}"
        f"{_addresses('Reply-To', content.reply_to) if content.reply_to else ''}"
        f"{_subject(content.subject)}"
        f"Date: {_date(date)}\r\n"
        f"Message-ID: <{email_id}@{wire_address(content.sender.address).rpartition('@')[2]}>\r\n"
        f"{''.join([_custom(name, value) for name, value in content.headers])}"
        f"MIME-Version: 1.0\r\n{part.head}\r\n"
    )
    return head.encode() + part.body


def needs_smtputf8(content: Content) -> bool:
    """Whether envelope or headers hold a local part beyond ASCII, for which the server must offer SMTPUTF8."""
    everyone = (content.sender, *content.to, *content.cc, *content.bcc, *content.reply_to)
    return not all(one.address.rpartition("@")[0].isascii() for one in everyone)


def wire_address(address: str) -> str:
    """The address as servers take it: an internationalised domain as A-labels (RFC 5890 §2.3.2.1)."""
    if _is_plain_address(address):
        return address
    local, _, domain = address.rpartition("@")
    if not domain.isascii():
        domain = _a_labels(domain)
    wire = f"{local}@{domain}"
    if not _is_address(wire):
        raise ValueError(
            "an address that is none"
        )  # and which one is nobody's business: errors end up in logs
    return wire


@lru_cache(maxsize=1024)  # costs as much as all the rest of a message; senders write to few such domains
def _a_labels(domain: str) -> str:
    try:
        return idna.encode(domain).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError("a domain that IDNA 2008 has no A-labels for") from error


def _folded(name: str, parts: Sequence[str]) -> str:
    """The header in lines of `LINE_LENGTH` where its parts, each with the white space before it, allow.

    Never right behind the colon, legal as it is: readers have been known to take the header for empty.
    """
    line = f"{name}:{''.join(parts)}"
    if len(line) <= LINE_LENGTH:
        return line + "\r\n"
    lines: list[str] = []
    line = name + ":" + parts[0]
    for part in parts[1:]:
        if len(line) + len(part) > LINE_LENGTH:
            lines.append(line)
            line = part
        else:
            line += part
    return "\r\n".join((*lines, line, ""))


def _addresses(name: str, addresses: Sequence[Address]) -> str:
    parts: list[str] = []
    for one in addresses:
        parts += _mailbox(one)
        parts[-1] += ","
    parts[-1] = parts[-1][:-1]
    return _folded(name, parts)


def _mailbox(one: Address) -> list[str]:
    """A mailbox (RFC 5322 §3.4): the name as atoms where it can be, else quoted, else in encoded words."""
    address, name = wire_address(one.address), one.name
    if not name:
        return [" " + address]
    if len(name) <= WORD_LENGTH:
        if _is_plain_phrase(name) and "=?" not in name:
            return [" " + name, f" <{address}>"]
        if _is_plain(name) and len(quoted := _quoted(name)) <= WORD_LENGTH:
            return [" " + quoted, f" <{address}>"]
    return [*_encoded_words(name), f" <{address}>"]


def _subject(subject: str) -> str:
    """In the clear where nothing gets lost, else in encoded words (RFC 2047)."""
    if _is_plain(subject):
        words = pieces(" " + subject) if len(subject) > WORD_LENGTH else [" " + subject]
        if max(map(len, words)) <= WORD_LENGTH + 1:
            return _folded("Subject", words)
    return _folded("Subject", _encoded_words(subject))


def _custom(name: str, value: str) -> str:
    """A header of the client's: only the words from the first to the last beyond ASCII are encoded.

    What is ASCII stays to the letter, as addresses, ids, URLs and words that were encoded before have to.
    """
    if problem := header_problem(name, value):
        raise ValueError(f"header {name!r} {problem}")
    words = pieces(" " + value.strip(BLANK))
    if not value.isascii():
        beyond = [index for index, word in enumerate(words) if not word.isascii()]
        run = slice(beyond[0], beyond[-1] + 1)
        room = max(WORD_LENGTH_MIN, min(WORD_LENGTH, LINE_LENGTH - len(name) - len(": ")))
        words[run] = _encoded_words("".join(words[run]).strip(BLANK), room)
    return _folded(name, words)


def _date(date: datetime) -> str:
    """RFC 5322 §3.3, in UTC; by hand, as strftime is slow and follows the locale."""
    if date.utcoffset() is None:
        raise ValueError("a date without an offset names no moment")
    at = date.astimezone(UTC)
    iso = at.isoformat()
    return f"{_DAYS[at.weekday()]}, {iso[8:10]} {_MONTHS[at.month - 1]} {iso[:4]} {iso[11:19]} +0000"


def _is_plain(text: str) -> bool:
    """Printable ASCII that no reader takes for an encoded word, or takes the outer white space from."""
    return text.isascii() and text.isprintable() and "=?" not in text and text == text.strip(" ")


def _quoted(text: str) -> str:
    """A quoted-string (RFC 5322 §3.2.4)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _encoded_words(text: str, room: int = WORD_LENGTH) -> list[str]:
    """RFC 2047 words of at most `room` characters, each with its space, in the shorter encoding.

    §5(3): every word is whole by itself, so no character is cut.
    """
    data = text.encode()
    room -= _WORD_FRAME
    unsafe = len(data.translate(None, _WORD_SAFE))
    words: list[str] = []
    start = 0
    if len(data) + 2 * unsafe <= (len(data) + 2) // 3 * 4:
        quoted = "".join(map(_WORD_Q.__getitem__, data))
        while start < len(quoted):
            end = _q_boundary(quoted, start + room)
            words.append(f" =?utf-8?q?{quoted[start:end]}?=")
            start = end
    else:
        while start < len(data):
            end = _utf8_boundary(data, start + room // 4 * 3)
            words.append(f" =?utf-8?b?{b2a_base64(data[start:end], newline=False).decode()}?=")
            start = end
    return words


def _utf8_boundary(data: bytes, at: int) -> int:
    """The last place up to `at` where a character starts."""
    while at < len(data) and data[at] & 0xC0 == 0x80:
        at -= 1
    return min(at, len(data))


def _q_boundary(quoted: str, at: int) -> int:
    """The same in `=XX` form."""
    if at >= len(quoted):
        return len(quoted)
    inside = quoted.rfind("=", at - 2, at)
    at = inside if inside >= 0 else at
    while quoted.startswith(("=8", "=9", "=A", "=B"), at):
        at -= len("=XX")
    return at


def _body(content: Content, email_id: str) -> _Part:
    """The tree: mixed(alternative(plain, related(html, inline images)), files), each level only where it's needed."""
    files = content.attachments
    if content.html is None:
        part = _text("plain", content.text or "")
    else:
        part = _text("html", content.html)
        if inline := [one for one in files if one.content_id]:
            files = tuple(one for one in files if not one.content_id)
            parts = [part, *(_file(one, "inline") for one in inline)]
            part = _multipart('related; type="text/html"', parts, email_id)  # RFC 2387 §3.1
        if content.text:
            part = _multipart("alternative", [_text("plain", content.text), part], email_id)
    if files:
        part = _multipart("mixed", [part, *(_file(one, "attachment") for one in files)], email_id)
    return part


def _multipart(subtype: str, parts: Sequence[_Part], email_id: str) -> _Part:
    """RFC 2046 §5.1. The boundary holds `=_`, which neither base64 nor quoted-printable can (RFC 2045 §6.7);
    the text that goes out as it is might, if it quotes this very email."""
    blocks = [f"{part.head}\r\n".encode() + part.body for part in parts]
    boundary, n = f"=_{subtype[0]}_{email_id}", 0
    while any(boundary.encode() in block for block in blocks):
        n += 1
        boundary = f"=_{subtype[0]}{n}_{email_id}"
    delimiter = f"\r\n--{boundary}".encode()
    body = b"".join((delimiter[2:], b"\r\n", (delimiter + b"\r\n").join(blocks), delimiter, b"--\r\n"))
    return _Part(f'Content-Type: multipart/{subtype};\r\n boundary="{boundary}"\r\n', body)


def _text(subtype: str, text: str) -> _Part:
    """A text, ending with a line end unless it's empty; encoded only where it must be, the shorter way."""
    data = _crlf(text.encode())
    if data and not data.endswith(b"\r\n"):
        data += b"\r\n"
    if _is_7bit(data):
        encoding = "7bit"
    else:
        encoding, quoted = "quoted-printable", b2a_qp(data, quotetabs=False, istext=True)
        if len(quoted) > len(data) * 4 // 3:  # about what base64 takes
            encoding, quoted = "base64", _base64(data)
        data = quoted
    return _Part(
        f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n", data
    )


def _file(one: Attachment, disposition: str) -> _Part:
    """An attachment, octet by octet: base64, but for messages, which RFC 2046 §5.2 wants in the clear.

    What isn't allowed to be encoded and can't go in the clear loses its type rather than an octet of its content.
    """
    if problem := content_type_problem(one.content_type):
        raise ValueError(f"content type {one.content_type!r} {problem}")
    if one.content_id and (problem := content_id_problem(one.content_id)):
        raise ValueError(f"content id {one.content_id!r} {problem}")
    kind, parameters = content_type_parts(one.content_type)
    encoding, data = "base64", b""
    if kind.startswith("message/") and _is_7bit(lines := _crlf(one.data)):
        encoding, data = "7bit", lines
    elif kind.startswith(("message/", "multipart/")):
        kind, parameters = "application/octet-stream", []
    content_id = f"Content-ID: <{one.content_id}>\r\n" if one.content_id else ""
    head = (
        f"Content-Type: {_PARAMETER.join([kind, *parameters])}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n"
        f"Content-Disposition: {disposition}{_filename(one.filename)}\r\n{content_id}"
    )
    return _Part(head, data or _base64(one.data))


def _filename(name: str) -> str:
    """The filename parameter: a quoted string (RFC 2183 §2.3), or what RFC 2231 §§3–4 has for all other names."""
    if not name:
        return ""
    if _is_plain(name) and len(quoted := _quoted(name)) <= WORD_LENGTH:
        return f"{_PARAMETER}filename={quoted}"
    runs = _percent_runs(quote(name, safe="!#$&+^`|"))
    runs[0] = f"utf-8''{runs[0]}"
    if len(runs) == 1:
        return f"{_PARAMETER}filename*={runs[0]}"
    return "".join(f"{_PARAMETER}filename*{index}*={run}" for index, run in enumerate(runs))


def _crlf(data: bytes) -> bytes:
    """Every line end as CRLF, whatever it was."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data.replace(b"\n", b"\r\n")


def _is_7bit(data: bytes) -> bool:
    """Whether lines of CRLF may go as they are: ASCII without NUL, none too long (RFC 2045 §2.7)."""
    if not data.isascii() or b"\0" in data:
        return False
    at = 0
    while len(data) - at > HEADER_LINE_MAX:
        at = data.rfind(b"\n", at, at + HEADER_LINE_MAX + len(b"\r\n")) + 1
        if at == 0:
            return False
    return True


def _base64(data: bytes) -> bytes:
    """In lines of 76 characters (RFC 2045 §6.8), each with its line end."""
    encoded = b2a_base64(data, newline=False)
    return b"\r\n".join([encoded[at : at + 76] for at in range(0, len(encoded), 76)]) + b"\r\n"
