"""The configuration: what it reads, where from, and what it means to the application."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from application.settings import ProviderSettings, Settings
from domain.circuit import CircuitPolicy
from domain.content import Address
from domain.rate_limit import Rate
from domain.retry import RetryPolicy
from domain.routing import OnLimit, OnUncertain, Priority, Route
from entrypoints.config import Config, ConfigError, dev_config, load_config
from entrypoints.config_schema import (
    Limits,
    Listen,
    Log,
    Match,
    ResendConfig,
    Retention,
    RouteConfig,
    SandboxConfig,
    ScriptedConfig,
    SmtpConfig,
    Tls,
    Uncertain,
    Worker,
)

EXAMPLE = Path(__file__).resolve().parents[2] / "stagepost.example.toml"

TWO_PROVIDERS = """
[providers.primary]
type = "smtp"
host = "smtp.example.net"
[providers.secondary]
type = "sandbox"
"""


def load(folder: Path, toml: str = "", environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file with this text, with nothing in the environment but `environ`."""
    file = folder / "stagepost.toml"
    file.write_text(toml, encoding="utf-8")
    return load_config(file, environ or {})


def smtp(config: Config, name: str = "primary") -> SmtpConfig:
    """The provider of that name, which is a relay."""
    provider = config.providers[name]
    assert isinstance(provider, SmtpConfig)
    return provider


