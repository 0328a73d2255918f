"""STAGEPOST_DSN: the providers in one variable, in place of the file's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.rate_limit import Rate
from domain.routing import OnLimit
from entrypoints.config import Config, ConfigError, dev_config, load_config
from entrypoints.config_schema import ResendConfig, RouteConfig, SandboxConfig, SmtpConfig, Tls
from entrypoints.config_source import EnvText, Place, Secret, Source, Token

EMPTY = Path(os.devnull)
"""A configuration file that says nothing."""
SOMEWHERE = Place(Source(file="", folder=Path(), environ={}, overrides={}))

FILE = """
[limits]
queue_max = 7
[providers.primary]
type = "smtp"
host = "smtp.example.net"
[routes.otp]
match = { tag = "otp" }
use = ["primary"]
"""


def load(dsn: str, environ: Mapping[str, str] | None = None, file: Path = EMPTY) -> Config:
    """The configuration with this DSN in the environment."""
    return load_config(file, {"STAGEPOST_DSN": dsn, **(environ or {})})


def complaint(dsn: str, environ: Mapping[str, str] | None = None) -> ConfigError:
    """What loading it says."""
    with pytest.raises(ConfigError) as caught:
        load(dsn, environ)
    return caught.value


def relay(host: str, username: str | None = None, password: str | None = None, **more: object) -> SmtpConfig:
    """A provider of type smtp."""
    return SmtpConfig(
        host=EnvText(host, SOMEWHERE),
        username=None if username is None else Secret(username, SOMEWHERE),
        password=None if password is None else Secret(password, SOMEWHERE),
        **more,  # type: ignore[arg-type]
    )


def resend(key: str, **more: object) -> ResendConfig:
    """A provider of type resend."""
    return ResendConfig(key=Token(key, SOMEWHERE), **more)  # type: ignore[arg-type]


def rates(*texts: str) -> tuple[Rate, ...]:
    """As a provider has them."""
    return tuple(map(Rate.parse, texts))


@pytest.mark.parametrize(
    ("dsn", "provider"),
    [
        ("smtp://mail.example.org", relay("mail.example.org", port=587, tls=Tls.STARTTLS)),
        ("smtp://u:p@mail.example.org:25", relay("mail.example.org", "u", "p", port=25)),
        ("  SMTP://mail.example.org/\n", relay("mail.example.org")),
        ("smtp://:@h", relay("h")),
        ("smtp://[::1]", relay("::1")),
        ("smtp://u:p@[2001:db8::1]:26", relay("2001:db8::1", "u", "p", port=26)),
        ("smtp://bücher_1.example", relay("bücher_1.example")),
        ("smtps://u:p@h", relay("h", "u", "p", port=465, tls=Tls.TLS)),
        ("smtps://h:4465", relay("h", port=4465, tls=Tls.TLS)),
        ("smtp://u%40x%3A:p%2Fq%25@h", relay("h", "u@x:", "p/q%")),
        ("smtp://u:a+b!c$d@e:f@h", relay("h", "u", "a+b!c$d@e:f")),
        ("smtp://u:12345678@h", relay("h", "u", "12345678")),
        ("smtp://h?tls=none&rate=600/m", relay("h", tls=Tls.NONE, rate=rates("600/m"))),
        ("smtp://h?rate=14/s&rate=50000/d", relay("h", rate=rates("14/s", "50000/d"))),
        ("smtp://h/?rate=14%2Fs&", relay("h", rate=rates("14/s"))),
        (
            "smtp://h?concurrency=4&timeout=10s&final_timeout=1m&feedback=true",
            relay(
                "h",
                concurrency=4,
                timeout=timedelta(seconds=10),
                final_timeout=timedelta(minutes=1),
                feedback=True,
            ),
        ),
        ("resend://re_1@default", resend("re_1", base_url="https://api.resend.com")),
        ("resend+api://re_1@default?rate=2/s", resend("re_1", rate=rates("2/s"))),
        ("resend://re_1@mail.example.org", resend("re_1", base_url="https://mail.example.org")),
        ("resend://re_1@[::1]:8443", resend("re_1", base_url="https://[::1]:8443")),
        (
            "resend://re_1@default?base_url=http://127.0.0.1:9000",
            resend("re_1", base_url="http://127.0.0.1:9000"),
        ),
        ("sandbox://", SandboxConfig(folder=EMPTY.parent / "outbox")),
        ("sandbox://default", SandboxConfig(folder=EMPTY.parent / "outbox")),
        ("sandbox://?folder=/tmp/a%20b", SandboxConfig(folder=Path("/tmp/a b"))),
        ("sandbox://?folder=2026", SandboxConfig(folder=EMPTY.parent / "2026")),
        ("failover(sandbox://)", SandboxConfig(folder=EMPTY.parent / "outbox")),
    ],
)
def test_a_dsn_is_a_provider(dsn: str, provider: object) -> None:
    """Named after its type, and checked like one of a file."""
    config = load(dsn)

    assert {provider.type: provider} == config.providers  # type: ignore[attr-defined]


def test_failover_goes_in_the_order_written() -> None:
    """Names count what there is more than one of; whatever white space stands between."""
    config = load("failover( smtp://a  resend://k@default\n smtps://b\tsandbox:// smtp://c:25)")

    names = ("smtp", "resend", "smtp-2", "sandbox", "smtp-3")
    assert names == tuple(config.providers)
    assert {"default": RouteConfig(use=names)} == config.routes
    assert relay("b", port=465, tls=Tls.TLS) == config.providers["smtp-2"]
    assert relay("c", port=25) == config.providers["smtp-3"]


@pytest.mark.parametrize("written", [FILE, 'providers = 3\nroutes = "?"\nlimits.queue_max = 7'])
def test_it_takes_the_place_of_the_file_s_providers_and_routes(tmp_path: Path, written: str) -> None:
    """They are not even looked at; the rest of the file counts."""
    file = tmp_path / "stagepost.toml"
    file.write_text(written, encoding="utf-8")

    config = load("sandbox://", file=file)

    config.check_for_serving()
    assert {"sandbox": SandboxConfig(folder=tmp_path / "outbox")} == config.providers
    assert {"default": RouteConfig(use=("sandbox",))} == config.routes
    assert 7 == config.limits.queue_max


def test_without_a_file_it_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else has to be configured to serve."""
    monkeypatch.chdir(tmp_path)

    config = load_config(None, {"STAGEPOST_DSN": "smtp://h"})

    config.check_for_serving()
    assert {"smtp": relay("h")} == config.providers


