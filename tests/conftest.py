"""What every test may ask for: an event loop, a real PostgreSQL; and the count of what ran on it."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.postgres import PostgresServer, running_postgres
from tests.support.months import Months

MONTH_EVENTS = 700
"""Enough for every table to have rows, and for a circuit to open and close again."""

# Machines that run tests are busy: a slow example is no failure. CI draws the same examples each time.
settings.register_profile("stagepost", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("stagepost")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Every `async def test_…` runs on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """One server a session; `create(template)` makes databases on it."""
    with running_postgres() as server:
        server.used_by = request.config.stash[POSTGRES_COUNT].used_by
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database of the test's own."""
    url = postgres_server.create()
    yield url
    postgres_server.drop(url)


@pytest.fixture(scope="session")
def months(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Months]:
    """Months of mail to copy; made when they are asked for."""
    made = Months(tmp_path_factory.mktemp("months"), lambda: request.getfixturevalue("postgres_server"))
    yield made
    made.drop()


@pytest.fixture(params=["sqlite", "postgresql"])
def month(request: pytest.FixtureRequest, months: Months, tmp_path: Path) -> Iterator[str]:
    """The URL of a month of mail, on either database."""
    with months.copied(request.param, tmp_path, MONTH_EVENTS) as url:
        yield url


class PostgresCount:
    """Counts the tests that ran on PostgreSQL; where STAGEPOST_REQUIRE_POSTGRES is set, none is a failure."""

    def __init__(self) -> None:
        self.used_by: set[str] = set()
        self.ran: set[str] = set()
        self.required = os.environ.get("STAGEPOST_REQUIRE_POSTGRES", "") not in ("", "0")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "call" and not report.skipped and item.nodeid in self.used_by:
            self.ran.add(item.nodeid)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.required and not self.ran and session.exitstatus in (pytest.ExitCode.OK, 5):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.ran or self.required:
            plural = "" if len(self.ran) == 1 else "s"
            terminalreporter.write_line(
                f"{len(self.ran)} test{plural} ran on PostgreSQL"
                + ("" if self.ran else ": at least one must"),
                red=not self.ran,
            )


POSTGRES_COUNT = pytest.StashKey[PostgresCount]()


def pytest_configure(config: pytest.Config) -> None:
    """Start counting."""
    config.stash[POSTGRES_COUNT] = PostgresCount()
    config.pluginmanager.register(config.stash[POSTGRES_COUNT], "postgres-count")
