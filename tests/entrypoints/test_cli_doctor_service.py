"""`stagepost doctor` beside a service: on SQLite only whoever holds the database can say how it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from adapters.sql.migrate import migrate
from entrypoints import lockfile
from tests.entrypoints.cli_process import Running, process_as_before
from tests.entrypoints.doctor import CONFIG, examined, verdicts, well_besides


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a configuration and a migrated, empty database."""
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'stagepost.db'}"
    migrate(url)
    (tmp_path / "stagepost.toml").write_text(CONFIG.format(url=url))
    with process_as_before():
        yield tmp_path


class Answers(BaseHTTPRequestHandler):
    """A service that says what it was told to say."""

    says: tuple[int, object] = (200, {})

    def do_GET(self) -> None:
        status, body = self.says
        data = json.dumps(body).encode()
        self.send_response(status if self.path == "/readyz" else 404)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("says", "verdict", "what"),
    [
        ((200, {"status": "ready", "alerts": []}), "pass", "is ready"),
        ((503, {"problems": ["dispatcher died"]}), "fail", "dispatcher died"),
        ((200, ["?"]), "fail", "nobody says"),
        (None, "fail", "refused"),
    ],
)
def test_the_service_that_holds_the_database_is_asked(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    says: tuple[int, object] | None,
    verdict: str,
    what: str,
) -> None:
    """It alone can write; nothing here is."""
    with lockfile.acquire(folder / "stagepost.db") as lock, answering(says) as url:
        lock.publish(url)
        found = examined(capsys, code=0 if verdict == "pass" else 1)

    assert [verdict] == verdicts(found, "service")
    assert what in found["service"]["what"]
    assert "writable" not in found
    assert well_besides(found, "service")


def test_alerts_of_the_service_are_worth_a_look(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last of them is shown."""
    alerts = ["first", "circuit_opened provider=primary"]
    says = (200, {"status": "ready", "alerts": alerts})
    with lockfile.acquire(folder / "stagepost.db") as lock, answering(says) as url:
        lock.publish(url)
        found = examined(capsys, code=0)

    assert ["pass", "warn"] == verdicts(found, "service", "alerts")
    assert alerts[1] in found["alerts"]["what"]


@contextmanager
def answering(says: tuple[int, object] | None) -> Iterator[str]:
    """The URL of who answers so; None: of nobody."""
    if says is None:
        yield "http://127.0.0.1:1"
        return
    server = HTTPServer(("127.0.0.1", 0), type("Told", (Answers,), {"says": says}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_command_that_holds_the_database(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a URL there is nobody to ask."""
    with lockfile.acquire(folder / "stagepost.db"):
        found = examined(capsys, code=0)

    assert ["warn"] == verdicts(found, "service")


def test_beside_a_real_service(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs and is asked; killed, its worker is known to be dead at once, whatever its lease says."""
    service = Running(folder, "serve")
    try:
        service.wait_until_listening(lockfile.lock_path(folder / "stagepost.db"))
        running = examined(capsys, code=0)
    finally:
        service.stop(9)
    killed = examined(capsys, code=0)

    assert ["pass", "pass", "pass"] == verdicts(running, "lock", "service", "workers")
    assert (str(service.process.pid) in running["lock"]["what"], "1 alive") == (
        True,
        running["workers"]["what"],
    )
    assert ["pass", "pass", "warn"] == verdicts(killed, "lock", "writable", "workers")
