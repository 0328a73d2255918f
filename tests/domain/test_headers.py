"""What a client's headers may be, and what is said about those that may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.headers import (
    BLANK,
    CONTENT_ID_MAX,
    CONTENT_TYPE_MAX,
    HEADER_NAME_MAX,
    RESERVED_HEADERS,
    content_id_problem,
    content_type_parts,
    content_type_problem,
    header_problem,
    pieces,
    text_problem,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Campaign", "spring"),
        ("X-Empty", ""),
        ("X_odd!name'", "a\tb"),
        ("X-Name", "Grüße 🐎"),
        ("References", " ".join(f"<{n}@example.org>" for n in range(500))),
        ("List-Unsubscribe", f"<https://example.org/{'u' * 950}>"),
        ("X-Long", "ü" * 5000),
        ("X" * HEADER_NAME_MAX, "x"),
    ],
)
def test_a_custom_header_may_go_out(name: str, value: str) -> None:
    """Any name of ftext, any text that can be folded or encoded."""
    assert header_problem(name, value) is None


@pytest.mark.parametrize("name", ["", "X Y", "X:Y", "X\r\nBcc", "Größe", "X\t", "X\x7f"])
def test_a_name_beyond_ftext_is_refused(name: str) -> None:
    """RFC 5322 §3.6.8: printable ASCII but the colon."""
    assert "no header name" in (header_problem(name, "x") or "")


def test_a_name_that_fills_the_line_is_refused() -> None:
    """The name can't be folded, so it has a bound of its own."""
    assert "longer than" in (header_problem("X" * (HEADER_NAME_MAX + 1), "x") or "")


@pytest.mark.parametrize(
    "name",
    [
        *sorted(RESERVED_HEADERS),
        "BCC",
        "Message-Id",
        "Content-Type",
        "content-anything",
        "Resent-Bcc",
        "ARC-Seal",
    ],
)
def test_a_header_of_ours_is_refused(name: str) -> None:
    """Whatever the case it's written in: the other fields or the servers on the way say these."""
    assert "is not a custom header" in (header_problem(name, "x") or "")


@pytest.mark.parametrize(
    "value", ["a\r\nBcc: b@example.org", "a\nb", "a\rb", "a\0b", "a\x1bb", "a\x7f", "a\ud800"]
)
def test_a_value_with_a_control_character_is_refused(value: str) -> None:
    """So that one header can't become two, and nothing is left that can't be encoded."""
    assert "line break" in (header_problem("X-A", value) or "")
    assert "line break" in (text_problem(value) or "")


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        ("x" * 993, False),  # behind `X-A: ` just 998
        ("x" * 994, True),
        (f"a {'x' * 997}", False),  # a line begins with its space
        (f"a {'x' * 998}", True),
        (f"a{' ' * 998}b", True),
        (f"ü {'x' * 998}", True),
    ],
)
def test_a_line_that_can_not_be_folded_is_refused(value: str, refused: bool) -> None:
    """RFC 5322 §2.1.1: 998 octets in a line, and folding needs white space."""
    assert refused == ("without a space" in (header_problem("X-A", value) or ""))


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("image/png", ("image/png", [])),
        ("Text/Plain; charset=latin-1", ("text/plain", ["charset=latin-1"])),
        (
            'application/x;a="b;c=\\"d"\t; e=f',
            ("application/x", ['a="b;c=\\"d"', "e=f"]),
        ),
    ],
)
def test_a_content_type_is_read(value: str, parts: tuple[str, list[str]]) -> None:
    """Type and subtype whatever their case; parameters to the letter."""
    assert content_type_problem(value) is None
    assert parts == content_type_parts(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "png",
        "image/",
        "image/png; x",
        "image/png\r\nBcc: a",
        'image/png; a="b\r\n"',
        "text/plain; name=ü",
        "a/b c",
    ],
)
def test_what_is_no_content_type_is_refused(value: str) -> None:
    """RFC 2045 §5.1, as far as no writing of it is left to guess."""
    assert "no content type" in (content_type_problem(value) or "")


def test_a_content_type_has_a_bound() -> None:
    """A parameter can't be folded, so the whole stays well below a line."""
    assert "longer than" in (content_type_problem(f"a/{'b' * CONTENT_TYPE_MAX}") or "")


@pytest.mark.parametrize("value", ["logo", "logo@example.org", "a+b=c", "x" * CONTENT_ID_MAX])
def test_a_content_id_may_go_out(value: str) -> None:
    """What stands behind `cid:` in the HTML, mailbox-like or not."""
    assert content_id_problem(value) is None


@pytest.mark.parametrize("value", ["", "<logo>", "a b", "a\r\nb", "größe", "x" * (CONTENT_ID_MAX + 1)])
def test_what_is_no_content_id_is_refused(value: str) -> None:
    """It goes between angle brackets as it is."""
    assert content_id_problem(value) is not None


@given(st.text(st.sampled_from(" \tab=ü"), max_size=30))
def test_pieces_are_the_whole_but_for_white_space_at_the_end(value: str) -> None:
    """Folding in front of any piece loses nothing, and no piece would be a line of white space."""
    found = pieces(value)

    assert value.rstrip(BLANK) == "".join(found)
    assert all(piece.strip(BLANK) for piece in found)
