"""`stagepost doctor`: what is broken is found, named, and keeps nothing else from being looked at."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from adapters.sql.dialect import stamp
from adapters.sql.migrate import migrate
from entrypoints import bootstrap
from entrypoints.cli.main import main
from tests.contract.event_store.database import execute
from tests.entrypoints.cli_process import STAGEPOST, environment, process_as_before
from tests.entrypoints.doctor import CONFIG, examined, verdicts, well_besides
from tests.postgres import PostgresServer

GONE = """
[providers.gone]
type = "smtp"
host = "127.0.0.1"
port = 1
tls = "none"
"""
SEND = ("send", "--to", "ann@example.org", "--subject", "Hello", "--body", "It works.")

ON_BOTH = {
    "configuration",
    "python",
    "timer",
    "open files",
    "database",
    "version",
    "migrations",
    "append-only",
    "durability",
    "writable",
    "clock",
    "workers",
    "overdue",
    "waiting",
    "held",
    "uncertain",
    "circuits",
    "reports",
    "provider files",
}
OF_ITS_OWN = {"sqlite": {"disk", "lock"}, "postgresql": {"disk of files", "sessions"}}

ON_SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""


class Place(NamedTuple):
    """A folder with a configuration, and its database."""

    kind: str
    folder: Path
    url: str


@pytest.fixture(scope="module")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy."""
    path = tmp_path_factory.mktemp("doctor") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def postgresql_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A migrated database to copy."""
    url = postgres_server.create()
    migrate(url)
    yield url
    postgres_server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A database that is migrated and empty."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:
        stack.enter_context(process_as_before())
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path / 'stagepost.db'}"
            shutil.copyfile(request.getfixturevalue("sqlite_file"), tmp_path / "stagepost.db")
        else:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            url = server.create(request.getfixturevalue("postgresql_url"))
            stack.callback(server.drop, url)
        (tmp_path / "stagepost.toml").write_text(CONFIG.format(url=url))
        yield Place(request.param, tmp_path, url)


# --- as people run it


def test_a_service_that_is_well(place: Place) -> None:
    """A table, a line that sums it up, exit code 0: the command as a process of its own."""
    done = subprocess.run(
        [STAGEPOST, "doctor"],
        cwd=place.folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [line for line in done.stdout.splitlines() if line[:4] in ("pass", "WARN", "FAIL")]
    names = {line[6:].partition("  ")[0].strip() for line in rows}

    assert (0, "") == (done.returncode, done.stderr), done.stdout
    assert ON_BOTH | OF_ITS_OWN[place.kind] == names
    assert "fine" in done.stdout.splitlines()[-1]
    assert "FAIL" not in done.stdout


def test_json_says_the_same(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Each check with its verdict, what was seen, and what to do."""
    found = examined(capsys, code=0)

    assert ON_BOTH | OF_ITS_OWN[place.kind] == set(found)
    assert well_besides(found)
    assert {"name", "verdict", "what", "to_do"} == {key for one in found.values() for key in one}


# --- configuration and providers


