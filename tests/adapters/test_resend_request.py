"""What Resend is sent: every part of an email, to the right people, the same each time."""

from __future__ import annotations

import base64
import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings

from adapters.providers.resend_request import EMAIL_BYTES_MAX, EmailRequest, Unsendable, email_request
from application.provider_port import Submission
from domain.content import Address, Attachment, Content
from domain.failures import FailureKind
from tests.adapters.reading import BILL, DATE, ID, PICTURE, PLAIN
from tests.adapters.test_compose_anything import contents
from tests.support.resend_api import recipients_of, refusal_of

KEY = "0123456789abcdef0123456789abcdef"


def people(*names: str) -> tuple[Address, ...]:
    return tuple(Address(address=f"{name}@example.net") for name in names)


def submitted(content: Content, recipients: tuple[int, ...] | None = None) -> Submission:
    everybody = tuple(range(len(content.envelope)))
    return Submission(
        email_id=ID,
        attempt=1,
        recipients=everybody if recipients is None else recipients,
        content=content,
        date=DATE,
        provider_key=KEY,
    )


def request_of(
    content: Content, recipients: tuple[int, ...] | None = None
) -> tuple[EmailRequest, dict[str, Any]]:
    """The request, and its body read back; what is sent is always valid by the published schema."""
    request = email_request(submitted(content, recipients))
    payload = json.loads(b"".join(request.body))

    assert refusal_of(payload) is None
    return request, payload


def test_a_whole_email() -> None:
    """Every field that Resend has for what an email holds, and no other."""
    content = replace(
        PLAIN,
        cc=people("cc"),
        bcc=people("bcc"),
        reply_to=people("answers"),
        html="<p>Thank you.</p><img src='cid:logo'>",
        headers=(("X-Order", "7"), ("List-Unsubscribe", "<https://example.org/u>")),
        attachments=(PICTURE, BILL),
    )

    request, payload = request_of(content)

    assert (0, 1, 2) == request.carried
    assert {
        "from": "The Shop <shop@example.org>",
        "to": ["ann@example.com"],
        "cc": ["cc@example.net"],
        "bcc": ["bcc@example.net"],
        "reply_to": ["answers@example.net"],
        "subject": "Your order",
        "text": "Thank you.\n.\nThe shop\n",
        "html": "<p>Thank you.</p><img src='cid:logo'>",
        "headers": {"X-Order": "7", "List-Unsubscribe": "<https://example.org/u>"},
        "attachments": [
            {
                "filename": "logo.png",
                "content": base64.b64encode(PICTURE.data).decode(),
                "content_type": "image/png",
                "content_id": "logo",
            },
            {
                "filename": "bill.pdf",
                "content": base64.b64encode(BILL.data).decode(),
                "content_type": "application/pdf",
            },
        ],
        "tags": [{"name": "stagepost_key", "value": KEY}, {"name": "stagepost_email", "value": ID}],
    } == payload


def test_a_plain_email_is_no_more_than_that() -> None:
    """Empty fields are left out."""
    _, payload = request_of(PLAIN)

    assert {"from", "to", "subject", "text", "tags"} == set(payload)


def test_html_alone_stays_alone() -> None:
    """An empty text keeps Resend from making one up."""
    _, payload = request_of(replace(PLAIN, text=None, html="<p>Hi</p>"))

    assert ("", "<p>Hi</p>") == (payload["text"], payload["html"])


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("", "ann@example.com"),
        ("Ann", "Ann <ann@example.com>"),
        ("Ännchen Müller", "Ännchen Müller <ann@example.com>"),
        ("漢字 🐎", "漢字 🐎 <ann@example.com>"),
        ("Doe, Ann", '"Doe, Ann" <ann@example.com>'),
        ("Müller, Ann", '"Müller, Ann" <ann@example.com>'),
        ('Ann "A" Doe\\', '"Ann \\"A\\" Doe\\\\" <ann@example.com>'),
        ("Ann <evil@example.org>", '"Ann <evil@example.org>" <ann@example.com>'),
        (" Ann ", '" Ann " <ann@example.com>'),
    ],
)
def test_display_names_stay_names(name: str, written: str) -> None:
    """In whatever script, and with whatever looks like an address of its own."""
    _, payload = request_of(replace(PLAIN, to=(Address(address="ann@example.com", name=name),)))

    assert [written] == payload["to"]


def test_domains_go_as_a_labels() -> None:
    """In every field."""
    there = Address(address="ann@bücher.example")
    _, payload = request_of(replace(PLAIN, sender=there, to=(there,), reply_to=(there,)))

    assert ["ann@xn--bcher-kva.example"] * 3 == [payload["from"], payload["to"][0], payload["reply_to"][0]]


