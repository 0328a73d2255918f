"""The URL of a PostgreSQL, on one host or on several: as libpq's manual writes it, and as our driver takes it."""

from __future__ import annotations

import re
from urllib.parse import quote

from entrypoints.base_url import PORT_MAX
from entrypoints.config_source import Place

DEFAULT_PORT = 5432
LOGIN = re.compile("[^:/]*(:[^@]*)?@")
HOST = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(:(?P<port>[0-9]{1,5}))?")
RIGHT = 'write it like "postgresql://user:password@host:5432/name", or with "a:5432,b:5432" for the host'


def postgres_url(url: str, place: Place) -> str:
    """The same, several hosts (`a:5432,b:5432`) as options: `?host=a,b&port=5432,5432`.

    Raises ConfigError where a host or a port can't be one; no error repeats any of it, which may be a password.
    """
    scheme, _, rest = url.partition("://")
    found_login = LOGIN.match(rest)
    login = "" if found_login is None else found_login[0]
    target, options, query = rest[len(login) :].partition("?")
    named, slash, database = target.partition("/")
    found = [HOST.fullmatch(one) for one in named.split(",")]
    if not all(one is not None and _is_port(one["port"]) for one in found):
        raise place.error("has a host or a port that can't be one", RIGHT)
    if len(found) == 1:
        return url
    names = [one["host"].strip("[]") for one in found if one is not None]
    if not all(names):
        raise place.error("lacks a host between two commas", RIGHT)
    ports = [one["port"] or str(DEFAULT_PORT) for one in found if one is not None]
    hosts = f"host={quote(','.join(names), safe=',:')}&port={','.join(ports)}"
    more = f"&{query}" if options and query else ""
    return f"{scheme}://{login}{slash or '/'}{database}?{hosts}{more}"


def _is_port(text: str | None) -> bool:
    return text is None or 1 <= int(text) <= PORT_MAX
