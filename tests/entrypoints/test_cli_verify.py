"""`stagepost verify` and `stagepost replay`: what they print, how they end, and how they get at the database."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrypoints.cli.main import main
from tests.contract.event_store.database import execute
from tests.entrypoints.cli_process import Running, process_as_before

PROVIDERS = """
[providers.relay]
type = "sandbox"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    with process_as_before():
        yield tmp_path


@pytest.fixture
def database(month: str, folder: Path) -> str:
    """A month of mail on either database, and the configuration that names it."""
    (folder / "stagepost.toml").write_text(f'database = "{month}"\n{PROVIDERS}')
    return month


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """What a command says with --json."""
    capsys.readouterr()
    assert code == main([*arguments, "--json"]), capsys.readouterr().err
    said = capsys.readouterr()
    assert "" == said.err, "nobody at a terminal sees a progress bar"
    return json.loads(said.out)


def test_what_is_fine_is_said_to_be(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for people, one object for programs."""
    events = execute(database, "SELECT count(*) FROM events")[0][0]
    said = answer(capsys, "verify")

    assert {"ok": True, "events": events, "first_bad": None} == {
        name: said[name] for name in ("ok", "events", "first_bad")
    }
    assert 0 == said["contents"]["unproven"]
    assert 0 == main(["verify"])
    assert capsys.readouterr().out.startswith(f"fine: {events} events, {said['emails']} emails, ")


def test_the_first_thing_wrong_is_named(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1; position, stream, and what; none of what the row says."""
    where = "position = 9"
    if database.startswith("sqlite"):
        execute(database, "DROP TRIGGER events_no_update")
    else:
        execute(database, "ALTER TABLE events DISABLE TRIGGER ALL")
    execute(database, f"UPDATE events SET data = replace(data, '\"', '\" ') WHERE {where}")
    ((stream,),) = execute(database, f"SELECT stream FROM events WHERE {where}")
    bad = answer(capsys, "verify", code=1)

    assert not bad["ok"]
    assert (9, stream) == (bad["first_bad"]["position"], bad["first_bad"]["stream"])
    assert "hash" in bad["first_bad"]["what"]
    assert 1 == main(["verify"])
    assert capsys.readouterr().out.startswith(f"wrong: position 9, {stream}: its hash")


@pytest.mark.parametrize("command", ["verify", "replay", "replay --rebuild all"])
def test_without_a_database_there_is_nothing_to_do(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And none is made by looking for it."""
    Path("stagepost.toml").write_text(f'database = "sqlite:///mail.db"\n{PROVIDERS}')

    assert 1 == main(command.split())
    assert "there is no database at" in capsys.readouterr().err
    assert ["stagepost.toml"] == [one.name for one in Path().iterdir()]


def test_replay_counts(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Events by type, emails by status, attempts by outcome, and how fast that was."""
    rows = execute(database, "SELECT type, count(*) FROM events GROUP BY type")
    types = {row[0]: row[1] for row in rows}
    said = answer(capsys, "replay")

    assert types == said["types"]
    assert sum(types.values()) == said["events"]
    assert {"sent", "failed"} <= said["emails"].keys()
    assert said["events_per_second"] > 0
    assert 0 == main(["replay"])
    told = capsys.readouterr().out
    assert told.startswith(f"{said['events']} events in ")
    assert re.search(rf"^  sent +{said['emails']['sent']}$", told, re.MULTILINE), told


def test_replay_rebuilds_a_view(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Which rows were wrong is counted; a second time none is."""
    rows = execute(database, "SELECT * FROM attempts ORDER BY email_id, attempt")
    execute(database, "UPDATE attempts SET provider = 'nobody'")
    first = answer(capsys, "replay", "--rebuild", "attempts")
    second = answer(capsys, "replay", "--rebuild", "all")

    assert ("done", "attempts", None) == (first["state"], first["view"], first["failed"])
    assert first["rebuilt"][0]["rows"] > 100
    assert rows == execute(database, "SELECT * FROM attempts ORDER BY email_id, attempt")
    assert [("emails", 0), ("gates", 0), ("reports", None)] == [
        (one["view"], one["rows"]) for one in second["rebuilt"]
    ]
    assert 0 == main(["replay", "--rebuild", "gates"])
    assert "0 rows were not as they say" in capsys.readouterr().out


def test_a_view_that_is_not_there_is_a_mistake(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the names of those there are."""
    assert 2 == main(["replay", "--rebuild", "email"])

    assert "there are emails, attempts, gates, reports, and all" in capsys.readouterr().err


def test_a_reports_view_is_counted_anew(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are written as a whole; emails in them are as many as the log has."""
    answer(capsys, "replay", "--rebuild", "reports")
    ((requested,),) = execute(database, "SELECT count(*) FROM events WHERE type = 'Requested'")
    ((counted,),) = execute(database, "SELECT sum(n) FROM tallies WHERE measure = 'requested'")

    assert requested == counted


@pytest.mark.parametrize("month", ["sqlite"], indirect=True)
def test_beside_a_service_it_goes_through_it(
    month: str, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    """SQLite has one writer: who serves rebuilds, and who asks watches. Reading needs nobody."""
    (folder / "stagepost.toml").write_text(
        f'database = "{month}"\nlisten = "127.0.0.1:0"\nadmin_token = "a"\nsend_token = "s"\n{PROVIDERS}'
    )
    execute(month, "UPDATE emails SET status = 'failed' WHERE status = 'sent'")
    service = Running(folder, "serve", "--no-worker")
    try:
        service.wait_until_listening(Path(month.removeprefix("sqlite:///") + ".lock"))
        wrong = answer(capsys, "verify", code=1)
        done = answer(capsys, "replay", "--rebuild", "emails")
        fine = answer(capsys, "verify")
        counted = answer(capsys, "replay")
    finally:
        code = service.stop(signal.SIGINT)

    assert wrong["first_bad"]["what"].startswith("emails: ")
    assert "done" == done["state"]
    assert done["rebuilt"][0]["rows"] > 100
    assert fine["ok"]
    assert counted["emails"]["sent"] > 100
    assert 0 == code, service.stderr
    with sqlite3.connect(month.removeprefix("sqlite:///")) as connection:
        assert "ok" == connection.execute("PRAGMA integrity_check").fetchone()[0]
