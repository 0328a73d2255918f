"""What the environment says: `STAGEPOST__A__B` about any key, `STAGEPOST_DSN` about all providers at once.

It is laid over what the file says, before anything is read: a file's providers and routes that a DSN replaces may be
as wrong as they like.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from application.settings import DEFAULT_ROUTE
from entrypoints.config_source import ConfigError, KeyPath, Override, suggestion
from entrypoints.dsn import DSN_VARIABLE, DsnProvider, read_dsn

ENV_PREFIX = "STAGEPOST__"

Overrides = dict[KeyPath, Override]


def lay_over(
    raw: dict[str, Any], environ: Mapping[str, str], *, dsn: str | None
) -> Mapping[KeyPath, Override]:
    """Lay the environment over `raw`: first the DSN, then key by key. Which variable set which key path."""
    if dsn is None:
        return _lay_keys(raw, environ)
    found = read_dsn(dsn)
    replaced = _lay_dsn(raw, found)
    refined = _lay_keys(raw, environ)
    _check_refinements(refined, found)
    kept = {
        path: one for path, one in replaced.items() if not any(path[:n] in refined for n in range(len(path)))
    }
    return kept | refined


def _lay_dsn(raw: dict[str, Any], found: Mapping[str, DsnProvider]) -> Overrides:
    """Put the providers of the DSN, and the one route through them, in the place of the file's."""
    raw["providers"], raw["routes"] = {}, {DEFAULT_ROUTE: {"use": list(found)}}
    overrides: Overrides = {}
    for name, one in found.items():
        table = raw["providers"][name] = dict(one.table)
        overrides["providers", name] = Override(DSN_VARIABLE, literal=True)
        for key, texts in one.options.items():
            values = [_env_value(text) for text in texts]
            table[key] = values if len(values) > 1 else values[0]
            overrides["providers", name, key] = Override(DSN_VARIABLE, texts[0], literal=True)
    return overrides


def _check_refinements(overrides: Overrides, found: Mapping[str, DsnProvider]) -> None:
    """A variable about a provider that the DSN does not have was meant for a file, or for another name."""
    for path, override in overrides.items():
        if path == ("providers",):
            raise ConfigError(
                override.variable, "providers", f"replaces {DSN_VARIABLE}", "set one of the two"
            )
        if path[0] == "providers" and path[1] not in found:
            wrong = f"there is no such provider in {DSN_VARIABLE}"
            raise ConfigError(override.variable, ".".join(path[:2]), wrong, suggestion(path[1], found))


def _lay_keys(raw: dict[str, Any], environ: Mapping[str, str]) -> Overrides:
    overrides: Overrides = {}
    # Sorted, a table comes before the keys in it.
    for variable in sorted(name for name in environ if name.startswith(ENV_PREFIX)):
        target: dict[str, Any] = raw
        path: KeyPath = ()
        *tables, last = variable.removeprefix(ENV_PREFIX).split("__")
        for segment in tables:
            key = _as_spelled(segment, target)
            path = (*path, key)
            target = target.setdefault(key, {})
            if not isinstance(target, dict):
                raise ConfigError(
                    variable, ".".join(path), "is not a table", f"set {ENV_PREFIX}… without __{last}"
                )
        key = _as_spelled(last, target)
        target[key] = _env_value(environ[variable])
        overrides[(*path, key)] = Override(variable, environ[variable])
    return overrides


def _as_spelled(segment: str, target: Mapping[str, Any]) -> str:
    """Variables are written in capitals, and in a shell without -, so that a key is meant whatever its own case, and
    one with - where _ stands; a new one is lower case."""
    meant = segment.lower()
    same = [key for key in target if key.lower() == meant]
    alike = [key for key in target if key.lower().replace("-", "_") == meant]
    return next(iter(same + alike), meant)


def _env_value(text: str) -> object:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text  # a line break in it starts another key
