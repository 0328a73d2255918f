"""One connection to a scripted SMTP server: the dialogue."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import socket
import struct
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING

from tests.support.smtp_script import At, Do, Turn

if TYPE_CHECKING:
    from tests.support.smtp_server import ScriptedSmtpServer

BUFFER_BYTES = 65_536
"""What is read ahead: a server that stops in a body has to be felt by who sends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenMessage:
    """A message the server took responsibility for. `data` is without dot-stuffing and final dot."""

    mail_from: str
    rcpt_tos: tuple[str, ...]
    data: bytes
    connection: int
    options: tuple[str, ...]
    user: str
    tls: bool

    @property
    def message_id(self) -> str:
        return str(BytesHeaderParser().parsebytes(self.data).get("Message-ID", ""))


class Ended(Exception):
    """The dialogue is over."""


class Session:
    """One connection."""

    def __init__(
        self,
        server: ScriptedSmtpServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
    ) -> None:
        self.server, self.reader, self.writer, self.number = server, reader, writer, number
        self.secure = server.tls == "tls"
        self.user = ""
        self.message = 0
        self.forget()

    def forget(self) -> None:
        """No transaction is under way."""
        self.mail_from: str | None = None
        self.options: tuple[str, ...] = ()
        self.rcpt_tos: list[str] = []

    async def run(self) -> None:
        """Greet, then answer one command after the other."""
        await self.act(At.GREETING, "", "220 mail.example.test ESMTP")
        while line := await self.reader.readline():
            command = line.decode("utf-8", "replace").rstrip("\r\n")
            if not line.endswith(b"\r\n"):
                return
            self.server.commands.append((self.number, command))
            verb, _, rest = command.partition(" ")
            match verb.upper():
                case "EHLO":
                    await self.act(At.EHLO, rest, self.ehlo())
                case "STARTTLS" if self.server.tls == "starttls" and not self.secure:
                    await self.starttls()
                case "AUTH" if self.offers_auth:
                    await self.auth(rest)
                case "MAIL":
                    await self.mail(rest)
                case "RCPT":
                    await self.rcpt(rest)
                case "DATA":
                    await self.data()
                case "RSET":
                    self.forget()
                    await self.act(At.RSET, "", "250 2.0.0 Ok")
                case "NOOP":
                    await self.act(At.NOOP, rest, "250 2.0.0 Ok")
                case "QUIT":
                    await self.act(At.QUIT, "", "221 2.0.0 Bye")
                    return
                case _:
                    await self.say("500 5.5.2 Error: command not recognized")

    @property
    def offers_auth(self) -> bool:
        return self.server.users is not None and (self.secure or self.server.tls == "none")

    def ehlo(self) -> str:
        keywords = ["mail.example.test", *self.server.extensions]
        if self.server.tls == "starttls" and not self.secure:
            keywords.append("STARTTLS")
        if self.offers_auth:
            keywords.append("AUTH " + " ".join(self.server.mechanisms))
        return "\n".join([f"250-{keyword}" for keyword in keywords[:-1]] + [f"250 {keywords[-1]}"])

    async def starttls(self) -> None:
        if await self.act(At.STARTTLS, "", "220 2.0.0 Ready"):
            await self.writer.start_tls(self.server.tls_context)
            self.secure = True
            self.forget()

    async def auth(self, rest: str) -> None:
        mechanism, _, initial = rest.partition(" ")
        user, is_right = await getattr(self, "auth_" + mechanism.lower().replace("-", ""))(initial)
        usual = (
            "235 2.7.0 Authentication successful"
            if is_right
            else "535 5.7.8 Authentication credentials invalid"
        )
        if await self.act(At.AUTH, mechanism, usual):
            self.user = user

    async def auth_plain(self, initial: str) -> tuple[str, bool]:
        _, user, password = base64.b64decode(initial or await self.ask("")).decode().split("\0")
        return user, (self.server.users or {}).get(user) == password

    async def auth_login(self, initial: str) -> tuple[str, bool]:
        user = base64.b64decode(initial or await self.ask("Username:")).decode()
        password = base64.b64decode(await self.ask("Password:")).decode()
        return user, (self.server.users or {}).get(user) == password

    async def auth_crammd5(self, _: str) -> tuple[str, bool]:
        challenge = f"<{secrets.token_hex(8)}@mail.example.test>"
        user, _, digest = base64.b64decode(await self.ask(challenge)).decode().partition(" ")
        password = (self.server.users or {}).get(user, "")
        return user, hmac.new(password.encode(), challenge.encode(), hashlib.md5).hexdigest() == digest

    async def ask(self, challenge: str) -> bytes:
        await self.say("334 " + base64.b64encode(challenge.encode()).decode())
        return (await self.reader.readline()).strip()

    async def mail(self, rest: str) -> None:
        self.server.mails += 1
        self.message = self.server.mails
        address, options = _path(rest)
        usual = "250 2.1.0 Ok"
        if self.server.users is not None and not self.user:
            usual = "530 5.7.0 Authentication required"
        elif self.mail_from is not None:
            usual = "503 5.5.1 Error: nested MAIL command"
        if await self.act(At.MAIL, address, usual):
            self.mail_from, self.options = address, options

    async def rcpt(self, rest: str) -> None:
        address, _ = _path(rest)
        usual = "503 5.5.1 Error: need MAIL command" if self.mail_from is None else "250 2.1.5 Ok"
        if await self.act(At.RCPT, address, usual):
            self.rcpt_tos.append(address)

    async def data(self) -> None:
        usual = (
            "354 End data with <CR><LF>.<CR><LF>" if self.rcpt_tos else "554 5.5.1 Error: no valid recipients"
        )
        if not await self.act(At.DATA, "", usual):
            return
        body = await self.reader.readexactly(len(b".\r\n"))
        step = self.server.step(self.turn(At.BODY, ""))
        if step != Do():
            await self.do(step, "451 4.3.0 Error: in the body")
        while not (body.endswith(b"\r\n.\r\n") or body == b".\r\n"):
            if not (block := await self.reader.read(BUFFER_BYTES)):
                raise Ended
            body += block
        body = body[: -len(b".\r\n")]
        data = re.sub(rb"(?m)^\.", b"", body)
        step = self.server.step(self.turn(At.DOT, ""))
        queued = f"250 2.0.0 Ok: queued as {len(self.server.messages) + 1:08X}"
        if step.take or (step.take is None and (step.say or queued).startswith("2")):
            self.take(data)
        self.forget()
        await self.do(step, queued)

    def take(self, data: bytes) -> None:
        self.server.messages.append(
            TakenMessage(
                mail_from=self.mail_from or "",
                rcpt_tos=tuple(self.rcpt_tos),
                data=data,
                connection=self.number,
                options=self.options,
                user=self.user,
                tls=self.secure,
            )
        )

    def turn(self, at: At, argument: str) -> Turn:
        return Turn(
            at=at,
            argument=argument,
            connection=self.number,
            message=self.message,
            mail_from=self.mail_from or "",
            rcpt_tos=tuple(self.rcpt_tos),
        )

    async def act(self, at: At, argument: str, usual: str) -> bool:
        """Do what the script says; whether the reply was a 2xx or 3xx."""
        return await self.do(self.server.step(self.turn(at, argument)), usual)

    async def do(self, step: Do, usual: str) -> bool:
        reply = usual if step.say is None else step.say
        await self.wait(step.wait_s)
        if not step.mute:
            await self.say(reply)
        if step.then == "reset":
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.writer.transport.abort()
        if step.then != "go on":
            raise Ended
        return not step.mute and reply[0] in "23"

    async def wait(self, seconds: float) -> None:
        """Wait, and notice when the other side goes."""
        until = asyncio.get_running_loop().time() + seconds
        while (left := until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(left, 0.01))
            if self.reader._eof or self.writer.transport.is_closing():  # type: ignore[attr-defined]
                raise Ended

    async def say(self, reply: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in reply.split("\n")).encode())
        await self.writer.drain()


def _path(rest: str) -> tuple[str, tuple[str, ...]]:
    """The address and the options of `FROM:<address> OPTION …`."""
    address, _, options = rest.partition("<")[2].rpartition(">")
    return address, tuple(options.split())