def test_variables_refine_it() -> None:
    """Key by key, and a table as a whole; a shell can't write the - of a name."""
    environ = {
        "STAGEPOST__PROVIDERS__SMTP__RATE": "5/s",
        "STAGEPOST__PROVIDERS__SMTP__PASSWORD": "${PASS}",
        "STAGEPOST__PROVIDERS__SMTP_2__PORT": "26",
        "STAGEPOST__PROVIDERS__SMTP-3": '{ type = "smtp", host = "${HOST}", rate = "1/s" }',
        "STAGEPOST__ROUTES__DEFAULT__ON_LIMIT": "overflow",
        "PASS": "from elsewhere",
        "HOST": "d",
    }
    config = load("failover(smtp://u@a?rate=9/s smtp://b smtp://c?rate=9/s)", environ)

    first, second, third = config.providers.values()
    assert isinstance(first, SmtpConfig)
    assert isinstance(third, SmtpConfig)
    assert first.password is not None
    assert (rates("5/s"), "from elsewhere") == (first.rate, first.password.resolve())
    assert relay("b", port=26) == second
    assert ("d", rates("1/s")) == (third.host.resolve(), third.rate)
    assert OnLimit.OVERFLOW is config.routes["default"].on_limit


def test_an_error_in_a_refinement_names_its_variable() -> None:
    """Also where the DSN had an option for the same key."""
    environ = {"STAGEPOST__PROVIDERS__SMTP": '{ type = "smtp", host = "b", rate = "9" }'}
    error = complaint("smtp://a?rate=9/s", environ)

    assert str(error).startswith("STAGEPOST__PROVIDERS__SMTP: providers.smtp.rate: '9' is not a rate; ")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        (
            "STAGEPOST__PROVIDERS__PRIMARY__PASSWORD",
            "hush",
            "providers.primary: there is no such provider in STAGEPOST_DSN; known: smtp",
        ),
        (
            "STAGEPOST__PROVIDERS__SMPT",
            "{ type = 'sandbox' }",
            'providers.smpt: there is no such provider in STAGEPOST_DSN; did you mean "smtp"?',
        ),
        ("STAGEPOST__PROVIDERS", "{}", "providers: replaces STAGEPOST_DSN; set one of the two"),
    ],
)
def test_a_variable_about_another_provider_is_a_mistake(variable: str, value: str, says: str) -> None:
    """It was meant for a file, or for another name: neither is to be passed over in silence."""
    assert f"{variable}: {says}" == str(complaint("smtp://h", {variable: value}))


