"""Which keys the configuration has: a dataclass per table, a field per key, with its default.

The annotations say how a value is read (`config_values`). Retry and circuit are read straight into the domain's
own policies, so that their defaults stand in one place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum, unique
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

from domain.rate_limit import Rate
from domain.routing import OnLimit, OnUncertain, Priority
from entrypoints.addresses import BadAddress, parse_domain
from entrypoints.base_url import PORT_MAX, is_loopback, parse_base_url
from entrypoints.config_source import EnvText, Place, Secret, Token, quoted, suggestion
from entrypoints.config_values import mapping, parsed, table, text, texts, whole
from entrypoints.quantities import parse_duration, parse_size

CONCURRENCY_MAX = 10_000
"""Open attempts per provider: far beyond any provider's connections, and short of our file descriptors."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
"""Providers and routes: these names become parts of stream names, URLs and metrics."""
LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*):(?P<port>[0-9]{1,5})")
LISTEN_FORM = "write host:port, like '127.0.0.1:8025' or '[::1]:8025'"


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen. `host` has no brackets; port 0 is any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        """Read `host:port`. Raises ValueError with the form that would be right."""
        match = LISTEN.fullmatch(text.strip())
        if match is None or int(match["port"]) > PORT_MAX:
            raise ValueError(f"{text!r} is nowhere to listen; {LISTEN_FORM}")
        return cls(match["host"].strip("[]"), int(match["port"]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def url(self, port: int) -> str:
        """How a process on this machine reaches it, `port` being the one that was bound."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{Listen(host, port)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`rate`: attempts started, service-wide. `queue_max`: emails waiting. `request_max`: bytes of a request."""

    rate: tuple[Rate, ...] = ()
    queue_max: int = 1_000_000
    request_max: Annotated[int, parsed(parse_size)] = 40_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyProvider:
    """What every type of provider has. `timeout`: to connect, and for each command or call.

    `key_ttl`: how long it answers a repeat of an idempotency key from the first; none: it honours none.
    """

    type: ClassVar[str]
    key_ttl: ClassVar[timedelta | None] = None

    rate: tuple[Rate, ...] = ()
    concurrency: Annotated[int, partial(whole, most=CONCURRENCY_MAX)] = 16
    timeout: timedelta = timedelta(seconds=30)
    feedback: bool = False


@unique
class Tls(StrEnum):
    """How a connection is protected: not at all, by STARTTLS (which must be offered), from the first byte."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpConfig(AnyProvider):
    """A relay. `final_timeout`: for the reply after the final dot, which may follow a slow scan."""

    type: ClassVar[str] = "smtp"

    host: EnvText = field(metadata={"example": '"smtp.example.net"'})
    port: Annotated[int, partial(whole, most=PORT_MAX)] = 587
    tls: Tls = Tls.STARTTLS
    username: Secret | None = None
    password: Secret | None = None
    final_timeout: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendConfig(AnyProvider):
    """The API of Resend, or at `base_url` what speaks like it."""

    type: ClassVar[str] = "resend"
    key_ttl: ClassVar[timedelta | None] = timedelta(
        hours=23
    )  # as the adapter says: a test holds them together

    key: Token = field(metadata={"example": '"${RESEND_KEY}"'})
    base_url: Annotated[str, parsed(parse_base_url)] = "https://api.resend.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig(AnyProvider):
    """Sends nothing: each email becomes a file in `folder`."""

    type: ClassVar[str] = "sandbox"

    folder: Path = Path("outbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedConfig(AnyProvider):
    """Sends nothing and answers as told, one step of the `script` per attempt: to rehearse outages.

    `lookup`: it can be asked what became of an attempt whose answer was lost.
    """

    type: ClassVar[str] = "scripted"

    script: Annotated[tuple[str, ...], texts] = ("accept",)
    lookup: bool = False


ProviderConfig = SmtpConfig | ResendConfig | SandboxConfig | ScriptedConfig
PROVIDERS: Mapping[str, type[ProviderConfig]] = {
    kind.type: kind for kind in (SmtpConfig, ResendConfig, SandboxConfig, ScriptedConfig)
}


def providers(value: object, place: Place) -> Mapping[str, ProviderConfig]:
    """The tables under `providers`, in the order written."""
    return {name: _provider(one, _named(name, place)) for name, one in mapping(value, place).items()}


def _provider(value: object, place: Place) -> ProviderConfig:
    given = dict(mapping(value, place))
    if "type" not in given:
        raise (place / "type").error("is missing", f"write type = one of: {', '.join(PROVIDERS)}")
    kind = text(given.pop("type"), place / "type")
    if kind not in PROVIDERS:
        raise (place / "type").error(f"unknown type {quoted(kind)}", suggestion(kind, PROVIDERS))
    return table(PROVIDERS[kind], given, place)


def _domain(value: object, place: Place) -> str:
    written = text(value, place)
    try:
        return parse_domain(written)
    except BadAddress:
        raise place.error(f"{quoted(written)} is not a domain", 'write it like "example.org"') from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which emails a route is meant for; where both are given, both must fit."""

    tag: str | None = None
    from_domain: Annotated[str | None, _domain] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteConfig:
    """Which providers, in which order, for which emails. `rate`: attempts started for this route."""

    use: tuple[str, ...] = field(metadata={"example": '["primary"]'})
    match: Match | None = None
    on_limit: OnLimit = OnLimit.WAIT
    expires_after: timedelta | None = None
    priority: Priority = Priority.NORMAL
    on_uncertain: OnUncertain | None = None
    rate: tuple[Rate, ...] = ()


def routes(value: object, place: Place) -> Mapping[str, RouteConfig]:
    """The tables under `routes`, in the order written: the first that matches is taken."""
    return {name: _route(one, _named(name, place)) for name, one in mapping(value, place).items()}


def _route(value: object, place: Place) -> RouteConfig:
    route = table(RouteConfig, value, place)
    if route.match == Match():
        raise (place / "match").error("matches nothing", 'write { tag = "…" } or { from_domain = "…" }')
    return route


def _named(name: str, place: Place) -> Place:
    if not NAME.fullmatch(name):
        raise (place / name).error("can't be a name", "use up to 63 letters, digits, - and _")
    return place / name


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertain:
    """What to do about attempts that may have been accepted, after `resolve_within` without evidence."""

    policy: OnUncertain = OnUncertain.RETRY
    resolve_within: timedelta = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """`lease`: after this long without a sign of life a worker counts as dead. `grace`: to finish at SIGTERM."""

    lease: timedelta = timedelta(seconds=30)
    grace: timedelta = timedelta(seconds=30)


def _kept(value: object, place: Place) -> timedelta | None:
    return None if value == "forever" else parsed(parse_duration)(value, place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long after an email's end its content is kept; none: forever."""

    content: Annotated[timedelta | None, _kept] = timedelta(days=30)


@unique
class LogLevel(StrEnum):
    """What is worth a line."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@unique
class LogFormat(StrEnum):
    """`auto` is console at a terminal, json elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What is logged, and how."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.AUTO
