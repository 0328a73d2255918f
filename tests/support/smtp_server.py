"""A real SMTP server over TCP that does as it is told, and remembers what it really took.

In the running loop: `async with ScriptedSmtpServer(...) as server`. In a thread with a loop of its own, for code
that blocks or runs in another process: `with ScriptedSmtpServer.in_thread(...) as server`. `stop` and `start` on the
same port play a provider that is dead and comes back.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Literal

import trustme

from tests.support.smtp_script import Do, Playback, Script, Turn
from tests.support.smtp_session import BUFFER_BYTES, Ended, Session, TakenMessage
from tests.support.stand_in import StandIn

EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 33554432")
MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")


@cache
def certificates(name: str = "127.0.0.1") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS contexts of a server called `name`, and of a client that trusts its authority."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


class ScriptedSmtpServer(StandIn):
    """Takes mail as any server does, where the script doesn't say otherwise. `script` may be replaced at any time.

    `users` (name → password) makes it offer AUTH and demand it; with `tls="starttls"` only after STARTTLS.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: Literal["none", "starttls", "tls"] = "none",
        tls_context: ssl.SSLContext | None = None,
        users: Mapping[str, str] | None = None,
        extensions: Sequence[str] = EXTENSIONS,
        mechanisms: Sequence[str] = MECHANISMS,
    ) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self.users = users
        self.extensions = extensions
        self.mechanisms = mechanisms
        self.messages: list[TakenMessage] = []
        self.connections = 0
        """Connections accepted so far."""
        self.mails = 0
        """MAIL commands so far."""
        self.commands: list[tuple[int, str]] = []
        """(connection, line), as they came; what is said inside of AUTH and bodies isn't in it."""
        self.tls_context = tls_context or certificates()[0]
        self._playback = Playback(script or {})
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def script(self) -> Script:
        return self._playback.script

    @script.setter
    def script(self, script: Script) -> None:
        self._playback = Playback(script)

    @property
    def listening(self) -> bool:
        """Whether it can be connected to."""
        return self._server is not None

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._open)

    def copies(self) -> Counter[str]:
        """How often each Message-ID was taken."""
        return Counter(message.message_id for message in self.messages)

    def copies_per_recipient(self) -> Counter[tuple[str, str]]:
        """How often each (Message-ID, recipient) was taken."""
        return Counter((m.message_id, rcpt) for m in self.messages for rcpt in m.rcpt_tos)

    def step(self, turn: Turn) -> Do:
        """What the script says now."""
        return self._playback.step(turn)

    # In the running loop.

    async def open(self) -> None:
        """Listen; on the port of the last time, if there was one."""
        context = self.tls_context if self.tls == "tls" else None
        self._server = await asyncio.start_server(
            self._serve, self.host, self.port, limit=BUFFER_BYTES, ssl=context, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Stop listening, and let every connection end with RST, as a dying process does."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wait_for_messages(self, count: int, timeout_s: float = 10.0) -> list[TakenMessage]:
        """Block until so many were taken; whatever was taken by then."""
        deadline = time.monotonic() + timeout_s
        while len(self.messages) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return list(self.messages)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections += 1
        self._open.add(writer)
        self._tasks.add(task)
        try:
            with suppress(Ended, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await Session(self, reader, writer, self.connections).run()
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            writer.close()
