"""What a client may ask for: each rule with a case on either side of it, and every bad field in one answer."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from email import policy
from email.parser import BytesParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.compose import compose
from application.accept import SendRequest
from domain.content import Address
from domain.routing import OnUncertain
from entrypoints.http.intake import Intake
from entrypoints.http.problems import ERRORS_MAX, Errors, Problem
from entrypoints.http.wire import _slowly, decode_send
from tests.entrypoints.http_api import PLAIN, SHOP, T0

JsonObject = Mapping[str, Any]
FILE = {"filename": "a.txt", "content": "aGk="}


def encoded(**changes: Any) -> bytes:
    """A plain request with these changes as JSON; a field that is changed to ... is left out."""
    return json.dumps(
        {key: value for key, value in {**PLAIN, **changes}.items() if value is not ...}
    ).encode()


def read(default_from: Any = SHOP, key_header: Any = None, **changes: Any) -> SendRequest:
    """What the intake makes of it."""
    return Intake(default_from).request(encoded(**changes), now=T0, key_header=key_header)


def passes(**changes: Any) -> bool:
    """Nothing is wrong with it."""
    return isinstance(read(**changes), SendRequest)


def refusal(body: bytes, default_from: Address | None = SHOP, key_header: str | None = None) -> Problem:
    """How the intake refuses it."""
    with pytest.raises(Problem) as caught:
        Intake(default_from).request(body, now=T0, key_header=key_header)
    return caught.value


def errors(default_from: Any = SHOP, key_header: Any = None, **changes: Any) -> dict[str, str]:
    """What is said of each bad field."""
    problem = refusal(encoded(**changes), default_from, key_header)
    assert (422, "invalid_request") == (problem.status, problem.code)
    listed: Any = problem.members["errors"]
    return {one["field"]: one["message"] for one in listed}


def test_a_plain_request_is_an_email_from_the_default_sender() -> None:
    """`id`, `to`, `subject` and `body` alone are a whole request."""
    request = read()

    assert "order-1" == request.key
    assert SHOP == request.content.sender
    assert (Address(address="ann@example.org"),) == request.content.to
    assert ("Hi", "On its way.", None) == (
        request.content.subject,
        request.content.text,
        request.content.html,
    )
    assert len("Hi") + len("On its way.") == request.size


def test_everything_that_can_be_asked_for_arrives() -> None:
    """No field is dropped on the way."""
    request = read(
        **{"from": "Shop <news@shop.example>"},
        to=["Ann <ann@example.org>", "bob@EXAMPLE.org"],
        cc="cy@example.org",
        bcc=["di@example.org"],
        reply_to="Help <help@shop.example>",
        html="<p>On its way.</p>",
        headers={"X-Order": "1", "List-Unsubscribe": "<https://shop.example/u>"},
        attachments=[{**FILE, "content_type": "text/plain; charset=utf-8", "content_id": "a@shop"}],
        tags=["receipt", "größe"],
        send_at="2026-01-02T08:00:00+01:00",
        expires_after="2h",
        on_uncertain="hold",
    )

    content = request.content
    assert Address(address="news@shop.example", name="Shop") == content.sender
    assert (Address(address="ann@example.org", name="Ann"), Address(address="bob@example.org")) == content.to
    assert (Address(address="cy@example.org"),) == content.cc
    assert (Address(address="di@example.org"),) == content.bcc
    assert (Address(address="help@shop.example", name="Help"),) == content.reply_to
    assert "<p>On its way.</p>" == content.html
    assert (("X-Order", "1"), ("List-Unsubscribe", "<https://shop.example/u>")) == content.headers
    assert [("a.txt", "text/plain; charset=utf-8", b"hi", "a@shop")] == [
        (one.filename, one.content_type, one.data, one.content_id) for one in content.attachments
    ]
    assert ("receipt", "größe") == request.tags
    assert datetime(2026, 1, 2, 7, tzinfo=UTC) == request.send_at
    assert timedelta(hours=2) == request.expires_after
    assert OnUncertain.HOLD is request.on_uncertain


def test_null_is_as_good_as_absent() -> None:
    """Many clients write what they don't have as null."""
    optional = ("id", "from", "cc", "bcc", "reply_to", "html", "headers", "attachments", "tags")
    request = read(**dict.fromkeys((*optional, "send_at", "expires_after", "on_uncertain")))

    assert read(id=None) == request


# --- what has to be there


