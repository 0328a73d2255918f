"""The provider that simulations play, through the suite that all providers share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from zlib import crc32

import pytest

from adapters.providers.simulated import Copies, SimulatedProvider
from application.provider_port import Provider
from application.simulate_scenario import Luck, Manner, Pace, Silence, Trouble
from domain.failures import FailureKind
from domain.rate_limit import Rate
from tests.contract.provider_contract import KINDS, RETRY_AFTER_S, Bench, FallibleProviderContract, Reaction


class Counted(Copies):
    """Every copy."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: Counter[int] = Counter()

    def take(self, email: int, *, answered: bool) -> None:
        super().take(email, answered=answered)
        self.taken[email] += 1


class SimulatedBench:
    """It needs no stand-in."""

    sees_recipients = False
    reactions = frozenset(Reaction) - {Reaction.REFUSES_THE_SECOND, Reaction.DEFERS_THE_SECOND}

    def __init__(self, key_ttl: timedelta | None) -> None:
        self._copies = Counted()
        self._simulated = SimulatedProvider(
            name="primary",
            type="smtp",
            key_ttl=key_ttl,
            timeout_s=0.3,
            manner=Manner(paces=(Pace(0.001),)),
            luck=Luck(1),
            copies=self._copies,
            sleep=asyncio.sleep,
            seconds=lambda: 60.0 - RETRY_AFTER_S,
        )
        self.provider: Provider = self._simulated

    async def tell(self, reaction: Reaction) -> None:
        fates: dict[Reaction, FailureKind | Silence] = {
            **KINDS,
            Reaction.LOSES_THE_ANSWER: Silence.LOST,
            Reaction.NEVER_ANSWERS: Silence.VANISHED,
        }
        if reaction is Reaction.THROTTLES:
            self._simulated.follow(Manner(paces=(Pace(0.001),), throttle=Rate.parse("1/m")))
            self._simulated.plain_s(0, 60.0 - RETRY_AFTER_S)  # the one that is let through
        elif reaction is Reaction.ACCEPTS:
            self._simulated.follow(Manner(paces=(Pace(0.001),)))
        else:
            self._simulated.follow(Manner(paces=(Pace(0.001),), troubles=(Trouble(fates[reaction]),)))

    def copies(self, email_id: str, recipient: str) -> int:
        return self._copies.taken[crc32(email_id.encode())]

    def open_connections(self) -> int:
        return 0


class TestSimulated(FallibleProviderContract):
    """With keys, and without."""

    @pytest.fixture(params=[None, timedelta(days=1)], ids=["without keys", "with keys"])
    async def bench(self, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
        bench = SimulatedBench(request.param)
        yield bench
        await bench.provider.close()
