"""Resend, call by call: what each misbehaviour of the API makes of an attempt, and of the next one."""

from __future__ import annotations

import asyncio
import base64
import random
from dataclasses import replace
from datetime import timedelta

import pytest

from domain.content import Address, Attachment
from domain.failures import Accepted, FailureKind, NotAccepted, Outcome, Unanswered
from tests.adapters.resend_bench import QUICK_S, resend, resend_bench
from tests.contract.provider_contract import send, submission, until
from tests.support.resend_script import (
    Call,
    Do,
    drop,
    fail,
    hang,
    quota,
    refuse,
    reset,
    slow,
    take_and_drop,
    take_and_hang,
    take_and_reset,
    throttle,
)
from tests.support.resend_server import FULL_ACCESS, ResendServer

HALF_AN_ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id":'
UNANSWERED: dict[str, Do] = {
    "drops": drop(),
    "takes it and drops": take_and_drop(),
    "resets": reset(),
    "takes it and resets": take_and_reset(),
    "hangs": hang(),
    "takes it and hangs": take_and_hang(),
    "talks garbage": replace(drop(), raw=b"hello, this is no HTTP\r\n\r\n"),
    "breaks off in the head": replace(take_and_drop(), raw=b"HTTP/1.1 200 OK\r\nContent-"),
    "fails": fail(),
    "takes it and fails": fail(take=True),
    "is down behind a gateway": Do(status=502, body=b"<html>Bad Gateway</html>"),
    "is down and says until when": refuse("service_unavailable", Retry_After="3"),
}


def quick(step: Do) -> dict[str, float]:
    """Settings for a server that does this."""
    return {"timeout_s": QUICK_S} if step.then == "hang" else {}


@pytest.mark.parametrize("misbehaviour", UNANSWERED)
async def test_without_an_answer_it_may_have_been_taken(misbehaviour: str) -> None:
    """Whether it was or not: from here both look the same, and no other outcome would be true."""
    step = UNANSWERED[misbehaviour]
    async with resend_bench(step, **quick(step)) as bench:
        outcome = await send(bench.provider, submission(1))

        assert isinstance(outcome, Unanswered)
        assert FailureKind.UNCERTAIN == outcome.kind
        assert outcome.detail
        if step.status is None:
            await until("the connection is closed", lambda: bench.server.open_connections == 0)
        bench.server.plan = None
        assert isinstance(await send(bench.provider, submission(2)), Accepted)


@pytest.mark.parametrize("misbehaviour", sorted(UNANSWERED.keys() - {"hangs"}))
async def test_the_same_key_tells_what_became_of_it(misbehaviour: str) -> None:
    """Trying again makes no second copy: what was taken is answered with its id, what wasn't is taken now."""
    step = UNANSWERED[misbehaviour]
    async with resend_bench([step], **quick(step)) as bench:
        await send(bench.provider, submission(attempt=1))
        outcome = await send(bench.provider, submission(attempt=2))

        assert isinstance(outcome, Accepted)
        assert [outcome.message_id] == [one.id for one in bench.server.emails]


async def test_the_key_goes_with_every_call() -> None:
    """As the idempotency key, and as a tag that comes back in webhooks; our own API key authorises it."""
    what = replace(submission(), provider_key="0123456789abcdef0123456789abcdef")
    async with resend_bench() as bench:
        await send(bench.provider, what)

        (call,) = bench.server.calls
        assert what.provider_key == call.idempotency_key
        assert {"stagepost_key": what.provider_key, "stagepost_email": "email-1"} == call.tags
        assert (f"Bearer {FULL_ACCESS}", "application/json") == (
            call.headers["Authorization"],
            call.headers["Content-Type"],
        )
        assert call.headers["User-Agent"]
        assert bench.provider.key_ttl is not None
        assert timedelta(hours=20) < bench.provider.key_ttl < timedelta(hours=24)


