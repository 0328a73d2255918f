"""Ringing in other processes by PostgreSQL's LISTEN and NOTIFY.

NOTIFY takes a lock on the whole server until its transaction has ended, the wait for the disk included: within the
transactions that take emails in, these would wait for each other. So it is a transaction of its own, behind theirs and
not synced, and there is one in GAP_S at most. (docs/decisions/2026-11-24-notify-is-a-hint.md has the numbers.)
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

from adapters.sql.dialect import Sql
from adapters.sql.engine import Database
from application.bell import Heard, News
from application.ports import Executor, StoreUnavailable

LISTEN = "LISTEN stagepost"
TELL = Sql("SELECT pg_notify('stagepost', :said)")

GAP_S = 0.02
"""Between two NOTIFYs of a process; the first after a silence goes at once."""

ECHO_S = 2.0
"""Whoever hasn't heard itself by then hears nobody."""

AGAIN_S, AGAIN_S_MAX = 0.25, 60.0
"""Pauses before listening is tried again; they double."""

HELLO = "hello"


class PostgresBell:
    """A `Bell` on a database on PostgreSQL. It listens on a connection of its own."""

    def __init__(
        self, database: Database, *, executor: Executor, connecting: Executor, deaf: Callable[[str], None]
    ) -> None:
        """`connecting` runs what may hang while the process is to end. `deaf` hears why nothing is heard, once until
        something is."""
        self._database = database
        self._executor = executor
        self._connecting = connecting
        self._deaf = deaf
        self._name = secrets.token_hex(4)
        self._to_tell: News | None = None
        self._telling: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._complained = False
        self._pause_s = AGAIN_S
        self.hears = False

    def ring(self, news: News) -> None:
        if self._over.is_set():
            return
        self._to_tell = News.WORK if self._to_tell is News.WORK else news
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell(), name="bell")

    async def listen(self, heard: Heard) -> None:
        while True:
            try:
                await self._hear(heard)
            except TimeoutError:
                self._complain("nothing comes back of what is sent: a pooler that keeps no sessions?")
            except Exception as error:  # whatever it is, all goes on without hints
                self._complain(f"{type(error).__name__}: {error}".partition("\n")[0])
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, AGAIN_S_MAX)

    async def close(self) -> None:
        self._over.set()
        if self._telling is not None:
            await self._telling

    async def _tell(self) -> None:
        try:
            while self._to_tell is not None:
                news, self._to_tell = self._to_tell, None
                with suppress(StoreUnavailable):
                    await self._say(news)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), GAP_S)
        finally:
            self._telling = None

    async def _say(self, word: str) -> None:
        said = f"{word} {self._name}"
        await self._executor(lambda: self._database.write(lambda session: session.rows(TELL, said=said)))

    async def _hear(self, heard: Heard) -> None:
        """Connect and listen until the connection is gone."""
        line = _Line(await self._connecting(self._connected))
        try:
            # The pool's connection asks whether this one hears: only that shows that it does.
            await self._say(HELLO)
            async with asyncio.timeout(ECHO_S):
                while await line.said() != f"{HELLO} {self._name}":
                    pass
            self.hears, self._complained, self._pause_s = True, False, AGAIN_S
            heard(News.WORK)
            while True:
                word, _, name = (await line.said()).partition(" ")
                if name != self._name and word != HELLO:
                    # What we don't know, somebody else has sent: better to look.
                    heard(News.RECORDED if word == News.RECORDED else News.WORK)
        finally:
            line.close()
            if self.hears:
                self.hears = False
                heard(News.WORK)

    def _connected(self) -> psycopg.Connection[Any]:
        connection: psycopg.Connection[Any] = self._database.apart(LISTEN)
        if self._over.is_set():  # nobody waits for it any more
            connection.close()
        return connection

    def _complain(self, reason: str) -> None:
        if not self._complained:
            self._complained = True
            self._deaf(reason)


class _Line:
    """A connection that listens, read by the event loop as something comes in."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._said: asyncio.Queue[str | psycopg.Error] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._descriptor = connection.fileno()
        self._loop.add_reader(self._descriptor, self._read)

    async def said(self) -> str:
        """The next thing that was said. Raises psycopg.Error once the connection is gone."""
        one = await self._said.get()
        if isinstance(one, psycopg.Error):
            raise one
        return one

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        self._connection.close()

    def _read(self) -> None:
        """Take what is there; it never waits."""
        try:
            self._connection.pgconn.consume_input()
            while (one := self._connection.pgconn.notifies()) is not None:
                self._said.put_nowait(one.extra.decode(errors="replace"))
        except psycopg.Error as error:
            self._loop.remove_reader(self._descriptor)
            self._said.put_nowait(error)