def test_without_file_and_environment_all_is_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading commands work in an empty folder; the database lies there."""
    monkeypatch.chdir(tmp_path)

    config = load_config(None, {})

    assert Listen("127.0.0.1", 8025) == config.listen
    assert f"sqlite:///{tmp_path}/stagepost.db" == config.database_url()
    assert (None, None, None) == (config.admin_token, config.send_token, config.default_from)
    assert ({}, {}) == (config.providers, config.routes)
    assert (RetryPolicy(), CircuitPolicy()) == (config.retry, config.circuit)


def test_stagepost_toml_in_this_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --config, and under its plain name in errors."""
    (tmp_path / "stagepost.toml").write_text("[worker]\nlease = '7s'", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    config = load_config(None, {})

    assert timedelta(seconds=7) == config.worker.lease
    assert "stagepost.toml" == config.source.file


def test_every_key_is_read(tmp_path: Path) -> None:
    """Each key of each table, with a value that is not its default."""
    config = load(
        tmp_path,
        """
        database = "sqlite:///data/mail.db"
        listen = "[::1]:25"
        admin_token = "a"
        send_token = "s"
        from = "Shop <shop@Example.org>"
        limits = { rate = ["10/s", "6000/m"], queue_max = 5, request_max = "512KB" }
        retry = { base = "800ms", cap = "5m", attempts_per_provider = 3, expires_after = "7d" }
        uncertain = { policy = "hold", resolve_within = "1m" }
        worker = { lease = "10s", grace = "5s" }
        retention = { content = "forever" }
        log = { level = "debug", format = "json" }
        [circuit]
        window = "30s"
        min_calls = 4
        failure_rate = 1
        consecutive = 2
        open_for = "1s"
        open_for_max = "2s"
        probes = 1
        [providers.primary]
        type = "smtp"
        host = "smtp.example.net"
        port = 465
        tls = "tls"
        username = "u"
        password = "p"
        rate = "600/m"
        concurrency = 4
        timeout = "10s"
        final_timeout = "1m"
        feedback = true
        [providers.api]
        type = "resend"
        key = "re_1"
        base_url = "https://mail.example.org:8443/resend"
        rate = "2/s"
        [providers.files]
        type = "sandbox"
        folder = "sent"
        [providers.rehearsal]
        type = "scripted"
        script = ["accept", "transient 2s", "accept"]
        [routes.otp]
        use = ["files", "primary"]
        match = { tag = "otp", from_domain = "Bücher.example" }
        on_limit = "overflow"
        expires_after = "2m"
        priority = "high"
        on_uncertain = "hold"
        rate = "3/s"
        """,
    )

    assert f"sqlite:///{tmp_path}/data/mail.db" == config.database_url()
    assert tmp_path / "data" / "mail.db" == config.sqlite_path()
    assert Listen("::1", 25) == config.listen
    assert ("a", "s") == (config.tokens().admin, config.tokens().send)
    assert Address(address="shop@example.org", name="Shop") == config.default_from
    ten, sixty = Rate.parse("10/s"), Rate.parse("6000/m")
    assert Limits(rate=(ten, sixty), queue_max=5, request_max=512_000) == config.limits
    assert ("debug", "json") == (config.log.level, config.log.format)
    assert config.retention.content is None
    assert config.settings().content_kept_for is None
    relay = smtp(config)
    assert relay.username is not None
    assert relay.password is not None
    assert ("smtp.example.net", "u", "p") == (
        relay.host.resolve(),
        relay.username.resolve(),
        relay.password.resolve(),
    )
    assert (465, Tls.TLS, timedelta(seconds=10), timedelta(minutes=1)) == (
        relay.port,
        relay.tls,
        relay.timeout,
        relay.final_timeout,
    )
    api = config.providers["api"]
    assert isinstance(api, ResendConfig)
    assert ("re_1", "https://mail.example.org:8443/resend") == (api.key.resolve(), api.base_url)
    assert SandboxConfig(folder=tmp_path / "sent") == config.providers["files"]
    script = ("accept", "transient 2s", "accept")
    assert ScriptedConfig(script=script) == config.providers["rehearsal"]
    assert config.routes == {
        "otp": RouteConfig(
            use=("files", "primary"),
            match=Match(tag="otp", from_domain="xn--bcher-kva.example"),
            on_limit=OnLimit.OVERFLOW,
            expires_after=timedelta(minutes=2),
            priority=Priority.HIGH,
            on_uncertain=OnUncertain.HOLD,
            rate=(Rate.parse("3/s"),),
        )
    }
    assert config.settings() == Settings(
        providers={
            "primary": ProviderSettings(
                name="primary", type="smtp", rates=(Rate.parse("600/m"),), concurrency=4, feedback=True
            ),
            "api": ProviderSettings(
                name="api", type="resend", rates=(Rate.parse("2/s"),), key_ttl=timedelta(hours=23)
            ),
            "files": ProviderSettings(name="files", type="sandbox"),
            "rehearsal": ProviderSettings(name="rehearsal", type="scripted"),
        },
        routes={
            "otp": Route(
                name="otp",
                providers=("files", "primary"),
                on_limit=OnLimit.OVERFLOW,
                priority=Priority.HIGH,
                expires_after=timedelta(minutes=2),
                on_uncertain=OnUncertain.HOLD,
                match_tag="otp",
                match_from_domain="xn--bcher-kva.example",
            ),
            "default": Route(name="default", providers=("primary", "api", "files", "rehearsal")),
        },
        service_rates=(ten, sixty),
        route_rates={"otp": (Rate.parse("3/s"),)},
        queue_max=5,
        retry=RetryPolicy(
            base=timedelta(milliseconds=800),
            cap=timedelta(minutes=5),
            attempts_per_provider=3,
            expires_after=timedelta(days=7),
        ),
        circuit=CircuitPolicy(
            window=timedelta(seconds=30),
            min_calls=4,
            failure_rate=1.0,
            consecutive=2,
            open_for=timedelta(seconds=1),
            open_for_max=timedelta(seconds=2),
            probes=1,
        ),
        on_uncertain=OnUncertain.HOLD,
        resolve_within=timedelta(minutes=1),
        lease=timedelta(seconds=10),
        grace=timedelta(seconds=5),
        content_kept_for=None,
    )


def test_the_application_gets_its_own_defaults(tmp_path: Path) -> None:
    """A configuration that says nothing means what `Settings` means by itself."""
    default = {"default": Route(name="default", providers=())}

    assert Settings(providers={}, routes=default) == load(tmp_path).settings()


def test_without_routes_the_default_walks_all_providers_as_written(tmp_path: Path) -> None:
    """The order in the file is the order of the walk."""
    settings = load(tmp_path, TWO_PROVIDERS).settings()

    assert {"default": Route(name="default", providers=("primary", "secondary"))} == settings.routes


def test_a_default_route_of_ones_own_replaces_it(tmp_path: Path) -> None:
    """And stands where it was written."""
    routes = """
        [routes.default]
        use = ["secondary"]
        [routes.bulk]
        match = { tag = "bulk" }
        use = ["primary"]
        priority = "bulk"
    """
    settings = load(tmp_path, TWO_PROVIDERS + routes).settings()

    assert [
        Route(name="default", providers=("secondary",)),
        Route(name="bulk", providers=("primary",), priority=Priority.BULK, match_tag="bulk"),
    ] == list(settings.routes.values())


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """Key by key, in a table that is there and in one that is not."""
    environ = {
        "STAGEPOST__PROVIDERS__PRIMARY__HOST": "mail.example.org",
        "STAGEPOST__PROVIDERS__PRIMARY__PORT": "2525",
        "STAGEPOST__PROVIDERS__PRIMARY__FEEDBACK": "true",
        "STAGEPOST__LISTEN": "127.0.0.1:0",
        "STAGEPOST__WORKER__LEASE": "9s",
        "STAGEPOST__LIMITS__RATE": '["1/s", "30/m"]',
        "STAGEPOST__ROUTES__DEFAULT__ON_LIMIT": "wait",
        "STAGEPOST__ROUTES__DEFAULT": '{ use = ["secondary"], on_limit = "overflow" }',
        "STAGEPOST_ADMIN_TOKEN": "one underscore: nothing to do with a key",
    }
    config = load(tmp_path, f'listen = "127.0.0.1:1"\n{TWO_PROVIDERS}', environ)

    relay = smtp(config)
    assert ("mail.example.org", 2525, True) == (relay.host.resolve(), relay.port, relay.feedback)
    assert Listen("127.0.0.1", 0) == config.listen
    assert timedelta(seconds=9) == config.worker.lease
    assert (Rate.parse("1/s"), Rate.parse("30/m")) == config.limits.rate
    assert {"default": RouteConfig(use=("secondary",), on_limit=OnLimit.WAIT)} == config.routes


def test_a_name_in_capitals_can_be_overridden(tmp_path: Path) -> None:
    """Variables have no case to speak of: the key that is there is meant."""
    toml = '[providers.Main]\ntype = "smtp"\nhost = "smtp.example.net"'
    config = load(tmp_path, toml, {"STAGEPOST__PROVIDERS__MAIN__PORT": "26"})

    assert ["Main"] == list(config.providers)
    assert 26 == smtp(config, "Main").port


def test_a_dash_in_a_name_can_be_written_by_a_shell(tmp_path: Path) -> None:
    """As _, unless there is a name that has one there."""
    toml = '[providers.my-relay]\ntype = "smtp"\nhost = "h"\n[providers.a-b]\ntype = "sandbox"\n'
    toml += '[providers.a_b]\ntype = "smtp"\nhost = "h"'
    environ = {"STAGEPOST__PROVIDERS__MY_RELAY__PORT": "26", "STAGEPOST__PROVIDERS__A_B__PORT": "27"}
    config = load(tmp_path, toml, environ)

    assert ["my-relay", "a-b", "a_b"] == list(config.providers)
    assert (26, 27) == (smtp(config, "my-relay").port, smtp(config, "a_b").port)


@pytest.mark.parametrize(
    "written", ["12345678", "true", "1e5", "2026-11-24", "0x10", "pass#word", 'a"b', '"a"\nb = "c"']
)
def test_a_password_in_the_environment_is_taken_literally(tmp_path: Path, written: str) -> None:
    """Even where it reads like a number, a truth or a date of TOML, or like more than one value."""
    environ = {
        "STAGEPOST__PROVIDERS__PRIMARY__PASSWORD": written,
        "STAGEPOST__PROVIDERS__PRIMARY__USERNAME": '"u"',
    }
    relay = smtp(load(tmp_path, TWO_PROVIDERS, environ))

    assert relay.password is not None
    assert relay.username is not None
    assert (written, "u") == (relay.password.resolve(), relay.username.resolve())


def test_a_reference_is_resolved_where_it_is_used(tmp_path: Path) -> None:
    """Reading a configuration needs no secret; using one that is missing says which variable, and for what."""
    toml = 'admin_token = "${ADMIN}"\nlisten = "${HOST}:${PORT}"\n' + TWO_PROVIDERS
    toml = toml.replace('"smtp.example.net"', '"${RELAY}"\nusername = "${USER_}"\npassword = "x${PASS}y"')
    environ = {"HOST": "localhost", "PORT": "80", "PASS": "secret"}
    config = load(tmp_path, toml, environ)

    relay = smtp(config)
    assert relay.password is not None
    assert Listen("localhost", 80) == config.listen
    assert "xsecrety" == relay.password.resolve()
    with pytest.raises(ConfigError, match=r"providers\.primary\.host: .* RELAY is not set; set it"):
        relay.host.resolve()
    with pytest.raises(ConfigError, match=r"admin_token: .* ADMIN is not set; set it"):
        config.check_for_serving()


def test_what_is_set_to_nothing_is_missing(tmp_path: Path) -> None:
    """A token from an empty variable would let everybody in, or nobody."""
    config = load(tmp_path, 'admin_token = "${ADMIN}"' + TWO_PROVIDERS, {"ADMIN": ""})

    with pytest.raises(ConfigError, match="admin_token: is empty; "):
        config.check_for_serving()


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    """Not by the configuration, nor by a part of it, wherever they came from."""
    toml = (
        'admin_token = "hush-1"\nsend_token = "${S}"\ndatabase = "postgresql://u:hush-3@h/d"' + TWO_PROVIDERS
    )
    environ = {
        "S": "hush-2",
        "STAGEPOST__PROVIDERS__PRIMARY__USERNAME": "hush-5",
        "STAGEPOST__PROVIDERS__PRIMARY__PASSWORD": "hush-4",
    }
    config = load(tmp_path, toml, environ)

    assert "postgresql://u:hush-3@h/d" == config.database_url()
    assert config.sqlite_path() is None
    assert "hush" not in repr(config) + repr(config.source) + repr(config.place) + str(config.admin_token)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "[::1]", "localhost"])
