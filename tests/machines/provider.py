"""The provider: an SMTP server on a host of its own, fast, that counts what it takes and can be told to be slow."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from multiprocessing.connection import Connection

from tests.faults.children import nursery
from tests.machines.network import Host

PORT = 2525
ANSWERS_MAX_S = 60.0
MESSAGE_ID = re.compile(rb"^message-id:[ \t]*<([^@>]+)@", re.IGNORECASE | re.MULTILINE)
ADDRESS = re.compile(rb"<([^<>]*)>")
END_OF_DATA = b"\r\n.\r\n"
Copies = Counter[tuple[str, str]]
"""How often each (email id, recipient's address) was taken."""


class Provider:
    """The process, and what it has to say. An answer takes `pause_s` after the final dot."""

    def __init__(self, host: Host, pause_s: float) -> None:
        self._pipe, theirs = nursery().Pipe()
        self._process = nursery().Process(target=_serve, args=(host, pause_s, theirs), daemon=True)
        self._process.start()
        assert self._told() == "listening"

    def pause(self, pause_s: float) -> None:
        """From now on answer so late."""
        self._pipe.send(pause_s)

    def copies(self) -> Copies:
        """All that was taken so far, also where nobody was there any more to hear of it."""
        self._pipe.send(None)
        told = self._told()
        assert isinstance(told, Counter)
        return told

    def kill(self) -> None:
        """End it, and forget what it has taken."""
        self._process.kill()
        self._process.join(20)

    def _told(self) -> object:
        assert self._pipe.poll(ANSWERS_MAX_S), "the provider says nothing"
        return self._pipe.recv()


class _Counting:
    """What all connections have taken, and how long they take to say so."""

    def __init__(self, pause_s: float) -> None:
        self.pause_s = pause_s
        self.copies: Copies = Counter()

    def take(self, recipients: list[str], message: bytes) -> None:
        found = MESSAGE_ID.search(message)
        email_id = "?" if found is None else found[1].decode()
        self.copies.update((email_id, one) for one in recipients)


class _Session(asyncio.Protocol):
    """One client. Commands may come together (PIPELINING); each is answered in its turn."""

    def __init__(self, counting: _Counting) -> None:
        self._counting = counting
        self._unread = b""
        self._recipients: list[str] = []
        self._reads_message = False
        self._answers_at: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._say(b"220 provider.example ESMTP")

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if self._answers_at is None:
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answers_at is not None:
            self._answers_at.cancel()

    def _go_on(self) -> None:
        while self._answers_at is None:
            mark = END_OF_DATA if self._reads_message else b"\r\n"
            before, found, behind = self._unread.partition(mark)
            if not found:
                return
            self._unread = behind
            if self._reads_message:
                self._take(before)
            else:
                self._obey(before)

    def _take(self, message: bytes) -> None:
        self._counting.take(self._recipients, message)
        self._reads_message, self._recipients = False, []
        later = asyncio.get_running_loop().call_later
        self._answers_at = later(self._counting.pause_s, self._taken)

    def _taken(self) -> None:
        self._answers_at = None
        self._say(b"250 2.0.0 taken")
        self._go_on()

    def _obey(self, line: bytes) -> None:
        match line[:4].upper():
            case b"EHLO":
                self._say(
                    b"250-provider.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES"
                )
            case b"RCPT":
                found = ADDRESS.search(line)
                self._recipients.append("" if found is None else found[1].decode())
                self._say(b"250 2.1.5 ok")
            case b"DATA":
                self._reads_message = True
                self._say(b"354 go on")
            case b"MAIL" | b"RSET":
                self._recipients = []
                self._say(b"250 2.0.0 ok")
            case b"QUIT":
                self._say(b"221 2.0.0 bye")
                self._transport.close()
            case b"NOOP" | b"HELO":
                self._say(b"250 2.0.0 ok")
            case _:
                self._say(b"502 5.5.1 not known here")

    def _say(self, line: bytes) -> None:
        self._transport.write(line + b"\r\n")


def _serve(host: Host, pause_s: float, pipe: Connection) -> None:
    host.enter()
    asyncio.run(_listen(host, _Counting(pause_s), pipe))


async def _listen(host: Host, counting: _Counting, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Session(counting), host.address, PORT)

    def told() -> None:
        asked = pipe.recv()
        if asked is None:
            pipe.send(counting.copies)
        else:
            counting.pause_s = float(asked)

    loop.add_reader(pipe.fileno(), told)
    pipe.send("listening")
    async with server:
        await server.serve_forever()
