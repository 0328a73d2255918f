"""Both databases, empty and migrated."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.sql.migrate import migrate


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'stagepost.db'}"
    url: str = request.getfixturevalue("postgres_url")
    migrate(url)
    return url