def test_loopback_needs_no_token(tmp_path: Path, host: str) -> None:
    """Trying it out takes no set-up."""
    load(tmp_path, f'listen = "{host}:1"{TWO_PROVIDERS}').check_for_serving()


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "[::]", "mail.example.org", "localhost.example.org"])
def test_beyond_loopback_an_admin_token_is_needed(tmp_path: Path, host: str) -> None:
    """A send token isn't enough: without an admin token everybody would be one."""
    toml = f'listen = "{host}:1"\nsend_token = "s"'
    open_to_all = load(tmp_path, toml + TWO_PROVIDERS)
    guarded = load(tmp_path, f'{toml}\nadmin_token = "a"{TWO_PROVIDERS}')

    with pytest.raises(
        ConfigError, match=r"listen: .* is open to others without admin_token; set admin_token"
    ):
        open_to_all.check_for_serving()
    guarded.check_for_serving()


def test_serving_needs_a_provider(tmp_path: Path) -> None:
    """The error says how to get one."""
    with pytest.raises(
        ConfigError, match=r"providers: no provider is configured; add .*\[providers\.primary\]"
    ):
        load(tmp_path).check_for_serving()


@pytest.mark.parametrize(
    ("tokens", "wrong"),
    [
        ('send_token = "same"\nadmin_token = "same"', "send_token: is the same as admin_token"),
        ('admin_token = "two words"', "admin_token: can't be sent as a token"),
        ('send_token = "schlüssel"', "send_token: can't be sent as a token"),
    ],
)
def test_tokens_that_would_not_protect(tmp_path: Path, tokens: str, wrong: str) -> None:
    """One that may only send must not be able to do more, and each must fit into its header."""
    with pytest.raises(ConfigError, match=wrong) as caught:
        load(tmp_path, tokens + TWO_PROVIDERS).check_for_serving()

    assert "two words" not in str(caught.value)


