"""The configuration: environment over file over defaults, checked, and what it means to the application."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from application.settings import DEFAULT_ROUTE, ProviderSettings, Settings
from domain.circuit import CircuitPolicy
from domain.content import Address
from domain.retry import RetryPolicy
from domain.routing import Route
from entrypoints.config_environ import lay_over
from entrypoints.config_schema import (
    Limits,
    Listen,
    Log,
    ProviderConfig,
    Retention,
    RouteConfig,
    ScriptedConfig,
    SmtpConfig,
    Uncertain,
    Worker,
    providers,
    routes,
)
from entrypoints.config_source import REFERENCE, ConfigError, Place, Secret, Source, Token, quoted, suggestion
from entrypoints.config_values import parsed, table
from entrypoints.dsn import DSN_VARIABLE
from entrypoints.postgres_url import postgres_url

__all__ = ["Config", "ConfigError", "Tokens", "dev_config", "load_config"]

DEFAULT_FILE = "stagepost.toml"
DEFAULT_DATABASE = "sqlite:///stagepost.db"
DEFAULT_LISTEN = Listen("127.0.0.1", 8025)
DATABASE_FORM = 'write it like "sqlite:///stagepost.db" or "postgresql://user:password@host/name"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Who may call: none where no token is configured."""

    admin: str | None
    send: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every key, read and checked. Texts with `${NAME}` are completed when they are used."""

    source: Source
    database: Secret | None = None
    listen: Annotated[Listen, parsed(Listen.parse)] = DEFAULT_LISTEN
    admin_token: Token | None = None
    send_token: Token | None = None
    default_from: Address | None = field(default=None, metadata={"key": "from"})
    limits: Limits = field(default_factory=Limits)
    providers: Annotated[Mapping[str, ProviderConfig], providers] = field(default_factory=dict)
    routes: Annotated[Mapping[str, RouteConfig], routes] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    circuit: CircuitPolicy = field(default_factory=CircuitPolicy)
    uncertain: Uncertain = field(default_factory=Uncertain)
    worker: Worker = field(default_factory=Worker)
    retention: Retention = field(default_factory=Retention)
    log: Log = field(default_factory=Log)

    @property
    def place(self) -> Place:
        """The top of it: `config.place / "listen"` is where an error about `listen` belongs."""
        return Place(self.source)

    def database_url(self) -> str:
        """The database's URL, a path in it made absolute. Raises ConfigError where it can't be used."""
        url = DEFAULT_DATABASE if self.database is None else self.database.resolve()
        return _database_url(url, self.place / "database")

    def sqlite_path(self) -> Path | None:
        """The file, where the database is SQLite."""
        scheme, _, path = self.database_url().partition(":///")
        return Path(path) if scheme == "sqlite" else None

    def tokens(self) -> Tokens:
        """The tokens as they are to be sent. Raises ConfigError for one that is not set or can't be one."""
        admin, send = (None if one is None else one.resolve() for one in (self.admin_token, self.send_token))
        if admin is not None and admin == send:
            wrong = "is the same as admin_token, so that whoever may send may do everything"
            raise (self.place / "send_token").error(wrong, "use another one")
        return Tokens(admin=admin, send=send)

    def require_providers(self) -> None:
        """Raises ConfigError where there is no way out: for what accepts or sends."""
        if not self.providers:
            right = (
                'add a table like [providers.primary] with type = "smtp" and a host, or try `stagepost dev`'
            )
            raise (self.place / "providers").error("no provider is configured", right)

    def check_for_serving(self) -> None:
        """Raises ConfigError for what may be missing or open until the service listens."""
        self.require_providers()
        self.database_url()
        if self.tokens().admin is None and not self.listen.loopback:
            right = 'set admin_token, or listen on loopback, like "127.0.0.1:8025"'
            raise (self.place / "listen").error(f"{self.listen} is open to others without admin_token", right)

    def settings(self) -> Settings:
        """What it means to the use cases."""
        return Settings(
            providers={name: _provider_settings(name, one) for name, one in self.providers.items()},
            routes={name: _route(name, one) for name, one in self._all_routes().items()},
            service_rates=self.limits.rate,
            route_rates={name: one.rate for name, one in self.routes.items() if one.rate},
            queue_max=self.limits.queue_max,
            retry=self.retry,
            circuit=self.circuit,
            on_uncertain=self.uncertain.policy,
            resolve_within=self.uncertain.resolve_within,
            lease=self.worker.lease,
            grace=self.worker.grace,
            content_kept_for=self.retention.content,
        )

    def _all_routes(self) -> Mapping[str, RouteConfig]:
        if DEFAULT_ROUTE in self.routes:
            return self.routes
        return {**self.routes, DEFAULT_ROUTE: RouteConfig(use=tuple(self.providers))}


