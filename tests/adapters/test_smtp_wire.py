"""The octets: what a server gets is what was composed, and what we make of what it sends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.compose import compose
from adapters.providers.smtp import dot_stuffed
from adapters.providers.smtp_connection import REPLY_BYTES_MAX, Answers, SmtpConnection
from adapters.providers.smtp_replies import Reply
from application.provider_port import Submission
from domain.content import Address, Attachment
from domain.failures import Accepted, FailureKind, NotAccepted
from tests.adapters.smtp_bench import smtp_bench
from tests.contract.provider_contract import send, submission


def composed(what: Submission) -> bytes:
    """The message itself."""
    return compose(what.content, email_id=what.email_id, date=what.date)


def addressed(what: Submission, sender: str, to: str) -> Submission:
    """The same between other people."""
    return replace(
        what, content=replace(what.content, sender=Address(address=sender), to=(Address(address=to),))
    )


# What it gets.


@pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["pipelining", "one by one"])
@pytest.mark.parametrize(
    "text",
    [".\n", "..\n.\n\n.x\n", "no end", "\n.\n" * 40_000, "x" * 70 + "\n.\n" + ("." * 70 + "\n") * 5_000],
    ids=["dot", "dots", "no line end", "a large one of dots", "a large one of dotted lines"],
)
async def test_messages_arrive_to_the_octet(text: str, extensions: tuple[str, ...]) -> None:
    """Whatever dots are in them, in one piece or in blocks."""
    async with smtp_bench(server={"extensions": extensions}) as bench:
        for number in (1, 2):
            what = submission(number, text=text)

            assert isinstance(await send(bench.provider, what), Accepted)
            assert composed(what) == bench.server.messages[-1].data


@given(st.lists(st.sampled_from([b".", b"\r\n", b"x"]), max_size=12))
def test_stuffing_can_be_undone(pieces: list[bytes]) -> None:
    """The dot alone ends it, nowhere else is one; without its stuffing it is the message again."""
    data = b"".join(pieces)

    wire = dot_stuffed(data)

    lines = wire.split(b"\r\n")
    assert [b".", b""] == lines[-2:]
    assert b"." not in lines[:-2]
    unstuffed = b"\r\n".join(line.removeprefix(b".") for line in lines[:-2]) + b"\r\n"
    assert unstuffed in (data, data + b"\r\n")


@pytest.mark.parametrize("data", [b"a\n.\nb\r\n", b"a\r.\rb\r\n", b"a\r\r\n", b"a\n\r\n"])
def test_no_other_line_end_gets_out(data: bytes) -> None:
    """Some servers take a bare LF or CR for one, and would read commands out of a body (SMTP smuggling)."""
    with pytest.raises(Exception, match="CRLF"):
        dot_stuffed(data)


async def test_an_email_that_can_t_be_composed_is_refused_content() -> None:
    """No provider would take it, and no connection is opened for it."""
    what = submission()
    broken = replace(what, content=replace(what.content, headers=(("X-Bad", "a\r\nBcc: b@example.net"),)))
    async with smtp_bench() as bench:
        outcome = await send(bench.provider, broken)

        assert isinstance(outcome, NotAccepted)
        assert FailureKind.CONTENT is outcome.kind
        assert 0 == bench.server.connections


async def test_large_attachments_arrive() -> None:
    """They are composed in a thread, and the event loop stays free meanwhile."""
    what = submission()
    file = Attachment(
        filename="a.bin", content_type="application/octet-stream", data=bytes(range(256)) * 8_000
    )
    what = replace(what, content=replace(what.content, attachments=(file,)))
    async with smtp_bench() as bench:
        assert isinstance(await send(bench.provider, what), Accepted)
        assert composed(what) == bench.server.messages[0].data


# What was offered.


async def test_the_size_is_told_and_minded() -> None:
    """SIZE (RFC 1870): in MAIL where it's offered; a message above it isn't even begun."""
    small, large = submission(1), submission(2, text="A line.\n" * 1_000)
    async with smtp_bench(server={"extensions": ("SIZE 4000", "PIPELINING")}) as bench:
        taken = await send(bench.provider, small)
        refused = await send(bench.provider, large)

        assert isinstance(taken, Accepted)
        assert (f"SIZE={len(composed(small))}",) == bench.server.messages[0].options
        assert isinstance(refused, NotAccepted)
        assert FailureKind.TOO_LARGE is refused.kind
        assert 1 == sum(line.startswith("MAIL") for _, line in bench.server.commands)


@pytest.mark.parametrize("extensions", [("SIZE",), ("SIZE 0",), ()])
async def test_no_size_named_is_no_limit(extensions: tuple[str, ...]) -> None:
    """RFC 1870 §4: 0, or none, says nothing."""
    async with smtp_bench(server={"extensions": extensions}) as bench:
        assert isinstance(await send(bench.provider, submission(text="A line.\n" * 1_000)), Accepted)


async def test_an_address_beyond_ascii_goes_by_smtputf8() -> None:
    """Where the server offers it; MAIL says so (RFC 6531)."""
    what = addressed(submission(), "shop@example.org", "jürgen@example.net")
    async with smtp_bench() as bench:
        assert isinstance(await send(bench.provider, what), Accepted)
        assert ("jürgen@example.net",) == bench.server.messages[0].rcpt_tos
        assert {"SMTPUTF8", "BODY=8BITMIME"} <= set(bench.server.messages[0].options)


@pytest.mark.parametrize("extensions", [("8BITMIME",), ("SMTPUTF8",)])
async def test_without_smtputf8_another_provider_has_to(extensions: tuple[str, ...]) -> None:
    """This one refuses the content; it isn't told of the email at all."""
    what = addressed(submission(), "shop@example.org", "jürgen@example.net")
    async with smtp_bench(server={"extensions": extensions}) as bench:
        outcome = await send(bench.provider, what)

        assert isinstance(outcome, NotAccepted)
        assert FailureKind.CONTENT is outcome.kind
        assert 0 == bench.server.mails


