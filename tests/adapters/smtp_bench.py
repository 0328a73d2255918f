"""An SMTP provider and a scripted server, for the tests of both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from adapters.providers.smtp import SmtpProvider, SmtpSettings
from tests.support.smtp_script import Script
from tests.support.smtp_server import ScriptedSmtpServer, certificates

TIMEOUT_S = 0.3
"""What the provider waits for; whatever hangs in a test costs this long."""


@dataclass(frozen=True, slots=True)
class SmtpBench:
    """Both of them."""

    server: ScriptedSmtpServer
    provider: SmtpProvider


@asynccontextmanager
async def smtp_bench(
    script: Script | None = None, *, server: Any = (), **settings: Any
) -> AsyncIterator[SmtpBench]:
    """A server that follows the script, and a provider that knows its certificate; both end with the block.

    `server` holds options of ScriptedSmtpServer, everything else goes into SmtpSettings.
    """
    async with ScriptedSmtpServer(script, **dict(server)) as running:
        defaults: dict[str, Any] = {
            "name": "primary",
            "host": running.host,
            "port": running.port,
            "tls": running.tls,
            "timeout_s": TIMEOUT_S,
            "final_timeout_s": TIMEOUT_S,
            "tls_context": certificates()[1],
        }
        if running.users is not None:
            defaults["username"], defaults["password"] = next(iter(running.users.items()))
        provider = SmtpProvider(SmtpSettings(**(defaults | settings)))
        try:
            yield SmtpBench(running, provider)
        finally:
            await provider.close()
