"""A disk that is small, and can be filled and given room: a tmpfs of our own. Only root may mount one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PIECE = b"\0" * 4096


class SmallDisk:
    """A mounted file system of `size_mb`; `folder` is its root."""

    def __init__(self, folder: Path, size_mb: int) -> None:
        self.folder = folder
        self._filling = folder / "filling"
        self._size_mb = size_mb

    def fill(self, spare_kb: int = 0) -> None:
        """Leave no more than this."""
        free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
        # The others go on writing meanwhile.
        with suppress(OSError), self._filling.open("ab", buffering=0) as file:
            for _ in range(max(0, free - spare_kb * 1024) // len(PIECE)):
                file.write(PIECE)

    def make_room(self) -> None:
        """Take away what fills it."""
        self._filling.unlink()


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[SmallDisk]:
    """A disk mounted at this folder, or the test is skipped, and says why."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "stagepost-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs can't be mounted here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(folder, size_mb)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
