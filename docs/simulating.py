"""Makes the example of `docs/simulating.md` anew: what its command prints, with its configuration.

python -m docs.simulating
"""

from __future__ import annotations

import io
import re
import shlex
import sys
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path

from entrypoints.cli.main import main

FILE = Path(__file__).with_suffix(".md")
PICTURE = FILE.with_suffix(".svg")
EXAMPLE = re.compile(
    r"```toml\n(?P<config>.*?)```.*?```console\n\$ stagepost (?P<command>[^\n]*)\n(?P<said>.*?)```", re.DOTALL
)


def made(page: str) -> tuple[str, str]:
    """The page with what its first example prints today, and its picture."""
    found = EXAMPLE.search(page)
    assert found is not None
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, chdir(folder), redirect_stdout(printed):
        Path("stagepost.toml").write_text(found["config"], encoding="utf-8")
        code = main([*shlex.split(found["command"]), "--svg", "out.svg"])
        picture = Path("out.svg").read_text(encoding="utf-8")
    assert code == 0
    printed.seek(0)
    return page[: found.start("said")] + printed.read() + page[found.end("said") :], picture


if __name__ == "__main__":
    text, drawing = made(FILE.read_text(encoding="utf-8"))
    FILE.write_text(text, encoding="utf-8")
    PICTURE.write_text(drawing, encoding="utf-8")
    print(f"{FILE}, {PICTURE}", file=sys.stderr)