@pytest.mark.parametrize("field", ["to", "subject", "body"])
def test_a_missing_field_is_named(field: str) -> None:
    """Absent or null."""
    assert [field] == list(errors(**{field: ...}))
    assert [field] == list(errors(**{field: None}))


def test_html_alone_is_a_body() -> None:
    """A text beside it is good manners, no condition."""
    request = read(body=..., html="<p>Hi</p>")

    assert (None, "<p>Hi</p>") == (request.content.text, request.content.html)


def test_subject_and_body_may_be_empty() -> None:
    """Who says so means it."""
    request = read(subject="", body="")

    assert ("", "") == (request.content.subject, request.content.text)


@pytest.mark.parametrize("nobody", [[], None, ...])
def test_copies_alone_are_no_email(nobody: Any) -> None:
    """`to` is required whatever cc and bcc have."""
    assert {"to": "is required: at least one recipient"} == errors(
        to=nobody, cc="a@example.org", bcc="b@example.org"
    )


def test_without_a_default_the_sender_is_required() -> None:
    """The answer says where a default would come from."""
    assert ["from"] == list(errors(default_from=None))
    assert "configuration" in errors(default_from=None)["from"]
    assert "x@example.com" == read(default_from=None, **{"from": "x@example.com"}).content.sender.address


# --- ids


@pytest.mark.parametrize("key", ["a", "x" * 256, "a/b?c d@x", " ", "~!\"#$%&'()"])
def test_an_id_is_printable_ascii(key: str) -> None:
    """Up to 256 of it, as the client likes."""
    assert key == read(id=key).key


@pytest.mark.parametrize("key", ["", "x" * 257, "a\nb", "a\r", "\0", "ä", "\x7f", "\t", 7, ["a"]])
def test_another_id_is_refused(key: Any) -> None:
    """It goes into paths, headers and logs."""
    assert ["id"] == list(errors(id=key))


def test_the_id_may_come_as_a_header() -> None:
    """`Idempotency-Key` is the same thing for clients that have it as a header."""
    assert "k-1" == read(id=..., key_header="k-1").key
    assert "k-1" == read(id="k-1", key_header="k-1").key
    assert ["id"] == list(errors(id="k-1", key_header="k-2"))
    assert ["Idempotency-Key"] == list(errors(id=..., key_header=""))
    assert ["Idempotency-Key"] == list(errors(id=..., key_header="ä"))
    assert read(id=...).key is None


# --- mailboxes


@pytest.mark.parametrize("field", ["to", "cc", "bcc", "reply_to"])
def test_one_string_is_one_mailbox(field: str) -> None:
    """A comma may stand in a quoted name; a list of mailboxes in one string is refused with the way out."""
    assert passes(**{field: '"Doe, Jane" <jane@example.org>'})

    assert "give several as a list" in errors(**{field: "a@example.org, b@example.org"})[field]
    assert "give several as a list" in errors(**{field: ["a@example.org; b@example.org"]})[f"{field}[0]"]


@pytest.mark.parametrize("field", ["from", "to", "cc", "bcc", "reply_to"])
@pytest.mark.parametrize(
    "text", ["", "nobody", "a@", "@b", "a b@example.org", "a@[1.2.3.4]", "<a@b.c", "A <>"]
)
def test_what_is_no_mailbox_is_refused(field: str, text: str) -> None:
    """Wherever one is asked for."""
    assert errors(**{field: text})[field].startswith("is no mailbox: ")


def test_every_bad_mailbox_of_a_list_is_named() -> None:
    """By its place in the list; the good ones are not."""
    assert ["to[1]", "to[3]", "cc[0]"] == list(errors(to=["a@b.c", "x", "d@e.f", ""], cc=["y"]))


def test_fifty_people_are_one_envelope() -> None:
    """Over to, cc and bcc, each counted once."""
    people = [f"p{n}@example.org" for n in range(50)]

    assert 50 == len(read(to=people[:20], cc=people[20:40], bcc=people[40:]).content.envelope)
    assert 50 == len(read(to=people, cc=people).content.envelope)
    assert "51" in errors(to=people, bcc="q@example.org")["to"]


def test_a_list_beyond_reason_is_not_even_read() -> None:
    """The same address four million times would keep everybody else waiting."""
    assert {"bcc": "has 201 entries; at most 200"} == errors(bcc=["a@example.org"] * 201)


# --- nothing breaks out of a header

BREAKS = ["\r\nBcc: eve@example.net", "\nX: y", "\rX: y", "\0", "\x0b", "\x1b[2J", "\x7f"]


