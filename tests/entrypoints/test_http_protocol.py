"""What is written in one turn of the loop goes out together."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from entrypoints.http.protocol import _Gathered


class Wire:
    """A transport that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.asked.append(data)

    def close(self) -> None:
        self.asked.append("close")

    def is_closing(self) -> bool:
        return "close" in self.asked

    def get_extra_info(self, name: str) -> str:
        return name


def gathered() -> tuple[Wire, Any]:
    wire = Wire()
    return wire, _Gathered(cast(asyncio.Transport, wire), asyncio.get_running_loop())


async def test_head_and_body_are_one_packet() -> None:
    """Two writes of one turn are one; those of the next turn are another, in order."""
    wire, transport = gathered()

    transport.write(b"head ")
    transport.write(b"body")
    await asyncio.sleep(0)
    transport.write(b"next")
    await asyncio.sleep(0)

    assert [b"head body", b"next"] == wire.asked


async def test_what_is_held_goes_out_before_the_connection_closes() -> None:
    """An answer with `Connection: close` isn't lost, and nothing is written after it."""
    wire, transport = gathered()

    transport.write(b"answer")
    transport.close()
    await asyncio.sleep(0)

    assert [b"answer", "close"] == wire.asked
    assert transport.is_closing()
    assert "peername" == transport.get_extra_info("peername")
