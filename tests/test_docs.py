"""What docs/ says is what is there: pages that are made, statements that run, files that are used as they are."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from adapters.codec import TYPES
from adapters.sql import tables
from docs import events
from tests.adapters.sql_urls import migrated_url
from tests.contract.event_store.database import execute

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