@pytest.mark.parametrize("bad", BREAKS)
@pytest.mark.parametrize(
    ("field", "named", "make"),
    [
        ("id", "id", "x{}"),
        ("from", "from", "Shop{} <a@example.com>"),
        ("from", "from", "a@example.com{}"),
        ("to", "to", "Ann{} <a@example.com>"),
        ("to", "to", '"Ann{}" <a@example.com>'),
        ("to", "to", "a@example.com{}"),
        ("to", "to", "a{}@example.com"),
        ("cc", "cc", "Ann{} <a@example.com>"),
        ("bcc", "bcc", "Ann{} <a@example.com>"),
        ("reply_to", "reply_to", "Ann{} <a@example.com>"),
        ("subject", "subject", "Hi{}"),
        ("send_at", "send_at", "2026-01-02T00:00:00Z{}"),
        ("on_uncertain", "on_uncertain", "hold{}"),
        ("tags", "tags[0]", ["otp{}"]),
        ("to", "to[0]", ["Ann{} <a@example.com>"]),
        ("headers", "headers.X-A", {"X-A": "b{}"}),
        ("headers", "headers.X{}", {"X{}": "b"}),
        ("attachments", "attachments[0].filename", [{**FILE, "filename": "a{}.txt"}]),
        ("attachments", "attachments[0].content_type", [{**FILE, "content_type": "text/plain{}"}]),
        ("attachments", "attachments[0].content_type", [{**FILE, "content_type": 'text/plain; a="{}"'}]),
        ("attachments", "attachments[0].content_id", [{**FILE, "content_id": "a{}"}]),
        ("attachments", "attachments[0].content", [{**FILE, "content": "aGk={}"}]),
    ],
)
def test_no_field_takes_a_line_break(field: str, named: str, make: Any, bad: str) -> None:
    """CR, LF, NUL and other control characters are refused by name in every field that reaches a header."""
    value = json.loads(json.dumps(make).replace("{}", json.dumps(bad)[1:-1]))

    assert [named.replace("{}", bad)] == list(errors(**{field: value}))


@pytest.mark.parametrize("field", ["body", "html"])
def test_a_nul_is_no_text(field: str) -> None:
    """Servers drop or refuse it; line breaks are what bodies are made of."""
    assert {field: "has a NUL character"} == errors(**{field: "a\0b"})
    assert passes(**{field: "a\r\nb\nc\td"})


@pytest.mark.parametrize("half", ["\ud83d", "x\ud83dy", "\ude00\ud83d"])
@pytest.mark.parametrize(
    "field", ["id", "from", "to", "subject", "body", "html", "expires_after", "on_uncertain"]
)
def test_half_a_surrogate_pair_is_no_character(field: str, half: str) -> None:
    """It is JSON to the letter, and can't be sent or stored."""
    assert [field] == list(errors(**{field: half}))


def test_half_a_surrogate_pair_hides_nowhere() -> None:
    """In lists, in maps and their names, in attachments, in unknown fields."""
    half = "\ud83d"
    found = errors(
        cc=[half],
        headers={"X-A": half, half: "b"},
        tags=[half],
        attachments=[dict.fromkeys(("filename", "content", "content_type", "content_id"), half)],
        **{half: half},
    )

    assert {"cc[0]", "tags[0]", "headers.X-A", "\\ud83d"} < set(found)
    assert {f"attachments[0].{one}" for one in ("filename", "content", "content_type", "content_id")} < set(
        found
    )
    assert any(one.startswith("headers.") and one != "headers.X-A" for one in found)
    assert "😀" == read(subject="😀").content.subject


def test_a_subject_fits_a_header_line() -> None:
    """It is folded on the way out, but 998 octets are enough."""
    assert passes(subject="x" * 998)
    assert passes(subject="ä" * 499)
    assert ["subject"] == list(errors(subject="x" * 999))
    assert ["subject"] == list(errors(subject="ä" * 500))


# --- headers


@pytest.mark.parametrize(
    "name", ["Bcc", "from", "Content-Type", "DKIM-Signature", "Resent-To", "A B", "A:", "", "Ä"]
)
def test_a_header_that_is_not_the_client_s_is_refused(name: str) -> None:
    """The message's own headers are written from the other fields."""
    assert [f"headers.{name}"] == list(errors(headers={name: "x"}))


def test_a_header_is_named_once() -> None:
    """Capitals make no other header of it (RFC 5322 §1.2.2): which of the two did the client mean?"""
    assert ["headers"] == list(errors(headers={"X-Team": "a", "x-team": "b"}))


