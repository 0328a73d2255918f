"""How the stand-in for Resend behaves: what it does with which call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tests.support.resend_api import STATUSES, address_of

FOREVER_S = 86_400.0
"""As long as any test could wait: until the connection or the server is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One `POST /emails`; what it holds of the email is empty where it broke the rules. `number` counts from 1."""

    number: int
    api_key: str
    idempotency_key: str
    headers: Mapping[str, str]
    body: bytes
    payload: Mapping[str, Any]
    recipients: tuple[str, ...]

    @property
    def tags(self) -> dict[str, str]:
        return {one["name"]: one["value"] for one in self.payload.get("tags", ())}

    @property
    def email_id(self) -> str:
        """Ours, from the tag; empty where there is none."""
        return self.tags.get("stagepost_email", "")

    @property
    def sender_domain(self) -> str:
        return address_of(self.payload["from"]).rpartition("@")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Do:
    """Wait, then answer, or do something else.

    Without a `status` the email is taken and the answer is as usual, unless `take` says otherwise; with one it is
    not. With `unread` all that happens before the body is read. `raw` is written to the wire as it is.
    """

    status: int | None = None
    name: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    raw: bytes | None = None
    wait_s: float = 0.0
    take: bool | None = None
    unread: bool = False
    then: Literal["answer", "close", "reset", "hang"] = "answer"

    @property
    def takes(self) -> bool:
        return self.status is None if self.take is None else self.take

    def at_once(self) -> Do:
        """The same, when the wait is over."""
        return replace(self, wait_s=0.0)


def refuse(name: str, message: str = "", *, status: int | None = None, **headers: str) -> Do:
    """An error in the documented form; `Retry_After="7"` becomes a header."""
    told = {key.replace("_", "-"): value for key, value in headers.items()}
    return Do(status=status or STATUSES[name], name=name, message=message or f"It is {name}.", headers=told)


def throttle(retry_after_s: int) -> Do:
    """Too many requests a second."""
    return refuse("rate_limit_exceeded", "Too many requests.", Retry_After=str(retry_after_s))


def quota(which: Literal["daily", "monthly"] = "daily") -> Do:
    """No emails left."""
    return refuse(f"{which}_quota_exceeded", f"You have exceeded your {which} email sending quota.")


def suspend() -> Do:
    """The account is locked."""
    return refuse("suspended_api_key", "This API key is suspended")


def unverified(domain: str = "example.org") -> Do:
    """The sender's domain isn't known there."""
    message = f"The {domain} domain is not verified. Please, add and verify your domain."
    return refuse("validation_error", message, status=403)


def reject() -> Do:
    """The email's own fault."""
    return refuse("validation_error", "An error was found with one or more fields.", status=422)


def fail(*, take: bool = False) -> Do:
    """An unexpected error, after the email was taken or before."""
    return replace(refuse("application_error", "An unexpected error occurred."), take=take)


def drop() -> Do:
    """Hang up without a word; nothing is taken."""
    return Do(take=False, then="close")


def reset() -> Do:
    """Let the connection end with RST."""
    return Do(take=False, then="reset")


def hang() -> Do:
    """Never answer, and take nothing."""
    return Do(take=False, then="hang")


def slow(seconds: float) -> Do:
    """As usual, later: until then the email is under way."""
    return Do(wait_s=seconds)


def take_and_drop() -> Do:
    """Take the email, and hang up before saying so."""
    return Do(take=True, then="close")


def take_and_reset() -> Do:
    """Take the email, and let the connection end with RST."""
    return Do(take=True, then="reset")


def take_and_hang() -> Do:
    """Take the email, and never say so."""
    return Do(take=True, then="hang")


Step = Do | None
"""None is as usual."""
Plan = Step | Sequence[Step] | Callable[[Call], Step]
"""One step for every call, or one for each in order and then as usual, or whatever a function says."""


@dataclass(slots=True)
class Playback:
    """A plan under way."""

    plan: Plan
    number: int = 0

    @property
    def always(self) -> Step:
        """The step for every call, if there is one."""
        return self.plan if isinstance(self.plan, Do) else None

    def step(self, call: Call) -> Do:
        """What to do now."""
        if callable(self.plan):
            return self.plan(call) or Do()
        if self.plan is None or isinstance(self.plan, Do):
            return self.plan or Do()
        self.number += 1
        return (self.plan[self.number - 1] if self.number <= len(self.plan) else None) or Do()
