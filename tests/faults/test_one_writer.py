"""SQLite up to 3.51.2 may corrupt a file that two connections write or checkpoint at once: here it is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.entrypoints.cli_process import call
from tests.faults.children import Child, child
from tests.faults.cluster import cluster, settled
from tests.faults.load import Load
from tests.faults.steady import until
from tests.support.smtp_server import ScriptedSmtpServer

READS = ("/statuses", "/statuses/k0-0", "/emails/k0-0/explain", "/reports/hourly", "/providers", "/readyz")


def opened(process: Child, file: Path) -> tuple[int, int]:
    """How many times the process has this file open for reading only, and for writing, as the kernel sees it."""
    found = [0, 0]
    for one in Path(f"/proc/{process.process.pid}/fd").iterdir():
        try:
            if one.readlink() == file:
                flags = (one.parent.parent / "fdinfo" / one.name).read_text().partition("flags:")[2]
                found[int(flags.split()[0], 8) & os.O_ACCMODE != os.O_RDONLY] += 1
        except FileNotFoundError:  # closed meanwhile
            continue
    return found[0], found[1]


def test_one_connection_writes(tmp_path: Path, sink: ScriptedSmtpServer) -> None:
    """Under load, while everything is read and every view rebuilt; whoever reads beside it can't write at all."""
    if not Path("/proc/self/fdinfo").exists():
        pytest.skip("there is no /proc here that tells how files are open")
    file = tmp_path / "stagepost.db"
    with cluster(tmp_path, f"sqlite:///{file}", sink, lease="6s") as running, Load(running.url) as load:
        load.wait_for(20)
        seen: set[int] = set()
        assert 202 == call(f"{running.url}/rebuild/all", b"{}")[0]
        for _ in range(5):
            for path in READS:
                call(f"{running.url}{path}")
                seen.add(opened(running.parts[0], file)[1])
            load.wait_for(10)
        with child(tmp_path, "tail", "-f") as beside:
            until(lambda: sum(opened(beside, file)) > 0, lambda: beside.text[-500:])
            tailing = opened(beside, file)
        told = load.end()
        counted = settled(running, told, sink)
        print(f"connections that may write: {seen}, in a reader beside it: {tailing[1]}; {counted}")

    assert {1} == seen
    assert 0 == tailing[1]
