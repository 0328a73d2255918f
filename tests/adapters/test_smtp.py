"""SMTP, phase by phase: what each misbehaviour of a server makes of an attempt, and of the next one."""

from __future__ import annotations

import asyncio

import pytest

from domain.failures import Accepted, FailureKind, NotAccepted, Outcome, Refusal, Unanswered
from tests.adapters.smtp_bench import smtp_bench, timeouts
from tests.contract.provider_contract import send, submission, until
from tests.support.smtp_script import (
    At,
    Plan,
    Step,
    Turn,
    drop,
    hang,
    reset,
    say,
    say_and_close,
    slow,
    take_and_drop,
    take_and_hang,
    take_and_reset,
)
from tests.support.smtp_server import EXTENSIONS

LARGE = "A line of a text that no socket buffer holds in one piece.\n" * 200_000
"""12 MB: some of it is still here when the server goes."""

SHUTTING_DOWN = "421 4.3.2 Shutting down"
GARBLED = "hello, this is no SMTP"
BEFORE_THE_BODY = (At.GREETING, At.EHLO, At.STARTTLS, At.AUTH, At.MAIL, At.RCPT, At.DATA)
MISBEHAVIOURS: dict[str, Step] = {
    "drops": drop(),
    "resets": reset(),
    "hangs": hang(),
    "closes with 421": say_and_close(SHUTTING_DOWN),
    "talks garbage": GARBLED,
}

SERVERS: dict[str, dict[str, object]] = {
    "pipelining": {"tls": "starttls", "users": {"shop": "secret"}},
    "one by one": {"tls": "starttls", "users": {"shop": "secret"}, "extensions": ("SIZE 33554432",)},
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> dict[str, object]:
    """Options of a server that pipelines, and of one that does not."""
    return SERVERS[request.param]


@pytest.mark.parametrize("misbehaviour", MISBEHAVIOURS)
@pytest.mark.parametrize("at", BEFORE_THE_BODY)
async def test_nothing_is_uncertain_before_the_body(
    at: At, misbehaviour: str, server: dict[str, object]
) -> None:
    """Whatever goes wrong, and wherever: the email wasn't sent, the provider is unwell, the next one goes through."""
    step = MISBEHAVIOURS[misbehaviour]
    async with smtp_bench({at: step}, server=server, **timeouts(step)) as bench:
        outcome = await send(bench.provider, submission(1))

        assert isinstance(outcome, NotAccepted)
        assert FailureKind.TRANSIENT == outcome.kind
        assert ("421 4.3.2" if misbehaviour == "closes with 421" else "") == outcome.code
        assert outcome.detail
        assert [] == bench.server.messages
        await until("the connection is closed", lambda: bench.server.open_connections == 0)
        bench.server.script = {}
        assert isinstance(await send(bench.provider, submission(2)), Accepted)


UNANSWERED: dict[str, Step] = {
    "drops": drop(),
    "takes it and drops": take_and_drop(),
    "resets": reset(),
    "takes it and resets": take_and_reset(),
    "hangs": hang(),
    "takes it and hangs": take_and_hang(),
    "talks garbage": GARBLED,
    "says 354": "354 Go on",
}


@pytest.mark.parametrize("misbehaviour", UNANSWERED)
async def test_everything_but_an_answer_to_the_dot_is_uncertain(
    misbehaviour: str, server: dict[str, object]
) -> None:
    """Whether the server took it or not: from here both look the same, and no other outcome would be true."""
    step = UNANSWERED[misbehaviour]
    async with smtp_bench({At.DOT: step}, server=server, **timeouts(step)) as bench:
        outcome = await send(bench.provider, submission(1))

        assert isinstance(outcome, Unanswered)
        assert FailureKind.UNCERTAIN == outcome.kind
        assert outcome.detail
        await until("the connection is closed", lambda: bench.server.open_connections == 0)
        bench.server.script = {}
        assert isinstance(await send(bench.provider, submission(2)), Accepted)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("451 4.3.0 Error: queue file write error", FailureKind.TRANSIENT),
        (SHUTTING_DOWN, FailureKind.TRANSIENT),
        ("554 5.6.0 Malformed", FailureKind.CONTENT),
        ("552 5.3.4 Too big", FailureKind.TOO_LARGE),
        ("454 Throttling failure: Maximum sending rate exceeded.", FailureKind.THROTTLED),
        ("550 5.4.5 Daily user sending limit exceeded", FailureKind.QUOTA),
    ],
)
async def test_any_answer_to_the_dot_is_definite(
    reply: str, kind: FailureKind, server: dict[str, object]
) -> None:
    """Even if the connection ends with it."""
    for step in (say(reply), say_and_close(reply)):
        async with smtp_bench({At.DOT: step}, server=server) as bench:
            outcome = await send(bench.provider, submission())

            assert isinstance(outcome, NotAccepted)
            assert kind == outcome.kind
            assert reply.startswith(outcome.code)
            assert reply.endswith(outcome.detail)


