"""Background tasks that nobody awaits: if one dies, the process says so and is no longer ready."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from application.logbook import Logbook


class Supervisor:
    """Starts tasks by name. A task that ends with an error is an ERROR line and in `dead` from then on."""

    def __init__(self, logbook: Logbook) -> None:
        self._logbook = logbook
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.dead: dict[str, str] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` beside everything else."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(self._ended)
        return task

    async def stop(self) -> None:
        """Cancel whatever still runs, the latest first, and wait for it."""
        for task in reversed(list(self._tasks.values())):
            task.cancel()
            await asyncio.wait((task,))

    async def ended(self, name: str) -> None:
        """Wait until the task of that name has ended, in whatever way; one that never started has."""
        if name in self._tasks:
            await asyncio.wait((self._tasks[name],))

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.dead[task.get_name()] = f"{type(error).__name__}: {error}"
            self._logbook.error("task_died", task=task.get_name(), exc_info=error)