@ON_SQLITE
def test_a_configuration_that_can_not_be_read(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """It is all there is to say, and it says where."""
    (place.folder / "stagepost.toml").write_text("databse = 1\n")
    found = examined(capsys, code=1)

    assert ["configuration"] == list(found)
    assert "databse" in found["configuration"]["what"]


@ON_SQLITE
def test_what_serve_would_refuse(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Open to others without a token; the rest is examined all the same."""
    text = CONFIG.format(url=place.url).replace("127.0.0.1:0", "0.0.0.0:8025")
    (place.folder / "stagepost.toml").write_text(text)
    found = examined(capsys, code=1)

    assert "admin_token" in found["configuration"]["what"]
    assert well_besides(found, "configuration")


@ON_SQLITE
def test_a_provider_that_is_unfit_and_one_without_its_secret(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each for itself. Offline nobody is asked, but what is missing is missing."""
    resend = '[providers.api]\ntype = "resend"\nkey = "${NOT_SET_ANYWHERE}"\n'
    with (place.folder / "stagepost.toml").open("a") as file:
        file.write(GONE + resend)
    found = examined(capsys, code=1)
    offline = examined(capsys, "--offline", code=1)

    names = ("provider files", "provider gone", "provider api")
    assert ["pass", "fail", "fail"] == verdicts(found, *names)
    assert ["pass", "pass", "fail"] == verdicts(offline, *names)
    assert "NOT_SET_ANYWHERE" in found["provider api"]["what"]
    assert well_besides(found, *names)


# --- the database


def test_a_database_that_is_not_migrated(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """What needs its tables is left out. SQLite is migrated by the next service, PostgreSQL by an operator."""
    execute(place.url, "UPDATE alembic_version SET version_num = '0001'")
    found = examined(capsys, code=0 if place.kind == "sqlite" else 1)

    assert [{"sqlite": "warn", "postgresql": "fail"}[place.kind]] == verdicts(found, "migrations")
    assert {"append-only", "clock", "overdue", "reports"}.isdisjoint(found)
    assert well_besides(found, "migrations")


def test_a_database_of_another_version(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """One that a newer Stagepost has been at."""
    execute(place.url, "UPDATE alembic_version SET version_num = '9999'")
    found = examined(capsys, code=1)

    assert ["fail"] == verdicts(found, "migrations")
    assert "newer version" in found["migrations"]["what"]


def test_a_log_that_can_be_changed(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Its trigger is gone."""
    drop = {"sqlite": "events_no_delete", "postgresql": "events_append_only ON events"}[place.kind]
    execute(place.url, f"DROP TRIGGER {drop}")
    found = examined(capsys, code=1)

    assert ["fail"] == verdicts(found, "append-only")
    assert well_besides(found, "append-only")


def test_a_database_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing listens; its password is nobody's business."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stagepost.toml").write_text(CONFIG.format(url="postgresql://joe:hunter2@127.0.0.1:1/mail"))
    found = examined(capsys, code=1)

    assert ["fail"] == verdicts(found, "database")
    assert "refused" in found["database"]["what"]
    assert well_besides(found, "database")
    assert "hunter2" not in str(found)


def test_a_file_that_is_not_there_yet_or_is_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first is worth a look, in case there should be one, and isn't made; the second is broken."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stagepost.toml").write_text(CONFIG.format(url="sqlite:///mail.db"))
    missing = examined(capsys, code=0)
    made = (tmp_path / "mail.db").exists()
    (tmp_path / "mail.db").write_text("Dear diary, " * 1000)
    strange = examined(capsys, code=1)

    assert (["warn"], False) == (verdicts(missing, "database"), made)
    assert ["fail"] == verdicts(strange, "database")
    assert well_besides(strange, "database")


def test_a_database_that_can_not_be_written(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program keeps SQLite's file locked; PostgreSQL is told to take no writes."""
    monkeypatch.setattr(bootstrap, "EXAMINED_STALL_S", 0.2)
    if place.kind == "postgresql":
        name = place.url.partition("?")[0].rpartition("/")[2]
        execute(place.url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        found = examined(capsys, code=1)
    else:
        with foreign_writer(place.url):
            found = examined(capsys, code=1)

    assert ["fail"] == verdicts(found, "writable")
    assert well_besides(found, "writable")


@contextmanager
def foreign_writer(url: str) -> Iterator[None]:
    """Somebody who holds SQLite's write lock."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


@ON_SQLITE
def test_a_full_disk(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is full."""
    nearly_full = shutil.disk_usage("/")._replace(free=50_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: nearly_full)
    found = examined(capsys, code=1)

    assert (["fail"], True) == (verdicts(found, "disk"), "50 MB" in found["disk"]["what"])


# --- how it stands


def test_emails_that_nobody_looks_after(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Overdue is broken; waiting, held and doubtful ones are worth a look, and so is a dead worker."""
    for _ in range(4):
        assert 0 == main([*SEND])
    ids = [row[0] for row in execute(place.url, "SELECT email_id FROM emails ORDER BY email_id")]
    then = datetime.now(UTC) - timedelta(hours=1)
    at = stamp(then) if place.kind == "sqlite" else then
    for email_id, change in zip(ids, ("deadline_at", "due_at"), strict=False):
        execute(place.url, f"UPDATE emails SET {change} = ? WHERE email_id = ?", at, email_id)
    for email_id, status in zip(ids[2:], ("held", "uncertain"), strict=True):
        execute(place.url, "UPDATE emails SET status = ?, lane = NULL WHERE email_id = ?", status, email_id)
    execute(place.url, "INSERT INTO leases (worker, seen_at) VALUES ('late', ?)", at)
    found = examined(capsys, code=1)

    names = ("overdue", "waiting", "held", "uncertain", "workers")
    assert ["fail", "warn", "warn", "warn", "warn"] == verdicts(found, *names)
    assert "late" in found["workers"]["what"]
    assert well_besides(found, *names, "reports")
    assert "ann@" not in str(found)


def test_providers_out_of_use(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The only one is paused: nothing can be sent."""
    assert 0 == main(["providers", "pause", "files"])
    found = examined(capsys, code=1)

    assert ["fail"] == verdicts(found, "circuits")
    assert "files is paused" in found["circuits"]["what"]


def test_a_log_ahead_of_time_and_reports_behind(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A clock that was set back; a projection that nobody advances."""
    assert 0 == main([*SEND])
    columns = "event_id, stream, version, type, at, meta, data, hash"
    for days, name in ((-1, "old"), (1, "new")):
        then = datetime.now(UTC) + timedelta(days=days)
        at = stamp(then) if place.kind == "sqlite" else then
        insert = f"INSERT INTO events ({columns}) SELECT ?, ?, version, type, ?, meta, data, hash FROM events"
        execute(place.url, f"{insert} WHERE position = 1", name, f"email-{name}", at)
    execute(place.url, "UPDATE checkpoints SET position = 1")
    found = examined(capsys, code=0)

    assert ["warn", "warn"] == verdicts(found, "clock", "reports")
    assert "ahead" in found["clock"]["what"]
