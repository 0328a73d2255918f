"""`config check`: says what `serve` would say, and never a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entrypoints.cli.config import without_password
from entrypoints.cli.main import main

FILE = """
database = "postgresql://stagepost:${PG_PASSWORD}@db.example.net/stagepost"
admin_token = "the-admin-token"
from = "Shop <shop@example.org>"

[providers.primary]
type = "smtp"
host = "smtp.example.net"
username = "stagepost"
password = "${SMTP_PASSWORD}"
rate = ["14/s", "50000/d"]

[providers.files]
type = "sandbox"

[routes.otp]
match = { tag = "otp" }
use = ["files", "primary"]
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with this configuration in it, and its variables set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PG_PASSWORD", "pg-secret")
    monkeypatch.setenv("SMTP_PASSWORD", "smtp-secret")
    (tmp_path / "stagepost.toml").write_text(FILE)


def test_a_good_one_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    """With a summary of what it comes to, and no secret in it."""
    assert 0 == main(["config", "check"])

    out = capsys.readouterr().out
    assert "fine" == out.splitlines()[0]
    assert "postgresql://stagepost:***@db.example.net/stagepost" in out
    assert "smtp, 14/s, 50000/d" in out
    assert "files, then primary  (for tag otp)" in out
    for secret in ("pg-secret", "smtp-secret", "the-admin-token"):
        assert secret not in out


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same for programs."""
    assert 0 == main(["config", "check", "--json"])

    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert ["admin"] == found["tokens"]
    assert [("primary", "smtp", "stagepost.toml"), ("files", "sandbox", "stagepost.toml")] == [
        (one["name"], one["type"], one["source"]) for one in found["providers"]
    ]
    assert ["files", "primary"] == found["routes"][0]["use"]


@pytest.mark.parametrize("as_json", [False, True])
def test_providers_of_a_dsn(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They stand where the file's would, with where they came from, and nothing that lets anybody in."""
    dsn = "failover(smtp://dsn-user:dsn-secret@h?rate=5/s resend://dsn-key@default)"
    monkeypatch.setenv("STAGEPOST_DSN", dsn)
    monkeypatch.delenv("SMTP_PASSWORD")

    assert 0 == main(["config", "check", *(["--json"] if as_json else [])])

    out = capsys.readouterr().out
    if not as_json:
        assert "smtp, 5/s  (from STAGEPOST_DSN)" in out
        assert "smtp, then resend" in out
    assert 2 == out.count("STAGEPOST_DSN")
    assert "primary" not in out
    assert "dsn-" not in out


@pytest.mark.parametrize(
    "dsn",
    [
        "smtp://dsn-user:dsn/secret@h",
        "smtp://dsn-user@h",
        "resend://dsn-key",
        "resend://dsn%20key@default",
        "sandbox://dsn-user@h",
    ],
)
def test_a_dsn_with_a_mistake(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and one line that names the variable, but not what is in it."""
    monkeypatch.setenv("STAGEPOST_DSN", dsn)

    assert 2 == main(["config", "check"])

    told = capsys.readouterr()
    assert "" == told.out
    assert 1 == len(told.err.splitlines())
    assert "STAGEPOST_DSN: " in told.err
    assert "dsn" not in told.err
    assert "secret" not in told.err


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("PG_PASSWORD", "database: the environment variable PG_PASSWORD is not set"),
        ("SMTP_PASSWORD", "providers.primary.password: the environment variable SMTP_PASSWORD is not set"),
    ],
)
def test_a_missing_variable_is_found_before_it_is_needed(
    wrong: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever checks a configuration wants to hear of it now."""
    monkeypatch.delenv(wrong)

    assert 2 == main(["config", "check"])

    told = capsys.readouterr()
    assert "" == told.out
    assert says in told.err


def test_listening_to_others_without_a_token_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What only `serve` would refuse is refused here too."""
    (tmp_path / "stagepost.toml").write_text('[providers.files]\ntype = "sandbox"')
    monkeypatch.setenv("STAGEPOST__LISTEN", "0.0.0.0:8025")

    assert 2 == main(["config", "check"])

    assert "STAGEPOST__LISTEN: listen: 0.0.0.0:8025 is open to others" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////var/lib/mail.db", "sqlite:////var/lib/mail.db"),
        ("postgresql://db.example.net/mail", "postgresql://db.example.net/mail"),
        ("postgresql://me@db:5432/mail", "postgresql://me@db:5432/mail"),
        ("postgresql://me:s3cret@db:5432/mail", "postgresql://me:***@db:5432/mail"),
        ("postgresql://me:s3/c@r:et@db/mail", "postgresql://me:***@db/mail"),
        ("postgresql+psycopg://me:s3cret@db/mail", "postgresql+psycopg://me:***@db/mail"),
        (
            "postgresql:///mail?host=a:1&host=b:2&password=s3cret&user=me",
            "postgresql:///mail?host=a:1&host=b:2&password=***&user=me",
        ),
    ],
)
def test_a_database_is_shown_without_its_password(url: str, shown: str) -> None:
    """However the URL is put together, and even where it is put together badly."""
    assert shown == without_password(url)
