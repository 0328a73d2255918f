"""`stagepost dev`: the first thing anybody runs."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest

from entrypoints.cli.main import main
from tests.entrypoints.cli_process import Running, call

WAIT_MAX_S = 20.0


def test_its_banner_holds_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The `curl` in it sends an email, which is a file where it says; every way to ask knows it; then it ends."""
    (tmp_path / "stagepost.toml").write_text("this is no configuration, and nobody reads it")
    running = Running(tmp_path, "dev", STAGEPOST__LISTEN="127.0.0.1:0")
    try:
        running.wait_until_listening(tmp_path / "var" / "stagepost.db.lock")
        _wait(lambda: "Ctrl-C" in running.stdout)
        banner = running.stdout
        assert running.url in banner
        assert "var/outbox" in banner

        _try_out(banner)

        _wait(lambda: running.get("/statuses/hello-1")["status"] == "sent")
        (message,) = (tmp_path / "var" / "outbox").glob("*.eml")
        assert "It works." in message.read_text()
        (tmp_path / "stagepost.toml").unlink()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("STAGEPOST__DATABASE", "sqlite:///var/stagepost.db")
        assert 0 == main(["explain", "hello-1"])
        assert "hello-1: sent" == capsys.readouterr().out.splitlines()[0]
    finally:
        code = running.stop()

    assert 0 == code
    assert "Traceback" not in running.stderr
    assert all(line.startswith("{") for line in running.stderr.splitlines()), "not a terminal: JSON lines"


def _try_out(banner: str) -> None:
    """Do what the first `curl` of the banner says, as a shell would read it."""
    command = banner[banner.index("curl") :]
    first = command[: command.index("\n  curl")]
    curl, url, *options = shlex.split(first.replace("\\\n", " "))
    given = dict(zip(options[::2], options[1::2], strict=True))
    name, _, value = given["-H"].partition(": ")

    assert "curl" == curl
    assert 202 == call(url, given["-d"].encode(), {name: value})[0]


def _wait(done: object) -> None:
    assert callable(done)
    deadline = time.monotonic() + WAIT_MAX_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)
