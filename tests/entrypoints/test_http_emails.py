"""Statuses, stories, and what can be done to an email; by the client's id or ours, whatever is in it."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from adapters import codec
from application.ports import StoreUnavailable
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    Failed,
    FailReason,
    Held,
    HoldReason,
    OutcomeUncertain,
    Sent,
)
from domain.failures import FailureKind
from tests.entrypoints.http_api import T0, Api, errors_in, problem_in, running, without_worker
from tests.golden.samples import SAMPLES

STRANGE = "a/b?c d@x"
KEYS = [
    *(
        STRANGE,
        "/",
        "//",
        "a//b",
        "/a",
        "a/",
        "%2F",
        "a%20b",
        "100%",
        "?",
        "#",
        "..",
        ".",
        "a/../b",
        "+",
        "a;b",
    ),
    *("x/events", "x/cancel", "~" * 256, " "),
]
ROW = [
    *("id", "email_id", "status", "provider", "attempts", "recipients"),
    *("requested_at", "updated_at", "next_at", "erased"),
]
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z").fullmatch


def started(attempt: int = 1, provider: str = "primary") -> AttemptStarted:
    return AttemptStarted(
        attempt=attempt,
        provider=provider,
        route="default",
        recipients=(0,),
        worker="w1",
        token=1,
        deadline=T0,
        epoch=0,
        probe=None,
        provider_key="k",
        key_until=None,
        passed_over=(),
    )


def failed(attempt: int = 1, provider: str = "primary") -> AttemptFailed:
    return AttemptFailed(
        attempt=attempt,
        provider=provider,
        kind=FailureKind.TRANSIENT,
        code="421",
        detail="",
        refused=(),
        deferred=(),
        retry_at=T0,
        spent=False,
        not_before=None,
        reset_at=None,
        epoch=0,
        probe=None,
    )


SENT = Sent(attempt=1, provider="primary", message_id="m1", accepted=(0,), refused=(), epoch=0, probe=None)
UNCERTAIN = OutcomeUncertain(
    attempt=1,
    provider="primary",
    kind=FailureKind.UNCERTAIN,
    code="",
    detail="",
    refused=(),
    deferred=(),
    resolve_by=T0,
    retry_at=None,
    spent=False,
    epoch=0,
    probe=None,
)
EXPIRED = Failed(reason=FailReason.EXPIRED, pending=(0,), code="")


# --- one status


async def test_a_row_is_what_the_contract_says() -> None:
    """Every field, times in UTC to the microsecond."""
    async with running() as api:
        email_id = await api.accepted()
        api.record(email_id, started(), failed(), started(2, "secondary"))
        row = (await api.client.get("/statuses/order-1")).json()

        assert ROW == list(row)
        assert ("order-1", email_id, "sending", "secondary") == (
            row["id"],
            row["email_id"],
            row["status"],
            row["provider"],
        )
        first, second = row["attempts"]
        assert ["attempt", "provider", "outcome", "kind", "code", "started_at", "finished_at"] == list(first)
        assert (1, "primary", "failed", "transient") == tuple(first.values())[:4]
        assert first["finished_at"]
        assert second["finished_at"] is None
        assert [{"index": 0, "outcome": "pending"}] == row["recipients"]
        assert "2026-01-01T12:00:00.000002Z" == row["requested_at"]
        for at in (row["requested_at"], row["updated_at"], first["started_at"], first["finished_at"]):
            assert RFC_3339(at), at


@pytest.mark.parametrize("key", KEYS)
async def test_any_id_that_is_accepted_can_be_asked_for(key: str) -> None:
    """Percent-encoded, in every path that takes one."""
    async with running() as api:
        email_id = await api.accepted(id=key)
        encoded = quote(key, safe="").replace(".", "%2E")

        assert email_id == (await api.client.get(f"/statuses/{encoded}")).json()["email_id"]
        assert [email_id] == [
            row["email_id"] for row in (await api.client.get(f"/statuses?id={encoded}")).json()["data"]
        ]
        assert 1 == len((await api.client.get(f"/emails/{encoded}/events")).json()["data"])
        assert email_id == (await api.client.get(f"/emails/{encoded}/explain")).json()["email_id"]
        assert (await api.client.post(f"/emails/{encoded}/cancel")).json() == {
            "id": key,
            "email_id": email_id,
            "status": "cancelled",
        }
        assert "nothing_to_retry" == problem_in(await api.client.post(f"/emails/{encoded}/retry"))["code"]


async def test_our_own_id_will_do() -> None:
    """Everywhere; and a client's id that is one of ours does not hide the email that had it first."""
    async with running() as api:
        email_id = await api.accepted()

        assert "order-1" == (await api.client.get(f"/statuses/{email_id}")).json()["id"]
        assert 200 == (await api.client.get(f"/emails/{email_id}/events")).status_code
        assert 200 == (await api.client.get(f"/emails/{email_id}/explain")).status_code

        other = await api.accepted(id=email_id)
        assert "order-1" == (await api.client.get(f"/statuses/{email_id}")).json()["id"]
        assert email_id == (await api.client.get(f"/statuses/{other}")).json()["id"]
        assert "order-1" == (await api.client.post(f"/emails/{email_id}/cancel")).json()["id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/statuses/nobody"),
        ("GET", "/statuses/"),
        ("GET", "/emails/nobody/events"),
        ("GET", "/emails//events"),
        ("GET", "/emails/nobody/explain"),
        ("POST", "/emails/nobody/cancel"),
        ("POST", "/emails/nobody/retry"),
        ("GET", "/statuses/%C3%A4"),
        ("GET", "/statuses/%FF%FE"),
    ],
)
async def test_an_id_that_nobody_used_is_a_404(method: str, path: str) -> None:
    """Whatever it looks like."""
    async with running() as api:
        answer = await api.client.request(method, path)

        assert (404, "not_found") == (answer.status_code, problem_in(answer)["code"])


