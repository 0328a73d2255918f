"""Content as stored: one text for each email, attachments beside it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.content_codec import decode_content, digests_in, encode_content
from application.recorded import StoredContent
from domain.content import Address, Attachment, Content

ADDRESSES = st.builds(Address, address=st.text(), name=st.text())
MANY_ADDRESSES = st.lists(ADDRESSES, max_size=3).map(tuple)
ATTACHMENTS = st.builds(
    Attachment,
    filename=st.text(),
    content_type=st.text(),
    data=st.binary(max_size=40),
    content_id=st.text(),
)
CONTENTS = st.builds(
    Content,
    sender=ADDRESSES,
    to=MANY_ADDRESSES,
    cc=MANY_ADDRESSES,
    bcc=MANY_ADDRESSES,
    reply_to=MANY_ADDRESSES,
    subject=st.text(),
    text=st.none() | st.text(),
    html=st.none() | st.text(),
    headers=st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple),
    attachments=st.lists(ATTACHMENTS, max_size=3).map(tuple),
)


@given(st.text(), st.binary(max_size=16), CONTENTS)
def test_content_is_read_as_it_was_stored(key: str, salt: bytes, content: Content) -> None:
    """Attachments come back from their blobs."""
    stored = StoredContent(email_id="e1", key=key, salt=salt, content=content)
    text, blobs = encode_content(stored)

    assert stored == decode_content("e1", text, dict(blobs))
    assert [digest for digest, _ in blobs] == digests_in(text)


def test_equal_attachments_are_one_blob_and_leave_no_octet_in_the_text() -> None:
    """A newsletter's logo is stored once; the text says name, type, digest and size."""
    logo = Attachment(filename="logo.png", content_type="image/png", data=b"\x89PNG", content_id="logo")
    content = Content(
        sender=Address(address="a@b.example"), to=(), attachments=(logo, replace(logo, filename="2.png"))
    )
    text, blobs = encode_content(StoredContent(email_id="e1", key="k", salt=b"s", content=content))
    digest = hashlib.sha256(b"\x89PNG").hexdigest()

    assert [(digest, b"\x89PNG")] == blobs
    assert {
        "filename": "logo.png",
        "content_type": "image/png",
        "content_id": "logo",
        "digest": digest,
        "size": 4,
    } == msgspec.json.decode(text)["attachments"][0]


def test_a_missing_blob_is_an_error() -> None:
    """Better no email than one without its invoice."""
    file = Attachment(filename="a", content_type="a/b", data=b"1")
    content = Content(sender=Address(address="a@b.example"), to=(), attachments=(file,))
    text, _ = encode_content(StoredContent(email_id="e1", key="k", salt=b"s", content=content))

    with pytest.raises(KeyError):
        decode_content("e1", text, {})
