"""`stagepost report`: read beside whoever writes, for people, spreadsheets and programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.sql import open_store
from adapters.sql.migrate import migrate
from application import report_reading
from application.ports import Plan
from application.recorded import circuit_stream, email_stream
from application.report_ports import REPORTS
from application.reports import Projector
from domain.circuit import CircuitOpened
from domain.failures import FailureKind
from entrypoints.cli.main import main
from tests.contract.event_store.given import an_id, append, failed, requested, sent, started, unit
from tests.entrypoints.cli_process import process_as_before

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    with process_as_before():
        yield tmp_path


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, folder: Path) -> str:
    """A migrated database, and the configuration that names it."""
    url = f"sqlite:///{folder / 'mail.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    return configured(folder, url)


@pytest.fixture
def lite(folder: Path) -> str:
    """The same on SQLite only, where the database makes no difference."""
    return configured(folder, f"sqlite:///{folder / 'mail.db'}")


def configured(folder: Path, url: str) -> str:
    """Write the configuration, and migrate."""
    (folder / "stagepost.toml").write_text(f'database = "{url}"\n')
    migrate(url)
    return url


def fill(url: str, emails: int = 3, *, tags: tuple[str, ...] = ("otp",), projects: bool = True) -> datetime:
    """Emails of the hour before this one: each fails at ses, and goes out through postmark 2 s after it came in."""
    store = open_store(url)
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HOUR
    second = timedelta(seconds=1)
    for number in range(emails):
        stream, at = email_stream(an_id()), begin + number * second
        store.append([unit(append(stream, 0, requested(tags=tags)), at=at)])
        tries = unit(
            append(stream, 1, started(), failed(kind=FailureKind.QUOTA), started(2, "postmark")),
            at=at + second,
        )
        done = unit(append(stream, 4, sent(2, "postmark")), at=at + 2 * second)
        store.transact(Plan(), lambda locked, units=(tries, done): units)  # type: ignore[misc]
    opened = CircuitOpened(epoch=1, reason="quota", failures=1, calls=1, until=begin)
    broken = unit(append(circuit_stream("ses"), 0, opened), at=begin + 30 * timedelta(minutes=1))
    store.transact(Plan(), lambda locked: (broken,))
    if projects:
        projector = Projector(log=store, reports=store.reports, name=REPORTS, holder="test")
        while projector.step().added:
            pass
    store.close()
    return begin


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints."""
    capsys.readouterr()
    assert 0 == main(["report", *arguments]), capsys.readouterr().err
    return capsys.readouterr().out


