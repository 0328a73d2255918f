"""Databases for tests of the SQL adapters: a file, or a database on the session's server, gone with the test."""

import pytest

from adapters.sql.migrate import migrate
from tests.postgres import PostgresServer

KINDS = ("sqlite", "postgresql")


def empty_url(kind: str, request: pytest.FixtureRequest) -> str:
    """A database without any table."""
    if kind == "sqlite":
        return f"sqlite:///{request.getfixturevalue('tmp_path')}/stagepost.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.create()
    request.addfinalizer(lambda: server.drop(url))
    return url


def migrated_url(kind: str, request: pytest.FixtureRequest) -> str:
    """A database as the service finds it."""
    url = empty_url(kind, request)
    migrate(url)
    return url
