"""A question that may never be answered."""

from __future__ import annotations

import asyncio

import pytest

from application.ports import StoreUnavailable
from entrypoints.asking import Asking

pytestmark = pytest.mark.anyio


async def test_without_an_answer_nobody_waits_for_ever_nor_asks_again() -> None:
    """However many look meanwhile; once it is answered, the next look asks anew."""
    asking, answer, asked = Asking(), asyncio.Event(), []

    async def ask() -> None:
        asked.append(1)
        await answer.wait()

    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="no answer for"):
            await asking.within(0.01, ask)
    answer.set()
    await asking.within(5, ask)
    await asking.within(5, ask)

    assert 2 == len(asked)


async def test_an_error_is_everybody_s() -> None:
    """Of all who wait for the same answer."""
    asking = Asking()

    async def ask() -> None:
        await asyncio.sleep(0.01)
        raise StoreUnavailable("the disk is full")

    told = await asyncio.gather(*(asking.within(5, ask) for _ in range(3)), return_exceptions=True)

    assert ["the disk is full"] * 3 == [str(one) for one in told]
