"""When two requests are the same. The bytes are frozen: their digests are in the logs of those who run this."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domain.content import Address
from entrypoints.http.intake import Intake
from tests.entrypoints.http_api import PLAIN, SHOP, T0

FILE = {"filename": "a.txt", "content": "aGk="}
WHOLE: dict[str, Any] = {
    "id": "order-1",
    "from": "Shop <shop@example.com>",
    "to": ["Ann <ann@example.org>", "bob@example.org"],
    "cc": "cy@example.org",
    "bcc": ["di@example.org"],
    "reply_to": "help@example.com",
    "subject": "Größe",
    "body": "Text",
    "html": "<p>Text</p>",
    "headers": {"X-B": "2", "X-A": "1"},
    "attachments": [FILE, {**FILE, "content_type": "text/plain", "content_id": "a"}],
    "tags": ["receipt"],
    "send_at": "2026-01-02T08:00:00+01:00",
    "expires_after": "2h",
    "on_uncertain": "hold",
}


def given(default_from: Any = SHOP, **changes: Any) -> bytes:
    """The canonical bytes of a plain request with these changes."""
    body = {key: value for key, value in {**PLAIN, **changes}.items() if value is not ...}
    return Intake(default_from).request(json.dumps(body).encode(), now=T0).given


def test_the_bytes_of_a_plain_request_are_frozen() -> None:
    """A change here makes every repeated request a misuse of its id. Don't."""
    assert b'{"subject":"Hi","to":[["ann@example.org",""]],"text":"On its way."}' == given()


def test_the_bytes_of_a_whole_request_are_frozen() -> None:
    """Every field there is."""
    digest = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"

    assert (
        '{"subject":"Größe","to":[["ann@example.org","Ann"],["bob@example.org",""]],'
        '"sender":["shop@example.com","Shop"],"cc":[["cy@example.org",""]],"bcc":[["di@example.org",""]],'
        '"reply_to":[["help@example.com",""]],"text":"Text","html":"<p>Text</p>",'
        '"headers":[["X-A","1"],["X-B","2"]],'
        f'"attachments":[{{"filename":"a.txt","digest":"{digest}"}},'
        f'{{"filename":"a.txt","digest":"{digest}","content_type":"text/plain","content_id":"a"}}],'
        '"tags":["receipt"],"send_at":"2026-01-02T07:00:00Z","expires_after_us":7200000000,"on_uncertain":"hold"}'
    ).encode() == given(**WHOLE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"to": "ann@example.org"}, {"to": ["ann@example.org"]}),
        ({"to": "ann@example.org"}, {"to": " <ann@EXAMPLE.org> "}),
        ({"to": "Ann <ann@example.org>"}, {"to": '"Ann" <ann@example.org>'}),
        ({"id": "a"}, {"id": "b"}),
        ({"id": "a"}, {"id": ...}),
        ({"cc": []}, {"cc": None}),
        ({"headers": {}, "tags": [], "attachments": []}, {}),
        ({"headers": {"X-A": "1", "X-B": "2"}}, {"headers": {"X-B": "2", "X-A": "1"}}),
        ({"send_at": "2026-01-02T08:00:00+01:00"}, {"send_at": "2026-01-02T07:00:00.000Z"}),
        ({"expires_after": "1d"}, {"expires_after": "24h"}),
    ],
)
def test_the_same_in_other_words_is_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Spelling, order and the id itself don't count."""
    assert given(**one) == given(**other)


def test_the_order_of_keys_does_not_count() -> None:
    """JSON objects have none."""
    backwards = json.dumps(dict(reversed(WHOLE.items()))).encode()

    assert given(**WHOLE) == Intake(SHOP).request(backwards, now=T0).given


@pytest.mark.parametrize("field", [field for field in WHOLE if field not in ("id", "to", "subject")])
def test_every_field_counts(field: str) -> None:
    """A request without it is another one."""
    assert given(**WHOLE) != given(**{**WHOLE, field: ...})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"to": ["a@b.c", "d@e.f"]}, {"to": ["d@e.f", "a@b.c"]}),
        ({"to": "a@b.c", "cc": "d@e.f"}, {"to": "a@b.c", "bcc": "d@e.f"}),
        ({"to": "A <a@b.c>"}, {"to": "a@b.c"}),
        ({"subject": "a"}, {"subject": "A"}),
        ({"body": "a"}, {"body": "a "}),
        ({"body": "", "html": "x"}, {"body": ..., "html": "x"}),
        ({"headers": {"X-A": "1"}}, {"headers": {"X-A": "2"}}),
        ({"attachments": [FILE]}, {"attachments": [{**FILE, "content": "aGo="}]}),
        ({"attachments": [FILE]}, {"attachments": [FILE, FILE]}),
        ({"attachments": [FILE]}, {"attachments": [{**FILE, "content_type": "text/plain"}]}),
        ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}),
        ({"send_at": "2025-01-01T00:00:00Z"}, {}),
        ({"on_uncertain": "retry"}, {}),
    ],
)
def test_another_request_is_another(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Whatever the recipient could see, or the client could mean by it."""
    assert given(**one) != given(**other)


def test_defaults_do_not_count() -> None:
    """The configuration may change between a request and its repetition."""
    assert given() == given(default_from=Address(address="new@example.com"))
    assert given() != given(**{"from": "Shop <shop@example.com>"})