async def test_a_key_still_under_way_is_no_failure() -> None:
    """Our patience ended before the API did: it may be accepted yet, and once it is, that is the answer."""
    async with resend_bench([slow(QUICK_S * 2)], timeout_s=QUICK_S) as bench:
        first = await send(bench.provider, submission())
        second = await send(bench.provider, submission())
        await until("it is taken", lambda: len(bench.server.emails) == 1)
        third = await send(bench.provider, submission())

        assert isinstance(first, Unanswered)
        assert isinstance(second, Unanswered)
        assert "409 concurrent_idempotent_requests" == second.code
        assert isinstance(third, Accepted)
        assert 1 == len(bench.server.emails)


async def test_a_key_used_for_another_payload_means_that_it_was_used() -> None:
    """The earlier email went to these people: to call this one a failure would send them a second."""
    async with resend_bench() as bench:
        await send(bench.provider, submission(text="as we wrote it before the update"))
        outcome = await send(bench.provider, submission(text="as we write it now"))

        assert isinstance(outcome, Unanswered)
        assert "409 invalid_idempotent_request" == outcome.code


@pytest.mark.parametrize(
    "step",
    [
        Do(take=True, body=b"<html>thank you</html>"),
        Do(take=True, body=b""),
        Do(take=True, body=b"[]"),
        Do(take=True, body=b'{"id": 7}'),
        Do(take=True, body=b'{"id": "' + b"x" * 100_000 + b'"}'),
        Do(take=True, headers={"Content-Encoding": "br"}),
        replace(take_and_drop(), raw=HALF_AN_ANSWER),
        replace(take_and_hang(), raw=HALF_AN_ANSWER),
    ],
    ids=["html", "empty", "a list", "a number", "endless", "compressed", "broken off", "stuck"],
)
@pytest.mark.filterwarnings("error::ResourceWarning")  # a response that nobody closed
async def test_an_unreadable_yes_is_a_yes(step: Do) -> None:
    """Accepted, with an id that nobody knows; and the connection is not mistaken for a sound one."""
    async with resend_bench([step], **quick(step)) as bench:
        outcome = await send(bench.provider, submission(1))

        assert Accepted(accepted=(0,), code="200") == outcome
        assert isinstance(await send(bench.provider, submission(2)), Accepted)


async def test_a_sound_yes_names_the_email() -> None:
    """Resend's id of it is what its dashboard and webhooks know."""
    async with resend_bench() as bench:
        outcome = await send(bench.provider, submission(recipients=(0, 2), of=3))

        (taken,) = bench.server.emails
        assert Accepted(accepted=(0, 2), message_id=taken.id, code="200") == outcome


async def test_a_refusal_is_one_short_line() -> None:
    """The status and the error's name as the code, its message as the detail, fit for an event."""
    message = "The `to` field\r\nis\twrong: " + "x" * 100_000
    async with resend_bench(refuse("invalid_parameter", message)) as bench:
        outcome = await send(bench.provider, submission())

        assert isinstance(outcome, NotAccepted)
        assert (FailureKind.UNKNOWN, "422") == (outcome.kind, outcome.code), (
            "longer than we read: nobody's word"
        )
        bench.server.plan = refuse("invalid_parameter", message[:1000])
        outcome = await send(bench.provider, submission())
        assert isinstance(outcome, NotAccepted)
        assert (FailureKind.CONTENT, "422 invalid_parameter") == (outcome.kind, outcome.code)
        assert outcome.detail.startswith("The `to` field is wrong: xxx")
        assert 200 == len(outcome.detail)


async def test_a_limit_is_told_from_a_quota() -> None:
    """Both are 429: one is over in seconds and says when, the other closes the provider until it is back."""
    noon = 1_767_182_400.0  # 2025-12-31T12:00:00Z
    async with resend_bench(server={"now": lambda: noon}) as bench:
        outcomes: list[Outcome] = []
        for step in (throttle(7), refuse("rate_limit_exceeded"), quota("daily"), quota("monthly")):
            bench.server.plan = step
            outcomes.append(await send(bench.provider, submission()))

    told = [(one.kind, one.retry_after_s) for one in outcomes if isinstance(one, NotAccepted)]
    assert [
        (FailureKind.THROTTLED, 7.0),
        (FailureKind.THROTTLED, 1.0),  # ratelimit-reset
        (FailureKind.QUOTA, 12 * 3600.0),  # midnight, UTC
        (FailureKind.QUOTA, None),
    ] == told