def test_dev_takes_no_notice_of_it(tmp_path: Path) -> None:
    """Trying it out sends nothing, whatever the shell is set up for; not even a bad one is looked at."""
    for dsn in ("smtp://u:p@mail.example.org", "nonsense"):
        assert ["sandbox"] == list(dev_config(tmp_path, {"STAGEPOST_DSN": dsn}).providers)


def test_nothing_is_looked_up_in_it() -> None:
    """A $ is a $: the variable is where a shell has put in already what was to be put in."""
    environ = {"NAME": "wrong", "HOME": "wrong"}
    config = load("failover(smtp://u${NAME}:p${NAME}${NOPE}@h sandbox://?folder=/a/${HOME})", environ)

    mail, files = config.providers.values()
    assert isinstance(mail, SmtpConfig)
    assert mail.username is not None
    assert mail.password is not None
    assert ("u${NAME}", "p${NAME}${NOPE}") == (mail.username.resolve(), mail.password.resolve())
    assert SandboxConfig(folder=Path("/a/${HOME}")) == files


@given(user=st.text(min_size=1), password=st.text(min_size=1))
@example(user="${HOME}", password="%41 +\x00/?#@:[]()&=")
@example(user=" a", password="b\n")
def test_every_user_and_password_can_be_written(user: str, password: str) -> None:
    """Percent-encoded they come out as they went in, alone and in a failover(); blank ones are none."""
    dsn = f"smtp://{quote(user, safe='')}:{quote(password, safe='')}@h"
    if not user.strip() or not password.strip():
        assert "is empty" in complaint(dsn).wrong
        return

    for written in (dsn, f"failover({dsn} sandbox://)"):
        provider = load(written, {"HOME": "/root"}).providers["smtp"]
        assert relay("h", user, password) == provider
        assert isinstance(provider, SmtpConfig)
        assert provider.username is not None
        assert provider.password is not None
        assert (user, password) == (provider.username.resolve(), provider.password.resolve())


ODD = st.text(alphabet="/?#@:%[]()&=+$ {}é\n2", max_size=4)


