"""`version`: what is at work here, for whoever reports a problem."""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

from entrypoints.cli.options import AsJson, ConfigFile
from entrypoints.cli.output import print_json, print_pairs

LIBRARIES = ("sqlalchemy", "psycopg", "alembic", "starlette", "uvicorn", "aiosmtplib", "aiohttp", "msgspec")


def versions(*, as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Show the versions of what is at work here, whatever is configured."""
    del config
    found = {
        "stagepost": version_of("stagepost"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: _version(name) for name in LIBRARIES},
    }
    if as_json:
        print_json(found)
    else:
        print_pairs(found.items())


def _version(name: str) -> str:
    try:
        return version_of(name)
    except PackageNotFoundError:
        return "missing"
