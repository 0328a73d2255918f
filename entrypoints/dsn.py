"""`STAGEPOST_DSN`: the providers in one line, in the form of Symfony Mailer's DSNs.

    smtp://user:password@host:587?rate=600/m      failover(smtps://host resend://KEY@default)

Each DSN becomes the table that a file would have for it, so that both are checked alike. User, password and options
are percent-decoded (`+` stays `+`), and no more is done to them. A DSN with a mistake may have its password anywhere:
so no error from here repeats any of it, but for the name of an option that is plainly a word.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote

from entrypoints.base_url import PORT_MAX
from entrypoints.config_schema import PROVIDERS, Tls
from entrypoints.config_source import ConfigError, quoted, suggestion
from entrypoints.config_values import keys

DSN_VARIABLE = "STAGEPOST_DSN"
DSN_FORM = "write it like smtp://user:password@host:587, resend://KEY@default or sandbox://"
DEFAULT_HOST = "default"
"""Symfony's word for the host that a kind of provider has anyway."""
SMTPS_PORT = 465
BEFORE_THE_OPTIONS = frozenset({"host", "port", "username", "password", "key"})
"""Keys that have a place of their own in a DSN."""
SYMFONYS_OPTIONS = {
    "auto_tls": "write tls=none where there is to be no TLS",
    "max_per_second": "write it like rate=5/s",
    "require_tls": "leave it out: TLS is required unless tls=none",
    "verify_peer": "leave it out: certificates are always verified",
}
WORD = re.compile(r"[a-z_]{1,30}")
ENDPOINT = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(:(?P<port>.*))?", re.DOTALL)
HOST_NAME = re.compile(r"[\w.-]+")
BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

Table = dict[str, object]
Options = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class DsnProvider:
    """What one DSN says. `table`: keys and their values; `options`: keys and the texts of their values, each to be
    read like an environment variable's (only a rate may have several)."""

    table: Mapping[str, object] = field(repr=False)
    options: Options = field(repr=False)


class _BadDsn(Exception):
    """A DSN can't be read: what is `wrong`, and what would be `right`."""

    def __init__(self, wrong: str, right: str) -> None:
        super().__init__(f"{wrong}; {right}")
        self.wrong = wrong
        self.right = right


@dataclass(frozen=True, slots=True)
class _Authority:
    """What stands between `://` and the options; empty where it doesn't. `host`: an IPv6 address in brackets."""

    user: str = field(repr=False)
    password: str = field(repr=False)
    host: str
    port: int | None

    @property
    def host_is_default(self) -> bool:
        return self.host in ("", DEFAULT_HOST)


def read_dsn(text: str) -> Mapping[str, DsnProvider]:
    """The providers by name, in the order written; the names are the types, counted. Raises ConfigError."""
    found: dict[str, DsnProvider] = {}
    key = ""
    try:
        dsns = _dsns(text.strip())
        for number, dsn in enumerate(dsns, 1):
            key = f"DSN {number}" if len(dsns) > 1 else ""
            provider = _provider(dsn)
            found[_new_name(str(provider.table["type"]), found)] = provider
    except _BadDsn as bad:
        raise ConfigError(DSN_VARIABLE, key, bad.wrong, bad.right) from None
    return found


def _new_name(kind: str, taken: Collection[str]) -> str:
    number = 1 + sum(name.partition("-")[0] == kind for name in taken)
    return kind if number == 1 else f"{kind}-{number}"


def _dsns(text: str) -> list[str]:
    """The one, or those of a `failover(…)`."""
    _check_utf8(text)
    if not text:
        raise _BadDsn("is empty", f"{DSN_FORM}, or take the variable out")
    if not text.startswith("failover("):
        _check_single(text)
        if len(text.split()) > 1:
            raise _BadDsn("has white space", "write failover(… …) around several; in user and password, %20")
        return [text]
    inside, closed, behind = text.removeprefix("failover(").rpartition(")")
    if not closed:
        raise _BadDsn("lacks the ) of its failover(", "write failover(smtp://… resend://…)")
    if behind:
        right = "write options in each DSN; in place of retry_period, set STAGEPOST__CIRCUIT__OPEN_FOR=60s"
        raise _BadDsn("goes on after failover(…)", right)
    dsns = inside.split()
    if not dsns:
        raise _BadDsn("has nothing in its failover()", "write failover(smtp://… resend://…)")
    for dsn in dsns:
        _check_single(dsn)
    return dsns


def _check_utf8(text: str) -> None:
    # Other octets of an environment variable arrive as surrogates.
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _BadDsn("is not UTF-8", "percent-encode the UTF-8 of what is not ASCII") from None


def _check_single(text: str) -> None:
    if text.startswith("roundrobin("):
        right = "write failover(…), a ?rate=… in each and STAGEPOST__ROUTES__DEFAULT__ON_LIMIT=overflow"
        raise _BadDsn("asks for roundrobin(), but providers have an order here", right)
    if text.startswith("failover("):
        raise _BadDsn("has a failover() in a failover()", "write all in one, in the order in which they come")


