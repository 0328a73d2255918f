"""`database`: PostgreSQL on one host or on several, in the forms in which people know it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from entrypoints.config import ConfigError, load_config


def database_url(written: str) -> str:
    """What a configuration makes of it."""
    return load_config(None, {"STAGEPOST__DATABASE": f'"{written}"'}).database_url()


@pytest.mark.parametrize(
    ("written", "connects"),
    [
        ("postgresql://u:p@h/d", {"host": "h", "dbname": "d", "user": "u", "password": "p"}),
        ("postgresql://u:a?b/c,d@h:7/d", {"host": "h", "port": 7, "user": "u", "password": "a?b/c,d"}),
        ("postgresql:///d?host=/run/pg", {"host": "/run/pg", "dbname": "d"}),
        (
            "postgresql://u:p@a,b:7/d",
            {"host": "a,b", "port": "5432,7", "dbname": "d", "user": "u", "password": "p"},
        ),
        (
            "postgresql+psycopg://u@a:1,[::1]:2/d?target_session_attrs=any",
            {"host": "a,::1", "port": "1,2", "target_session_attrs": "any"},
        ),
        ("postgresql://u@/d?host=a:1&host=b:2", {"host": "a,b", "port": "1,2"}),
    ],
)
def test_every_form_is_understood(
    written: str, connects: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of libpq's manual for several hosts, and that of our driver."""
    monkeypatch.chdir(tmp_path)
    url = make_url(database_url(written))
    _, made = url.get_dialect()().create_connect_args(url)

    assert connects == {key: made[key] for key in connects}


@pytest.mark.parametrize("hosts", ["h:x", "a:1,b:hush", "a:0", "a:65536", "a:1:2", "a,,b", ",a"])
def test_what_can_be_no_host_is_named_and_not_repeated(
    hosts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what would be right; the mistake may be a part of the password."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"database: (has a host or a port|lacks a host)") as caught:
        database_url(f"postgresql://user:hush@{hosts}/d")

    assert "a:5432,b:5432" in str(caught.value)
    assert "hush" not in str(caught.value)
