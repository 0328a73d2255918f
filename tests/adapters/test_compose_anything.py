"""Composing, whatever the email: what went in comes out, and nothing else does."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from email import message_from_bytes
from email.header import decode_header, make_header
from email.utils import getaddresses
from quopri import decodestring

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.compose import wire_address
from domain.content import HEADER_LINE_MAX, Address, Attachment, Content
from domain.headers import header_problem, text_problem
from tests.adapters.reading import BILL, DATE, PLAIN, composed, head, lines_of, parsed, shape

# Everything but controls and surrogates, which the intake refuses; and lengths and mixtures as people write them.
scraps = [
    "a",
    " ",
    "  ",
    "order ",
    "Grüße",
    "ü",
    "漢字",
    "🐎",
    ", ",
    '"',
    "\\",
    "=?",
    "?=",
    "_",
    "%",
    "<",
    ">",
    "@",
    "(",
    "x" * 70,
]
words = st.one_of(
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=90),
    st.lists(st.sampled_from(scraps), max_size=25).map("".join),
    st.lists(st.sampled_from(["order ", "ordinary ", "ü", "ß "]), min_size=8, max_size=40).map("".join),
)
ends = ["\r\n", "\n", "\r", "\n\r", " \n", "\t\r\n", "\n.\n", "=\n", "\x0b", "\x0c", "\u2028", "\x1b"]
bodies = st.one_of(
    st.lists(st.sampled_from([*scraps, *ends]), max_size=30).map("".join),
    st.integers(990, 1010).map(lambda size: "x" * size + "\nend"),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)
locals_ = st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\.[a-z0-9]{1,8})?", fullmatch=True)
domains = st.sampled_from(["example.org", "bücher.example", "xn--bcher-kva.example", "a.b.c.example"])
addresses = st.builds(
    Address, address=st.builds(lambda local, domain: f"{local}@{domain}", locals_, domains), name=words
)
some = st.lists(addresses, max_size=2).map(tuple)
custom = st.tuples(
    st.from_regex(r"X-[A-Za-z0-9-]{1,40}", fullmatch=True), words.map(lambda value: " ".join(value.split()))
).filter(lambda pair: header_problem(*pair) is None)
files = st.builds(
    Attachment,
    filename=words,
    content_type=st.sampled_from(
        ["image/png", "text/plain; charset=latin-1", 'text/csv; name="a b"', "application/x"]
    ),
    data=st.binary(max_size=200),
    content_id=st.sampled_from(["", "", "logo", "a@example.org"]),
)
contents = st.builds(
    Content,
    sender=addresses,
    to=some,
    cc=some,
    bcc=some,
    reply_to=some,
    subject=words,
    text=st.none() | bodies,
    html=st.none() | bodies,
    headers=st.lists(custom, max_size=2, unique_by=lambda pair: pair[0].lower()).map(tuple),
    attachments=st.lists(files, max_size=2).map(tuple),
)


def mailboxes(raw: bytes, name: str) -> list[tuple[str, str]]:
    """By the older parser: the newer one puts a space between two encoded words of a name (RFC 2047 §6.2: none)."""
    found = getaddresses(message_from_bytes(raw).get_all(name, []))
    return [(str(make_header(decode_header(one))), address) for one, address in found if address]


@settings(max_examples=40)  # whole emails are slow to make up; the fields have tests of their own
@given(contents)
def test_the_same_email_is_the_same_bytes(content: Content) -> None:
    """So that every attempt sends what the first one sent."""
    assert composed(content) == composed(replace(content))


@settings(max_examples=40)
@given(contents)
def test_headers_read_back(content: Content) -> None:
    """Names, addresses, subject and custom headers, whatever is in them."""
    raw = composed(content)
    message = parsed(raw)

    for name, group in (("To", content.to), ("Cc", content.cc), ("Reply-To", content.reply_to)):
        assert [(one.name, wire_address(one.address)) for one in group] == mailboxes(raw, name)
    assert [(content.sender.name, wire_address(content.sender.address))] == mailboxes(raw, "From")
    assert content.subject == message["Subject"]
    assert DATE == message["Date"].datetime
    for name, value in content.headers:
        assert value == message[name]


@settings(max_examples=40)
@given(contents)
def test_texts_and_files_read_back(content: Content) -> None:
    """Every body with its line ends made CRLF, every file to the octet and under its name."""
    message = parsed(composed(content))

    text, html = message.get_body(("plain",)), message.get_body(("html",))
    if content.html is None or content.text:
        assert text is not None
        assert lines_of(content.text or "") == text.get_content()
    if content.html is not None:
        assert html is not None
        assert lines_of(content.html) == html.get_content()
    inline = [one for one in content.attachments if one.content_id and content.html is not None]
    found = [part for part in message.walk() if part.get_content_disposition() is not None]
    order = [*inline, *(one for one in content.attachments if one not in inline)]
    assert [(one.filename or None, one.data) for one in order] == [
        (part["Content-Disposition"].params.get("filename"), part.get_payload(decode=True)) for part in found
    ]
    assert [f"<{one.content_id}>" if one.content_id else None for one in order] == [
        part["Content-ID"] for part in found
    ]
    assert [one.content_type.partition(";")[0] for one in order] == [
        part.get_content_type() for part in found
    ]


@settings(max_examples=40)
@given(contents)
def test_lines_are_what_any_server_takes(content: Content) -> None:
    """7-bit, CRLF and nothing bare, at most 998 octets (RFC 5321 §4.5.3.1.6, RFC 5322 §2.1.1)."""
    raw = composed(content)

    assert raw.isascii()
    assert b"\0" not in raw
    assert raw.endswith(b"\r\n")
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", raw)
    assert max(map(len, raw.split(b"\r\n"))) <= HEADER_LINE_MAX


@settings(max_examples=40)
@given(contents)
def test_headers_are_folded(content: Content) -> None:
    """At most 78 characters, but where there is no white space to fold at (RFC 5322 §2.1.1)."""
    for line in head(composed(content)).split("\r\n"):
        assert (
            len(line) <= 78
            or " " not in line.partition(": ")[2].strip()
            or line.startswith(("Message-ID", "X-"))
        )
        assert line.strip()


@given(words)
def test_a_subject_reads_back(subject: str) -> None:
    """White space at its ends too, and what looks like an encoded word."""
    assert subject == parsed(composed(replace(PLAIN, subject=subject)))["Subject"]


@given(bodies)
def test_a_text_reads_back(text: str) -> None:
    """Line by line, whatever its lines ended with."""
    assert lines_of(text) == parsed(composed(replace(PLAIN, text=text))).get_content()


@given(words)
def test_a_filename_reads_back(filename: str) -> None:
    """In one piece or in many."""
    message = parsed(composed(replace(PLAIN, attachments=(replace(BILL, filename=filename),))))

    assert [filename or None] == [
        part["Content-Disposition"].params.get("filename") for part in message.iter_attachments()
    ]


@given(words)
def test_an_encoded_word_is_whole_by_itself(subject: str) -> None:
    """RFC 2047 §2 and §5(3): at most 75 characters, lines of at most 76, no character cut in two."""
    raw = head(composed(replace(PLAIN, subject=subject + "ü", sender=PLAIN.to[0])))
    found = re.findall(r"=\?utf-8\?([qb])\?([!-~]*?)\?=", raw)

    assert found
    for way, word in found:
        data = b64decode(word, validate=True) if way == "b" else decodestring(word.encode(), header=True)
        data.decode()
        assert len(f"=?utf-8?q?{word}?=") <= 75
    assert max(len(line) for line in raw.split("\r\n") if "=?" in line) <= 76


@given(st.text(), st.text(), st.text(), st.text(), st.text())
def test_no_text_becomes_a_header(
    subject: str, name: str, value: str, filename: str, content_type: str
) -> None:
    """Line breaks in any field are encoded or refused; there is never a header nobody asked for."""
    injection = "\r\nBcc: eve@example.net\r\n\r\n"
    for one in (
        (subject, name, value, filename, "image/png"),
        (subject + injection, name + injection, "x", filename + injection, "image/png"),
        (subject, name, "a" + injection + value, filename, "image/png"),
        (subject, name, "x", filename, content_type + injection),
    ):
        content = replace(
            PLAIN,
            subject=one[0],
            to=(Address(address="ann@example.com", name=one[1]),),
            headers=(("X-A", one[2]),),
            attachments=(replace(BILL, filename=one[3], content_type=one[4]),),
        )
        try:
            message = parsed(composed(content))
        except ValueError:
            continue
        expected = ["From", "To", "Subject", "Date", "Message-ID", "X-A", "MIME-Version", "Content-Type"]
        assert expected == message.keys()
        assert ("multipart/mixed", (("text/plain", ()), ("image/png", ()))) == shape(message)


@given(words)
def test_whatever_the_intake_lets_pass_is_composed(text: str) -> None:
    """The rules in `domain.headers` are all there is to check."""
    assert text_problem(text) is None

    composed(replace(PLAIN, subject=text, sender=replace(PLAIN.sender, name=text)))