def test_tables_and_plots(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Emails, attempts, and a bar for each hour, by provider; without a terminal as well."""
    begin = fill(database)
    told = said(capsys)
    lines = [line.split() for line in told.splitlines()]

    assert f"to {begin + 2 * HOUR:%Y-%m-%d %H:%M} UTC, by provider" in told
    assert ["provider", "requested", "sent", "failed", "p50", "p95", "p99"] in lines
    assert ["(no", "attempt)", "3", "0", "0", "-", "-", "-"] in lines
    assert ["postmark", "0", "3", "0", "2.0", "s", "2.0", "s", "2.0", "s"] in lines
    assert any(["ses", "3", "3", "0", "0", "0"] == line[:6] for line in lines), (
        "attempts, failed, …, circuit open"
    )
    assert "sent, a bar for each hour" in told
    assert any(line[0] == "postmark" and "█" in "".join(line) and "3" == line[-1] for line in lines if line)
    assert "\x1b" not in told
    assert "not counted yet" not in told


@pytest.mark.parametrize(
    ("by", "row"),
    [
        ("route", "default 3 3 0"),
        ("tag", "otp 3 3 0"),
        ("kind", "quota 3 0 0 0"),
    ],
)
def test_by_something_else(lite: str, by: str, row: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Routes, tags and kinds."""
    fill(lite)
    told = said(capsys, "--by", by, "--since", "7d")

    assert any(" ".join(line.split()).startswith(row) for line in told.splitlines()), told


def test_json_and_csv(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Both have every hour with every measure; they agree."""
    begin = fill(database)
    found: Any = json.loads(said(capsys, "--json"))
    rows = list(csv.DictReader(io.StringIO(said(capsys, "--csv"))))

    assert {"by", "since", "until", "lag", "totals", "hourly"} == set(found)
    assert {"events": 0, "seconds": 0.0} == found["lag"]
    hours = [(one["hour"], one["provider"] or "", one["sent"]) for one in found["hourly"]]
    assert hours == [(one["hour"], one["provider"], int(one["sent"])) for one in rows]
    assert (f"{begin:%Y-%m-%dT%H}:00:00.000000Z", "postmark", 3) in hours
    assert 2000 == pytest.approx(found["totals"][1]["delay_ms"]["p95"], rel=0.05)
    assert {"p50_ms", "p95_ms", "p99_ms", "open_seconds", "attempts_failed"} <= set(rows[0])
    (ses,) = [one for one in found["totals"] if one["provider"] == "ses"]
    assert 1800 <= ses["open_seconds"] < 1800 + 3700, "open since half past, up to now"


def test_a_time_in_which_nothing_happened(lite: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Said in words; as CSV it is the names of the columns."""
    assert "nothing happened in this time" in said(capsys)
    assert said(capsys, "--csv", "--by", "tag").startswith("hour,tag,requested,")
    assert said(capsys, "--csv", "--by", "kind").startswith("hour,kind,attempts_failed,")
    assert [] == json.loads(said(capsys, "--json"))["hourly"]


def test_what_is_not_counted_yet_is_said(lite: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody has projected since."""
    fill(lite, 1, projects=False)

    assert "not counted yet: up to 6 events of the last" in said(capsys)
    assert 6 == json.loads(said(capsys, "--json"))["lag"]["events"]


def test_many_names_are_cut_for_people_only(lite: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those with the most are shown, and how many are not."""
    fill(lite, 1, tags=tuple(f"t{number}" for number in range(40)))

    told = said(capsys, "--by", "tag")
    assert "and 10 more, in --json and --csv" in told
    assert 40 == len(json.loads(said(capsys, "--by", "tag", "--json"))["totals"])


def test_a_long_time_has_bars_for_several_hours(lite: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No line is longer than a screen."""
    fill(lite)
    told = said(capsys, "--since", "300d")

    assert "a bar for each" in told
    assert "a bar for each hour" not in told
    assert max(map(len, told.splitlines())) <= 120


def test_an_output_without_blocks(
    lite: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bars of plain characters, where the others can't be shown."""
    fill(lite)
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", plain)
    assert 0 == main(["report"])
    plain.flush()
    told = plain.buffer.getvalue().decode()

    assert "#" in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--since yesterday", "--since is no time; write it like '24h'"),
        ("--since 400d", "366 days"),
        ("--by day", "provider"),
        ("--json --csv", "exclude each other"),
    ],
)
def test_wrong_usage(lite: str, arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 2."""
    assert 2 == main(["report", *arguments.split()])

    told = capsys.readouterr().err
    assert says in told
    assert 1 == told.count("\n")


def test_more_than_an_answer_holds(
    lite: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, rather than cut short."""
    fill(lite)
    monkeypatch.setattr(report_reading, "SUMS_MAX", 2)

    assert 2 == main(["report"])
    assert "later --since" in capsys.readouterr().err


def test_a_missing_database_is_said_and_not_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped path leaves nothing behind."""
    (folder / "stagepost.toml").write_text('database = "sqlite:///mail.db"\n')

    assert 1 == main(["report"])
    assert "there is no database at" in capsys.readouterr().err
    assert ["stagepost.toml"] == [one.name for one in folder.iterdir()]