def _provider(text: str) -> DsnProvider:
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise _BadDsn("is not a DSN", DSN_FORM)
    if scheme.lower() == "resend+smtp":
        right = "write resend://KEY@default, or smtps://resend:KEY@smtp.resend.com"
        raise _BadDsn("asks for resend+smtp://, which is not known", right)
    if scheme.lower() not in SCHEMES:
        known = [one for one in SCHEMES if "+" not in one]
        raise _BadDsn("has an unknown scheme", suggestion(scheme.lower(), known))
    authority, query = _laid_out(rest)
    table = SCHEMES[scheme.lower()](_authority(authority))
    return DsnProvider(table, _options(query, table))


def _laid_out(rest: str) -> tuple[str, str]:
    """What stands before the options, and the options."""
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    path, _, query = rest[len(authority) :].partition("?")
    if "@" in path + query:
        right = "in user and password write / as %2F, ? as %3F and # as %23; in options write @ as %40"
        raise _BadDsn('has an "@" after a "/", "?" or "#"', right)
    if path not in ("", "/") or "#" in query:
        raise _BadDsn("goes on after the host", "end it there, or with options, like ?rate=600/m")
    return authority, query


def _authority(text: str) -> _Authority:
    login, _, endpoint = text.rpartition("@")
    user, _, password = login.partition(":")
    host, port = _endpoint(endpoint)
    return _Authority(_decoded(user), _decoded(password), host, port)


def _endpoint(text: str) -> tuple[str, int | None]:
    if not text.startswith("[") and text.count(":") > 1:
        raise _BadDsn("has more than one : in its host", "write an IPv6 address like [::1] or [::1]:587")
    match = ENDPOINT.fullmatch(text)
    host = "" if match is None else match["host"]
    if match is None or not _is_host(host):
        right = "write a name or an address, IPv6 in brackets; ${NAME} is not looked up in it"
        raise _BadDsn("has a host that can't be one", right)
    port = match["port"]
    if port is None:
        return host, None
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= PORT_MAX:
        raise _BadDsn(f"has a port that is not a number from 1 to {PORT_MAX}", DSN_FORM)
    return host, int(port)


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return not host or HOST_NAME.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


def _decoded(text: str) -> str:
    if BAD_ESCAPE.search(text):
        raise _BadDsn("has a % without two hexadecimal digits after it", "write % as %25")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        right = "percent-encode its UTF-8, and write % as %25"
        raise _BadDsn("is not UTF-8 where it is percent-encoded", right) from None


def _smtp(at: _Authority, *, tls: Tls) -> Table:
    if at.host_is_default:
        raise _BadDsn("names no host", "write it like smtp://user:password@smtp.example.net:587")
    table: Table = {"type": "smtp", "host": at.host.strip("[]")}
    if tls is Tls.TLS:
        table |= {"tls": tls.value, "port": SMTPS_PORT}
    if at.port is not None:
        table["port"] = at.port
    if at.user:
        table["username"] = at.user
    if at.password:
        table["password"] = at.password
    return table


def _resend(at: _Authority) -> Table:
    if not at.user or at.password or not at.host:
        raise _BadDsn("needs one key and a host", "write resend://KEY@default")
    table: Table = {"type": "resend", "key": at.user}
    if not at.host_is_default:
        table["base_url"] = f"https://{at.host}" + ("" if at.port is None else f":{at.port}")
    elif at.port is not None:
        raise _BadDsn("has a port without a host", "write resend://KEY@default or resend://KEY@host:port")
    return table


def _sandbox(at: _Authority) -> Table:
    if not at.host_is_default or at.user or at.password or at.port is not None:
        raise _BadDsn(
            "names a host or a user, and a sandbox has neither",
            "write sandbox:// or sandbox://default?folder=…",
        )
    return {"type": "sandbox"}


SCHEMES: Mapping[str, Callable[[_Authority], Table]] = {
    "smtp": partial(_smtp, tls=Tls.STARTTLS),
    "smtps": partial(_smtp, tls=Tls.TLS),
    "resend": _resend,
    "resend+api": _resend,
    "sandbox": _sandbox,
}


def _options(query: str, table: Table) -> Options:
    """The keys that the provider has besides, each with the text of its value."""
    known = [key for key in keys(PROVIDERS[str(table["type"])]) if key not in BEFORE_THE_OPTIONS]
    found: dict[str, tuple[str, ...]] = {}
    for option in filter(None, query.split("&")):
        key, _, value = option.partition("=")
        if key not in known:
            named = f" {quoted(key)}" if WORD.fullmatch(key) else ""
            right = SYMFONYS_OPTIONS.get(key) or suggestion(key, known)
            raise _BadDsn(f"has an unknown option{named}", right)
        if key in table:
            raise _BadDsn(f"says what {key} is before the options", "leave the option out")
        if key in found and key != "rate":
            raise _BadDsn(f"says twice what {key} is", "leave one of them out")
        found[key] = (*found.get(key, ()), _decoded(value))
    return found
