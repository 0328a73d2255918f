"""What docs/ says is what is there: pages that are made, statements that run, files that are used as they are."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from adapters.codec import TYPES
from adapters.sql import tables
from docs import events, scaling, simulating
from entrypoints.cli.main import COMMANDS
from entrypoints.config_schema import Worker
from entrypoints.service import STOPPING_MAX_S
from tests.adapters.sql_urls import migrated_url
from tests.contract.event_store.database import execute
from tests.entrypoints.cli_process import STAGEPOST

DOCS = Path(events.__file__).parent


def test_the_page_of_events_is_what_the_classes_say() -> None:
    """`make docs` makes it anew."""
    assert (DOCS / "events.md").read_text(encoding="utf-8") == events.page()


def test_every_field_has_a_meaning_and_no_meaning_is_left_over() -> None:
    """Of an event that is added, or a field that is gone."""
    named = {(event, field.name) for event, cls in TYPES.items() for field in fields(cls)}
    meant = {(event, field) for event, field in named if events.meaning(event, field)}
    general = {field for event, field in named if (event, field) not in events.SPECIAL}

    assert named == meant
    assert set() == events.SPECIAL.keys() - named
    assert general == set(events.FIELDS)
    assert set(events.COLUMNS) == {column.name for column in tables.events.columns}


def test_every_word_has_a_meaning() -> None:
    """It stands below the word, where it is defined."""
    for enum in events.WORDS:
        said = dict(events._said_of(enum))

        assert [one.name for one in enum] == list(said), enum


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_the_page_s_statements_run(kind: str, request: pytest.FixtureRequest) -> None:
    """On an empty database, each on its own."""
    blocks = re.findall(r"```sql\n(.*?)```", events.SQL, re.DOTALL)
    statements = dict(zip(("postgresql", "sqlite"), blocks, strict=True))[kind].split(";")
    url = migrated_url(kind, request)

    assert [[], []] == [
        execute(url, one.replace("%", "%%") if kind == "postgresql" else one)
        for one in statements
        if one.strip()
    ]


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about it, once the command it starts is there."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here")
    installed = "/opt/stagepost/bin/stagepost "
    unit = (DOCS / "stagepost.service").read_text(encoding="utf-8")
    copy = tmp_path / "stagepost.service"
    copy.write_text(unit.replace(installed, f"{STAGEPOST} "), encoding="utf-8")
    done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False)

    assert f"ExecStart={installed}" in unit
    assert (0, "") == (done.returncode, done.stdout + done.stderr)


def test_the_unit_waits_longer_than_the_service_takes() -> None:
    """With the default grace; a SIGKILL in between leaves attempts in doubt."""
    unit = (DOCS / "stagepost.service").read_text(encoding="utf-8")
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)

    assert stop is not None
    assert int(stop[1]) >= Worker().grace.total_seconds() + STOPPING_MAX_S + 10


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_every_command_that_a_page_names_is_there(page: Path) -> None:
    """And nobody is told of one that isn't built yet."""
    text = page.read_text(encoding="utf-8")
    code = re.findall(r"```sh\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
    named = {name for one in code for name in re.findall(r"\bstagepost ([a-z]+)", one)}

    assert set() == named - {name for name, _, _ in COMMANDS}


def test_the_page_of_simulations_shows_what_its_command_prints() -> None:
    """`make docs` makes it anew, and its picture."""
    page = simulating.FILE.read_text(encoding="utf-8")

    assert (page, simulating.PICTURE.read_text(encoding="utf-8")) == simulating.made(page)


def test_the_tables_of_scaling_are_what_its_program_computes() -> None:
    """`make docs` makes them anew."""
    page = scaling.FILE.read_text(encoding="utf-8")

    assert page == scaling.made(page)
    assert set(scaling.PARTS) == {name for _, name, _ in scaling.MADE.findall(page)}
