"""`stagepost tail`: the last events, and what comes, as a process of its own beside whoever writes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.sql import SqlEventStore, open_store
from adapters.sql.migrate import migrate
from application import feed
from entrypoints.cli import tail as module
from entrypoints.cli.main import main
from tests.contract.event_store.given import an_id, append, request, rescheduled, unit
from tests.entrypoints.cli_process import STAGEPOST, environment, process_as_before

WITHIN_S = 20.0


@dataclass
class Place:
    """A folder with a configuration, its database, and somebody who writes it."""

    folder: Path
    store: SqlEventStore

    def requested(self, count: int = 1) -> list[str]:
        """Record so many requests."""
        ids = [an_id() for _ in range(count)]
        self.store.append([request(one) for one in ids])
        return ids

    def rescheduled(self) -> str:
        """Record one request, and an event of another type."""
        (email_id,) = self.requested()
        self.store.append([unit(append(f"email-{email_id}", 1, rescheduled()))])
        return email_id

    def held_up(self) -> int:
        """Whether some reader's transaction keeps SQLite from a checkpoint, or PostgreSQL from cleaning up."""
        with self.store._database.connected() as connection:
            if self.store._database.kind == "sqlite":
                checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)"
                return int(connection.exec_driver_sql(checkpoint).fetchall()[0][0])
            idle = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%%'"
            )
            return int(connection.exec_driver_sql(idle).scalar_one())


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """On each database, in the current folder."""
    url = f"sqlite:///{tmp_path / 'mail.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    migrate(url)
    (tmp_path / "stagepost.toml").write_text(f'database = "{url}"\nproviders.files.type = "sandbox"\n')
    monkeypatch.chdir(tmp_path)
    store = open_store(url)
    with process_as_before():
        yield Place(tmp_path, store)
    store.close()


@pytest.fixture
def lite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """On SQLite only: what the databases have no part in."""
    url = f"sqlite:///{tmp_path / 'mail.db'}"
    migrate(url)
    (tmp_path / "stagepost.toml").write_text(
        'database = "sqlite:///mail.db"\nproviders.files.type = "sandbox"\n'
    )
    monkeypatch.chdir(tmp_path)
    store = open_store(url)
    with process_as_before():
        yield Place(tmp_path, store)
    store.close()


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[Any]:
    """What `tail` says with --json."""
    capsys.readouterr()
    assert 0 == main(["tail", *arguments, "--json"]), capsys.readouterr().err
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@contextmanager
def following(place: Place, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`stagepost tail -f` as a process, ended at last by whatever means."""
    process = subprocess.Popen(
        [STAGEPOST, "tail", "-f", *arguments],
        cwd=place.folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline()


def test_the_last_ones_and_then_what_comes(place: Place) -> None:
    """Each once, in order, one JSON object a line; waiting holds nobody up, and Ctrl-C ends it quietly."""
    place.requested(5)
    with following(place, "--json", "--lines", "2") as process:
        found = [json.loads(line(process)) for _ in range(2)]
        email_id = place.rescheduled()
        found += [json.loads(line(process)) for _ in range(2)]
        held_up = place.held_up()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WITHIN_S)

    assert [4, 5, 6, 7] == [one["position"] for one in found]
    assert ("Rescheduled", 2, email_id) == tuple(found[-1][key] for key in ("type", "version", "email_id"))
    assert 0 == held_up
    assert ("", "") == (out, err)
    assert 130 == process.returncode


def test_everything_behind_a_position(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """However much: --lines does not bound it."""
    place.requested(600)

    assert list(range(1, 601)) == [one["position"] for one in rows(capsys, "--after", "0")]
    assert [600] == [one["position"] for one in rows(capsys, "--after", "599")]
    assert [] == rows(capsys, "--after", "600")


def test_filters(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """By type, provider and status, also from the end."""
    place.requested(3)
    place.rescheduled()
    place.requested(300)

    assert [5] == [one["position"] for one in rows(capsys, "--type", "rescheduled")]
    assert [5] == [one["position"] for one in rows(capsys, "--status", "scheduled")]
    assert [304, 305] == [one["position"] for one in rows(capsys, "--status", "queued", "--lines", "2")]
    assert [] == rows(capsys, "--provider", "files", "--type", "Sent,Requested")


def test_lines_for_people(lite: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Time, type, whose it is, and the facts: the last twenty."""
    *_, last = lite.requested(30)

    assert 0 == main(["tail"])

    lines = capsys.readouterr().out.splitlines()
    assert 20 == len(lines)
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(rf"{when}  Requested +{last}  route=default recipients=2 size=512", lines[-1])


def test_a_search_that_was_cut_says_so(
    lite: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard error: what was looked for may lie further back."""
    monkeypatch.setattr(feed, "LOOKED_AT_MAX", 256)
    monkeypatch.setattr(module, "LOOKED_AT_MAX", 256)
    lite.rescheduled()
    lite.requested(300)

    assert 0 == main(["tail", "--type", "Rescheduled"])

    told = capsys.readouterr()
    assert "" == told.out
    assert "only the last 256 events were looked at; --after POSITION begins earlier" in told.err
    assert 1 == len(rows(capsys, "--type", "Rescheduled", "--after", "0"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--type", "Snt"], "--type has 'Snt', which is no type we know; did you mean \"Sent\"?"),
        (["--status", "x", "--type", "y"], "--status has"),
        (["--after", "1", "--lines", "1"], "give one of them"),
        (["--after", "-1"], "0 or more"),
        (["--after", "3"], "the log ends at position 2"),
        (["--lines", "10001"], "from 0 to 10000"),
        (["--lines", "many"], "many"),
    ],
)
def test_what_can_not_be_meant(
    lite: Place, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the option, and exit code 2."""
    lite.requested(2)

    assert 2 == main(["tail", *arguments])

    told = capsys.readouterr()
    assert "" == told.out
    assert 1 == told.err.count("\n")
    assert says in told.err


def test_where_there_is_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not made by looking."""
    (tmp_path / "stagepost.toml").write_text('database = "sqlite:///none.db"\n')
    monkeypatch.chdir(tmp_path)

    assert 1 == main(["tail"])
    assert ["stagepost.toml"] == os.listdir(tmp_path)


def test_it_ends_when_nobody_reads_it_any_more(lite: Place) -> None:
    """`stagepost tail -f | head -1`: quietly, and without waiting for another event to find out."""
    lite.requested()
    with following(lite) as process:
        assert "Requested" in line(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        code = process.wait(WITHIN_S)
        err = process.stderr.read()

    assert "" == err
    assert 1 == code