def load_config(file: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in `file`, or in ./stagepost.toml if it is there. Raises ConfigError."""
    dsn = environ.get(DSN_VARIABLE)
    if file is None and not Path(DEFAULT_FILE).exists():
        return _config({}, DEFAULT_FILE, Path.cwd(), environ, dsn=dsn)
    file = Path(DEFAULT_FILE) if file is None else file
    return _config(_toml(file), str(file), file.resolve().parent, environ, dsn=dsn)


def dev_config(var: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """What `stagepost dev` runs with, everything under `var`; only `STAGEPOST__…` variables can change it.

    Not STAGEPOST_DSN: trying it out never sends anything, whatever the shell was set up for.
    """
    raw = {
        "database": "sqlite:///stagepost.db",
        "from": "Stagepost <stagepost@localhost.localdomain>",
        "providers": {"sandbox": {"type": "sandbox", "folder": "outbox"}},
    }
    return _config(raw, "stagepost dev", var.resolve(), environ)


def _config(
    raw: dict[str, Any], file: str, folder: Path, environ: Mapping[str, str], *, dsn: str | None = None
) -> Config:
    overrides = lay_over(raw, environ, dsn=dsn)
    source = Source(file=file, folder=folder, environ=environ, overrides=overrides)
    config = table(Config, raw, Place(source), source=source)
    _check(config)
    return config


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        right = "name an existing file with --config, or leave --config out"
        raise ConfigError(str(file), "", f"can't be read ({error.strerror})", right) from None
    except ValueError as error:  # not UTF-8, or not TOML
        right = 'see https://toml.io; texts stand in quotes, like host = "smtp.example.net"'
        raise ConfigError(str(file), "", f"is not TOML: {error}", right) from None


def _check(config: Config) -> None:
    """What no key can be wrong about by itself. Raises ConfigError."""
    place = config.place
    for name, route in config.routes.items():
        for provider in route.use:
            if provider not in config.providers:
                wrong = f"there is no provider {quoted(provider)}"
                raise (place / "routes" / name / "use").error(wrong, suggestion(provider, config.providers))
        _check_match(name, route, place / "routes" / name)
    for name, one in config.providers.items():
        if isinstance(one, SmtpConfig) and (one.username is None) != (one.password is None):
            alone = "password" if one.username is None else "username"
            raise (place / "providers" / name / alone).error(
                "stands alone", "give username and password, or neither"
            )
    if config.retry.cap < config.retry.base:
        raise (place / "retry" / "cap").error("is shorter than retry.base", "make it at least as long")
    if config.circuit.open_for_max < config.circuit.open_for:
        raise (place / "circuit" / "open_for_max").error(
            "is shorter than circuit.open_for", "make it at least as long"
        )
    if config.database is not None and not REFERENCE.search(config.database.text):
        config.database_url()


def _check_match(name: str, route: RouteConfig, place: Place) -> None:
    """A route that no email would ever take, or a condition that is never looked at, is a mistake."""
    if name == DEFAULT_ROUTE and route.match is not None:
        raise (place / "match").error("is never looked at: the default takes the rest", "leave it out")
    if name != DEFAULT_ROUTE and route.match is None:
        raise (place / "match").error(
            "is missing: no email would take this route", 'add match = { tag = "…" } or { from_domain = "…" }'
        )
    if route.match is not None and route.match.tag is not None and "@" in route.match.tag:
        raise (place / "match" / "tag").error("can't match: tags hold no @", 'write it like "otp"')


def _database_url(url: str, place: Place) -> str:
    scheme, separator, rest = url.partition("://")
    # The URL may hold a password: no error repeats more than the scheme.
    if scheme in ("postgresql", "postgresql+psycopg") and separator:
        return postgres_url(url, place)
    if scheme != "sqlite" or not separator:
        wrong = f"{quoted(scheme)} is no database we know" if separator else "is not a URL"
        raise place.error(wrong, DATABASE_FORM)
    path = rest.removeprefix("/")
    if path == rest or path in ("", ":memory:") or "?" in path or path.startswith("file:"):
        raise place.error("names no file: mail has to outlive the process", DATABASE_FORM)
    return f"sqlite:///{place.source.folder / path}"


def _provider_settings(name: str, provider: ProviderConfig) -> ProviderSettings:
    return ProviderSettings(
        name=name,
        type=provider.type,
        rates=provider.rate,
        concurrency=provider.concurrency,
        key_ttl=provider.key_ttl,
        feedback=provider.feedback,
        lookup=isinstance(provider, ScriptedConfig) and provider.lookup,
    )


def _route(name: str, route: RouteConfig) -> Route:
    return Route(
        name=name,
        providers=route.use,
        on_limit=route.on_limit,
        priority=route.priority,
        expires_after=route.expires_after,
        on_uncertain=route.on_uncertain,
        match_tag=None if route.match is None else route.match.tag,
        match_from_domain=None if route.match is None else route.match.from_domain,
    )
