"""Commands on PostgreSQL: each uses the database itself, and workers run beside whatever else there is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrypoints.cli.main import main
from tests.entrypoints.cli_process import Running, in_an_hour, process_as_before

SEND = ("send", "--to", "ann@example.org", "--subject", "Hello", "--body", "It works.")
SENT_MAX_S = 30.0
LATER = in_an_hour()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the configuration of an empty database."""
    monkeypatch.chdir(tmp_path)
    config = f"""
database = "{postgres_url}"
listen = "127.0.0.1:0"
from = "Shop <shop@example.org>"

[providers.files]
type = "sandbox"
"""
    (tmp_path / "stagepost.toml").write_text(config)
    with process_as_before():
        yield tmp_path


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """What a command says with --json."""
    capsys.readouterr()
    assert code == main([*arguments, "--json"]), capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", ["serve", "worker", "status x", "cancel x", "providers list"])
def test_an_unmigrated_database_names_what_to_do(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 1: an operator migrates, once for all machines."""
    assert 1 == main(command.split())

    told = capsys.readouterr().err
    assert 1 == told.count("\n"), told
    assert "`stagepost migrate`" in told


def test_migrating(capsys: pytest.CaptureFixture[str]) -> None:
    """Looked at, done, and done again."""
    assert 1 == main(["migrate", "status"])
    assert capsys.readouterr().out.startswith("pending: the database is empty")

    done = answer(capsys, "migrate")
    assert done["before"] is None
    assert done == {**answer(capsys, "migrate"), "before": None}
    assert 0 == main(["migrate", "status"])
    assert f"fine: the database is at {done['now']}\n" == capsys.readouterr().out


def test_a_worker_sends_what_commands_hand_in(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands write beside it, without any lock; SIGTERM ends it in order."""
    assert 0 == main(["migrate"])
    for ref in ("first", "second"):
        assert "queued" == answer(capsys, *SEND, "--id", ref)["status"]
    answer(capsys, *SEND, "--id", "never", "--send-at", LATER)
    worker = Running(folder, "worker")
    try:
        deadline = time.monotonic() + SENT_MAX_S
        while {"sent"} != {answer(capsys, "status", ref)["status"] for ref in ("first", "second")}:
            assert worker.process.poll() is None, worker.stderr
            assert time.monotonic() < deadline, worker.stderr
            time.sleep(0.05)
        assert 0 == main(["cancel", "never"])
        assert answer(capsys, "providers", "pause", "files")["paused"] is True
    finally:
        code = worker.stop()

    assert 0 == code, worker.stderr
    assert "Traceback" not in worker.stderr
    assert "" == worker.stdout
    assert 2 == len(list((folder / "outbox").glob("*.eml")))


def test_a_database_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, without the password."""
    (folder / "stagepost.toml").write_text(
        'database = "postgresql://me:s3cret@127.0.0.1:1/mail"\nproviders.files.type = "sandbox"'
    )

    for command in (["serve"], ["worker"], ["status", "x"], ["migrate"], ["migrate", "status"]):
        assert 1 == main(command)

        told = capsys.readouterr().err
        assert 1 == told.count("\n"), told
        assert "s3cret" not in told
