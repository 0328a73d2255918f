"""The peers' packages, in a folder of their own: never in the project's environment, nor in its locks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PINNED = Path(__file__).with_name("requirements.txt")
"""The Python peers, and all that they need."""

NODE_PACKAGES = ("bullmq@6.7.0", "ioredis@6.0.0", "nodemailer@10.6.1")


def install(folder: Path) -> None:
    """Make a virtual environment in the folder, and `node/` with the packages of node where there is npm.

    Servers (Postfix, Redis, PostgreSQL) are the machine's. Raises CalledProcessError if an installer fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "-r", str(PINNED)], check=True)
    npm = shutil.which("npm")
    if npm is None:
        print("there is no npm: BullMQ is left out", file=sys.stderr)
        return
    node = folder / "node"
    node.mkdir(exist_ok=True)
    quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--silent"]
    subprocess.run([npm, "install", *quiet, *NODE_PACKAGES], cwd=node, check=True)
