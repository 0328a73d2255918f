"""What faults are done to: either database, and a provider that counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.sql.migrate import migrate
from tests.support.smtp_script import At, slow
from tests.support.smtp_server import ScriptedSmtpServer


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'stagepost.db'}"
    else:
        url = request.getfixturevalue("postgres_url")
    migrate(url)
    return url


@pytest.fixture
def sink() -> Iterator[ScriptedSmtpServer]:
    """A provider that takes a moment for each message, so that there is always one in flight."""
    with ScriptedSmtpServer.in_thread({At.DOT: slow(0.02)}) as server:
        yield server
