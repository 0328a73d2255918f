"""The database's own health: versions and their faults, triggers, settings, clocks; on whole and on broken ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.sql.engine import Database
from adapters.sql.health import (
    DatabaseHealth,
    judge_durability,
    judge_guards,
    judge_journal,
    judge_postgresql,
    judge_sessions,
    judge_sqlite,
)
from application.doctor import Verdict
from application.ports import StoreUnavailable
from tests.adapters.sql_urls import migrated_url
from tests.contract.event_store.database import execute

SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "4000",
    "max_connections": "100",
}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A migrated database."""
    return migrated_url(request.param, request)


@pytest.fixture
def health(url: str) -> Iterator[DatabaseHealth]:
    """What looks at it."""
    health = DatabaseHealth(Database(url, stall_s=2, read_only=True))
    yield health
    health.close()


def test_a_new_database_is_well(url: str, health: DatabaseHealth) -> None:
    """But for what its version is known for; and nothing was written."""
    found = [*health.reached(), *health.guards(), *health.durability()]
    found += health.sessions() if url.startswith("postgresql") else []

    assert {Verdict.PASS} == {one.verdict for one in found}, found
    assert Verdict.FAIL is not health.version()[0].verdict


def test_no_password_is_shown(health: DatabaseHealth) -> None:
    """A finding names the host and the database."""
    other = DatabaseHealth(Database("postgresql://joe:hunter2@127.0.0.1:1/mail", stall_s=1))
    with pytest.raises(StoreUnavailable) as caught:
        other.reached()

    assert "hunter2" not in str(caught.value) + health.reached()[0].what


def test_a_guard_that_is_gone_is_missed(url: str, health: DatabaseHealth) -> None:
    """Without it the log could be changed."""
    name = "events_no_update" if url.startswith("sqlite") else "events_append_only"
    execute(url, f"DROP TRIGGER {name}" + ("" if url.startswith("sqlite") else " ON events"))
    (found,) = health.guards()

    assert Verdict.FAIL is found.verdict
    assert name in found.what
    assert found.to_do


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        ("DISABLE TRIGGER", Verdict.FAIL),
        ("ENABLE TRIGGER", Verdict.WARN),
        ("ENABLE ALWAYS TRIGGER", Verdict.PASS),
    ],
)
def test_a_guard_that_sleeps_is_found_out(
    statement: str, verdict: Verdict, request: pytest.FixtureRequest
) -> None:
    """PostgreSQL's triggers can be told not to fire, always or for some sessions."""
    url = migrated_url("postgresql", request)
    execute(url, f"ALTER TABLE events {statement} events_append_only")
    health = DatabaseHealth(Database(url, stall_s=2))
    (found,) = health.guards()
    health.close()

    assert verdict is found.verdict


def test_a_guard_that_does_nothing_is_none() -> None:
    """A trigger of that name alone refuses nothing."""
    refuses = "BEGIN SELECT RAISE(ABORT, 'no'); END"
    found = dict.fromkeys(("events_no_update", "events_no_delete", "events_no_replace"), refuses)

    assert Verdict.PASS is judge_guards("sqlite", found).verdict
    assert Verdict.FAIL is judge_guards("sqlite", found | {"events_no_delete": "BEGIN SELECT 1; END"}).verdict


def test_another_journal_is_noticed(request: pytest.FixtureRequest) -> None:
    """A tool that converts the file back."""
    url = migrated_url("sqlite", request)
    execute(url, "PRAGMA journal_mode = DELETE")
    health = DatabaseHealth(Database(url, read_only=True))
    (found,) = health.durability()
    health.close()

    assert (Verdict.WARN, True) == (found.verdict, "delete" in found.what)
    assert Verdict.PASS is judge_journal("wal").verdict


