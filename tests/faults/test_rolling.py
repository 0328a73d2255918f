"""A rolling restart under load: two processes that take mail and two that send, replaced one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.sql.migrate import migrate
from tests.e2e.test_processes import free_port
from tests.faults.audit import audit, copies_at, settle
from tests.faults.children import Child, readiness
from tests.faults.cluster import configure
from tests.faults.load import Load
from tests.faults.steady import until
from tests.support.smtp_script import At, slow
from tests.support.smtp_server import ScriptedSmtpServer

BETWEEN = 15
"""Emails acknowledged between two replacements."""
SLOW_S = 1.0
"""What every tenth message takes at the provider: the process that is stopped has to wait for it."""


@dataclass(slots=True)
class Place:
    """Where one process runs after the other. `url`: where it takes mail, if it does."""

    folder: Path
    url: str | None
    now: Child

    @classmethod
    def begun(cls, folder: Path, url: str | None = None) -> Place:
        place = cls(folder, url, _started(folder, url))
        place.wait()
        return place

    def wait(self) -> None:
        """Until it does what it is there for."""
        if self.url is None:
            until(lambda: '"lease_acquired"' in self.now.text, lambda: self.now.text[-2000:])
        else:
            until(lambda: readiness(str(self.url)) == 200, lambda: self.now.text[-2000:])

    def replace(self) -> int:
        """SIGTERM, and the next one once it has ended; its exit code."""
        code = self.now.stop()
        self.now = _started(self.folder, self.url)
        self.wait()
        return code

    def kill(self) -> None:
        """Whatever happened, nothing is left running."""
        self.now.kill()


def _started(folder: Path, url: str | None) -> Child:
    if url is None:
        return Child(folder, "worker")
    return Child(folder, "serve", "--no-worker", STAGEPOST__LISTEN=json.dumps(url.removeprefix("http://")))


@contextmanager
def places(folder: Path, *urls: str | None) -> Iterator[list[Place]]:
    """Processes that are up; none is left behind."""
    with ExitStack() as stack:
        made = []
        for url in urls:
            made.append(Place.begun(folder, url))
            stack.callback(made[-1].kill)
        yield made


def test_replaced_one_after_the_other_nobody_notices(
    tmp_path: Path, postgres_url: str, sink: ScriptedSmtpServer
) -> None:
    """Clients go to the other one meanwhile; nothing acknowledged is lost, nothing is sent twice, nothing in doubt."""
    sink.script = {At.DOT: lambda turn: slow(SLOW_S if turn.message % 10 == 0 else 0.02)}
    migrate(postgres_url)
    urls = [configure(tmp_path, postgres_url, sink, lease="6s"), f"http://127.0.0.1:{free_port()}"]
    with places(tmp_path, *urls, None, None) as running, Load(*urls) as load:
        load.wait_for(BETWEEN)
        codes = []
        for place in running:
            codes.append(place.replace())
            load.wait_for(BETWEEN)
        told = load.end()
        settle(postgres_url)
        codes += [place.now.stop() for place in running]
    counted = audit(tmp_path, postgres_url, told, copies_at(sink))
    print(f"two APIs and two workers replaced: {told}; {counted}")

    assert {0} == set(codes)
    assert (0, 0, 0) == (counted.uncertain, counted.risks, counted.twice)
    assert {"sent": counted.emails} == counted.ends