def test_where_a_process_on_this_machine_finds_it() -> None:
    """All interfaces are reached through loopback, and an IPv6 address stands in brackets."""
    hosts = ("127.0.0.1", "0.0.0.0", "::", "::1", "10.0.0.7")

    assert [
        "http://127.0.0.1:81",
        "http://127.0.0.1:81",
        "http://[::1]:81",
        "http://[::1]:81",
        "http://10.0.0.7:81",
    ] == [Listen(host, 0).url(81) for host in hosts]


def test_dev_is_its_own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a stagepost.toml says; only the environment has a say, so that two can run at once."""
    (tmp_path / "stagepost.toml").write_text('listen = "nonsense"', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    var = tmp_path / "var"

    config = dev_config(Path("var"), {"STAGEPOST__LISTEN": "127.0.0.1:0"})

    config.check_for_serving()
    assert Listen("127.0.0.1", 0) == config.listen
    assert Listen("127.0.0.1", 8025) == dev_config(var, {}).listen
    assert var / "stagepost.db" == config.sqlite_path()
    assert {"sandbox": SandboxConfig(folder=var / "outbox")} == config.providers
    assert config.default_from is not None


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.resend.com",
        "https://10.0.0.1:8443/a/b",
        "https://[2001:db8::1]",
        "http://127.0.0.1:9000",
        "http://[::1]:9000/v1",
        "http://localhost",
    ],
)
def test_base_urls(tmp_path: Path, base_url: str) -> None:
    """In the clear to this machine only, where a stand-in may be."""
    toml = f'[providers.api]\ntype = "resend"\nkey = "k"\nbase_url = "{base_url}"'
    provider = load(tmp_path, toml).providers["api"]

    assert isinstance(provider, ResendConfig)
    assert base_url == provider.base_url


def test_a_sandbox_writes_beside_the_file_by_default(tmp_path: Path) -> None:
    """A default path is relative to the configuration's folder like one that was written there."""
    assert SandboxConfig(folder=tmp_path / "outbox") == load(tmp_path, TWO_PROVIDERS).providers["secondary"]