@pytest.mark.parametrize("misbehaviour", [drop(), reset(), hang()], ids=["drops", "resets", "hangs"])
async def test_a_large_message_cut_off_was_not_sent(misbehaviour: Step, server: dict[str, object]) -> None:
    """As long as its dot hasn't left us, no server can have taken it."""
    async with smtp_bench({At.BODY: misbehaviour}, server=server, **timeouts(misbehaviour)) as bench:
        outcome = await send(bench.provider, submission(text=LARGE))

        assert isinstance(outcome, NotAccepted)
        assert FailureKind.TRANSIENT == outcome.kind
        assert "before the final dot" in outcome.detail


@pytest.mark.parametrize("misbehaviour", [drop(), reset(), hang()], ids=["drops", "resets", "hangs"])
async def test_a_small_message_cut_off_is_uncertain(misbehaviour: Step, server: dict[str, object]) -> None:
    """It is written in one piece, dot and all: the server had it, as far as we know."""
    async with smtp_bench({At.BODY: misbehaviour}, server=server, **timeouts(misbehaviour)) as bench:
        outcome = await send(bench.provider, submission())

        assert isinstance(outcome, Unanswered)


@pytest.mark.parametrize("text", ["short\n", LARGE], ids=["small", "large"])
async def test_a_refusal_amid_the_body_counts(text: str, server: dict[str, object]) -> None:
    """The server needn't read all of it to say that it is too much; the connection isn't used again."""
    async with smtp_bench({At.BODY: [say_and_close("552 5.3.4 Too big")]}, server=server) as bench:
        outcome = await send(bench.provider, submission(1, text=text))
        again = await send(bench.provider, submission(2))

    assert (FailureKind.TOO_LARGE, "552 5.3.4") == (getattr(outcome, "kind", None), outcome.code)
    assert isinstance(again, Accepted)


async def test_an_acceptance_amid_the_body_is_none(server: dict[str, object]) -> None:
    """It can't mean this message, which the server hasn't seen the end of; what it means nobody knows."""
    async with smtp_bench({At.BODY: say_and_close("250 2.0.0 Ok")}, server=server) as bench:
        assert isinstance(await send(bench.provider, submission(text=LARGE)), Unanswered)


async def test_421_is_the_last_answer(server: dict[str, object]) -> None:
    """Nothing more is waited for, even where the server doesn't hang up; whoever was accepted before it wasn't sent."""
    scripts: list[dict[At, Plan]] = [
        {At.MAIL: SHUTTING_DOWN, At.RCPT: hang()},
        {At.RCPT: [None, SHUTTING_DOWN, hang()]},
    ]
    for script in scripts:
        async with smtp_bench(script, server=server) as bench, asyncio.timeout(2.0):
            outcome = await send(bench.provider, submission(recipients=(0, 1, 2), of=3))

            assert isinstance(outcome, NotAccepted)
            assert (FailureKind.TRANSIENT, "421 4.3.2") == (outcome.kind, outcome.code)
            await until("the connection is closed", lambda: bench.server.open_connections == 0)


