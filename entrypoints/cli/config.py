"""`config check`: whether `serve` would start with this configuration, and what it comes to."""

from __future__ import annotations

import re

from cyclopts import App

from application.settings import Settings
from entrypoints.bootstrap_providers import make_provider
from entrypoints.cli.options import AsJson, ConfigFile
from entrypoints.cli.output import print_json, print_pairs
from entrypoints.config import Config, load_config
from entrypoints.dsn import DSN_VARIABLE
from entrypoints.shapes import Shape

PASSWORD = re.compile(r"(?<=://)([^:/@?]*):.*@")
"""Up to the last @: one that has an @ or a / of its own, unescaped, may not show its tail."""
PASSWORD_IN_QUERY = re.compile(r"(?i)(password=)[^&]*")

app = App(name="config")


@app.command
def check(*, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Say whether `serve` would start with it; with exit code 2, what is wrong."""
    loaded = load_config(config)
    loaded.check_for_serving()
    for name in loaded.providers:
        make_provider(loaded, name)
    found = summary(loaded)
    if as_json:
        print_json({"ok": True, **found})
        return
    print("fine")
    pairs = [(key, found[key]) for key in ("database", "listen", "from")]
    pairs += [("tokens", ", ".join(found["tokens"]) or "none: open to every user of this machine")]
    pairs += [(f"provider {one['name']}", _provider(one)) for one in found["providers"]]
    pairs += [(f"route {one['name']}", _route(one)) for one in found["routes"]]
    print_pairs((name, value) for name, value in pairs if value)


def summary(config: Config) -> Shape:
    """What it comes to; no password, no token."""
    settings, tokens = config.settings(), config.tokens()
    sender = config.default_from
    return {
        "database": without_password(config.database_url()),
        "listen": str(config.listen),
        "tokens": [name for name in ("admin", "send") if getattr(tokens, name) is not None],
        "from": None if sender is None else sender.address,
        "providers": [
            {
                "name": one.name,
                "type": one.type,
                "rates": [str(rate) for rate in one.rates],
                "source": (config.place / "providers" / one.name).file,
            }
            for one in settings.providers.values()
        ],
        "routes": _routes(settings),
    }


def without_password(url: str) -> str:
    """A database's URL, fit to be shown."""
    return PASSWORD_IN_QUERY.sub(r"\1***", PASSWORD.sub(r"\1:***@", url))


def _routes(settings: Settings) -> list[Shape]:
    return [
        {
            "name": one.name,
            "use": list(one.providers),
            "match_tag": one.match_tag,
            "match_from_domain": one.match_from_domain,
        }
        for one in settings.routes.values()
    ]


def _provider(one: Shape) -> str:
    from_dsn = f"  (from {DSN_VARIABLE})" if one["source"] == DSN_VARIABLE else ""
    return ", ".join([one["type"], *one["rates"]]) + from_dsn


def _route(one: Shape) -> str:
    matches = [
        f"{word} {one[key]}"
        for key, word in (("match_tag", "tag"), ("match_from_domain", "from"))
        if one[key] is not None
    ]
    return ", then ".join(one["use"]) + (f"  (for {' and '.join(matches)})" if matches else "")
