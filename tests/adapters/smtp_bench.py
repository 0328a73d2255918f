"""An SMTP provider and a scripted server, for the tests of both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from adapters.providers.smtp import SmtpProvider, SmtpSettings
from tests.support.smtp_script import FOREVER_S, Do, Script, Step
from tests.support.smtp_server import ScriptedSmtpServer, certificates

PATIENT_S = 10.0
"""What the provider waits where everything is answered: a busy machine makes no difference."""
QUICK_S = 0.4
"""What it waits where something hangs, which the test has to sit out."""


def timeouts(*steps: Step) -> dict[str, float]:
    """Settings for a script with these steps."""
    hangs = any(isinstance(step, Do) and step.wait_s >= FOREVER_S for step in steps)
    return {"timeout_s": QUICK_S, "final_timeout_s": QUICK_S} if hangs else {}


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
            "timeout_s": PATIENT_S,
            "final_timeout_s": PATIENT_S,
            "tls_context": certificates()[1],
        }
        if running.users is not None:
            defaults["username"], defaults["password"] = next(iter(running.users.items()))
        provider = SmtpProvider(SmtpSettings(**(defaults | settings)))
        try:
            yield SmtpBench(running, provider)
        finally:
            await provider.close()