# --- many


async def pages(api: Api, query: str, limit: int) -> list[list[str]]:
    """The ids on each page, following `next` to the end."""
    found = []
    after = ""
    while True:
        answer = await api.client.get(f"/statuses?{query}&limit={limit}&after={after}")
        assert 200 == answer.status_code, answer.text
        found.append([row["id"] for row in answer.json()["data"]])
        after = answer.json()["next"]
        if after is None:
            return found
        assert after == quote(after, safe=""), "a cursor needs no encoding"


async def test_pages_are_newest_first_and_miss_nothing() -> None:
    """Each email once, also when others come in meanwhile."""
    async with running() as api:
        for n in range(7):
            await api.accepted(id=f"e{n}")

        assert [["e6", "e5", "e4"], ["e3", "e2", "e1"], ["e0"]] == await pages(api, "", 3)
        assert [["e6", "e5", "e4", "e3", "e2", "e1", "e0"]] == await pages(api, "", 7)

        first = (await api.client.get("/statuses?limit=3")).json()
        await api.accepted(id="late")
        second = (await api.client.get(f"/statuses?limit=3&after={first['next']}")).json()
        assert ["e3", "e2", "e1"] == [row["id"] for row in second["data"]]


async def test_fifty_are_a_page_unless_asked_for_more() -> None:
    """Up to a hundred."""
    async with running() as api:
        for n in range(101):
            await api.accepted(id=f"e{n}")

        assert [50, 50, 1] == [len(page) for page in await pages_of(api, "/statuses")]
        assert [100, 1] == [len(page) for page in await pages_of(api, "/statuses?limit=100")]


async def pages_of(api: Api, path: str) -> list[list[Any]]:
    """The rows on each page."""
    found = []
    after: str | None = ""
    joint = "&" if "?" in path else "?"
    while after is not None:
        answer = (await api.client.get(f"{path}{joint}after={after}")).json()
        found.append(answer["data"])
        after = answer["next"]
    return found