def test_the_example_serves_as_it_is() -> None:
    """Who copies it and puts in a relay is done."""
    config = load_config(EXAMPLE, {})

    config.check_for_serving()
    assert ["primary"] == list(config.providers)


def test_the_example_shows_every_key_with_its_default(tmp_path: Path) -> None:
    """Each line that is commented out can be switched on; but for those marked e.g., that changes nothing."""
    on = re.sub(r"(?m)^#(?=[\[a-z])", "", EXAMPLE.read_text(encoding="utf-8"))
    everything = load(tmp_path, on, {"STAGEPOST_ADMIN_TOKEN": "a", "STAGEPOST_SEND_TOKEN": "s"})
    defaults = load(tmp_path, re.sub(r"(?m)^.*# e\.g\..*$", "", on))

    everything.check_for_serving()
    assert {"primary", "secondary", "sandbox", "rehearsal"} == set(everything.providers)
    assert "otp" in everything.routes
    assert f"sqlite:///{tmp_path}/stagepost.db" == defaults.database_url()
    assert Listen("127.0.0.1", 8025) == defaults.listen
    assert (Limits(), RetryPolicy(), CircuitPolicy()) == (defaults.limits, defaults.retry, defaults.circuit)
    assert (Uncertain(), Worker(), Retention(), Log()) == (
        defaults.uncertain,
        defaults.worker,
        defaults.retention,
        defaults.log,
    )
    assert SmtpConfig(host=smtp(defaults).host) == smtp(defaults)
    secondary = defaults.providers["secondary"]
    assert isinstance(secondary, ResendConfig)
    assert ResendConfig(key=secondary.key) == secondary
    assert SandboxConfig(folder=tmp_path / "outbox") == defaults.providers["sandbox"]
    assert ScriptedConfig() == defaults.providers["rehearsal"]
    assert RouteConfig(use=("primary", "secondary")) == defaults.routes["default"]