@pytest.mark.parametrize(
    "dsn",
    [
        "smtp://USER{}:{}@host",
        "smtp://USER{}:{}@host?rate=1/s",
        "smtp://USER{}:{}@",
        "smtp://USER{}:25?rate={}@host",
        "smpt://USER{}:{}@host",
        "USER{}:{}@host",
        "USER{}{}://default",
        "resend://USER{}{}@default",
        "resend://USER{}:{}@default",
        "resend://key@default?USER{}{}",
        "sandbox://USER{}:{}@host",
        "failover(smtp://USER{}:{}@host sandbox://)",
        "failover(sandbox:// sandbox://USER{}:{}@host)",
        "failover(smtp://USER{}:{}@host",
        "roundrobin(smtp://USER{}:{}@host)",
    ],
)
@given(odd=st.tuples(ODD, ODD, ODD))
@example(odd=("", "", ""))
@example(odd=("", "25?rate=", ""))
@example(odd=("", "25/?", "=1"))
@example(odd=("", "25#", ""))
def test_user_and_password_are_never_shown(dsn: str, odd: tuple[str, str, str]) -> None:
    """Not even where they should have been percent-encoded, so that they are not where they belong."""
    written = dsn.format(odd[0], f"{odd[1]}hush{odd[2]}")
    try:
        config = load(written)
        shown = repr(config) + repr(config.source) + repr(config.place) + repr(config.settings())
    except ConfigError as error:
        shown = f"{error} {error!r}"

    assert "hush" not in shown
    assert "USER" not in shown