def test_headers_are_bounded() -> None:
    """A word that can't be folded, too many, too much of them."""
    assert ["headers.X-A"] == list(errors(headers={"X-A": "x" * 999}))
    assert ["headers"] == list(errors(headers={f"X-{n}": "x" for n in range(51)}))
    assert ["headers"] == list(errors(headers={f"X-{n}": "word " * 500 for n in range(40)}))
    assert passes(headers={f"X-{n}": "x" for n in range(50)})


# --- attachments


@pytest.mark.parametrize(
    "content",
    ["aGk", "aG k=", "aGk=\n", "a-_=", "====", "aGk=aGk=", "data:text/plain;base64,aGk=", "é", 7, [1]],
)
def test_content_is_base64_to_the_letter(content: Any) -> None:
    """What is only nearly base64 is a mistake somewhere: an attachment that arrives broken is worse."""
    assert ["attachments[1].content"] == list(errors(attachments=[FILE, {**FILE, "content": content}]))


def test_an_attachment_may_be_empty() -> None:
    """Files are."""
    assert b"" == read(attachments=[{**FILE, "content": ""}]).content.attachments[0].data


@pytest.mark.parametrize("field", ["filename", "content"])
def test_an_attachment_needs_a_name_and_content(field: str) -> None:
    """Each missing one is named by its place."""
    only = {key: value for key, value in FILE.items() if key != field}

    assert {f"attachments[0].{field}": "is required"} == errors(attachments=[only])


@pytest.mark.parametrize(
    ("filename", "content_type"),
    [
        ("a.pdf", "application/pdf"),
        ("A.PNG", "image/png"),
        ("a.csv", "text/csv"),
        ("a.tar.gz", "application/gzip"),
        ("README", "application/octet-stream"),
        ("png", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
    ],
)
def test_the_type_follows_from_the_name(filename: str, content_type: str) -> None:
    """The same on every machine; whatever can't be told is octets."""
    assert (
        content_type == read(attachments=[{**FILE, "filename": filename}]).content.attachments[0].content_type
    )


@pytest.mark.parametrize("content_type", ["", "text", "text/", "a b/c", "text/plain; x", "text/plain, a/b"])
def test_a_type_that_is_none_is_refused(content_type: str) -> None:
    """It becomes a header line."""
    assert ["attachments[0].content_type"] == list(
        errors(attachments=[{**FILE, "content_type": content_type}])
    )


@pytest.mark.parametrize("content_id", ["", "<a@b>", "a b", "ä", "x" * 256])
def test_a_content_id_that_is_none_is_refused(content_id: str) -> None:
    """It stands between angle brackets."""
    assert ["attachments[0].content_id"] == list(errors(attachments=[{**FILE, "content_id": content_id}]))


def test_a_content_id_names_one_attachment() -> None:
    """Or the html would show either."""
    twice = [{**FILE, "content_id": "a"}, FILE, {**FILE, "content_id": "a"}]

    assert ["attachments[0].content_id", "attachments[2].content_id"] == list(errors(attachments=twice))


def test_attachments_are_bounded() -> None:
    """In number, and in the length of their names."""
    assert ["attachments"] == list(errors(attachments=[FILE] * 101))
    assert ["attachments[0].filename"] == list(errors(attachments=[{**FILE, "filename": "x" * 256}]))


# --- tags, times, policies


@pytest.mark.parametrize("tag", ["", "x" * 65, "ann@example.org", "a\u2028b", "a\tb"])
def test_a_tag_is_short_and_no_address(tag: str) -> None:
    """It is recorded in the log, which holds no personal data."""
    assert ["tags[0]"] == list(errors(tags=[tag]))


def test_tags_are_few() -> None:
    """Twenty."""
    assert passes(tags=[f"t{n}" for n in range(20)])
    assert ["tags"] == list(errors(tags=[f"t{n}" for n in range(21)]))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-03-01T08:00:00Z", datetime(2026, 3, 1, 8, tzinfo=UTC)),
        ("2026-03-01T08:00:00.5+05:30", datetime(2026, 3, 1, 2, 30, 0, 500_000, tzinfo=UTC)),
        ("2026-03-01 08:00:00-01:00", datetime(2026, 3, 1, 9, tzinfo=UTC)),
    ],
)
def test_send_at_is_a_moment(text: str, at: datetime) -> None:
    """RFC 3339, kept in UTC."""
    sent_at = read(send_at=text).send_at

    assert at == sent_at
    assert sent_at.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T08:00:00",
        "2026-03-01",
        "tomorrow",
        "",
        1772352000,
        "2026-02-30T08:00:00Z",
        "2027-01-03T12:00:01Z",
    ],
)
def test_a_time_that_is_no_moment_is_refused(text: Any) -> None:
    """Without an offset it could mean any of a day's; and more than a year ahead it is a mistake."""
    assert ["send_at"] == list(errors(send_at=text))