async def test_filters_hold_together() -> None:
    """Status, provider and id: each row has all of them."""
    async with running() as api:
        sent = await api.accepted(id="sent")
        api.record(sent, started(), SENT)
        sending = await api.accepted(id="sending")
        api.record(sending, started(provider="secondary"))
        await api.accepted(id="queued")

        async def ids(query: str) -> list[str]:
            answer = await api.client.get(f"/statuses?{query}")
            assert answer.json()["next"] is None
            return [row["id"] for row in answer.json()["data"]]

        assert ["sent"] == await ids("status=sent")
        assert ["queued"] == await ids("status=queued")
        assert ["sending"] == await ids("provider=secondary")
        assert [] == await ids("provider=secondary&status=sent")
        assert [] == await ids("provider=unheard-of")
        assert ["sent"] == await ids("id=sent")
        assert ["sent"] == await ids(f"id={sent}&status=sent&provider=primary")
        assert [] == await ids("id=sent&status=failed")
        assert [] == await ids("id=sent&provider=secondary")
        assert [] == await ids("id=nobody")
        assert ["queued", "sending", "sent"] == await ids("status=&provider=&id=&limit=&after=")


async def test_an_id_behind_the_cursor_only() -> None:
    """Like any other row."""
    async with running() as api:
        for n in range(3):
            await api.accepted(id=f"e{n}")
        after = (await api.client.get("/statuses?limit=2")).json()["next"]

        assert [["e0"]] == [
            [row["id"] for row in page] for page in await pages_of(api, f"/statuses?id=e0&limit={2}")
        ]
        assert [] == (await api.client.get(f"/statuses?id=e2&after={after}")).json()["data"]
        assert 1 == len((await api.client.get(f"/statuses?id=e0&after={after}")).json()["data"])


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.5", "x", "9" * 400, "+5", " 5", "٥"])
async def test_a_limit_is_from_one_to_a_hundred(limit: str) -> None:
    """422, not the nearest one that would do."""
    async with running() as api:
        assert ["limit"] == list(errors_in(await api.client.get("/statuses", params={"limit": limit})))


@pytest.mark.parametrize(
    "after",
    [
        "x",
        "!",
        "ä",
        "A" * 1000,
        "A" * 128,
        urlsafe_b64encode(b"1 2").decode(),
        urlsafe_b64encode(b"\xff\xfe").decode(),
        urlsafe_b64encode(b"9" * 30 + b" 00000000-0000-7000-8000-000000000001").decode(),
        urlsafe_b64encode(b"1 00000000-0000-7000-8000-000000000001'; DROP").decode(),
    ],
)
async def test_a_cursor_is_ours_or_refused(after: str) -> None:
    """Nothing of it reaches the database unread."""
    async with running() as api:
        assert ["after"] == list(errors_in(await api.client.get("/statuses", params={"after": after})))


async def test_every_bad_parameter_is_named() -> None:
    """A filter that is silently dropped would answer another question."""
    async with running() as api:
        answer = await api.client.get(
            "/statuses?state=sent&limit=0&after=x&status=gone&provider=a&provider=b"
        )

        found = errors_in(answer)
        assert ["state", "provider", "status", "limit", "after"] == list(found)
        assert 'did you mean "status"?' in found["state"]
        assert "cancelled" in found["status"]


# --- the story


async def test_events_are_told_as_they_are_stored() -> None:
    """In stream order, under their stored names, with every stored field."""
    async with running() as api:
        email_id = await api.accepted(id=STRANGE)
        api.record(email_id, started(), failed())
        told = (await api.client.get(f"/emails/{quote(STRANGE, safe='')}/events")).json()["data"]

        assert ["type", "version", "position", "at", "data"] == list(told[0])
        assert ["Requested", "AttemptStarted", "AttemptFailed"] == [one["type"] for one in told]
        assert [1, 2, 3] == [one["version"] for one in told] == [one["position"] for one in told]
        for one, recorded in zip(told, api.store.read_stream(f"email-{email_id}"), strict=True):
            stored, data = codec.encode(recorded.event)
            assert (stored, msgspec.json.decode(data)) == (one["type"], one["data"])
            assert one["at"].endswith("Z")


