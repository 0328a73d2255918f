"""Commands without a service: on SQLite a command that writes is the writer for as long as it runs."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrypoints import lockfile
from entrypoints.cli.main import main
from tests.entrypoints.cli_process import Running, in_an_hour, process_as_before

CONFIG = """
database = "sqlite:///mail.db"
listen = "127.0.0.1:0"
from = "Shop <shop@example.org>"

[providers.files]
type = "sandbox"

[providers.gone]
type = "smtp"
host = "127.0.0.1"
port = 1
tls = "none"
"""
SEND = ("send", "--to", "ann@example.org", "--subject", "Hello", "--body", "It works.")
LATER = in_an_hour()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a configuration in it, and a process that is afterwards as it was before."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stagepost.toml").write_text(CONFIG)
    with process_as_before():
        yield tmp_path


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """What a command says with --json."""
    capsys.readouterr()
    assert code == main([*arguments, "--json"]), capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_an_email_is_accepted_without_a_service(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command makes the database, and lets go of it; sending waits for a service."""
    receipt = answer(capsys, *SEND, "--id", "alone")

    assert "queued" == receipt["status"]
    assert "queued" == answer(capsys, "status", "alone")["status"]
    assert lockfile.read(folder / "mail.db") is None
    assert not (folder / "outbox").exists()


def test_the_same_id_is_accepted_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The rules are those of HTTP."""
    first = answer(capsys, *SEND, "--id", "once")

    assert first == answer(capsys, *SEND, "--id", "once")
    assert 1 == main([*SEND, "--id", "once", "--cc", "bob@example.org"])


def test_a_bad_request_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """On one line, with every bad field."""
    assert 2 == main(["send", "--to", "nobody", "--body", "x"])

    told = capsys.readouterr()
    assert 1 == told.err.count("\n")
    assert "subject is required" in told.err
    assert "to[0]" in told.err


def test_emails_are_cancelled(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its own answer."""
    receipt = answer(capsys, *SEND, "--id", "one", "--send-at", LATER)

    found = answer(capsys, "cancel", receipt["email_id"], "none", code=1)

    assert {"id": "one", "email_id": receipt["email_id"], "status": "cancelled"} == found["data"][0]
    assert {"id": "none", "error": "There is no such email."} == found["data"][1]
    assert 0 == main(["cancel", "one"])
    assert 1 == main(["retry", "none"])


def test_a_provider_is_paused(capsys: pytest.CaptureFixture[str]) -> None:
    """It stays so for the service that starts later."""
    answer(capsys, *SEND)

    assert answer(capsys, "providers", "pause", "files")["paused"] is True
    assert [True, False] == [one["paused"] for one in answer(capsys, "providers", "list")["data"]]
    assert 0 == main(["providers", "list"])
    assert "paused" in capsys.readouterr().out
    assert answer(capsys, "providers", "resume", "files")["paused"] is False
    assert 1 == main(["providers", "pause", "fils"])
    assert 'there is no provider "fils"; did you mean "files"?' in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "status x",
        "explain x",
        "retry x",
        "cancel x",
        "providers list",
        "providers pause files",
        "migrate status",
    ],
)
def test_a_missing_database_is_said_and_not_made(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped path leaves nothing behind."""
    assert 1 == main(command.split())

    told = capsys.readouterr()
    assert (
        f"stagepost: there is no database at {folder / 'mail.db'}; `stagepost serve` makes one\n" == told.err
    )
    assert ["stagepost.toml"] == [one.name for one in folder.iterdir()]


def test_sending_without_a_provider_leaves_nothing_behind(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a wrong configuration, found before the database is made."""
    (folder / "stagepost.toml").write_text("")

    assert 2 == main([*SEND, "--from", "shop@example.org"])

    assert "no provider is configured" in capsys.readouterr().err
    assert ["stagepost.toml"] == [one.name for one in folder.iterdir()]


def test_a_lock_without_an_address_is_waited_for_and_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another command is writing, or a service that doesn't listen yet."""
    answer(capsys, *SEND)
    monkeypatch.setattr("entrypoints.cli.database.LOCK_WAIT_S", 0.1)

    with lockfile.acquire(folder / "mail.db"):
        assert 1 == main(["cancel", "x"])
        owner = lockfile.read(folder / "mail.db")

    assert owner is not None
    assert f"process {owner.pid}" in capsys.readouterr().err


def test_a_service_that_does_not_answer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its address is named, and that nothing is known."""
    answer(capsys, *SEND)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    with lockfile.acquire(folder / "mail.db") as lock:
        lock.publish(url)
        assert 1 == main(["cancel", "x"])

    told = capsys.readouterr().err
    assert url in told
    assert "Connection refused" in told


def test_what_is_no_database_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever lies there is left as it is."""
    (folder / "mail.db").write_text("This is no database, but it is long enough to be looked at. " * 20)

    for command in (["status", "x"], [*SEND]):
        assert 1 == main(command)

        told = capsys.readouterr()
        assert "" == told.out
        assert 1 == told.err.count("\n"), told.err


def test_a_folder_that_can_not_be_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The path is named."""
    (folder / "stagepost.toml").write_text(CONFIG.replace("mail.db", "stagepost.toml/mail.db"))

    assert 1 == main([*SEND])
    assert 1 == main(["serve"])

    told = capsys.readouterr().err.splitlines()
    assert 2 == len(told)
    assert all(f"{folder / 'stagepost.toml'}" in line for line in told)


def test_a_port_that_is_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said before anything is started, on one line."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("STAGEPOST__LISTEN", f"127.0.0.1:{listener.getsockname()[1]}")
        assert 1 == main(["serve"])

    told = capsys.readouterr()
    assert 1 == told.err.count("\n"), told.err
    assert "another process listens there" in told.err
    assert not (folder / "mail.db").exists()
    assert lockfile.read(folder / "mail.db") is None


def test_a_service_without_a_worker(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It takes emails in, and sends none; it is ready all the same."""
    service = Running(folder, "serve", "--no-worker")
    try:
        service.wait_until_listening(folder / "mail.db.lock")
        assert "ready" == service.get("/readyz")["status"]
        answer(capsys, *SEND, "--id", "kept")
        assert "queued" == answer(capsys, "status", "kept")["status"]
    finally:
        code = service.stop()

    assert 0 == code, service.stderr
    assert "queued" == answer(capsys, "status", "kept")["status"]
    assert not (folder / "outbox").exists()


def test_a_provider_that_lets_us_in(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Checked without sending, and without a database."""
    assert 0 == main(["providers", "test", "files"])

    assert f"files: writes each message to {folder / 'outbox'}\n" == capsys.readouterr().out
    assert [] == list((folder / "outbox").iterdir())


def test_a_provider_that_does_not_let_us_in(capsys: pytest.CaptureFixture[str]) -> None:
    """The reason, and exit code 1."""
    assert 1 == main(["providers", "test", "gone"])
    told = capsys.readouterr()
    assert "" == told.out
    assert told.err.startswith("stagepost: gone: ")
    assert 1 == told.err.count("\n")

    assert answer(capsys, "providers", "test", "gone", code=1)["ok"] is False
    assert 1 == main(["providers", "test", "nowhere"])
    assert 'there is no provider "nowhere"' in capsys.readouterr().err


def test_sqlite_is_migrated_by_hand_as_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the first service starts, and again."""
    assert answer(capsys, "migrate")["before"] is None
    assert [] == answer(capsys, "migrate", "status")["pending"]
    assert 0 == main(["migrate"])
    assert "nothing to do" in capsys.readouterr().out