@pytest.mark.parametrize("text", ["2025-12-31T00:00:00Z", "0001-01-01T00:00:00Z", "2026-01-01T12:00:00Z"])
def test_a_moment_that_has_passed_is_at_once(text: str) -> None:
    """A client whose clock is late, or whose request took long, still wants it sent."""
    assert read(send_at=text).send_at is None


def test_the_first_moments_of_the_calendar_are_refused() -> None:
    """In UTC they would lie before it."""
    assert ["send_at"] == list(errors(send_at="0001-01-01T00:00:00+23:59"))


@pytest.mark.parametrize("text", ["", "0s", "2", "2x", "-2h", "2h 3m", 120, "9" * 12 + "d", "2h" + " " * 40])
def test_a_duration_that_is_none_is_refused(text: Any) -> None:
    """Above zero, with its unit."""
    assert ["expires_after"] == list(errors(expires_after=text))


def test_what_to_do_about_uncertainty_is_one_of_three() -> None:
    """The answer lists them."""
    assert {"on_uncertain": "must be one of: retry, hold, fail"} == errors(on_uncertain="panic")


# --- shapes


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("from", ["a@b.c"], "from"),
        ("to", 5, "to"),
        ("to", {"a": "b"}, "to"),
        ("to", ["a@b.c", 5, None], "to[1]"),
        ("subject", 5, "subject"),
        ("body", ["x"], "body"),
        ("html", True, "html"),
        ("headers", ["X"], "headers"),
        ("headers", {"X-A": 5}, "headers.X-A"),
        ("attachments", {}, "attachments"),
        ("attachments", ["x"], "attachments[0]"),
        ("attachments", [{**FILE, "filename": 5}], "attachments[0].filename"),
        ("attachments", [{**FILE, "path": "/etc/passwd"}], "attachments[0].path"),
        ("tags", "otp", "tags"),
        ("tags", [1], "tags[0]"),
    ],
)
def test_a_field_of_another_shape_is_named(field: str, value: Any, named: str) -> None:
    """Down to the entry of the list."""
    assert named in errors(**{field: value})


def test_an_unknown_field_is_named_with_a_likely_one() -> None:
    """A misspelt `reply_to` that is silently dropped would be found out by nobody."""
    found = errors(replyto="a@example.org", text="x")

    assert 'did you mean "reply_to"?' in found["replyto"]
    assert ["replyto", "text"] == list(found)


def test_every_bad_field_is_in_one_answer() -> None:
    """Whatever is wrong with it: shape, content, or that it is missing."""
    found = errors(
        id="ä",
        to=...,
        cc=5,
        subject="a\nb",
        body=...,
        headers={"Bcc": "x"},
        tags=[1],
        send_at="x",
        nonsense=1,
    )

    assert {"id", "to", "cc", "subject", "body", "headers.Bcc", "tags[0]", "send_at", "nonsense"} == set(
        found
    )


def test_the_detail_tells_the_first_of_them() -> None:
    """People who look no further than `detail` can act on it."""
    problem = refusal(encoded(id="ä", subject="a\nb", body="\0", cc="x", bcc="y"))

    assert problem.detail.startswith("id must be 1 to 256 printable ASCII characters; ")
    assert problem.detail.endswith("; and 2 more")


def test_an_answer_is_no_larger_than_it_has_to_be() -> None:
    """A body of nothing but bad fields is answered with a hundred of them, and the number of the others."""
    problem = refusal(json.dumps({f"field{n}": 1 for n in range(5000)}).encode())
    listed: Any = problem.members["errors"]

    assert ERRORS_MAX == len(listed)
    assert problem.detail.endswith("; and 5000 more")
    assert len(json.dumps(listed)) < 40_000

    alike = refusal(json.dumps({"x" * 500 + str(n): 1 for n in range(5000)}).encode())
    assert len(alike.response().body) < 1500


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"5", b"null", b"true"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    """It is JSON, so it's a 422."""
    problem = refusal(body)

    assert 422 == problem.status
    assert "the body must be a JSON object" == problem.members["errors"][0]["message"]  # type: ignore[index]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"id": }',
        b"{'id': 1}",
        b'{"id": "a"} x',
        b"\xef\xbb\xbf{}",
        b'{"id": "\xff"}',
        b'{"subject": "a\nb"}',
        b'{"x": NaN}',
        b'{"x": -Infinity}',
        b'{"x": ' + b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"x":' * 100_000,
        b"9" * 100_000,
        "{}".encode("utf-16"),
    ],
)
def test_what_is_not_json_is_a_400(body: bytes) -> None:
    """Whatever it is instead, it is answered, and costs no more than it is worth."""
    problem = refusal(body)

    assert (400, "not_json") == (problem.status, problem.code)