def test_the_name_of_an_event_s_class_is_its_stored_name() -> None:
    """What `type` says, for every event there is; no registry is asked."""
    assert {stored: stored for stored in codec.TYPES} == {
        stored: cls.__name__ for stored, cls in codec.TYPES.items()
    }
    for stored, event in SAMPLES.items():
        assert codec.encode(event)[1].encode() == msgspec.json.encode(event), stored


async def test_the_story_says_what_comes_next() -> None:
    """Lines with their times and events."""
    async with running() as api:
        email_id = await api.accepted()
        api.record(email_id, started(), failed())
        told = (await api.client.get("/emails/order-1/explain")).json()

        assert ["id", "email_id", "at", "status", "lines", "recipients", "took_s", "next", "erased"] == list(
            told
        )
        assert ("order-1", email_id, "retrying") == (told["id"], told["email_id"], told["status"])
        assert ["Requested", "AttemptStarted", "AttemptFailed"] == [line["event"] for line in told["lines"]]
        assert {"at", "event", "text"} == set(told["lines"][0])
        assert [{"index": 0, "outcome": "pending", "text": "not reached yet"}] == told["recipients"]
        assert (None, None) == (told["at"], told["took_s"])


async def test_the_story_as_it_stood_at_a_time() -> None:
    """By any of its lines' times, and by how long ago; what came later is not known then."""
    async with running() as api:
        email_id = await api.accepted(id="a@b")
        api.record(email_id, started())
        api.record(email_id, failed())
        now = (await api.client.get("/emails/a@b/explain")).json()
        first, second, _ = (line["at"] for line in now["lines"])
        then = (await api.client.get("/emails/a@b/explain", params={"at": second})).json()
        with_offset = first.replace("T12:", "T13:").replace("Z", "+01:00")
        # A `+` that was not escaped arrives as a space.
        begun = (await api.client.get(f"/emails/a@b/explain?at={with_offset}")).json()
        api.clock.at += timedelta(hours=1)
        ago = (await api.client.get("/emails/a@b/explain?at=10m")).json()

    assert ("a@b", second, "sending") == (then["id"], then["at"], then["status"])
    assert now["lines"][:2] == then["lines"]
    assert "the answer of primary to attempt 1" == then["next"]
    assert now["lines"][:1] == begun["lines"]
    assert now["lines"] == ago["lines"]


@pytest.mark.parametrize(
    ("query", "field", "says"),
    [
        ("at=yesterday", "at", "write a time with its offset (RFC 3339)"),
        ("at=2026-01-01T12:00:00", "at", "write a time with its offset (RFC 3339)"),
        ("at=2027-01-01T12:00:00Z", "at", "still to come"),
        ("at=1d", "at", "is too early: the email was accepted at 2026-01-01T12:00:00.0000"),
        ("at=1s&at=2s", "at", "given twice"),
        ("when=1s", "when", "no parameter we know"),
    ],
)
async def test_a_time_that_can_not_be_meant_is_named(query: str, field: str, says: str) -> None:
    """With what would be right."""
    async with running() as api:
        await api.accepted()

        assert says in errors_in(await api.client.get(f"/emails/order-1/explain?{query}"))[field]


# --- cancel and retry


async def test_cancelling_what_is_under_way_is_refused() -> None:
    """409 with the reason and its code."""
    async with running() as api:
        api.record(await api.accepted(), started())
        answer = await api.client.post("/emails/order-1/cancel")

        assert (409, "attempt_is_open") == (answer.status_code, problem_in(answer)["code"])


async def test_cancelling_what_has_ended_is_refused() -> None:
    """409."""
    async with running() as api:
        api.record(await api.accepted(), started(), SENT)
        answer = await api.client.post("/emails/order-1/cancel")

        assert (409, "already_ended") == (answer.status_code, problem_in(answer)["code"])


