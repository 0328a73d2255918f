"""Processes of a peer: started, and gone with all their children when the block ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
"""Where `python -m benchmarks…` finds our files, whichever interpreter it is."""

STOPPING_S_MAX = 10.0


@contextmanager
def running(
    command: Sequence[str], output: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process and its children; what they print goes to `output`, which must not fill with a pipe nobody reads."""
    with output.open("ab") as out:
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            started.wait(STOPPING_S_MAX)
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)  # the group is the process's own: it began a session
        started.wait()


def processor_s(pids: Iterable[int]) -> float:
    """Processor time that these processes have used, with all their children, dead ones too (s)."""
    used = 0.0
    for pid in pids:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                used += times.user + times.system + times.children_user + times.children_system
    return used


def printed(command: Sequence[str], timeout_s: float, env: Mapping[str, str] | None = None) -> str:
    """What a command prints.

    Raises RuntimeError with the last line of its errors if it fails, or takes longer.
    """
    name = " ".join([Path(command[0]).name, *command[1:3]])
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{name} took longer than {timeout_s:.0f} s") from None
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}: {_last_of(done.stderr or done.stdout)}")
    return done.stdout


def last_line(output: Path) -> str:
    """The last that a process printed."""
    return _last_of(output.read_text(encoding="utf-8", errors="replace"))


def _last_of(text: str) -> str:
    return (text.strip() or "it said nothing").splitlines()[-1]