# --- whatever comes

TEXT = st.text(st.characters(exclude_categories=()), max_size=20) | st.sampled_from(
    [
        "",
        "a@example.org",
        "Ann <ann@example.org>",
        "aGk=",
        "text/plain",
        "2026-01-02T00:00:00Z",
        "2h",
        "hold",
        "\r\n",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
LIKELY = st.fixed_dictionaries(
    {"to": TEXT | st.lists(TEXT, max_size=3), "subject": TEXT, "body": TEXT},
    optional={
        **dict.fromkeys(("id", "from", "html", "send_at", "expires_after", "on_uncertain"), TEXT),
        **dict.fromkeys(("cc", "bcc", "reply_to"), TEXT | st.lists(TEXT, max_size=3)),
        "headers": st.dictionaries(TEXT | st.just("X-A"), TEXT, max_size=3),
        "tags": st.lists(TEXT, max_size=3),
        "attachments": st.lists(
            st.fixed_dictionaries(
                {"filename": TEXT, "content": TEXT | st.just("aGk=")},
                optional={"content_type": TEXT, "content_id": TEXT},
            ),
            max_size=3,
        ),
    },
)


@given(LIKELY | st.dictionaries(TEXT, JSON, max_size=5) | JSON)
def test_anything_is_read_or_refused(body: Any) -> None:
    """Never another error; and what is refused can be answered."""
    try:
        found = Intake(SHOP).request(json.dumps(body).encode(), now=T0).given
    except Problem as refused:
        found = bytes(refused.response().body)

    assert found.decode()


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(body: bytes) -> None:
    """Text or not."""
    with pytest.raises(Problem):
        Intake(SHOP).request(body, now=T0)


SAFE = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=60)
NAMED = st.builds("{} <a{}@example.org>".format, st.text("äb c.'", max_size=8), st.integers(0, 99))
GOOD = st.fixed_dictionaries(
    {"to": NAMED | st.lists(NAMED, min_size=1, max_size=5), "subject": SAFE, "body": SAFE},
    optional={
        "html": SAFE,
        "reply_to": NAMED,
        "headers": st.dictionaries(st.sampled_from(["X-A", "X-B", "List-Id"]), SAFE, max_size=3),
        "tags": st.lists(st.sampled_from(["otp", "a b"]), max_size=2),
        "send_at": st.datetimes(
            datetime(1990, 1, 1),  # noqa: DTZ001
            datetime(2026, 12, 31),  # noqa: DTZ001
            timezones=st.just(timezone(timedelta(hours=2))),
        ).map(datetime.isoformat),
        "attachments": st.lists(
            st.fixed_dictionaries(
                {
                    "filename": st.text(
                        st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=60
                    ),
                    "content": st.binary(max_size=50).map(lambda data: base64.b64encode(data).decode()),
                }
            ),
            max_size=2,
        ),
    },
)


@given(GOOD)
def test_what_is_accepted_can_be_composed(body: JsonObject) -> None:
    """And has no header that the client didn't ask for."""
    request = Intake(SHOP).request(json.dumps(body).encode(), now=T0)
    message = BytesParser(policy=policy.SMTP).parsebytes(
        compose(request.content, email_id="00000000-0000-7000-8000-000000000001", date=T0)
    )

    own = {"from", "to", "cc", "reply-to", "subject", "date", "message-id", "mime-version"}
    mime = {"content-type", "content-transfer-encoding"}
    asked = {name.lower() for name in body.get("headers", {})}
    assert set() == {name.lower() for name in message} - own - mime - asked


@given(GOOD)
def test_both_ways_of_reading_agree(body: JsonObject) -> None:
    """The fast way and the one that names all errors see the same request."""
    octets = json.dumps(body).encode()
    found = Errors()

    assert decode_send(octets, Errors()) == _slowly(octets, found)
    assert not found
