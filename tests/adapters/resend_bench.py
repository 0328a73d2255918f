"""A Resend provider and the stand-in it talks to, for the tests of both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from adapters.providers.resend import ResendProvider, ResendSettings
from tests.support.resend_script import Plan
from tests.support.resend_server import FULL_ACCESS, ResendServer

PATIENT_S = 10.0
"""What the provider waits where everything is answered: a busy machine makes no difference."""
QUICK_S = 0.25
"""What it waits where something hangs, which the test has to sit out."""


@dataclass(frozen=True, slots=True)
class ResendBench:
    """Both of them."""

    server: ResendServer
    provider: ResendProvider


def resend(**settings: Any) -> ResendProvider:
    """A provider with these settings."""
    defaults: dict[str, Any] = {"name": "secondary", "key": FULL_ACCESS, "timeout_s": PATIENT_S}
    return ResendProvider(ResendSettings(**(defaults | settings)))


@asynccontextmanager
async def resend_bench(plan: Plan = None, *, server: Any = (), **settings: Any) -> AsyncIterator[ResendBench]:
    """A server that follows the plan, and a provider that calls it; both end with the block.

    `server` holds options of ResendServer, everything else goes into ResendSettings.
    """
    async with ResendServer(plan, **dict(server)) as running:
        provider = resend(**({"base_url": running.url} | settings))
        try:
            yield ResendBench(running, provider)
        finally:
            await provider.close()
    assert [] == running.violations, "the provider broke the published rules"