@pytest.mark.parametrize(
    ("status", "kind"),
    [(301, "account"), (302, "uncertain"), (303, "uncertain"), (307, "account"), (308, "account")],
)
async def test_redirects_are_not_followed(status: int, kind: str) -> None:
    """Neither key nor email goes anywhere but where the configuration says."""
    async with ResendServer() as elsewhere:
        step = Do(status=status, headers={"Location": f"{elsewhere.url}/emails"})
        async with resend_bench(step) as bench:
            outcome = await send(bench.provider, submission())

    assert not isinstance(outcome, Accepted)
    assert kind == outcome.kind
    assert [] == elsewhere.arrivals


async def test_blind_recipients_alone_go_one_by_one() -> None:
    """Somebody has to stand in `to`, and must not be shown to the others: they wait for attempts of their own."""
    what = submission(recipients=(1, 2, 3), of=1)
    people = tuple(Address(address=f"reader{index}@example.net") for index in (1, 2, 3))
    what = replace(what, content=replace(what.content, bcc=people))
    async with resend_bench([None, take_and_drop(), refuse("invalid_parameter")]) as bench:
        accepted = await send(bench.provider, what)
        lost = await send(bench.provider, replace(what, provider_key="another"))
        refused = await send(bench.provider, replace(what, provider_key="a third"))

        assert ["reader1@example.net"] == bench.server.calls[0].payload["to"]
        assert "bcc" not in bench.server.calls[0].payload
    assert isinstance(accepted, Accepted)
    assert ((1,), (2, 3)) == (accepted.accepted, accepted.deferred)
    assert isinstance(lost, Unanswered)
    assert (2, 3) == lost.deferred
    assert isinstance(refused, NotAccepted)
    assert () == refused.deferred


@pytest.mark.parametrize("where", ["detail", "code", "cut in two"])
async def test_nobody_gets_our_key_into_a_log(where: str) -> None:
    """Neither by repeating it in an error, nor through what a settings object shows of itself."""
    key = "re_" + "secret" * 10
    step = {
        "detail": refuse("invalid_api_key", f"{key} is wrong"),
        "code": Do(status=403, name=key),
        "cut in two": refuse("invalid_api_key", "x" * 170 + key),
    }[where]
    async with resend_bench(step, server={"keys": {key: True}}, key=key) as bench:
        outcome = await send(bench.provider, submission())
        with pytest.raises(Exception, match="Check key") as unfit:
            await bench.provider.check()

    assert "secret" not in f"{outcome!r} {unfit.value!r} {unfit.value}"
    assert "secret" not in repr(bench.provider._settings)


async def test_an_email_is_found_by_its_tag_in_any_call() -> None:
    """What the stand-in's plans go by: the call as it came."""
    seen: list[str] = []

    def note(call: Call) -> None:
        seen.append(call.email_id)

    async with resend_bench(note) as bench:
        await asyncio.gather(*(send(bench.provider, submission(number)) for number in (1, 2)))

    assert ["email-1", "email-2"] == sorted(seen)


async def test_a_key_that_is_none_is_not_sent() -> None:
    """A line break in it would be another header."""
    provider = resend()

    outcome = await send(provider, replace(submission(), provider_key="a\r\nX-Evil: 1"))

    assert isinstance(outcome, NotAccepted)
    assert FailureKind.UNKNOWN == outcome.kind
    await provider.close()


async def test_a_large_email_arrives_whole() -> None:
    """16 MB in base64, written in a thread and sent block by block; a small one overtakes it."""
    data = random.Random(0).randbytes(12_000_000)
    file = Attachment(filename="a.zip", content_type="application/zip", data=data)
    large = submission(1)
    large = replace(large, content=replace(large.content, attachments=(file,)))
    async with resend_bench() as bench:
        both = await asyncio.gather(send(bench.provider, large), send(bench.provider, submission(2)))

        assert all(isinstance(one, Accepted) for one in both)
        assert ["email-2", "email-1"] == [one.email_id for one in bench.server.emails]
        (sent,) = bench.server.emails[1].payload["attachments"]
        assert data == base64.b64decode(sent["content"], validate=True)
