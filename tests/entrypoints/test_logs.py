"""Log lines reach the file whole, in order, and those of one moment together."""

from __future__ import annotations

import asyncio
import io

from entrypoints.logs import _Lines


class Counted(io.BytesIO):
    """A file that counts how often it was written to."""

    writes = 0

    def write(self, data: object, /) -> int:
        self.writes += 1
        return super().write(data)  # type: ignore[arg-type]


class Full(io.BytesIO):
    """A file on a full disk."""

    def write(self, data: object, /) -> int:
        raise OSError(28, "No space left on device")


async def test_the_lines_of_one_turn_are_written_at_once() -> None:
    """A batch of hundreds costs one call of the kernel, and nothing waits for the next batch."""
    file = Counted()
    lines = _Lines(file)

    for number in range(3):
        lines.msg(b"line %d" % number)
    await asyncio.sleep(0)

    assert b"line 0\nline 1\nline 2\n" == file.getvalue()
    assert 1 == file.writes


def test_without_a_loop_each_line_is_written_at_once() -> None:
    """Threads and commands have nobody who would write it for them later."""
    file = Counted()

    _Lines(file).msg(b"line")

    assert b"line\n" == file.getvalue()


def test_a_full_disk_costs_the_line_only() -> None:
    """Whoever logs goes on, and what comes later is written when there is room."""
    lines = _Lines(Full())

    lines.msg(b"lost")
    lines._file = later = io.BytesIO()
    lines.msg(b"kept")

    assert b"kept\n" == later.getvalue()
