"""A stretch of wire in front of PostgreSQL that can be told what becomes of a COMMIT.

It reads what clients send (protocol 3.0, unencrypted) message by message, knows which transaction a COMMIT ends, and
passes everything else on as it is.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum, unique
from pathlib import Path

from sqlalchemy import URL, make_url

from tests.support.stand_in import StandIn

CHUNK = 65_536
COMMIT = b"COMMIT"
GATHERED = b"PBDEC"
"""Messages that are acted upon together, at the Sync behind them: Parse, Bind, Describe, Execute, Close."""


@unique
class Fate(StrEnum):
    """What becomes of a COMMIT. Cut: both ends of the connection are closed. Held: nothing more is passed on."""

    PASS = "passed"
    CUT_BEFORE = "cut before it arrived"
    CUT_AFTER = "cut before its answer arrived"
    HOLD_BEFORE = "held before it arrived"
    HOLD_AFTER = "held before its answer arrived"


Rule = Callable[[bytes], Fate]
"""The fate of a COMMIT, given all that was sent of its transaction."""


def always(_: bytes) -> Fate:
    """As if there were no proxy."""
    return Fate.PASS


class PostgresProxy(StandIn):
    """Listens on 127.0.0.1 in front of the server of `url`. `rule` may be replaced at any time."""

    def __init__(self, url: str) -> None:
        self._behind = make_url(url)
        self.rule: Rule = always
        self.fates: Counter[Fate] = Counter()
        self.reached = threading.Event()
        """Set once a COMMIT was held."""
        self._port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Of the same database, through here."""
        made = self._behind.set(host="127.0.0.1", port=self._port)
        query = {"sslmode": "disable", "gssencmode": "disable"}
        return made.set(query=query).render_as_string(hide_password=False)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def decide(self, transaction: bytes) -> Fate:
        """What becomes of the COMMIT of this transaction."""
        fate = self.rule(transaction)
        self.fates[fate] += 1
        return fate

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                answers, asks = await _connect(self._behind)
                try:
                    await Wire(self, reader, writer, answers, asks).run()
                finally:
                    asks.close()  # what was sent still arrives
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


class Wire:
    """One connection. `reader`, `writer`: the client's side; `answers`, `asks`: the server's."""

    def __init__(
        self,
        proxy: PostgresProxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        asks: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._answers, self._asks = answers, asks
        self._named: dict[bytes, bytes] = {}
        self._transaction = b""
        self._muted = False

    async def run(self) -> None:
        """Until either side ends, or it is cut."""
        ways = [asyncio.ensure_future(self._there()), asyncio.ensure_future(self._back())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _back(self) -> None:
        while part := await self._answers.read(CHUNK):
            if not self._muted:
                self._writer.write(part)
                await self._writer.drain()
        if self._muted:
            await asyncio.Event().wait()  # the client's side decides when it is over

    async def _there(self) -> None:
        (length,) = struct.unpack("!I", head := await self._reader.readexactly(4))
        await self._pass(head + await self._reader.readexactly(length - 4))
        request, commits = b"", False
        while True:
            kind = await self._reader.readexactly(1)
            (length,) = struct.unpack("!I", head := await self._reader.readexactly(4))
            body = await self._reader.readexactly(length - 4)
            request += kind + head + body
            commits = self._is_commit(kind, body) or commits
            if kind in GATHERED:
                continue
            self._transaction += request
            if commits:
                fate = self._proxy.decide(self._transaction)
                self._transaction = b""
                if await self._is_cut(fate, request):
                    return
            else:
                await self._pass(request)
            request, commits = b"", False

    def _is_commit(self, kind: bytes, body: bytes) -> bool:
        match kind:
            case b"Q":
                return body.startswith(COMMIT)
            case b"P":
                name, text, _ = body.split(b"\0", 2)
                self._named[name] = text
                if text.startswith(b"BEGIN"):
                    self._transaction = b""
                return False
            case b"B":
                _, name, _ = body.split(b"\0", 2)
                return self._named.get(name, b"").startswith(COMMIT)
            case _:
                return False

    async def _is_cut(self, fate: Fate, request: bytes) -> bool:
        if fate in (Fate.CUT_AFTER, Fate.HOLD_AFTER):
            self._muted = True
        if fate in (Fate.PASS, Fate.CUT_AFTER, Fate.HOLD_AFTER):
            await self._pass(request)
        if fate in (Fate.HOLD_BEFORE, Fate.HOLD_AFTER):
            self._proxy.reached.set()
            await self._reader.read()  # until the client is gone
        return fate is not Fate.PASS

    async def _pass(self, data: bytes) -> None:
        self._asks.write(data)
        await self._asks.drain()


async def _connect(url: URL) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    folder = url.query.get("host")
    if isinstance(folder, str) and folder.startswith("/"):
        return await asyncio.open_unix_connection(str(Path(folder) / f".s.PGSQL.{url.port or 5432}"))
    return await asyncio.open_connection(url.host, url.port or 5432)
