"""Email addresses as clients write them: `shop@example.org`, `Shop <shop@example.org>`."""

from __future__ import annotations

import re

from domain.content import Address

TEXT_MAX = 1000
"""Characters of name and address together, before anything is parsed: bounds the work a bad one costs."""
NAME_MAX = 256
"""Characters of a display name. Long for a name, and far from what header lines can carry."""
LOCAL_PART_OCTETS_MAX = 64
"""RFC 5321 §4.5.3.1.1."""
ADDRESS_OCTETS_MAX = 254
"""RFC 3696, errata 1690: what fits into MAIL FROM and RCPT TO."""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
# A label like `xn--…` or `ab--…` says something about IDNA: the library looks at those.
_LABEL = r"(?!..--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
PLAIN = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@({_LABEL}(?:\.{_LABEL})*)")
"""An ASCII dot-atom at a host name: nearly every address there is, and many times faster than the library."""

# A name without quotes may hold anything that can't be taken for a second address or a list of them.
NAMED = re.compile(r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^"<>\\,;]*))\s*<(?P<address>[^<>]*)>')
BREAKS_LINES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line and paragraph separators, lone surrogates: nothing of this may reach a header."""


class BadAddress(ValueError):
    """Not an address we could send to or from. `reason` is a sentence for whoever wrote it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse_address(text: str) -> Address:
    """Read `local@domain`, `<local@domain>` or `Name <local@domain>`. Raises BadAddress.

    The local part stays as written. The domain comes out in lower case and in ASCII (IDNA), so that one domain
    has one spelling everywhere; it may be a single label, as internal relays use. Address literals (`[1.2.3.4]`) and
    quoted local parts are refused: most providers refuse them too.
    """
    if len(text) > TEXT_MAX:
        raise BadAddress(
            f"An address may have {TEXT_MAX} characters, name included; this one has {len(text)}."
        )
    if BREAKS_LINES.search(text):
        raise BadAddress("An address may not contain line breaks or other control characters.")
    text = text.strip()
    if "<" not in text:
        return Address(address=_mailbox(text))
    match = NAMED.fullmatch(text)
    if match is None:
        raise BadAddress(
            'Write one address, like Name <name@example.org>; a name with any of ",;<> in quotes.'
        )
    name = re.sub(r"\\(.)", r"\1", match["quoted"]) if match["bare"] is None else match["bare"]
    if len(name) > NAME_MAX:
        raise BadAddress(f"A display name may have {NAME_MAX} characters; this one has {len(name)}.")
    return Address(address=_mailbox(match["address"]), name=name.strip())


def parse_domain(text: str) -> str:
    """A domain the way `Address.domain` spells it: lower case, ASCII. Raises BadAddress."""
    return _mailbox(f"x@{text}").rpartition("@")[2]


def _mailbox(text: str) -> str:
    match = PLAIN.fullmatch(text)
    # The lengths before and after the @ imply neither each other nor the sum.
    if match is None or len(match[1]) > LOCAL_PART_OCTETS_MAX or len(text) > ADDRESS_OCTETS_MAX:
        local, domain = _by_the_library(text)
    else:
        local, domain = match[1], match[2].lower()
    if domain.rpartition(".")[2].isdigit():
        raise BadAddress("An IP address can't stand after the @; write a domain.")
    return f"{local}@{domain}"


def _by_the_library(text: str) -> tuple[str, str]:
    """Local part and ASCII domain of an address that is not plain. Raises BadAddress."""
    import email_validator  # costs 40 ms of start-up, and most commands never meet such an address

    # The library refuses .test, .local and the like for all. An internal relay may well serve them.
    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()
    try:
        found = email_validator.validate_email(
            text, allow_smtputf8=True, strict=True, check_deliverability=False, globally_deliverable=False
        )
    except email_validator.EmailNotValidError as error:
        raise BadAddress(str(error)) from None
    local, domain = found.local_part, found.ascii_domain
    written = text.rpartition("@")[0]
    if written.lower() == local:
        local = written  # it lower-cases `Info@`; who asked for that spelling gets it, as on the plain way
    if len(local.encode()) > LOCAL_PART_OCTETS_MAX or len(f"{local}@{domain}".encode()) > ADDRESS_OCTETS_MAX:
        raise BadAddress(
            f"Too long: {LOCAL_PART_OCTETS_MAX} octets before the @, {ADDRESS_OCTETS_MAX} in all."
        )
    return local, domain
