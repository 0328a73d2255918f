"""Composing, by example: what each kind of email looks like, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from email.message import EmailMessage

import pytest

from adapters.compose import needs_smtputf8, wire_address
from domain.content import Address, Attachment, Content
from tests.adapters.reading import (
    BILL,
    DATE,
    ID,
    PICTURE,
    PLAIN,
    Shape,
    composed,
    head,
    lines_of,
    parsed,
    shape,
)


def test_a_plain_message_is_this_to_the_byte() -> None:
    """What the commonest email looks like; not dot-stuffed, which is the SMTP client's to do."""
    expected = (
        b"From: The Shop <shop@example.org>\r\n"
        b"To: ann@example.com\r\n"
        b"Subject: Your order\r\n"
        b"Date: Sat, 01 Mar 2025 09:05:07 +0000\r\n"
        b"Message-ID: <0193f0e2-1111-7abc-8def-0123456789ab@example.org>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Thank you.\r\n.\r\nThe shop\r\n"
    )

    assert expected == composed()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (replace(PLAIN, text="t"), ("text/plain", ())),
        (replace(PLAIN, text=None, html="h"), ("text/html", ())),
        (replace(PLAIN, text="", html="h"), ("text/html", ())),
        (replace(PLAIN, html="h"), ("multipart/alternative", (("text/plain", ()), ("text/html", ())))),
        (
            replace(PLAIN, text=None, html="h", attachments=(PICTURE,)),
            ("multipart/related", (("text/html", ()), ("image/png", ()))),
        ),
        (
            replace(PLAIN, attachments=(BILL, PICTURE)),
            ("multipart/mixed", (("text/plain", ()), ("application/pdf", ()), ("image/png", ()))),
        ),
        (
            replace(PLAIN, html="h", attachments=(BILL, PICTURE)),
            (
                "multipart/mixed",
                (
                    (
                        "multipart/alternative",
                        (("text/plain", ()), ("multipart/related", (("text/html", ()), ("image/png", ())))),
                    ),
                    ("application/pdf", ()),
                ),
            ),
        ),
    ],
)
def test_the_tree_has_no_more_levels_than_it_needs(content: Content, expected: Shape) -> None:
    """Alternatives inside, files outside, inline images beside the HTML that shows them."""
    assert expected == shape(parsed(composed(content)))


def test_who_gets_a_blind_copy_is_nowhere_in_the_message() -> None:
    """RFC 5322 §3.6.3: the envelope alone knows."""
    bcc = (Address(address="eve@example.net", name="Eve"),)

    assert composed() == composed(replace(PLAIN, bcc=bcc))
    assert "To: undisclosed-recipients:;\r\n" in head(composed(replace(PLAIN, to=(), bcc=bcc)))
    assert "To:" not in head(composed(replace(PLAIN, to=(), cc=bcc)))


def test_a_boundary_is_never_in_a_body() -> None:
    """Not even in one that quotes this very email."""
    first = composed(replace(PLAIN, html="h", attachments=(BILL,))).decode()
    again = replace(PLAIN, text=first, html=first, attachments=(BILL,))
    texts = [
        part.get_content() for part in parsed(composed(again)).walk() if part.get_content_maintype() == "text"
    ]

    assert [first, first] == texts


def test_only_what_must_be_encoded_is() -> None:
    """In a custom header, ids, URLs and what the client encoded itself stay to the letter."""
    content = replace(
        PLAIN,
        headers=(("List-Id", "Käse und feines Öl <cheese.example.org>"), ("X-Old", "=?utf-8?q?K=C3=A4se?=")),
    )

    raw = head(composed(content))

    assert "List-Id: =?utf-8?q?K=C3=A4se_und_feines_=C3=96l?= <cheese.example.org>\r\n" in raw
    assert "X-Old: =?utf-8?q?K=C3=A4se?=\r\n" in raw


def test_many_references_are_folded() -> None:
    """Between the ids, and nowhere else (RFC 5322 §3.6.4)."""
    value = " ".join(f"<{n:030}@example.org>" for n in range(100))
    raw = head(composed(replace(PLAIN, headers=(("References", value),))))

    assert value in raw.replace("\r\n ", " ")
    assert max(map(len, raw.split("\r\n"))) <= 78


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("x" * 998, "7bit"),
        ("x" * 999, "quoted-printable"),
        ("x" * 998 + "\n" + "y" * 998, "7bit"),
        ("x" * 998 + "\n" + "y" * 999, "quoted-printable"),
        ("Grüße, und sonst ein deutscher Text", "quoted-printable"),
        ("日本語のテキストです。", "base64"),
        ("one octet of no text: \0", "quoted-printable"),
    ],
)
def test_a_text_is_encoded_only_where_it_must_be(text: str, encoding: str) -> None:
    """And then in the shorter way."""
    message = parsed(composed(replace(PLAIN, text=text)))

    assert encoding == message["Content-Transfer-Encoding"]
    assert lines_of(text) == message.get_content()


def test_an_internationalised_domain_goes_out_as_a_labels() -> None:
    """By IDNA 2008, in which ß is a letter of its own: `strasse` may be someone else's."""
    content = replace(PLAIN, sender=Address(address="shop@straße.example"))

    raw = head(composed(content))

    assert "From: shop@xn--strae-oqa.example\r\n" in raw
    assert f"Message-ID: <{ID}@xn--strae-oqa.example>\r\n" in raw
    assert not needs_smtputf8(content)


