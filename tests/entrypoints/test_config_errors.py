"""What a configuration that can't be used says: one line with file, key, what is wrong and what would be right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from entrypoints.config import ConfigError, load_config

RELAY = '[providers.primary]\ntype = "smtp"\nhost = "h"\n'
API = '[providers.api]\ntype = "resend"\n'
KEYED = API + 'key = "k"\n'


def complaint(folder: Path, toml: str, environ: dict[str, str] | None = None) -> ConfigError:
    """What loading this text says."""
    file = folder / "stagepost.toml"
    file.write_text(toml, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ or {})
    return caught.value


@pytest.mark.parametrize(
    ("toml", "key", "wrong", "right"),
    [
        ("[limits]\nqueue_maximum = 1", "limits.queue_maximum", "unknown key", 'did you mean "queue_max"?'),
        ("zzz = 1", "zzz", "unknown key", "known: database, listen"),
        ("'a b' = 1", '"a b"', "unknown key", "known: database"),
        ("default_from = 'a@b'", "default_from", "unknown key", "from"),
        ("source = 1", "source", "unknown key", "known: database"),
        ("limits = 3", "limits", "a number stands where a table belongs", "write it as [limits]"),
        ("listen = 8025", "listen", "'8025' is nowhere to listen", "'127.0.0.1:8025'"),
        ("listen = ':8025'", "listen", "':8025' is nowhere to listen", "'127.0.0.1:8025'"),
        ("listen = '::1:80'", "listen", "'::1:80' is nowhere to listen", "'[::1]:8025'"),
        ("listen = 'a:99999'", "listen", "'a:99999' is nowhere to listen", "host:port"),
        ("listen = '${NOPE}:80'", "listen", "environment variable NOPE is not set", "set it"),
        ("admin_token = 12345", "admin_token", "a number stands where a text belongs", "in quotes"),
        ("admin_token = ''", "admin_token", "is empty", "give it a value"),
        ("from = 'nobody'", "from", '"nobody" is not an address', '"Shop <shop@example.org>"'),
        ("database = 'mysql://a:pw@h/d'", "database", '"mysql" is no database we know', "sqlite:///"),
        ("database = 'stagepost.db'", "database", "is not a URL", '"sqlite:///stagepost.db"'),
        ("database = 'sqlite://'", "database", "names no file", "sqlite:///"),
        ("database = 'sqlite:///:memory:'", "database", "names no file", "sqlite:///"),
        ("database = 'sqlite:///a.db?mode=ro'", "database", "names no file", "sqlite:///"),
        ("database = 'sqlite://a.db'", "database", "names no file", "sqlite:///"),
        ("limits.rate = '600'", "limits.rate", "'600' is not a rate", "'600/m'"),
        ("limits.rate = ['1/s', 5]", "limits.rate", "'5' is not a rate", "'600/m'"),
        ("limits.queue_max = 0", "limits.queue_max", "0 is out of range", "from 1 to"),
        ("limits.queue_max = 2.5", "limits.queue_max", "a number stands where a whole number", "from 1 to"),
        ("limits.queue_max = true", "limits.queue_max", "true or false stands where a whole", "from 1 to"),
        ("limits.request_max = 40", "limits.request_max", "'40' is not a size", "'40MB'"),
        ("retry.base = 5", "retry.base", "'5' is not a duration", "'30s'"),
        ("retry.base = '0s'", "retry.base", "'0s' is no time at all", "'30s'"),
        ("retry.base = '5 weeks'", "retry.base", "'5 weeks' is not a duration", "'30s'"),
        ("retry.base = '9999999d'", "retry.base", "'9999999d' is too long", "'36500d'"),
        ("retry = {base = '2s', cap = '1s'}", "retry.cap", "is shorter than retry.base", "as long"),
        (
            "circuit.open_for_max = '1s'",
            "circuit.open_for_max",
            "is shorter than circuit.open_for",
            "as long",
        ),
        ("circuit.failure_rate = 50", "circuit.failure_rate", "50 is out of range", "like 0.5"),
        ("circuit.failure_rate = nan", "circuit.failure_rate", "nan is out of range", "like 0.5"),
        ("circuit.failure_rate = '1'", "circuit.failure_rate", "a text stands where a number", "like 0.5"),
        ("uncertain.policy = 'guess'", "uncertain.policy", '"guess" is not a choice', "retry, hold, fail"),
        ("retention.content = 'ever'", "retention.content", "'ever' is not a duration", "'7d'"),
        ("log.level = 1979-05-27", "log.level", "a date or time stands where a text belongs", "in quotes"),
        ("providers = ['a']", "providers", "a list stands where a table belongs", "write it as [providers]"),
        ("[providers.'a b']", 'providers."a b"', "can't be a name", "letters, digits"),
        ("[providers.p]", "providers.p.type", "is missing", "smtp, resend, sandbox"),
        ("[providers.p]\ntype = 'postbox'", "providers.p.type", 'unknown type "postbox"', "known: smtp, "),
        ("[providers.p]\ntype = 'smpt'", "providers.p.type", 'unknown type "smpt"', 'did you mean "smtp"?'),
        ("[providers.p]\ntype = 'smtp'", "providers.p.host", "is missing", 'host = "smtp.example.net"'),
        (RELAY + "folder = 'x'", "providers.primary.folder", "unknown key", "known: rate"),
        (RELAY + "port = 70000", "providers.primary.port", "70000 is out of range", "from 1 to 65535"),
        (RELAY + "port = '25'", "providers.primary.port", "a text stands where", "without quotes"),
        (RELAY + "tls = 'ssl'", "providers.primary.tls", '"ssl" is not a choice', "none, starttls, tls"),
        (RELAY + "feedback = 'no'", "providers.primary.feedback", "a text stands where", "without quotes"),
        (RELAY + "password = 'p'", "providers.primary.password", "stands alone", "username and password"),
        (RELAY + "username = 'u'", "providers.primary.username", "stands alone", "username and password"),
        (API, "providers.api.key", "is missing", 'key = "${RESEND_KEY}"'),
        (API + "key = 1", "providers.api.key", "a number stands where a text belongs", "in quotes"),
        (
            KEYED + "base_url = 'h'",
            "providers.api.base_url",
            "is more or less than",
            '"https://api.example.net"',
        ),
        (KEYED + "base_url = 'ftp://h'", "providers.api.base_url", "is more or less than", "write it like"),
        (KEYED + "base_url = 'https://'", "providers.api.base_url", "is more or less than", "write it like"),
        (
            KEYED + "base_url = 'https://h:0'",
            "providers.api.base_url",
            "is more or less than",
            "write it like",
        ),
        (
            KEYED + "base_url = 'https://h:65536'",
            "providers.api.base_url",
            "is more or less",
            "write it like",
        ),
        (
            KEYED + "base_url = 'https://k@h'",
            "providers.api.base_url",
            "is more or less than",
            "write it like",
        ),
        (KEYED + "base_url = 'https://h?a=b'", "providers.api.base_url", "is more or less than", "write it"),
        (
            KEYED + "base_url = 'https://h#a'",
            "providers.api.base_url",
            "is more or less than",
            "write it like",
        ),
        (KEYED + "base_url = 'https://h/a b'", "providers.api.base_url", "is more or less than", "write it"),
        (
            KEYED + "base_url = 'https://h/'",
            "providers.api.base_url",
            "ends in a slash",
            "leave the slash out",
        ),
        (KEYED + "base_url = 'https://h/v1//'", "providers.api.base_url", "ends in a slash", "leave the"),
        (KEYED + "base_url = 'http://h'", "providers.api.base_url", "the key in the clear", "write https://"),
        (KEYED + "base_url = 'http://10.0.0.1'", "providers.api.base_url", "in the clear", "127.0.0.1"),
        (RELAY + "[routes.r]", "routes.r.use", "is missing", 'use = ["primary"]'),
        (RELAY + "[routes.r]\nuse = []", "routes.r.use", "is an empty list", 'use = ["one", "two"]'),
        (RELAY + "[routes.r]\nuse = 'primary'", "routes.r.use", "a text stands where a list", 'use = ["one"'),
        (RELAY + "[routes.r]\nuse = ['primry']", "routes.r.use", 'no provider "primry"', '"primary"?'),
        (RELAY + "[routes.r]\nuse = ['x']", "routes.r.use", 'there is no provider "x"', "known: primary"),
        ("[routes.r]\nuse = ['x']", "routes.r.use", 'there is no provider "x"', "known: none"),
        (RELAY + "[routes.r]\nuse = ['primary', 'primary']", "routes.r.use", "twice", "once"),
        (RELAY + "[routes.r]\nuse = ['primary']", "routes.r.match", "no email would take", "add match"),
        (
            RELAY + "[routes.default]\nuse = ['primary']\nmatch = { tag = 'x' }",
            "routes.default.match",
            "never looked at",
            "leave it out",
        ),
        (
            RELAY + "[routes.r]\nuse = ['primary']\nmatch = { tag = 'a@b' }",
            "routes.r.match.tag",
            "no @",
            "otp",
        ),
        (RELAY + "[routes.r]\nuse = ['primary']\nmatch = {}", "routes.r.match", "matches nothing", "tag"),
        (
            RELAY + "[routes.r]\nuse = ['primary']\nmatch = {from_domain = 'a b'}",
            "routes.r.match.from_domain",
            '"a b" is not a domain',
            '"example.org"',
        ),
        (
            RELAY + "[routes.r]\nuse = ['primary']\npriority = 'urgent'",
            "routes.r.priority",
            '"urgent" is not a choice',
            "high, normal, bulk",
        ),
    ],
)
def test_each_error_names_file_key_wrong_and_right(
    tmp_path: Path, toml: str, key: str, wrong: str, right: str
) -> None:
    """All four, on one line, in this order."""
    error = complaint(tmp_path, toml)

    assert key == error.key
    assert wrong in error.wrong
    assert right in error.right
    assert f"{tmp_path / 'stagepost.toml'}: {key}: {error.wrong}; {error.right}" == str(error)
    assert 1 == len(str(error).splitlines())


def test_an_error_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    """That is where to correct it, also where the variable set a whole table."""
    bad_value = complaint(tmp_path, RELAY, {"STAGEPOST__PROVIDERS__PRIMARY__PORT": "many"})
    bad_key = complaint(tmp_path, "", {"STAGEPOST__RETRY": "{ bas = '1s' }"})
    not_a_table = complaint(tmp_path, "listen = 'a:1'", {"STAGEPOST__LISTEN__PORT": "1"})

    assert str(bad_value).startswith("STAGEPOST__PROVIDERS__PRIMARY__PORT: providers.primary.port: a text ")
    assert 'STAGEPOST__RETRY: retry.bas: unknown key; did you mean "base"?' == str(bad_key)
    assert str(not_a_table).startswith("STAGEPOST__LISTEN__PORT: listen: is not a table; ")


def test_a_database_that_is_a_reference_is_checked_where_it_is_used(tmp_path: Path) -> None:
    """And no error repeats it: it may hold a password."""
    file = tmp_path / "stagepost.toml"
    file.write_text("database = '${URL}'", encoding="utf-8")
    config = load_config(file, {"URL": "mysql://u:hush@h/d"})

    with pytest.raises(
        ConfigError, match=r'database: "mysql" is no database we know; write it like'
    ) as caught:
        config.database_url()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url", ["https://hush@h", "https://a:hush@h", "https://h?key=hush", "http://h/hush", "hush"]
)
def test_what_stands_wrongly_in_a_base_url_is_not_shown(tmp_path: Path, base_url: str) -> None:
    """It may be the key."""
    error = complaint(tmp_path, f"{KEYED}base_url = '{base_url}'")

    assert "providers.api.base_url" == error.key
    assert "hush" not in str(error)


@pytest.mark.parametrize("content", [b"listen = ", b"listen = 127.0.0.1", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml(tmp_path: Path, content: bytes) -> None:
    """The parser says where."""
    file = tmp_path / "stagepost.toml"
    file.write_bytes(content)

    with pytest.raises(ConfigError, match=rf"^{re.escape(str(file))}: is not TOML: .*; .") as caught:
        load_config(file, {})
    assert 1 == len(str(caught.value).splitlines())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A path that was asked for by name is never passed over in silence; a folder is no file."""
    with pytest.raises(
        ConfigError, match=r"nowhere\.toml: can't be read \(No such file or directory\); name "
    ):
        load_config(tmp_path / "nowhere.toml", {})
    with pytest.raises(ConfigError, match=r"can't be read \(Is a directory\); name "):
        load_config(tmp_path, {})


def test_an_error_is_one_line_whatever_is_in_it() -> None:
    """Logs and terminals show it whole."""
    assert "a b.toml: k: w; r" == str(ConfigError("a\nb.toml", "k", "w", "r"))