async def test_an_internationalised_domain_needs_nothing() -> None:
    """It goes as A-labels, which any server takes."""
    what = addressed(submission(), "shop@bücher.example", "leser@straße.example")
    async with smtp_bench(server={"extensions": ()}) as bench:
        assert isinstance(await send(bench.provider, what), Accepted)
        assert "shop@xn--bcher-kva.example" == bench.server.messages[0].mail_from
        assert bench.server.messages[0].rcpt_tos[0].isascii()


# What it says.


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


DIALOGUE = (
    b"250-2.1.0 first line\r\n250 2.1.0 second line\r\n"
    b"550-5.1.1 no\r\n550-\r\n550 5.1.1 such user\r\n"
    b"250\r\n"
    b"354 go on\r\n"
)
UNDERSTOOD = Answers(
    mail=Reply(250, "2.1.0 first line\n2.1.0 second line"),
    rcpts=[Reply(550, "5.1.1 no\n\n5.1.1 such user"), Reply(250, "")],
    data=Reply(354, "go on"),
)


async def answers_to(*chunks: bytes) -> tuple[Answers, SmtpConnection]:
    """What an envelope for two is answered when these pieces arrive."""
    connection = SmtpConnection(Wire(), {"pipelining": ""}, "a wire")
    asking = asyncio.create_task(connection.envelope(b"MAIL FROM:<>\r\n", [b"RCPT TO:<a>\r\n"] * 2, 5.0))
    await asyncio.sleep(0)
    for chunk in chunks:
        connection.data_received(chunk)
    return await asking, connection


@given(st.lists(st.integers(1, len(DIALOGUE) - 1), max_size=8).map(sorted))
def test_replies_may_come_in_any_pieces(cuts: list[int]) -> None:
    """All at once, or letter by letter; of one line or more."""
    edges = [0, *cuts, len(DIALOGUE)]
    chunks = [DIALOGUE[start:end] for start, end in pairwise(edges)]

    answers, _ = asyncio.run(answers_to(*chunks))

    assert UNDERSTOOD == answers


@pytest.mark.parametrize(
    "reply",
    [
        b"hello\r\n",
        b"25\r\n",
        b"250x\r\n",
        b"\r\n",
        b"-250 no\r\n",
        b"250-" + b"x" * REPLY_BYTES_MAX,
        b"250-x\r\n" * 20_000,
    ],
)
async def test_what_is_no_reply_ends_the_connection(reply: bytes) -> None:
    """After it nobody could tell which reply answers what; and it can't fill our memory."""
    answers, connection = await answers_to(reply)

    assert answers.lost
    assert answers.mail is None
    assert not connection.usable
    assert not connection.timed_out


async def test_what_nobody_asked_for_ends_the_connection() -> None:
    """Mostly a 421 to an idle connection; it must not be taken for the answer to the next command."""
    asked_for = b"250 Ok\r\n" * 3 + b"554 5.6.0 No\r\n"
    answers, connection = await answers_to(asked_for)
    assert (Reply(554, "5.6.0 No"), True) == (answers.data, connection.usable)

    connection.data_received(b"421 4.4.2 Timeout\r\n")

    assert not connection.usable


async def test_only_a_reply_is_a_reply() -> None:
    """That what we wrote has left wakes whoever waits for an answer; there is none yet."""
    connection = SmtpConnection(Wire(), {"pipelining": ""}, "a wire")
    asking = asyncio.create_task(connection.envelope(b"MAIL FROM:<>\r\n", [b"RCPT TO:<a>\r\n"] * 2, 5.0))
    for _ in range(3):
        await asyncio.sleep(0)
        connection.pause_writing()
        connection.resume_writing()
    connection.data_received(DIALOGUE)

    assert UNDERSTOOD == await asking


async def test_octets_that_are_no_text_do_no_harm() -> None:
    """Replies may be in whatever charset; ours can be recorded."""
    answers, _ = await answers_to(b"550 5.7.1 \xff\xfe caf\xe9\r\n" + b"503 no\r\n" * 3)

    assert answers.mail is not None
    assert answers.mail.text.encode("utf-8")
