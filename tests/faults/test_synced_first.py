"""`kill -9` leaves what the kernel has, a power cut what the disk has: the disk is waited for before a 202."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.entrypoints.cli_process import STAGEPOST, call, environment
from tests.faults.children import readiness
from tests.faults.cluster import configure
from tests.faults.steady import until
from tests.support.smtp_server import ScriptedSmtpServer

EMAILS = 10


def test_each_202_follows_a_sync_of_what_it_says(tmp_path: Path, sink: ScriptedSmtpServer) -> None:
    """As the kernel sees it: when a 202 is written, nothing of the write-ahead log waits for a sync."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("there is no strace here")
    url = configure(tmp_path, f"sqlite:///{tmp_path / 'stagepost.db'}", sink)
    trace = tmp_path / "trace.txt"
    watched = [strace, "-f", "-y", "-e", "trace=fdatasync,fsync,pwrite64,write", "-o", str(trace)]
    with subprocess.Popen(
        [*watched, STAGEPOST, "serve", "--no-worker"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.DEVNULL,
    ) as tracer:
        try:
            until(lambda: readiness(url) == 200 or tracer.poll() is not None)
            if tracer.poll() is not None:
                pytest.skip("strace may not trace here")
            for n in range(EMAILS):
                body = {"id": f"k{n}", "to": "ann@example.org", "subject": "s", "body": "b"}
                assert 202 == call(f"{url}/send-email", json.dumps(body).encode())[0]
        finally:
            for traced in psutil.Process(tracer.pid).children() if tracer.poll() is None else ():
                traced.kill()  # the tracer ends with it
            tracer.wait(30)
    answers, unsynced, written = 0, False, 0
    for line in trace.read_text(errors="replace").splitlines():
        if "-wal>" in line:
            unsynced = "pwrite64" in line or (unsynced and "sync(" not in line)
            written += "pwrite64" in line
        if "HTTP/1.1 202" in line:
            answers += 1

            assert not unsynced
            assert written > 0
            written = 0
    print(f"{answers} times 202, each behind a sync of the write-ahead log")

    assert EMAILS == answers
