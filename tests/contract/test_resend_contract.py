"""Resend, through the suite that all providers share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from adapters.providers.resend import ResendProvider, ResendSettings
from application.provider_port import Provider
from tests.contract.provider_contract import RETRY_AFTER_S, Bench, FallibleProviderContract, Reaction
from tests.support.resend_script import (
    Plan,
    hang,
    quota,
    refuse,
    reject,
    suspend,
    take_and_drop,
    throttle,
    unverified,
)
from tests.support.resend_server import FULL_ACCESS, ResendServer


class ResendBench:
    """A real HTTP server on a port of its own.

    Resend answers for a whole call, never for a recipient, and names no error of its own that means `transient`:
    each of its 5xx may come after it took the email.
    """

    sees_recipients = True
    PLANS: Mapping[Reaction, Plan] = {
        Reaction.ACCEPTS: None,
        Reaction.REJECTS_THE_CONTENT: reject(),
        Reaction.KNOWS_NO_SUCH_SENDER: unverified(),
        Reaction.FINDS_IT_TOO_LARGE: refuse("too_large", status=413),
        Reaction.LOCKS_US_OUT: suspend(),
        Reaction.SPENT_OUR_QUOTA: quota("monthly"),
        Reaction.THROTTLES: throttle(RETRY_AFTER_S),
        Reaction.LOSES_THE_ANSWER: take_and_drop(),
        Reaction.NEVER_ANSWERS: hang(),
    }
    reactions = frozenset({*PLANS, Reaction.IS_GONE})

    def __init__(self) -> None:
        self.server = ResendServer()

    async def __aenter__(self) -> ResendBench:
        await self.server.open()
        self.provider: Provider = ResendProvider(
            ResendSettings(
                name="primary", key=FULL_ACCESS, base_url=self.server.url, timeout_s=0.6, concurrency=4
            )
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.provider.close()
        await self.server.shut()

        assert [] == self.server.violations

    async def tell(self, reaction: Reaction) -> None:
        if reaction is Reaction.IS_GONE:
            return await self.server.shut()
        self.server.plan = self.PLANS[reaction]
        if not self.server.listening:
            await self.server.open()
        return None

    def copies(self, email_id: str, recipient: str) -> int:
        return self.server.copies_per_recipient()[email_id, recipient]

    def open_connections(self) -> int:
        return self.server.open_connections


class TestResend(FallibleProviderContract):
    """Over HTTP."""

    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        async with ResendBench() as bench:
            yield bench
