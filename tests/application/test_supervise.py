"""Background tasks: one that dies is said, remembered, and doesn't take the others with it."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from application.logbook import Logbook
from application.supervise import Supervisor


async def for_ever() -> None:
    await asyncio.Event().wait()


async def broken() -> None:
    raise RuntimeError("no")


async def test_a_task_that_dies_is_an_error_line_and_is_remembered() -> None:
    """The others go on; `dead` names the one that doesn't."""
    supervisor = Supervisor(Logbook())
    with capture_logs() as lines:
        alive = supervisor.start("alive", for_ever())
        supervisor.start("broken", broken())
        await supervisor.ended("broken")

    assert {"broken": "RuntimeError: no"} == supervisor.dead
    assert [("task_died", "error", "broken")] == [
        (line["event"], line["log_level"], line["task"]) for line in lines
    ]
    assert not alive.done()
    await supervisor.stop()


async def test_a_stop_is_no_death() -> None:
    """Tasks that are stopped in order are not reported."""
    supervisor = Supervisor(Logbook())
    task = supervisor.start("alive", for_ever())
    await asyncio.sleep(0)
    await supervisor.stop()

    assert task.cancelled()
    assert {} == supervisor.dead


async def test_what_never_started_has_ended() -> None:
    """Stopping a service that failed to start waits for nobody."""
    await Supervisor(Logbook()).ended("dispatcher")