@pytest.mark.parametrize("misbehaviour", [drop(), reset(), hang(), say("500 no"), GARBLED])
async def test_what_happens_at_quit_changes_nothing(misbehaviour: Step, server: dict[str, object]) -> None:
    """It was accepted; and `close` doesn't wait for a server that won't let go."""
    async with smtp_bench({At.QUIT: misbehaviour}, server=server) as bench:
        outcome = await send(bench.provider, submission())
        async with asyncio.timeout(5):
            await bench.provider.close()

        assert isinstance(outcome, Accepted)
        await until("the connection is closed", lambda: bench.server.open_connections == 0)


@pytest.mark.parametrize("at", [*BEFORE_THE_BODY, At.DOT])
async def test_a_slow_server_is_waited_for(at: At, server: dict[str, object]) -> None:
    """Slow, and within the timeouts."""
    async with smtp_bench({at: slow(0.1)}, server=server) as bench:
        assert isinstance(await send(bench.provider, submission()), Accepted)


async def test_the_last_answer_gets_more_time() -> None:
    """Scanners take it: giving up too early makes a second copy."""
    async with smtp_bench({At.DOT: slow(1.0)}, timeout_s=0.5) as bench:
        assert isinstance(await send(bench.provider, submission()), Accepted)


@pytest.mark.parametrize("at", [*BEFORE_THE_BODY, At.DOT])
async def test_cancellation_closes_the_connection(at: At, server: dict[str, object]) -> None:
    """At whatever point: nothing is left open or sent later, and whether it may have been is told truthfully."""
    async with smtp_bench({at: hang()}, server=server, concurrency=1) as bench:
        task = asyncio.create_task(bench.provider.send(submission(1)))
        await asyncio.sleep(0.1)
        task.cancel()
        outcome = await task

        if at is At.DOT:
            assert isinstance(outcome, Unanswered)
        else:
            assert isinstance(outcome, NotAccepted)
            assert FailureKind.NOT_TRIED is outcome.kind
        await until("the connection is closed", lambda: bench.server.open_connections == 0)
        bench.server.script = {}
        assert isinstance(await send(bench.provider, submission(2)), Accepted)
        assert ["<email-2@example.org>"] == [one.message_id for one in bench.server.messages]


def by_recipient(replies: dict[int, str]) -> Plan:
    """A reply for each of `submission`'s readers, as usual for who isn't named."""

    def answer(turn: Turn) -> str | None:
        return replies.get(int(turn.argument.removeprefix("reader").partition("@")[0]))

    return answer


NO_SUCH_USER = "550 5.1.1 User unknown"
GREYLISTED = "451 4.7.1 Greylisted"
NO_RELAY = "554 5.7.1 Relay access denied"


async def outcome_of(
    script: dict[At, Plan], server: dict[str, object], recipients: tuple[int, ...]
) -> Outcome:
    """What comes of an attempt for these of five readers."""
    async with smtp_bench(script, server=server) as bench:
        return await send(bench.provider, submission(recipients=recipients, of=5))


async def test_recipients_are_told_apart(server: dict[str, object]) -> None:
    """Accepted, refused and deferred at once. Who is refused for what isn't his fault is deferred, too."""
    replies = by_recipient({1: NO_SUCH_USER, 2: GREYLISTED, 4: NO_RELAY})

    outcome = await outcome_of({At.RCPT: replies}, server, (1, 2, 3, 4))

    assert (
        Accepted(
            accepted=(3,),
            refused=(Refusal(index=1, code="550 5.1.1"),),
            deferred=(2, 4),
            message_id="00000001",
            code="250 2.0.0",
        )
        == outcome
    )


