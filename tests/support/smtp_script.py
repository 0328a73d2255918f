"""How a scripted SMTP server behaves: what it does at which point of the dialogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Literal

FOREVER_S = 86_400.0
"""As long as any test could wait: until the connection or the server is closed."""


@unique
class At(StrEnum):
    """The points at which a server may do something of its own."""

    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    """Some of the message was read, and not its end."""
    DOT = "dot"
    """All of the message was read."""
    RSET = "rset"
    NOOP = "noop"
    QUIT = "quit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Do:
    """Wait, then reply (`say` None: as usual, unless `mute`), then go on or end the connection.

    `take` says whether the message counts as accepted at the dot; None: when the reply is a 2xx. A message is
    taken before the wait, as a server that is slow to answer has done its work already.
    """

    say: str | None = None
    wait_s: float = 0.0
    mute: bool = False
    take: bool | None = None
    then: Literal["go on", "close", "reset"] = "go on"


def say(text: str) -> Do:
    """Reply with this and go on. Lines are separated by line breaks: `550-5.1.1 No\\n550 5.1.1 such user`."""
    return Do(say=text)


def say_and_close(text: str) -> Do:
    """Reply with this and hang up."""
    return Do(say=text, then="close")


def drop() -> Do:
    """Hang up without a word."""
    return Do(mute=True, take=False, then="close")


def reset() -> Do:
    """Let the connection end with RST."""
    return Do(mute=True, take=False, then="reset")


def hang() -> Do:
    """Never answer, and keep the connection open."""
    return Do(mute=True, take=False, wait_s=FOREVER_S)


def slow(seconds: float) -> Do:
    """Answer as usual, later."""
    return Do(wait_s=seconds)


def take_and_drop() -> Do:
    """At the dot: accept the message, and hang up before saying so."""
    return Do(mute=True, take=True, then="close")


def take_and_reset() -> Do:
    """At the dot: accept the message, and let the connection end with RST."""
    return Do(mute=True, take=True, then="reset")


def take_and_hang() -> Do:
    """At the dot: accept the message, and never say so."""
    return Do(mute=True, take=True, wait_s=FOREVER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a script is asked about: the point, the command's argument (an address at MAIL and RCPT), and who asks.

    `connection` and `message` count from 1 over the server's life; `message` is the number of MAIL commands so far.
    """

    at: At
    argument: str
    connection: int
    message: int
    mail_from: str
    rcpt_tos: tuple[str, ...]


Step = Do | str | None
"""A string is `say`; None is as usual."""
Plan = Step | Sequence[Step] | Callable[[Turn], Step]
"""One step for every turn, or one for each in order and then as usual, or whatever a function says."""
Script = Mapping[At, Plan] | Callable[[Turn], Step]


@dataclass(slots=True)
class Playback:
    """A script under way."""

    script: Script
    turns: dict[At, int] = field(default_factory=dict)

    def step(self, turn: Turn) -> Do:
        """What to do now."""
        if callable(self.script):
            return _as_do(self.script(turn))
        plan = self.script.get(turn.at)
        if callable(plan):
            return _as_do(plan(turn))
        if plan is None or isinstance(plan, str | Do):
            return _as_do(plan)
        number = self.turns.get(turn.at, 0)
        self.turns[turn.at] = number + 1
        return _as_do(plan[number] if number < len(plan) else None)


def _as_do(step: Step) -> Do:
    return Do(say=step) if isinstance(step, str) else step or Do()
