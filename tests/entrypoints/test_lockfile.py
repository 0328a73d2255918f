"""The writer's lock of a SQLite database, between real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest

from entrypoints.lockfile import Locked, Owner, acquire, lock_path, read

HOLDER = """
import sys, time
from pathlib import Path
from entrypoints.lockfile import acquire
lock = acquire(Path(sys.argv[1]))
if sys.argv[2]:
    lock.publish(sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""
URL = "http://127.0.0.1:8025"


class Holder:
    """A process that holds the lock until it is killed."""

    def __init__(self, database: Path, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(database), url], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert "held\n" == self.process.stdout.readline()

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """End it the hard way, and wait until it is gone."""
        with self.process:  # waits, and closes the pipe
            self.process.kill()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where a database would be."""
    return tmp_path / "mail.db"


@pytest.fixture
def holder(database: Path) -> Iterator[Holder]:
    """A process that holds the lock and listens at URL."""
    holder = Holder(database, URL)
    yield holder
    holder.kill()


def test_a_second_process_is_told_who_the_first_is(database: Path, holder: Holder) -> None:
    """Its pid to name, its URL to go to."""
    with pytest.raises(Locked, match=f"is in use by process {holder.pid}, which listens on {URL}") as caught:
        acquire(database)

    assert (holder.pid, URL) == (caught.value.pid, caught.value.url)
    assert Owner(pid=holder.pid, url=URL) == read(database)


def test_kill_9_frees_the_lock(database: Path, holder: Holder) -> None:
    """And what the dead process left in the file counts for nothing."""
    holder.kill()

    assert read(database) is None
    assert str(holder.pid) in lock_path(database).read_text(encoding="utf-8")
    with acquire(database):
        assert Owner(pid=os.getpid(), url=None) == read(database)


def test_waiting_ends_when_the_lock_is_free(database: Path, holder: Holder) -> None:
    """A restart takes over from the process before it."""
    killer = Timer(0.2, os.kill, (holder.pid, signal.SIGKILL))
    killer.start()
    started = time.monotonic()

    with acquire(database, wait_s=30):
        waited = time.monotonic() - started
    killer.join()

    assert 0.1 < waited < 20


def test_waiting_has_an_end(database: Path, holder: Holder) -> None:
    """The time given, not less."""
    started = time.monotonic()
    with pytest.raises(Locked):
        acquire(database, wait_s=0.3)

    assert 0.3 <= time.monotonic() - started < 20


def test_a_command_that_can_go_by_http_does_not_wait(database: Path, holder: Holder) -> None:
    """With `or_url` a URL in the lock is as good as the lock."""
    started = time.monotonic()
    with pytest.raises(Locked) as caught:
        acquire(database, wait_s=30, or_url=True)

    assert URL == caught.value.url
    assert time.monotonic() - started < 20


def test_a_command_that_can_go_by_http_waits_for_the_url(database: Path) -> None:
    """A service that is starting has no URL yet; soon it has."""
    with acquire(database) as lock:
        publisher = Timer(0.2, lock.publish, (URL,))
        publisher.start()
        with pytest.raises(Locked) as caught:
            acquire(database, wait_s=30, or_url=True)
        publisher.join()

    assert URL == caught.value.url


def test_an_owner_that_serves_nothing_has_no_url(database: Path) -> None:
    """A command that runs for long is named all the same."""
    holder = Holder(database, "")
    with pytest.raises(Locked, match=f"process {holder.pid}; stop") as caught:
        acquire(database)
    holder.kill()

    assert (holder.pid, None) == (caught.value.pid, caught.value.url)


def test_a_released_lock_is_free(database: Path) -> None:
    """Twice released is once released; the file stays, and says nothing."""
    lock = acquire(database)
    lock.publish(URL)
    assert {"pid": os.getpid(), "url": URL} == json.loads(lock_path(database).read_bytes())
    lock.release()
    lock.release()

    assert read(database) is None
    assert b"" == lock_path(database).read_bytes()
    acquire(database).release()


def test_one_process_takes_it_once(database: Path) -> None:
    """Two services in one process would be two writers as well."""
    with acquire(database), pytest.raises(Locked, match=f"process {os.getpid()}"):
        acquire(database)


def test_a_shorter_line_leaves_nothing_of_the_longer_one(database: Path) -> None:
    """Whoever publishes less later is read right."""
    with acquire(database) as lock:
        lock.publish(URL + "/a/long/path")
        lock.publish(None)

        assert Owner(pid=os.getpid(), url=None) == read(database)
        assert 1 == lock_path(database).read_bytes().count(b"\n")


def test_a_program_that_the_owner_starts_does_not_inherit_it(database: Path) -> None:
    """Or a child that outlives the service would keep the database locked."""
    lock = acquire(database)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    lock.release()

    acquire(database, wait_s=5).release()
    child.communicate(b"\n")


def test_every_name_of_the_file_is_one_lock(database: Path, tmp_path: Path) -> None:
    """A link to the database leads to the database's own lock."""
    database.touch()
    link = tmp_path / "link.db"
    link.symlink_to(database)

    with acquire(database), pytest.raises(Locked):
        acquire(link)


def test_its_folder_is_made(tmp_path: Path) -> None:
    """The lock is the first thing a service writes."""
    acquire(tmp_path / "var" / "mail" / "mail.db").release()

    assert (tmp_path / "var" / "mail" / "mail.db.lock").exists()


def test_nobody_owns_a_database_that_was_never_locked(database: Path) -> None:
    """Asking makes no file."""
    assert read(database) is None
    assert not lock_path(database).exists()


def test_asking_does_not_get_in_the_way_of_taking(database: Path) -> None:
    """`read` holds the lock for a moment; who wants it meanwhile still gets it at once."""
    asker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\nfrom pathlib import Path\nfrom entrypoints.lockfile import read\n"
            "print('asking', flush=True)\nwhile True: read(Path(sys.argv[1])); time.sleep(0.001)",
            str(database),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert asker.stdout is not None
    acquire(database).release()
    assert "asking\n" == asker.stdout.readline()

    try:
        for _ in range(200):
            acquire(database).release()
    finally:
        with asker:
            asker.kill()
