"""The `stagepost` command as a whole: what it offers, how it fails, and what it imports to do so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.cli.main import main

COMMANDS = {
    "dev",
    "serve",
    "worker",
    "send",
    "status",
    "explain",
    "tail",
    "report",
    "retry",
    "cancel",
    "providers",
    "replay",
    "verify",
    "migrate",
    "config",
    "simulate",
    "doctor",
    "version",
}
HEAVY = ("sqlalchemy", "alembic", "starlette", "uvicorn", "aiosmtplib", "aiohttp", "psycopg", "structlog")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file is near."""
    monkeypatch.chdir(tmp_path)


def one_line(text: str) -> str:
    """The text, which has to be a single line."""
    assert text.endswith("\n")
    assert 1 == text.count("\n"), text
    return text.rstrip("\n")


def test_help_offers_what_there_is_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that comes later is not announced."""
    assert 0 == main(["--help"])

    offered = re.findall(r"^\W+ ([a-z]+) {2,}", capsys.readouterr().out, re.MULTILINE)
    assert sorted(COMMANDS) == sorted(offered)


@pytest.mark.parametrize(
    "command", [*sorted(COMMANDS), "config check", "migrate status", "providers list", "providers test"]
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` after any of them."""
    assert 0 == main([*command.split(), "--help"])

    out = capsys.readouterr().out
    assert f"Usage: stagepost {command}" in out
    assert "--no-json" not in out
    assert "--empty-" not in out


def test_small_commands_import_nothing_large() -> None:
    """Help and versions are there at once: no database, no web server, no logging is imported."""
    script = (
        "import sys\nfrom entrypoints.cli.main import main\n"
        f"main(['--help']), main(['version'])\nprint([one for one in {HEAVY!r} if one in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["statsu"], 'Did you mean "status"?'),
        (["status"], "ID requires an argument"),
        (["status", "a", "b"], "There is no place for 'b' here."),
        (["status", "a", "--colour"], "--colour"),
        (["retry"], "ID requires an argument"),
        (["version", "--json=maybe"], "maybe"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what is wrong, and where to look."""
    assert 2 == main(arguments)

    told = capsys.readouterr()
    assert "" == told.out
    assert says in one_line(told.err)
    assert "stagepost --help" in told.err


def test_arguments_have_to_be_text(capsys: pytest.CaptureFixture[str]) -> None:
    """What a shell passes that is not UTF-8."""
    assert 2 == main(["status", "\udcff"])

    assert "stagepost: an argument is not UTF-8" == one_line(capsys.readouterr().err)


def test_a_wrong_configuration_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names file, key, what is wrong and what would be right."""
    file = tmp_path / "mine.toml"
    file.write_text('listn = "127.0.0.1:1"')

    assert 2 == main(["status", "x", "--config", str(file)])

    told = capsys.readouterr()
    assert "" == told.out
    assert f'stagepost: {file}: listn: unknown key; did you mean "listen"?' == one_line(told.err)


def test_a_missing_configuration_file_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """One that was named has to be there."""
    assert 2 == main(["status", "x", "--config", "none.toml"])

    assert "none.toml: can't be read" in one_line(capsys.readouterr().err)


def test_versions(capsys: pytest.CaptureFixture[str]) -> None:
    """What a report of a problem needs."""
    assert 0 == main(["version", "--json"])

    found = json.loads(capsys.readouterr().out)
    assert {"stagepost", "python", "sqlite", "sqlalchemy"} <= set(found)
    assert "missing" not in found.values()


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    """`stagepost … | head -1`."""
    script = "import sys, time\nfrom entrypoints.cli.main import main\ntime.sleep(0.3)\nsys.exit(main(['version']))"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()

    assert process.stderr is not None
    with process.stderr as stderr:
        assert "" == stderr.read()
    assert 1 == process.wait()
