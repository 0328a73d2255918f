"""Which configuration a command goes by where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoints.cli.options import DEV_FOLDER, configuration

RELAY = '[providers.relay]\ntype = "smtp"\nhost = "smtp.example.net"\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which `stagepost dev` ran once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STAGEPOST__DATABASE", raising=False)
    monkeypatch.delenv("STAGEPOST_DSN", raising=False)
    (tmp_path / DEV_FOLDER).mkdir()
    (tmp_path / DEV_FOLDER / "stagepost.db").touch()
    return tmp_path


def test_beside_make_run_commands_find_what_it_runs() -> None:
    """The README's first minutes: `stagepost status hello-1` in the same folder."""
    assert ["sandbox"] == list(configuration(None).providers)


def test_a_configuration_of_ones_own_comes_first(here: Path) -> None:
    """In its usual place, or named."""
    (here / "stagepost.toml").write_text(RELAY)
    (here / "other.toml").write_text(RELAY.replace("relay", "other"))

    assert ["relay"] == list(configuration(None).providers)
    assert ["other"] == list(configuration(here / "other.toml").providers)


def test_a_database_from_the_environment_is_not_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever set it means that one."""
    monkeypatch.setenv("STAGEPOST__DATABASE", "sqlite:///mine.db")

    assert {} == dict(configuration(None).providers)


def test_nor_are_providers_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` goes by them, so what asks about it does."""
    monkeypatch.setenv("STAGEPOST_DSN", "smtp://smtp.example.net")

    assert ["smtp"] == list(configuration(None).providers)