@pytest.mark.parametrize(
    ("dsn", "key", "wrong", "right"),
    [
        ("", "", "is empty", "smtp://user:password@host:587"),
        ("  ", "", "is empty", "or take the variable out"),
        ("mail.example.org", "", "is not a DSN", "smtp://user:password@host:587"),
        ("smtp:mail.example.org", "", "is not a DSN", "smtp://user:password@host:587"),
        ("smpt://h", "", "has an unknown scheme", 'did you mean "smtp"?'),
        ("ses://k:s@default", "", "has an unknown scheme", "known: smtp, smtps, resend, "),
        ("resend+smtp://k@default", "", "resend+smtp://", "smtps://resend:KEY@smtp.resend.com"),
        ("smtp://a smtp://b", "", "has white space", "failover(… …)"),
        ("smtp://u:p w@h", "", "has white space", "in user and password, %20"),
        ("smtp://u:\udcff@h", "", "is not UTF-8", "percent-encode"),
        ("failover(smtp://a", "", "lacks the )", "failover(smtp://… resend://…)"),
        ("failover()", "", "has nothing in its failover()", "failover(smtp://… resend://…)"),
        ("failover(smtp://a)?retry_period=9", "", "goes on after", "STAGEPOST__CIRCUIT__OPEN_FOR=60s"),
        ("failover(smtp://a) smtp://b", "", "goes on after failover(…)", "options in each DSN"),
        ("failover(smtp://a failover(smtp://b smtp://c))", "", "a failover() in a failover()", "all in one"),
        ("roundrobin(smtp://a smtp://b)", "", "roundrobin()", "DEFAULT__ON_LIMIT=overflow"),
        ("failover(smtp://a roundrobin(smtp://b))", "", "roundrobin()", "write failover(…)"),
        ("failover(smtp://a smtp://)", "DSN 2", "names no host", "smtp.example.net"),
        ("failover(a)", "", "is not a DSN", "smtp://user:password@host:587"),
        ("smtp://", "", "names no host", "smtp.example.net:587"),
        ("smtp://u:p@", "", "names no host", "smtp.example.net:587"),
        ("smtps://default", "", "names no host", "smtp.example.net:587"),
        ("smtp://h:", "", "has a port that is not a number", "smtp://user:password@host:587"),
        ("smtp://h:0", "", "has a port that is not a number from 1 to 65535", "host:587"),
        ("smtp://h:65536", "", "has a port that is not a number from 1 to 65535", "host:587"),
        ("smtp://h:٢٥", "", "has a port that is not a number from 1 to 65535", "host:587"),
        ("smtp://user:password", "", "has a port that is not a number", "smtp://user:password@host"),
        ("smtp://::1", "", "has more than one :", "[::1]:587"),
        ("smtp://[::1", "", "has a host that can't be one", "IPv6 in brackets"),
        ("smtp://[mail]", "", "has a host that can't be one", "IPv6 in brackets"),
        ("smtp://${HOST}", "", "has a host that can't be one", "${NAME} is not looked up"),
        ("smtp://h%20", "", "has a host that can't be one", "a name or an address"),
        ("smtp://u:p/w@h", "", 'has an "@" after a "/", "?" or "#"', "/ as %2F"),
        ("smtp://u:1?w@h", "", 'has an "@" after a "/", "?" or "#"', "? as %3F"),
        ("smtp://h/path", "", "goes on after the host", "?rate=600/m"),
        ("smtp://h#x", "", "goes on after the host", "?rate=600/m"),
        ("smtp://h?tls=none#x", "", "goes on after the host", "?rate=600/m"),
        ("smtp://u:100%@h", "", "has a % without", "write % as %25"),
        ("smtp://u:%ff@h", "", "is not UTF-8", "write % as %25"),
        ("smtp://h?folder=x", "", 'has an unknown option "folder"', "known: rate, concurrency"),
        ("smtp://h?tiemout=1s", "", 'has an unknown option "tiemout"', 'did you mean "timeout"?'),
        ("smtp://h?re_12Ab", "", "has an unknown option", "known: rate"),
        ("smtp://h?password=p", "", 'has an unknown option "password"', "known: rate"),
        ("smtp://h?type=sandbox", "", 'has an unknown option "type"', "known: rate"),
        ("smtp://h?max_per_second=5", "", 'has an unknown option "max_per_second"', "rate=5/s"),
        ("smtp://h?timeout=1s&timeout=2s", "", "says twice what timeout is", "leave one of them out"),
        ("smtps://h?tls=none", "", "says what tls is before the options", "leave the option out"),
        ("resend://k@h?base_url=https://i", "", "says what base_url is before", "leave the option out"),
        ("resend://re_key", "", "needs one key and a host", "resend://KEY@default"),
        ("resend://re_key@", "", "needs one key and a host", "resend://KEY@default"),
        ("resend://resend:re_key@default", "", "needs one key and a host", "resend://KEY@default"),
        ("resend://k@default:80", "", "has a port without a host", "resend://KEY@host:port"),
        ("sandbox://outbox", "", "names a host", "sandbox://default?folder=…"),
        ("sandbox://u@default", "", "names a host or a user", "sandbox://default?folder=…"),
        ("smtp://h?rate=600", "providers.smtp.rate", "'600' is not a rate", "'600/m'"),
        ("smtp://h?timeout=30", "providers.smtp.timeout", "'30' is not a duration", "'30s'"),
        ("smtp://h?feedback=yes", "providers.smtp.feedback", "a text stands where", "true or false"),
        ("smtp://h?concurrency=", "providers.smtp.concurrency", "a text stands where", "a whole number"),
        ("smtp://h?rate", "providers.smtp.rate", "is empty", "give it a value"),
        ("smtp://h?tls=ssl", "providers.smtp.tls", '"ssl" is not a choice', "none, starttls, tls"),
        ("smtp://user@h", "providers.smtp.username", "stands alone", "username and password"),
        ("smtp://:pass@h", "providers.smtp.password", "stands alone", "username and password"),
        ("failover(smtp://h smtp://user@h)", "providers.smtp-2.username", "stands alone", "or neither"),
        ("resend://k@default?base_url=http://h", "providers.resend.base_url", "in the clear", "https://"),
        ("resend://k@bücher", "providers.resend.base_url", "is more or less than https://", "write it like"),
    ],
)
def test_each_error_names_the_variable_wrong_and_right(dsn: str, key: str, wrong: str, right: str) -> None:
    """On one line."""
    error = complaint(dsn)

    assert ("STAGEPOST_DSN", key) == (error.file, error.key)
    assert wrong in error.wrong
    assert right in error.right
    assert 1 == len(str(error).splitlines())


def test_a_key_that_no_header_can_hold() -> None:
    """It is found where it is used, like one of a file, and not shown."""
    provider = load("resend://re_key%0A@default").providers["resend"]

    assert isinstance(provider, ResendConfig)
    with pytest.raises(ConfigError, match=r"STAGEPOST_DSN: providers\.resend\.key: can't be sent") as caught:
        provider.key.resolve()
    assert "re_key" not in str(caught.value)