@pytest.mark.parametrize(
    ("recipients", "to", "cc", "bcc", "left"),
    [
        ((0, 1, 2, 3, 4, 5), "ab", "cd", "ef", ()),
        ((1,), "b", "", "", ()),
        ((1, 2, 4), "b", "c", "e", ()),
        ((2, 3), "cd", "", "", ()),
        ((3, 4, 5), "d", "", "ef", ()),
        ((4,), "e", "", "", ()),
        ((4, 5), "e", "", "", (5,)),
    ],
)
def test_only_the_carried_are_named(
    recipients: tuple[int, ...], to: str, cc: str, bcc: str, left: tuple[int, ...]
) -> None:
    """Somebody stands in `to`, the visible before the blind, and no blind recipient sees another."""
    content = replace(PLAIN, to=people("a", "b"), cc=people("c", "d"), bcc=people("e", "f"))

    request, payload = request_of(content, recipients)

    boxes = {"to": to, "cc": cc, "bcc": bcc}
    assert {field: [f"{one}@example.net" for one in names] for field, names in boxes.items() if names} == {
        field: payload[field] for field in boxes if field in payload
    }
    assert left == request.left
    assert recipients == request.carried + request.left


def test_nobody_gets_two_copies() -> None:
    """Who stands in several boxes, or twice in one, is one recipient."""
    content = replace(PLAIN, to=people("a", "a"), cc=people("b", "a"), bcc=people("b", "c"))

    request, payload = request_of(content)

    assert ["a@example.net", "b@example.net", "c@example.net"] == recipients_of(payload)
    assert (0, 1, 2) == request.carried


def test_keys_and_ids_that_are_no_tags_are_left_out() -> None:
    """Rather than the whole email being refused for them."""
    odd = replace(submitted(PLAIN), provider_key="key 1", email_id="ü")

    assert "tags" not in json.loads(b"".join(email_request(odd).body))


UNSENDABLE: dict[str, Content] = {
    "a line break in the subject": replace(PLAIN, subject="Hi\r\nBcc: evil@example.org"),
    "one in a name": replace(PLAIN, sender=Address(address="a@example.org", name="A\nB")),
    "NUL in a filename": replace(PLAIN, attachments=(replace(BILL, filename="a\0.pdf"),)),
    "a line break in a header": replace(PLAIN, headers=(("X-A", "1\r\nX-B: 2"),)),
    "a header that is ours": replace(PLAIN, headers=(("Message-ID", "<1@example.org>"),)),
    "a header twice": replace(PLAIN, headers=(("X-A", "1"), ("X-A", "2"))),
    "an address that is none": replace(PLAIN, to=(Address(address="ann@@example.org>"),)),
    "a content type that is none": replace(PLAIN, attachments=(replace(BILL, content_type="pdf"),)),
    "a content id that is none": replace(PLAIN, attachments=(replace(PICTURE, content_id="<logo>"),)),
    "a content id too long for Resend": replace(PLAIN, attachments=(replace(PICTURE, content_id="x" * 128),)),
    "half a surrogate pair": replace(PLAIN, text="\ud800"),
}


@pytest.mark.parametrize("what", UNSENDABLE)
def test_what_resend_would_never_take_is_not_offered(what: str) -> None:
    """Another provider may take it."""
    with pytest.raises(Unsendable) as refused:
        email_request(submitted(UNSENDABLE[what]))

    assert FailureKind.CONTENT is refused.value.kind
    assert "evil" not in refused.value.detail


def test_a_file_of_many_pieces_stays_one() -> None:
    """Octet by octet, whatever its length."""
    for size in (0, 1, 196_607, 196_608, 196_609, 1_000_000):
        data = random.Random(size).randbytes(size)
        request = email_request(submitted(replace(PLAIN, attachments=(replace(BILL, data=data),))))

        assert data == base64.b64decode(
            json.loads(b"".join(request.body))["attachments"][0]["content"], validate=True
        )


def test_what_is_too_large_is_not_offered() -> None:
    """Base64 counts; it isn't made to find out."""
    most = EMAIL_BYTES_MAX // 4 * 3 - 1000
    fits = Attachment(filename="a.zip", content_type="application/zip", data=bytes(most))
    content = replace(PLAIN, attachments=(fits,))

    request = email_request(submitted(content))
    with pytest.raises(Unsendable) as refused:
        email_request(submitted(replace(content, html="x" * 2000)))

    assert sum(map(len, request.body)) < EMAIL_BYTES_MAX
    assert FailureKind.TOO_LARGE is refused.value.kind


@settings(max_examples=40)
@given(contents)
def test_whatever_the_email_it_is_valid_and_the_same(content: Content) -> None:
    """By the published schema; names and subject as they were; twice the same octets."""
    files = tuple(one for one in content.attachments if one.data)  # Resend takes no empty ones
    content = replace(content, attachments=files, subject=content.subject or "None")
    assume(content.envelope and (content.text or content.html))
    what = submitted(content)
    request = email_request(what)
    payload = json.loads(b"".join(request.body))

    assert refusal_of(payload) is None
    assert request == email_request(replace(what, attempt=2))
    assert content.subject == payload["subject"]
    assert [one.data for one in content.attachments] == [
        base64.b64decode(one["content"]) for one in payload.get("attachments", [])
    ]