@pytest.mark.parametrize(
    ("replies", "kind", "refused", "deferred"),
    [
        ({1: NO_SUCH_USER, 3: NO_SUCH_USER}, FailureKind.RECIPIENT, [1, 3], ()),
        ({1: NO_SUCH_USER, 3: GREYLISTED}, FailureKind.DEFERRED, [1], (3,)),
        ({1: GREYLISTED, 3: GREYLISTED}, FailureKind.DEFERRED, [], (1, 3)),
        ({1: NO_SUCH_USER, 3: NO_RELAY}, FailureKind.SENDER, [1], ()),
        ({1: GREYLISTED, 3: NO_RELAY}, FailureKind.SENDER, [], (1,)),
        ({1: NO_SUCH_USER, 3: SHUTTING_DOWN}, FailureKind.TRANSIENT, [1], ()),
        ({1: "530 5.7.0 Authentication required"}, FailureKind.ACCOUNT, [], ()),
    ],
)
async def test_nobody_accepted_is_told_by_what_weighs_most(
    replies: dict[int, str],
    kind: FailureKind,
    refused: list[int],
    deferred: tuple[int, ...],
    server: dict[str, object],
) -> None:
    """What isn't the recipients' fault decides; who is refused for good stays refused whatever the others got."""
    recipients = tuple(replies)

    outcome = await outcome_of({At.RCPT: by_recipient(replies)}, server, recipients)

    assert isinstance(outcome, NotAccepted)
    assert (kind, refused, deferred) == (
        outcome.kind,
        [one.index for one in outcome.refused],
        outcome.deferred,
    )


async def test_a_lost_answer_leaves_the_settled_settled(server: dict[str, object]) -> None:
    """Only who was accepted at RCPT is in doubt."""
    script: dict[At, Plan] = {
        At.RCPT: by_recipient({0: NO_SUCH_USER, 1: GREYLISTED}),
        At.DOT: take_and_drop(),
    }

    outcome = await outcome_of(script, server, (0, 1, 2))

    assert isinstance(outcome, Unanswered)
    assert ([0], (1,)) == ([one.index for one in outcome.refused], outcome.deferred)


async def test_a_drop_in_the_envelope_keeps_what_was_said(server: dict[str, object]) -> None:
    """A refusal for good is one, whatever became of the connection."""
    outcome = await outcome_of({At.RCPT: [NO_SUCH_USER, GREYLISTED, drop()]}, server, (0, 1, 2))

    assert isinstance(outcome, NotAccepted)
    assert FailureKind.TRANSIENT == outcome.kind
    assert ([0], (1,)) == ([one.index for one in outcome.refused], outcome.deferred)


async def test_the_final_reply_may_be_about_the_recipient(server: dict[str, object]) -> None:
    """With one recipient accepted it refuses that one; with several nobody knows whom: another provider may tell."""
    alone = await outcome_of({At.DOT: NO_SUCH_USER}, server, (2,))
    several = await outcome_of({At.DOT: NO_SUCH_USER}, server, (2, 3))

    assert isinstance(alone, NotAccepted)
    assert (FailureKind.RECIPIENT, (Refusal(index=2, code="550 5.1.1"),)) == (alone.kind, alone.refused)
    assert isinstance(several, NotAccepted)
    assert (FailureKind.CONTENT, ()) == (several.kind, several.refused)


async def test_a_final_greylisting_defers_the_accepted(server: dict[str, object]) -> None:
    """Some servers put off at the dot."""
    outcome = await outcome_of({At.RCPT: by_recipient({1: GREYLISTED}), At.DOT: GREYLISTED}, server, (0, 1))

    assert isinstance(outcome, NotAccepted)
    assert (FailureKind.DEFERRED, (0, 1)) == (outcome.kind, outcome.deferred)


async def test_details_are_one_short_line(server: dict[str, object]) -> None:
    """All lines of a reply, fit for an event: no line breaks, no code that is told apart, at most 200 characters."""
    reply = "554-5.6.0 first\n554-5.6.0 second\twith tab\n554 5.6.0 " + "x" * 500

    outcome = await outcome_of({At.DOT: reply}, server, (0,))

    assert isinstance(outcome, NotAccepted)
    assert outcome.detail.startswith("first second with tab xxx")
    assert 200 == len(outcome.detail)


def test_the_servers_differ_in_pipelining() -> None:
    """Or half of this file would be for nothing."""
    assert "PIPELINING" in EXTENSIONS
    assert "PIPELINING" not in str(SERVERS["one by one"])