async def test_what_failed_can_be_retried() -> None:
    """A body is not needed."""
    async with running() as api:
        api.record(await api.accepted(), EXPIRED)
        answer = await api.client.post("/emails/order-1/retry")

        assert (200, "queued") == (answer.status_code, answer.json()["status"])
        assert ["id", "email_id", "status"] == list(answer.json())


async def test_retrying_what_was_sent_is_refused() -> None:
    """409."""
    async with running() as api:
        api.record(await api.accepted(), started(), SENT)
        answer = await api.client.post("/emails/order-1/retry")

        assert (409, "nothing_to_retry") == (answer.status_code, problem_in(answer)["code"])


async def test_retrying_what_is_erased_is_refused() -> None:
    """409: there is nothing left to send."""
    async with running() as api:
        email_id = await api.accepted()
        api.record(email_id, EXPIRED)
        api.store.erase(email_id)
        answer = await api.client.post(f"/emails/{email_id}/retry")

        assert (409, "key_erased") == (answer.status_code, problem_in(answer)["code"])


async def test_what_may_have_been_sent_needs_a_word() -> None:
    """409 without `accept_duplicate_risk`, or with false; with true it goes on."""
    async with running() as api:
        email_id = await api.accepted()
        api.record(email_id, started(), UNCERTAIN, Held(reason=HoldReason.UNCERTAIN))

        for body in (None, {}, {"accept_duplicate_risk": False}, {"accept_duplicate_risk": None}):
            answer = await api.client.post("/emails/order-1/retry", json=body)
            assert (409, "may_have_been_sent") == (answer.status_code, problem_in(answer)["code"])
        answer = await api.client.post("/emails/order-1/retry", json={"accept_duplicate_risk": True})

        assert 200 == answer.status_code


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"accept_duplicate_risk": "yes"}', "accept_duplicate_risk"),
        (b'{"accept_duplicate_risk": 1}', "accept_duplicate_risk"),
        (b'{"acceptduplicaterisk": true}', "acceptduplicaterisk"),
        (b"[]", ""),
    ],
)
async def test_a_retry_with_a_bad_body_retries_nothing(body: bytes, field: str) -> None:
    """422; a misspelt acceptance is none."""
    async with running() as api:
        api.record(await api.accepted(), EXPIRED)
        answer = await api.client.post(
            "/emails/order-1/retry", content=body, headers={"content-type": "application/json"}
        )

        assert [field] == list(errors_in(answer))
        assert "failed" == (await api.client.get("/statuses/order-1")).json()["status"]


async def test_a_retry_s_body_is_json() -> None:
    """400 and 415 as elsewhere."""
    async with running() as api:
        await api.accepted()
        headers = {"content-type": "application/json"}
        broken = await api.client.post("/emails/order-1/retry", content=b"{", headers=headers)
        form = await api.client.post("/emails/order-1/retry", content=b"a=b")

        assert (400, 415) == (broken.status_code, form.status_code)


@dataclass
class Unavailable:
    """A reader and operator without a database."""

    def __getattr__(self, name: str) -> Any:
        async def fail(*args: Any, **kwargs: Any) -> Any:
            raise StoreUnavailable("no such host db.internal")

        return fail


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/statuses"),
        ("GET", "/statuses/a"),
        ("GET", "/statuses?id=a"),
        ("GET", "/emails/a/events"),
        ("GET", "/emails/a/explain"),
        ("POST", "/emails/a/cancel"),
        ("POST", "/emails/a/retry"),
        ("GET", "/providers"),
        ("POST", "/providers/primary/pause"),
    ],
)
async def test_without_a_database_nothing_is_guessed(method: str, path: str) -> None:
    """503, and when to try again."""
    gone = Unavailable()
    async with running(change=lambda service: without_worker(service, reader=gone, operator=gone)) as api:
        answer = await api.client.request(method, path)

        assert (503, "store_unavailable") == (answer.status_code, problem_in(answer)["code"])
        assert "5" == answer.headers["retry-after"]
        assert "db.internal" not in answer.text