def test_what_is_no_database_is_not_reached(tmp_path: Path) -> None:
    """A file of something else."""
    (tmp_path / "mail.db").write_text("Dear diary, " * 1000)
    health = DatabaseHealth(Database(f"sqlite:///{tmp_path / 'mail.db'}", read_only=True))
    with pytest.raises(StoreUnavailable):
        health.reached()
    health.close()


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ((3, 34, 1), Verdict.FAIL),
        ((3, 40, 1), Verdict.WARN),
        ((3, 44, 5), Verdict.WARN),
        ((3, 44, 6), Verdict.PASS),
        ((3, 45, 0), Verdict.WARN),
        ((3, 50, 6), Verdict.WARN),
        ((3, 50, 7), Verdict.PASS),
        ((3, 51, 2), Verdict.WARN),
        ((3, 51, 3), Verdict.PASS),
        ((3, 53, 0), Verdict.PASS),
    ],
)
def test_which_sqlite_is_known_for_what(version: tuple[int, int, int], verdict: Verdict) -> None:
    """The WAL-reset fault, where it was repaired, and what we can't do without."""
    found = judge_sqlite(version)

    assert verdict is found.verdict
    assert ".".join(map(str, version)) in found.what


@pytest.mark.parametrize(
    ("version", "verdict"), [(140_012, Verdict.FAIL), (150_000, Verdict.PASS), (180_004, Verdict.PASS)]
)
def test_which_postgresql_is_new_enough(version: int, verdict: Verdict) -> None:
    """15 or later."""
    assert verdict is judge_postgresql(version).verdict


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, Verdict.PASS),
        ({"synchronous_commit": "remote_apply"}, Verdict.PASS),
        ({"fsync": "off"}, Verdict.FAIL),
        ({"synchronous_commit": "off"}, Verdict.FAIL),
        ({"full_page_writes": "off"}, Verdict.WARN),
    ],
)
def test_what_a_power_cut_would_cost(changed: dict[str, str], verdict: Verdict) -> None:
    """Nothing that was accepted, or somebody has to hear it."""
    assert verdict is judge_durability(SETTINGS | changed).verdict


@pytest.mark.parametrize(
    ("changed", "standby", "connected", "verdict"),
    [
        ({}, False, 10, Verdict.PASS),
        ({"statement_timeout": "60000"}, False, 10, Verdict.PASS),
        ({"statement_timeout": "500"}, False, 10, Verdict.WARN),
        ({"transaction_timeout": "500"}, False, 10, Verdict.WARN),
        ({"idle_in_transaction_session_timeout": "0"}, False, 10, Verdict.WARN),
        ({}, False, 90, Verdict.WARN),
        ({}, True, 10, Verdict.FAIL),
    ],
)
def test_whether_sessions_can_work(
    changed: dict[str, str], standby: bool, connected: int, verdict: Verdict
) -> None:
    """Long enough, as many as needed, and on a server that takes writes."""
    assert verdict is judge_sessions(SETTINGS | changed, standby=standby, connected=connected).verdict


def test_what_the_server_sets_is_seen(request: pytest.FixtureRequest) -> None:
    """As our own sessions have it; a lazy commit is not among it, since they don't take that."""
    url = migrated_url("postgresql", request)
    name = url.partition("?")[0].rpartition("/")[2]
    for setting in ("statement_timeout = '900ms'", "synchronous_commit = off"):
        execute(url, f'ALTER DATABASE "{name}" SET {setting}')
    health = DatabaseHealth(Database(url, stall_s=2))
    found = [*health.sessions(), *health.durability()]
    health.close()

    assert [Verdict.WARN, Verdict.PASS] == [one.verdict for one in found]
    assert "900" in found[0].what


def test_clocks_are_compared(url: str, health: DatabaseHealth) -> None:
    """With what the way there took; on one machine they are one."""
    seen = health.clocks()

    assert abs(seen.apart) <= seen.within + timedelta(milliseconds=50)
    assert seen.within < timedelta(seconds=1)
    assert seen.last_event_at is None
