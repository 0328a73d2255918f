"""The providers that carry mail themselves, through the suite they share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.providers.sandbox import SandboxProvider
from adapters.providers.scripted import Behaviour, Fate, ScriptedProvider
from adapters.providers.smtp import SmtpProvider, SmtpSettings
from application.provider_port import Provider
from tests.contract.provider_contract import (
    KINDS,
    RETRY_AFTER_S,
    Bench,
    FallibleProviderContract,
    ProviderContract,
    Reaction,
)
from tests.support.smtp_script import At, Plan, Turn, hang, take_and_drop
from tests.support.smtp_server import EXTENSIONS, ScriptedSmtpServer, certificates


def second(reply: str) -> Plan:
    """Say this to the second RCPT of each transaction."""
    named: dict[int, int] = {}

    def answer(turn: Turn) -> str | None:
        named[turn.message] = named.get(turn.message, 0) + 1
        return reply if named[turn.message] == 2 else None

    return answer


class SmtpBench:
    """A real server with STARTTLS and AUTH on a port of its own."""

    sees_recipients = True
    reactions = frozenset(Reaction)
    SCRIPTS: Mapping[Reaction, Mapping[At, Plan]] = {
        Reaction.ACCEPTS: {},
        Reaction.REFUSES_EVERYBODY: {At.RCPT: "550 5.1.1 User unknown"},
        Reaction.DEFERS_EVERYBODY: {At.RCPT: "450 4.2.1 Try again later"},
        Reaction.REJECTS_THE_CONTENT: {At.DOT: "554 5.6.0 Message is malformed"},
        Reaction.KNOWS_NO_SUCH_SENDER: {At.MAIL: "553 5.7.1 Sender address rejected: not owned by user"},
        Reaction.FINDS_IT_TOO_LARGE: {At.MAIL: "552 5.3.4 Message size exceeds fixed limit"},
        Reaction.LOCKS_US_OUT: {At.AUTH: "535 5.7.8 Authentication credentials invalid"},
        Reaction.SPENT_OUR_QUOTA: {At.DOT: "550 5.4.5 Daily user sending limit exceeded"},
        Reaction.THROTTLES: {At.MAIL: f"450 4.7.1 Too many messages, try again in {RETRY_AFTER_S} seconds"},
        Reaction.FAILS: {At.DOT: "451 4.3.0 Queue file write error"},
        Reaction.LOSES_THE_ANSWER: {At.DOT: take_and_drop()},
        Reaction.NEVER_ANSWERS: {At.DOT: hang()},
    }

    def __init__(self, extensions: tuple[str, ...]) -> None:
        self.server = ScriptedSmtpServer(tls="starttls", users={"shop": "secret"}, extensions=extensions)

    async def __aenter__(self) -> SmtpBench:
        await self.server.open()
        self.provider: Provider = SmtpProvider(
            SmtpSettings(
                name="primary",
                host=self.server.host,
                port=self.server.port,
                username="shop",
                password="secret",
                timeout_s=5.0,
                final_timeout_s=1.0,
                concurrency=4,
                tls_context=certificates()[1],
            )
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.provider.close()
        await self.server.shut()

    async def tell(self, reaction: Reaction) -> None:
        if reaction is Reaction.IS_GONE:
            return await self.server.shut()
        if reaction is Reaction.REFUSES_THE_SECOND:
            self.server.script = {At.RCPT: second("550 5.1.1 User unknown")}
        elif reaction is Reaction.DEFERS_THE_SECOND:
            self.server.script = {At.RCPT: second("451 4.7.1 Greylisted")}
        else:
            self.server.script = self.SCRIPTS[reaction]
        if not self.server.listening:
            await self.server.open()
        return None

    def copies(self, email_id: str, recipient: str) -> int:
        return self.server.copies_per_recipient()[f"<{email_id}@example.org>", recipient]

    def open_connections(self) -> int:
        return self.server.open_connections


class ScriptedBench:
    """The scripted provider needs no stand-in: it is one."""

    sees_recipients = True
    reactions = frozenset(Reaction)

    def __init__(self, key_ttl: timedelta | None) -> None:
        self.scripted = ScriptedProvider(name="scripted", key_ttl=key_ttl)
        self.provider: Provider = self.scripted

    async def __aenter__(self) -> ScriptedBench:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.provider.close()

    async def tell(self, reaction: Reaction) -> None:
        if reaction in KINDS:
            asked = RETRY_AFTER_S if reaction is Reaction.THROTTLES else None
            behaviour = Behaviour(fate=Fate.REFUSE, kind=KINDS[reaction], retry_after_s=asked)
        elif reaction is Reaction.REFUSES_THE_SECOND:
            return self.scripted.follow(lambda what, _: Behaviour(refused=frozenset(what.recipients[1:2])))
        elif reaction is Reaction.DEFERS_THE_SECOND:
            return self.scripted.follow(lambda what, _: Behaviour(deferred=frozenset(what.recipients[1:2])))
        else:
            behaviour = {
                Reaction.ACCEPTS: Behaviour(),
                Reaction.LOSES_THE_ANSWER: Behaviour(fate=Fate.LOST),
                Reaction.NEVER_ANSWERS: Behaviour(fate=Fate.VANISHED, reply_delay_s=0.3),
            }[reaction]
        return self.scripted.follow([behaviour])

    def copies(self, email_id: str, recipient: str) -> int:
        return self.scripted.copies(email_id, int(recipient.removeprefix("reader").partition("@")[0]))

    def open_connections(self) -> int:
        return 0


class SandboxBench:
    """Files."""

    sees_recipients = False
    reactions = frozenset({Reaction.ACCEPTS})

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.provider: Provider = SandboxProvider(name="sandbox", directory=directory)

    async def __aenter__(self) -> SandboxBench:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.provider.close()

    async def tell(self, reaction: Reaction) -> None:
        assert reaction is Reaction.ACCEPTS

    def copies(self, email_id: str, recipient: str) -> int:
        return len(list(self.directory.glob(f"{email_id}-*.eml")))

    def open_connections(self) -> int:
        return 0


class TestSmtp(FallibleProviderContract):
    """With pipelining, and one command at a time."""

    @pytest.fixture(params=["pipelining", "one by one"])
    async def bench(self, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
        extensions = EXTENSIONS if request.param == "pipelining" else ("8BITMIME",)
        async with SmtpBench(extensions) as bench:
            yield bench


class TestScripted(FallibleProviderContract):
    """With keys, and without."""

    @pytest.fixture(params=[None, timedelta(days=1)], ids=["without keys", "with keys"])
    async def bench(self, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
        async with ScriptedBench(request.param) as bench:
            yield bench


class TestSandbox(ProviderContract):
    """It can only accept."""

    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        async with SandboxBench(tmp_path / "outbox") as bench:
            yield bench
