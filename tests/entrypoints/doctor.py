"""What `stagepost doctor` finds in a folder, for tests that expect something of it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from entrypoints.cli.main import main

CONFIG = """
database = "{url}"
listen = "127.0.0.1:0"
from = "Shop <shop@example.org>"

[providers.files]
type = "sandbox"
"""
"""The configuration of a database."""

Found = Mapping[str, Mapping[str, str]]


def examined(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> Found:
    """What is found, by name; `code` is the exit code that it should be told with."""
    capsys.readouterr()
    actual = main(["doctor", "--json", *arguments])
    told = capsys.readouterr()
    assert "" == told.err
    answer = json.loads(told.out)
    assert (code, code == 0) == (actual, answer["ok"]), answer
    found = {one["name"]: one for one in answer["checks"]}
    assert len(found) == len(answer["checks"])
    for one in found.values():
        assert (one["verdict"] == "pass") == (not one["to_do"]), one
    return found


def verdicts(found: Found, *names: str) -> list[str]:
    """Those of these checks."""
    return [found[name]["verdict"] for name in names]


def well_besides(found: Found, *names: str) -> bool:
    """Whether all the others are fine; how old this SQLite is doesn't matter."""
    return all(one["verdict"] == "pass" for name, one in found.items() if name not in (*names, "version"))