@pytest.mark.parametrize("field", ["sender", "to", "cc", "bcc", "reply_to"])
def test_a_local_part_beyond_ascii_needs_smtputf8(field: str) -> None:
    """There is no other form for it (RFC 6532), so it stands in the header as it is."""
    one = Address(address="käse@bücher.example", name="Käserei")
    content = replace(PLAIN, **{field: one if field == "sender" else (one,)})  # type: ignore[arg-type]

    raw = head(composed(content))

    assert needs_smtputf8(content)
    assert ("=?utf-8?q?K=C3=A4serei?= <käse@xn--bcher-kva.example>" in raw) == (field != "bcc")
    assert not needs_smtputf8(PLAIN)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Ann Bell", "Ann Bell <"),
        ("Bell, Ann", '"Bell, Ann" <'),
        ('Ann "B." Bell', '"Ann \\"B.\\" Bell" <'),
        ("back\\slash", '"back\\\\slash" <'),
        ("=?utf-8?q?x?=", "=?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <"),
        ('",' * 30, "=?utf-8?"),
        ("", "a@"),
    ],
)
def test_a_name_is_written_as_plainly_as_it_can_be(name: str, written: str) -> None:
    """Atoms, a quoted string, encoded words: RFC 5322 §3.4, RFC 2047 §5(3)."""
    content = replace(PLAIN, to=(Address(address="a@example.com", name=name),))

    assert f"\r\nTo: {written}" in head(composed(content))


@pytest.mark.parametrize(
    ("filename", "written"),
    [
        ("bill.pdf", 'attachment;\r\n filename="bill.pdf"\r\n'),
        ('a "b".pdf', 'attachment;\r\n filename="a \\"b\\".pdf"\r\n'),
        ("Größe.pdf", "attachment;\r\n filename*=utf-8''Gr%C3%B6%C3%9Fe.pdf\r\n"),
        ("Größe 1.pdf", "attachment;\r\n filename*=utf-8''Gr%C3%B6%C3%9Fe%201.pdf\r\n"),
        ("x" * 70, f"attachment;\r\n filename*0*=utf-8''{'x' * 20};\r\n filename*1*={'x' * 20};\r\n"),
        ("", "attachment\r\n"),
    ],
)
def test_a_filename_is_written_as_plainly_as_it_can_be(filename: str, written: str) -> None:
    """A quoted string, RFC 2231, and its continuations."""
    raw = composed(replace(PLAIN, attachments=(replace(BILL, filename=filename),))).decode()

    assert f"Content-Disposition: {written}" in raw


def test_a_message_goes_along_in_the_clear() -> None:
    """RFC 2046 §5.2.1 forbids base64 for message/rfc822; its line ends become CRLF."""
    inner = Attachment(filename="old.eml", content_type="message/rfc822", data=b"Subject: old\n\nhello\n")
    part = parsed(composed(replace(PLAIN, attachments=(inner,)))).get_payload(1)

    assert isinstance(part, EmailMessage)
    assert ("7bit", "message/rfc822") == (part["Content-Transfer-Encoding"], part.get_content_type())
    assert "old" == part.get_content()["Subject"]


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("message/rfc822", "Subject: 8 bit\n\ngrüße\n".encode()),
        ("message/rfc822", b"Subject: long\n\n" + b"x" * 999),
        ("multipart/mixed; boundary=x", b"--x\n\nhello\n--x--\n"),
    ],
)
def test_what_can_not_go_in_the_clear_keeps_its_octets_rather_than_its_type(
    content_type: str, data: bytes
) -> None:
    """A multipart or a message may not be base64 (RFC 2045 §6.4), a stream of octets may."""
    inner = Attachment(filename="old.eml", content_type=content_type, data=data)
    part = parsed(composed(replace(PLAIN, attachments=(inner,)))).get_payload(1)

    assert isinstance(part, EmailMessage)
    assert ("base64", "application/octet-stream") == (
        part["Content-Transfer-Encoding"],
        part.get_content_type(),
    )
    assert data == part.get_payload(decode=True)


def test_a_date_is_told_in_utc() -> None:
    """Whatever the offset it comes with."""
    east = DATE.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert composed() == composed(date=east)
    with pytest.raises(ValueError, match="offset"):
        composed(date=DATE.replace(tzinfo=None))


@pytest.mark.parametrize(
    "change",
    [
        {"sender": Address(address="a@example.org>\r\nBcc: eve@example.net")},
        {"to": (Address(address="a b@example.org"),)},
        {"to": (Address(address="no-at"),)},
        {"cc": (Address(address="a@b@c"),)},
        {"cc": (Address(address="a@ex ample.org"),)},
        {"cc": (Address(address="a@bü☃cher.example"),)},
        {"reply_to": (Address(address="a,b@example.org"),)},
        {"reply_to": (Address(address='"a\n"@example.org'),)},
        {"headers": (("Bcc", "eve@example.net"),)},
        {"headers": (("X-A", "a\nb"),)},
        {"attachments": (replace(BILL, content_type="pdf"),)},
        {"attachments": (replace(BILL, content_id="a>\r\nb"),)},
    ],
)
def test_what_the_intake_should_have_refused_is_not_composed(change: dict[str, object]) -> None:
    """A ValueError, rather than a message that says something else."""
    with pytest.raises(ValueError, match=r"address|domain|header|content"):
        composed(replace(PLAIN, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("email_id", ["", "a b", "a@b", "a\r\n", "x" * 49])
def test_an_email_id_fits_into_a_message_id(email_id: str) -> None:
    """It becomes the left part of a Message-ID and a part of every boundary."""
    with pytest.raises(ValueError, match="email id"):
        composed(email_id=email_id)


@pytest.mark.parametrize("address", ["a@example.org", '"a b"@example.org', "a@[192.0.2.1]", "a@localhost"])
def test_an_address_in_ascii_stays_as_it_is(address: str) -> None:
    """Quoted local parts and address literals too."""
    assert address == wire_address(address)
